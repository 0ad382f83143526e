//! Tables without lines: columns with two spaces between them, the last one is not padded.
//!
//! Owns: widths. Never: what stands in a cell. Cells are padded first and coloured after: an escape sequence has no
//! width.

use super::terminal::{Colour, Terminal, push_plain};

/// Cells, row by row, the header first.
pub struct Table {
    columns: usize,
    /// The texts of all cells, one behind the other.
    text: String,
    /// Where each one ends, and its colour.
    cells: Vec<(usize, Colour)>,
}

impl Table {
    /// A table with the columns of `header`, which has a `|` between each two.
    pub fn new(header: &str) -> Table {
        let mut table = Table { columns: 0, text: String::new(), cells: Vec::new() };
        header.split('|').for_each(|name| table.cell(name));
        table.columns = table.cells.len();
        table
    }

    /// Adds a cell; a dash in the place of an empty text.
    pub fn cell(&mut self, text: &str) {
        self.coloured(text, Colour::Plain);
    }

    /// Adds a cell in a colour.
    #[inline(never)]
    pub fn coloured(&mut self, text: &str, colour: Colour) {
        push_plain(&mut self.text, if text.is_empty() { "-" } else { text });
        self.cells.push((self.text.len(), colour));
    }

    /// Adds a cell with a number, if there is one, as `show` has it.
    #[inline(never)]
    pub fn number(&mut self, number: Option<u64>, show: fn(u64, &mut String)) {
        match number {
            Some(number) => show(number, &mut self.text),
            None => self.text.push('-'),
        }
        self.cells.push((self.text.len(), Colour::Plain));
    }

    /// Prints it. On a terminal the last column is cut to the width, in a pipe nothing is.
    pub fn print(&self, to: &mut Terminal) {
        let mut widths = vec![0; self.columns];
        self.each(|column, text, _| widths[column] = text.chars().count().max(widths[column]));
        let fixed: usize = widths.iter().take(self.columns - 1).map(|width| width + 2).sum();
        let room = to.width.map(|width| width.saturating_sub(fixed));
        self.each(|column, text, colour| {
            if column + 1 < self.columns {
                to.coloured(text, colour);
                to.spaces(widths[column] + 2 - text.chars().count());
            } else {
                let (kept, mark) = cut(text, room);
                to.coloured(kept, colour);
                to.line(mark);
            }
        });
    }

    fn each(&self, mut with: impl FnMut(usize, &str, Colour)) {
        let mut start = 0;
        for (number, (end, colour)) in self.cells.iter().enumerate() {
            with(number % self.columns, &self.text[start..*end], *colour);
            start = *end;
        }
    }
}

/// As much of `text` as fits into `room` columns, and the mark of the cut. Columns are counted by characters: names and
/// numbers here are ASCII, reasons nearly so.
fn cut(text: &str, room: Option<usize>) -> (&str, &'static str) {
    match room {
        Some(0) => ("", ""),
        Some(room) if text.chars().count() > room => {
            let end = text.char_indices().nth(room - 1).map_or(0, |(at, _)| at);
            (&text[..end], "…")
        }
        Some(_) | None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_is_cut_to_the_width_and_marked() {
        assert_eq!(cut("abcdef", Some(4)), ("abc", "…"));
        assert_eq!(cut("aécdef", Some(3)), ("aé", "…"));
        assert_eq!(cut("abcd", Some(4)), ("abcd", ""));
        assert_eq!(cut("abcd", Some(0)), ("", ""));
        assert_eq!(cut("abcd", None), ("abcd", ""));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut text = String::new();
        push_plain(&mut text, "a\x1b[2Jb\nc");
        assert_eq!(text, "a [2Jb c");
    }
}
