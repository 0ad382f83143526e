//! The last lines of a run.
//!
//! Owns: which lines are kept. Never: where they come from. Pure.
//!
//! What explains an end is mostly on stderr, and mostly followed by other output on stdout: half of the room is for
//! stderr, and either stream may have what the other does not use.

use crate::logs::StreamId;
pub use crate::model::run::{Line, Tail};

/// The number of lines that are kept.
pub const LINES: usize = 20;
/// The bytes of text that are kept.
pub const BYTES: usize = 2 * 1024;

/// Keeps the newest of `lines`, which are in the order of arrival.
pub fn tail_of(lines: &[(StreamId, &[u8])]) -> Tail {
    let mut kept = vec![false; lines.len()];
    // First each stream within its half, then whatever still fits, both from the newest line on.
    let (mut count, mut bytes) = (0, 0);
    for stream in StreamId::BOTH {
        let (mut in_half, mut bytes_in_half) = (0, 0);
        for (place, (of, text)) in lines.iter().enumerate().rev() {
            if *of != stream {
                continue;
            }
            if in_half == LINES / 2 || bytes_in_half + text.len().min(BYTES / 2) > BYTES / 2 {
                break;
            }
            kept[place] = true;
            in_half += 1;
            bytes_in_half += text.len().min(BYTES / 2);
        }
        count += in_half;
        bytes += bytes_in_half;
    }
    for (place, (_, text)) in lines.iter().enumerate().rev() {
        if kept[place] {
            continue;
        }
        if count == LINES || bytes + text.len() > BYTES {
            break;
        }
        kept[place] = true;
        count += 1;
        bytes += text.len();
    }
    let truncated = kept.contains(&false);
    let chosen = lines.iter().zip(&kept).filter(|(_, kept)| **kept);
    let lines: Vec<Line> = chosen.map(|((stream, text), _)| Line { stream: *stream, text: cut(text) }).collect();
    Tail { truncated: truncated || lines.iter().any(|line| line.text.ends_with(CUT)), lines }
}

/// Marks a line whose end is left out.
const CUT: &str = " […]";

/// A line that is too long for its half is cut: its beginning says more than its end.
fn cut(text: &[u8]) -> String {
    let most = BYTES / 2;
    if text.len() <= most {
        return String::from_utf8_lossy(text).into_owned();
    }
    let mut short = String::from_utf8_lossy(&text[..most - CUT.len()]).into_owned();
    // A character that was cut in two became a replacement character.
    if short.ends_with('\u{FFFD}') {
        short.pop();
    }
    short + CUT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tail: &Tail) -> Vec<&str> {
        tail.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_flood_on_one_stream_leaves_room_for_the_other() {
        let mut all: Vec<(StreamId, &[u8])> = vec![(StreamId::Stderr, b"why")];
        all.extend([(StreamId::Stdout, &b"noise"[..]); 1000]);
        let tail = tail_of(&all);
        assert_eq!(lines(&tail)[0], "why");
        assert_eq!((tail.lines.len(), tail.truncated), (LINES, true));
    }

    #[test]
    fn few_lines_are_all_kept_in_their_order() {
        let all: Vec<(StreamId, &[u8])> =
            vec![(StreamId::Stdout, b"a"), (StreamId::Stderr, b"b"), (StreamId::Stdout, b"c")];
        let tail = tail_of(&all);
        assert_eq!((lines(&tail), tail.truncated), (vec!["a", "b", "c"], false));
        assert_eq!(tail_of(&[]), Tail::default());
    }

    #[test]
    fn one_stream_may_use_all_of_it() {
        let texts: Vec<String> = (0..30).map(|number| format!("{number}")).collect();
        let all: Vec<(StreamId, &[u8])> = texts.iter().map(|text| (StreamId::Stderr, text.as_bytes())).collect();
        let tail = tail_of(&all);
        assert_eq!(lines(&tail).first(), Some(&"10"));
        assert_eq!(lines(&tail).last(), Some(&"29"));
    }

    #[test]
    fn a_line_without_end_is_cut_and_marked() {
        let long = vec![b'x'; 100_000];
        let tail = tail_of(&[(StreamId::Stderr, &long), (StreamId::Stdout, b"last")]);
        assert!(tail.truncated && tail.lines[0].text.ends_with(CUT) && tail.lines[0].text.len() <= BYTES / 2);
        assert_eq!(tail.lines[1].text, "last");
        let snowmen = "☃".repeat(1000);
        assert!(!tail_of(&[(StreamId::Stderr, snowmen.as_bytes())]).lines[0].text.contains('\u{FFFD}'));
    }
}
