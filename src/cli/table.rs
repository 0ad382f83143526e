//! Tables without lines: columns with two spaces between them, the last one as long as it is.
//!
//! Owns: widths. Never: what stands in a cell. Cells are padded first and coloured after: an escape sequence has no width.

use super::terminal::{Colour, Terminal};

/// A cell: its text and its colour.
pub type Cell = (String, Colour);

/// Rows of cells under a header.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(header: &[&'static str]) -> Table {
        Table { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as the header.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Prints it. On a terminal the last column is cut to the width, in a pipe nothing is.
    pub fn print(&self, to: &mut Terminal) {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| width(text));
                cells.chain([self.header[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let header: Vec<Cell> = self.header.iter().map(|name| ((*name).to_owned(), Colour::Plain)).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut used = 0;
            for (column, (text, colour)) in row.iter().enumerate() {
                if column + 1 == row.len() {
                    let room = to.width.map(|width| width.saturating_sub(used));
                    to.coloured(&cut(&plain(text), room), *colour);
                } else {
                    let text = plain(text);
                    let padding = widths[column] - width(&text) + 2;
                    to.coloured(&text, *colour);
                    to.print(&" ".repeat(padding));
                    used += widths[column] + 2;
                }
            }
            to.print("\n");
        }
    }
}

/// The columns that `text` takes, by characters: names and numbers here are ASCII, reasons nearly so.
fn width(text: &str) -> usize {
    plain(text).chars().count()
}

/// `text` on one line, without anything that a terminal would act on: a reason can quote what a program wrote.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// As much of `text` as fits into `room` columns; the cut is marked.
fn cut(text: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if text.chars().count() > room => {
            let kept: String = text.chars().take(room.saturating_sub(1)).collect();
            if room == 0 { kept } else { kept + "…" }
        }
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_is_cut_to_the_width_and_marked() {
        assert_eq!(cut("abcdef", Some(4)), "abc…");
        assert_eq!(cut("abcd", Some(4)), "abcd");
        assert_eq!(cut("abcd", Some(0)), "");
        assert_eq!(cut("abcd", None), "abcd");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a [2Jb c");
    }
}
