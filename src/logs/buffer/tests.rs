use super::*;
use crate::testing::Random;

fn text(buffer: &LogBuffer, selection: Selection, tail: Option<usize>) -> String {
    String::from_utf8(buffer.copy(selection).render(tail).bytes).unwrap()
}

fn dropped(buffer: &LogBuffer, selection: Selection) -> u64 {
    buffer.copy(selection).render(None).dropped_bytes
}

const STREAMS: [StreamId; 2] = [StreamId::Stdout, StreamId::Stderr];

#[test]
fn streams_are_kept_apart_and_together() {
    let mut buffer = LogBuffer::new(10_000);
    buffer.push(StreamId::Stdout, b"one\n");
    buffer.push(StreamId::Stderr, b"bad\n");
    buffer.push(StreamId::Stdout, b"two\n");
    assert_eq!(text(&buffer, Selection::Stdout, None), "one\ntwo\n");
    assert_eq!(text(&buffer, Selection::Stderr, None), "bad\n");
    assert_eq!(text(&buffer, Selection::Combined, None), "one\nbad\ntwo\n");
}

#[test]
fn a_line_is_not_torn_by_the_other_stream() {
    let mut buffer = LogBuffer::new(10_000);
    for (stream, part) in [
        (StreamId::Stdout, "begin "),
        (StreamId::Stderr, "warning\nunfin"),
        (StreamId::Stdout, "end\nlast"),
        (StreamId::Stderr, "ished"),
    ] {
        buffer.push(stream, part.as_bytes());
    }
    assert_eq!(text(&buffer, Selection::Combined, None), "warning\nbegin end\nlast\nunfinished");
    assert_eq!(text(&buffer, Selection::Stderr, None), "warning\nunfinished");
}

#[test]
fn the_last_lines() {
    let mut buffer = LogBuffer::new(10_000);
    buffer.push(StreamId::Stdout, b"a\nb\n\nc");
    for (lines, expected) in [(0, ""), (1, "c"), (2, "\nc"), (3, "b\n\nc"), (4, "a\nb\n\nc"), (5, "a\nb\n\nc")] {
        assert_eq!(text(&buffer, Selection::Combined, Some(lines)), expected, "{lines}");
    }
    buffer.push(StreamId::Stdout, b"\n");
    assert_eq!(text(&buffer, Selection::Combined, Some(1)), "c\n");
    assert_eq!(text(&LogBuffer::new(100), Selection::Combined, Some(3)), "");
}

#[test]
fn a_copy_of_the_tail_shows_what_a_copy_of_all_shows() {
    let mut random = Random(7);
    for _ in 0..2000 {
        let mut buffer = LogBuffer::new(100 + random.below(400));
        for _ in 0..random.below(60) {
            let part: Vec<u8> = (0..random.below(30)).map(|_| b"ab\n"[random.below(3)]).collect();
            buffer.push(STREAMS[random.below(2)], &part);
        }
        for selection in [Selection::Stdout, Selection::Stderr, Selection::Combined] {
            for lines in [0, 1, 2, 3, 5, 10, 1000] {
                let all = buffer.copy(selection).render(Some(lines));
                assert_eq!(buffer.copy_tail(selection, lines).render(Some(lines)), all, "{selection:?} {lines}");
            }
        }
    }
}

#[test]
fn what_is_shown_begins_with_a_whole_line_and_adds_up() {
    let mut buffer = LogBuffer::new(4096);
    let mut written = 0;
    for number in 0..5000 {
        let line = format!("line {number} {}\n", "x".repeat(number % 50));
        buffer.push(StreamId::Stdout, line.as_bytes());
        written += line.len() as u64;
        let shown = buffer.copy(Selection::Stdout).render(None);
        assert_eq!(shown.bytes.len() as u64 + shown.dropped_bytes, written);
        assert!(shown.bytes.starts_with(b"line "), "{:?}", String::from_utf8_lossy(&shown.bytes[..20]));
        assert!(shown.bytes.ends_with(line.as_bytes()));
    }
}

#[test]
fn a_line_whose_beginning_is_gone_is_not_shown_as_a_line() {
    let mut buffer = LogBuffer::new(2048);
    buffer.push(StreamId::Stderr, b"the beginning of a line ");
    for _ in 0..60 {
        buffer.push(StreamId::Stdout, &[b'x'; 39]);
        buffer.push(StreamId::Stdout, b"\n");
    }
    buffer.push(StreamId::Stderr, b"and its end\nanother\n");
    assert_eq!(text(&buffer, Selection::Stderr, None), "another\n");
    assert_eq!(dropped(&buffer, Selection::Stderr), "the beginning of a line and its end\n".len() as u64);
}

