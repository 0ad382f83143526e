use std::convert::Infallible;

use super::super::buffer::{Cursor, LogBuffer, Reading, Selection};
use super::*;
use crate::testing::Random;

/// A reader of a ring who writes down what it is shown.
#[derive(Default)]
struct Follower {
    cursor: Cursor,
    lines: Lines,
    shown: Vec<String>,
}

fn words(shown: Shown<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match shown {
        Shown::Line(stream, bytes) => format!("{stream:?} {}", text(bytes)),
        Shown::Part(stream, bytes) => format!("{stream:?} {}…", text(bytes)),
        Shown::Missed(bytes) => format!("missed {bytes}"),
    }
}

impl Follower {
    fn read(&mut self, buffer: &LogBuffer) {
        let mut batch = Batch::default();
        while buffer.read(&mut self.cursor, Selection::Combined, 1000, &mut batch) == Reading::New {
            let Ok(()) = self.lines.take::<Infallible>(&batch, |shown| {
                self.shown.push(words(shown));
                Ok(())
            });
        }
    }

    fn flush(&mut self) {
        let Ok(()) = self.lines.flush::<Infallible>(|shown| {
            self.shown.push(words(shown));
            Ok(())
        });
    }
}

#[test]
fn a_line_is_shown_when_it_has_ended() {
    let (mut buffer, mut follower) = (LogBuffer::new(10_000), Follower::default());
    for (stream, part) in [
        (StreamId::Stdout, "one\n\nbegin "),
        (StreamId::Stderr, "warning\nunfin"),
        (StreamId::Stdout, "end\n"),
        (StreamId::Stderr, "ished"),
    ] {
        buffer.push(stream, part.as_bytes());
        follower.read(&buffer);
    }
    assert_eq!(follower.shown, ["Stdout one", "Stdout ", "Stderr warning", "Stdout begin end"]);
    assert!(follower.lines.has_unfinished());
    follower.flush();
    assert!(!follower.lines.has_unfinished());
    buffer.push(StreamId::Stderr, b" at last\n");
    follower.read(&buffer);
    assert_eq!(follower.shown[4..], ["Stderr unfinished…", "Stderr  at last"]);
}

#[test]
fn a_line_without_end_comes_in_parts_that_cut_no_character() {
    let (mut buffer, mut follower) = (LogBuffer::new(10 << 20), Follower::default());
    let long = format!("x{}", "€".repeat(LINE_MAX));
    buffer.push(StreamId::Stdout, long.as_bytes());
    follower.read(&buffer);
    buffer.push(StreamId::Stdout, b"\nnext\n");
    follower.read(&buffer);
    let (last, parts) = follower.shown.split_last().unwrap();
    assert_eq!(last, "Stdout next");
    assert!(parts.len() > 3 && parts.iter().all(|part| part.len() <= LINE_MAX + "Stdout …".len()));
    let joined: String = parts.iter().map(|part| part.trim_start_matches("Stdout ").trim_end_matches('…')).collect();
    assert!(joined == long, "a character was cut or lost");
}

#[test]
fn bytes_that_are_no_text_are_cut_anywhere() {
    for (bytes, cut) in [
        (&b"abc"[..], 0),
        (b"", 0),
        (b"\x80\x80\x80\x80", 0),
        ("é".as_bytes(), 0),
        (b"a\xc3", 1),
        (b"a\xe2\x82", 2),
        (b"\xf0\x9f\x92", 3),
        ("💡".as_bytes(), 0),
        (b"a\xff", 1),
    ] {
        assert_eq!(cut_character(bytes), cut, "{bytes:?}");
    }
}

/// Numbered lines of two streams under pressure: each is shown whole, in order, and what is not shown is counted.
#[test]
fn no_line_is_shown_torn_and_none_twice() {
    let mut random = Random(3);
    let mut gaps = 0;
    for _ in 0..200 {
        let (mut buffer, mut follower) = (LogBuffer::new(400 + random.below(2000)), Follower::default());
        let (mut written, mut pending, mut next) = (0, [String::new(), String::new()], 0);
        for _ in 0..300 {
            let stream = StreamId::BOTH[random.below(2)];
            let begun = &mut pending[stream as usize];
            if begun.is_empty() {
                next += 1;
                *begun = format!("<{next}{}>\n", "x".repeat(random.below(60)));
            }
            let rest = begun.split_off(1 + random.below(begun.len()));
            buffer.push(stream, begun.as_bytes());
            written += begun.len();
            *begun = rest;
            if random.below(10) == 0 {
                follower.read(&buffer);
            }
        }
        for stream in StreamId::BOTH {
            buffer.push(stream, pending[stream as usize].as_bytes());
            written += pending[stream as usize].len();
        }
        follower.read(&buffer);
        let (mut accounted, mut last) = (0, [0, 0]);
        for shown in &follower.shown {
            if let Some(missed) = shown.strip_prefix("missed ") {
                accounted += missed.parse::<usize>().unwrap();
                gaps += 1;
                continue;
            }
            let (stream, line) = shown.split_once(' ').unwrap();
            assert!(line.starts_with('<') && line.ends_with('>'), "{line:?} is torn");
            let number: u32 = line[1..].trim_end_matches(['x', '>']).parse().unwrap();
            let last = &mut last[usize::from(stream == "Stderr")];
            assert!(number > *last, "{number} comes after {last}");
            *last = number;
            accounted += line.len() + 1;
        }
        assert_eq!(accounted, written);
    }
    assert!(gaps > 50, "{gaps} gaps test nothing");
}
