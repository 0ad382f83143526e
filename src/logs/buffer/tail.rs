//! What is counted of a log, and the last lines of each stream for the account of a run.
//!
//! Owns: where these lines begin. Never: how many of them are kept (see `runs::tail`).

use super::{LogBuffer, Selection, StreamId};

/// A longer line is cut here: only its beginning will be shown.
const LINE_MAX: usize = 4 * 1024;

impl LogBuffer {
    /// The bytes of each stream that ever came.
    pub fn written(&self) -> [u64; 2] {
        self.written
    }

    /// The bytes of both that are not kept any more.
    pub fn dropped(&self) -> u64 {
        self.past.iter().map(|past| past.dropped).sum()
    }

    /// The last `count` lines of each stream that came after the first `from` bytes of it, in the order of their ends.
    /// A line that has no end yet comes last.
    pub fn last_lines(&self, from: [u64; 2], count: usize) -> Vec<(StreamId, Vec<u8>)> {
        // Only a search from behind: the ring may be a thousand times as much.
        let begin = [Selection::Stdout, Selection::Stderr].map(|selection| self.tail_from(selection, count + 1));
        let begin = StreamId::BOTH.map(|stream| begin[stream as usize][stream as usize]);
        let mut position = self.past.map(|past| past.dropped);
        let (mut lines, mut begun) = (Vec::new(), [Vec::new(), Vec::new()]);
        let mut at = 0;
        for piece in &self.pieces {
            let (stream, end) = (piece.stream as usize, at + piece.length);
            // Behind the search's begin, and behind the run's.
            let before_run = usize::try_from(from[stream].saturating_sub(position[stream])).unwrap_or(usize::MAX);
            let first = at.saturating_add(before_run).max(begin[stream]);
            position[stream] += piece.length as u64;
            at = end;
            if first >= end {
                continue;
            }
            let mut bytes = Vec::new();
            self.copy_range(first, end - first, &mut bytes);
            let mut parts = bytes.split(|&byte| byte == b'\n').peekable();
            while let Some(part) = parts.next() {
                let line: &mut Vec<u8> = &mut begun[stream];
                line.extend_from_slice(&part[..part.len().min(LINE_MAX.saturating_sub(line.len()))]);
                if parts.peek().is_some() {
                    lines.push((piece.stream, std::mem::take(line)));
                }
            }
        }
        for stream in StreamId::BOTH {
            let unfinished = std::mem::take(&mut begun[stream as usize]);
            if !unfinished.is_empty() {
                lines.push((stream, unfinished));
            }
        }
        // The search counts line ends, so a line too many may be there.
        for stream in StreamId::BOTH {
            let mut left_out = lines.iter().filter(|(of, _)| *of == stream).count().saturating_sub(count);
            lines.retain(|(of, _)| {
                let goes = *of == stream && left_out > 0;
                left_out -= usize::from(goes);
                !goes
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn texts(lines: &[(StreamId, Vec<u8>)]) -> Vec<String> {
        let name = |stream: &StreamId| if *stream == StreamId::Stdout { "o" } else { "e" };
        lines.iter().map(|(stream, line)| format!("{}:{}", name(stream), String::from_utf8_lossy(line))).collect()
    }

    #[test]
    fn a_flood_on_one_stream_does_not_hide_the_other() {
        let mut buffer = LogBuffer::new(1 << 20);
        buffer.push(StreamId::Stderr, b"of the run before\n");
        let from = buffer.written();
        buffer.push(StreamId::Stderr, b"why\n");
        for number in 0..10_000 {
            buffer.push(StreamId::Stdout, format!("{number}\n").as_bytes());
        }
        buffer.push(StreamId::Stderr, b"last words");
        assert_eq!(texts(&buffer.last_lines(from, 2)), ["e:why", "o:9998", "o:9999", "e:last words"]);
    }

    #[test]
    fn a_run_without_output_has_no_lines() {
        let mut buffer = LogBuffer::new(1000);
        buffer.push(StreamId::Stdout, b"before\n");
        assert!(buffer.last_lines(buffer.written(), 20).is_empty());
    }

    #[test]
    fn the_last_lines_are_those_of_the_simplest_model() {
        let mut random = Random(3);
        for _ in 0..500 {
            let mut buffer = LogBuffer::new(1 << 20);
            let (mut model, mut from) = ([String::new(), String::new()], [0; 2]);
            for turn in 0..random.below(50) {
                if turn == 10 {
                    from = buffer.written();
                    model = [String::new(), String::new()];
                }
                let stream = random.below(2);
                let part: String = (0..random.below(12)).map(|_| ['a', 'b', '\n'][random.below(3)]).collect();
                buffer.push(StreamId::BOTH[stream], part.as_bytes());
                model[stream].push_str(&part);
            }
            let count = 1 + random.below(6);
            let lines = buffer.last_lines(from, count);
            for stream in StreamId::BOTH {
                let found: Vec<&[u8]> =
                    lines.iter().filter(|(of, _)| *of == stream).map(|(_, line)| line.as_slice()).collect();
                let all: Vec<&[u8]> = model[stream as usize].lines().map(str::as_bytes).collect();
                assert_eq!(found, all[all.len().saturating_sub(count)..]);
            }
        }
    }
}