#[test]
fn odd_output_stays_within_the_limit() {
    const LIMIT: usize = 64 * 1024;
    // One endless line; lines of one byte; two streams that alternate byte by byte; nothing but line ends.
    type Writer = fn(usize) -> (StreamId, &'static [u8]);
    let writers: [Writer; 4] = [
        |_| (StreamId::Stdout, b"xxxxxxxxxxxxxxxx"),
        |_| (StreamId::Stdout, b"x\n"),
        |turn| (STREAMS[turn % 2], b"x"),
        |_| (StreamId::Stderr, b"\n\n\n"),
    ];
    for (kind, writer) in writers.iter().enumerate() {
        let mut buffer = LogBuffer::new(LIMIT);
        let mut written = 0;
        for turn in 0..200_000 {
            let (stream, data) = writer(turn);
            buffer.push(stream, data);
            written += data.len() as u64;
        }
        let memory = buffer.bytes.capacity() + buffer.pieces.capacity() * mem::size_of::<Piece>();
        assert!(memory <= LIMIT * 2, "kind {kind} takes {memory} bytes");
        let shown = buffer.copy(Selection::Combined).render(None);
        assert!(shown.bytes.len() > 1000, "kind {kind} shows {} bytes", shown.bytes.len());
        // Of two endless lines one is ended for the other, and both are marked as cut.
        let added = match kind {
            0 => CUT_MARK.len() as u64,
            2 => 1 + 2 * CUT_MARK.len() as u64,
            _ => 0,
        };
        assert_eq!(shown.bytes.len() as u64 + shown.dropped_bytes, written + added, "kind {kind}");
    }
}

#[test]
fn a_write_larger_than_the_ring_leaves_its_end() {
    let mut buffer = LogBuffer::new(1000);
    let all: Vec<u8> = (0..1000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    buffer.push(StreamId::Stdout, &all);
    let shown = buffer.copy(Selection::Stdout).render(None);
    assert!(all.ends_with(&shown.bytes) && shown.bytes.len() > 400, "{}", shown.bytes.len());
    assert_eq!(all[all.len() - shown.bytes.len() - 1], b'\n');
}

#[test]
fn memory_grows_only_as_it_is_filled() {
    let mut buffer = LogBuffer::new(1024 * 1024);
    assert_eq!(buffer.bytes.capacity(), 0);
    buffer.push(StreamId::Stdout, b"hello\n");
    assert!(buffer.bytes.capacity() < 1024);
}

/// Any split of any output gives the same text as the simplest model there is.
#[test]
fn any_split_of_the_same_bytes_is_the_same_output() {
    let mut random = Random(42);
    for _ in 0..300 {
        let mut buffer = LogBuffer::new(1 << 20);
        let mut model = [String::new(), String::new()];
        for _ in 0..random.below(60) {
            let stream = STREAMS[random.below(2)];
            let part: String = (0..random.below(12)).map(|_| ['a', 'b', '\n', 'é'][random.below(4)]).collect();
            buffer.push(stream, part.as_bytes());
            model[stream as usize].push_str(&part);
        }
        assert_eq!(text(&buffer, Selection::Stdout, None), model[0]);
        assert_eq!(text(&buffer, Selection::Stderr, None), model[1]);
        let combined = text(&buffer, Selection::Combined, None);
        let mut lines: Vec<&str> = combined.lines().collect();
        let mut expected: Vec<&str> = model.iter().flat_map(|model| model.lines()).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected);
        let tail = random.below(10);
        let expected: Vec<&str> = model[0].split_inclusive('\n').collect();
        let expected = expected[expected.len().saturating_sub(tail)..].concat();
        assert_eq!(text(&buffer, Selection::Stdout, Some(tail)), expected);
    }
}

#[test]
fn under_pressure_each_stream_is_an_end_of_what_was_written_to_it() {
    let mut random = Random(7);
    for _ in 0..100 {
        let mut buffer = LogBuffer::new(300 + random.below(700));
        let mut model = [Vec::new(), Vec::new()];
        for _ in 0..400 {
            let stream = STREAMS[random.below(2)];
            let part: Vec<u8> = (0..random.below(40)).map(|_| b"abc\n"[random.below(4)]).collect();
            buffer.push(stream, &part);
            model[stream as usize].extend_from_slice(&part);
        }
        for (selection, model) in [(Selection::Stdout, &model[0]), (Selection::Stderr, &model[1])] {
            let shown = buffer.copy(selection).render(None);
            let bytes = shown.bytes.strip_prefix(CUT_MARK).unwrap_or(&shown.bytes);
            assert!(model.ends_with(bytes));
            assert_eq!(shown.dropped_bytes, (model.len() - bytes.len()) as u64);
        }
    }
}

/// A position bar of 300,000 updates, and lines after it.
#[test]
fn a_line_longer_than_the_ring_leaves_its_newest_part() {
    let update = |number: usize| format!("\rdownloading {number} of 300000");
    let mut buffer = LogBuffer::new(1024 * 1024);
    buffer.push(StreamId::Stdout, b"begin\n");
    for number in 1..=300_000 {
        buffer.push(StreamId::Stdout, update(number).as_bytes());
    }
    let shown = text(&buffer, Selection::Stdout, None);
    assert!(shown.starts_with("[…] downloading ") && shown.ends_with(&update(300_000)), "{}", &shown[..40]);
    buffer.push(StreamId::Stdout, b"\ndone\n");
    buffer.push(StreamId::Stderr, b"warning\n");
    for selection in [Selection::Stdout, Selection::Combined] {
        let shown = text(&buffer, selection, None);
        let end = format!("{}\ndone\n", update(300_000));
        assert!(shown.starts_with("[…] downloading ") && shown.contains(&end), "{}", &shown[..40]);
        assert!(shown.len() > 900_000);
    }
    assert_eq!(text(&buffer, Selection::Stdout, Some(1)), "done\n");
    assert!(text(&buffer, Selection::Stdout, Some(2)).starts_with("[…] downloading "));
}

#[test]
fn a_short_rest_of_a_line_goes_and_the_only_one_stays_marked() {
    let mut buffer = LogBuffer::new(1000);
    buffer.push(StreamId::Stdout, &[b'x'; 900]);
    buffer.push(StreamId::Stdout, &[b'y'; 400]);
    let shown = text(&buffer, Selection::Stdout, None);
    assert!(shown.starts_with("[…] x") && shown.ends_with('y'), "{shown}");
    buffer.push(StreamId::Stdout, b"\nnext\r\n");
    assert_eq!(text(&buffer, Selection::Stdout, None), "next\r\n");
}
