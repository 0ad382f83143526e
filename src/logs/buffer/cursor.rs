//! Incremental reads of the ring, pure.
//!
//! Owns: the position of a reader, and what is new or lost since. Never: a wait for output (see `logs::follow`).
//!
//! A position is the number of bytes of each stream since the server's first one. So it stays valid when bytes are
//! dropped, and each stream can start at a line of its own.

use super::{LogBuffer, Piece, RingCopy, Selection, StreamId};

/// The position of a reader: the number of bytes read of each stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    behind: [u64; 2],
}

impl Cursor {
    /// Moves back by `bytes` of `stream`: they are read again.
    pub fn back(&mut self, stream: StreamId, bytes: usize) {
        self.behind[stream as usize] -= bytes as u64;
    }
}

/// The result of a read. Reused for the next one, so that reads stop allocating.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    missed: [Missed; 2],
}

/// Bytes that were dropped before they were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    /// Their number; they directly precede the batch.
    pub bytes: u64,
    /// The batch starts in the middle of a line.
    pub torn: bool,
}

/// Whether a read returned anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Something; there may be more.
    New,
    /// Nothing: all was read before.
    Nothing,
}

impl Batch {
    /// The bytes in the order of their arrival, in pieces of one stream.
    pub fn pieces(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.pieces.iter().map(move |piece| {
            let (part, after) = rest.split_at(piece.length);
            rest = after;
            (piece.stream, part)
        })
    }

    /// All bytes, for a reader of one stream.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes the reader has come on: those of the batch and the missing ones.
    pub fn advance(&self) -> u64 {
        self.bytes.len() as u64 + self.missed.iter().map(|missed| missed.bytes).sum::<u64>()
    }

    /// The missing bytes of `stream` before the batch.
    pub fn missed(&self, stream: StreamId) -> Missed {
        self.missed[stream as usize]
    }
}

impl LogBuffer {
    /// How many bytes of `selection` follow `cursor`.
    pub fn unread(&self, cursor: &Cursor, selection: Selection) -> u64 {
        let streams = StreamId::BOTH.into_iter().filter(|&stream| selection.has(stream));
        streams.map(|stream| self.written[stream as usize].saturating_sub(cursor.behind[stream as usize])).sum()
    }

    /// Reads what follows `cursor`, about `limit` bytes at most, and moves it. Cheap if there is nothing new.
    pub fn read(&self, cursor: &mut Cursor, selection: Selection, limit: usize, batch: &mut Batch) -> Reading {
        batch.bytes.clear();
        batch.pieces.clear();
        batch.missed = [Missed::default(); 2];
        let wanted = |stream: StreamId| selection.has(stream);
        for stream in StreamId::BOTH.into_iter().filter(|&stream| wanted(stream)) {
            let (past, behind) = (self.past[stream as usize], &mut cursor.behind[stream as usize]);
            if *behind < past.dropped {
                batch.missed[stream as usize] = Missed { bytes: past.dropped - *behind, torn: past.torn };
                *behind = past.dropped;
            }
        }
        // Search backwards for the first unread piece: readers are near the new end.
        let (mut ends, mut at, mut first) = (self.written, self.bytes.len(), self.pieces.len());
        let is_behind = |ends: &[u64; 2], cursor: &Cursor| {
            StreamId::BOTH
                .iter()
                .any(|&stream| wanted(stream) && ends[stream as usize] > cursor.behind[stream as usize])
        };
        while first > 0 && is_behind(&ends, cursor) {
            first -= 1;
            let piece = self.pieces[first];
            ends[piece.stream as usize] -= piece.length as u64;
            at -= piece.length;
        }
        for piece in self.pieces.range(first..) {
            let place = piece.stream as usize;
            let known = usize::try_from(cursor.behind[place].saturating_sub(ends[place])).unwrap_or(usize::MAX);
            if wanted(piece.stream) && known < piece.length {
                let Some(room) = limit.checked_sub(batch.cost()).filter(|room| *room > 0) else { break };
                let length = (piece.length - known).min(room);
                self.copy_range(at + known, length, &mut batch.bytes);
                batch.pieces.push(Piece { stream: piece.stream, length });
                cursor.behind[place] += length as u64;
            }
            ends[place] += piece.length as u64;
            at += piece.length;
        }
        let gave = !batch.pieces.is_empty() || batch.missed.iter().any(|missed| missed.bytes > 0);
        if gave { Reading::New } else { Reading::Nothing }
    }
}

impl Batch {
    fn cost(&self) -> usize {
        self.bytes.len() + self.pieces.len() * size_of::<Piece>()
    }
}

impl RingCopy {
    /// The start position for a reader of the last `tail` lines (or all) and everything after. An unfinished line
    /// counts as one, and is never left out: what comes next is the rest of it. The rest of a torn line is left out.
    pub fn start(&self, tail: Option<usize>) -> Cursor {
        let torn = self.torn_ends().map(|torn| torn.left_out);
        let mut cursor = Cursor::default();
        for stream in StreamId::BOTH {
            let place = stream as usize;
            cursor.behind[place] = self.past[place].dropped + torn[place] as u64;
        }
        let Some(tail) = tail else { return cursor };
        let is_unfinished = |stream| {
            let mut at = 0;
            let last = self.pieces.iter().fold(None, |last, piece| {
                at += piece.length;
                if piece.stream == stream { self.bytes.get(at - 1) } else { last }
            });
            last.is_some_and(|byte| *byte != b'\n')
        };
        let unfinished = StreamId::BOTH.iter().filter(|stream| is_unfinished(**stream)).count();
        let mut leave_out = (self.line_ends(torn).count() + unfinished).saturating_sub(tail);
        for (stream, end) in self.line_ends(torn) {
            if leave_out == 0 {
                break;
            }
            leave_out -= 1;
            cursor.behind[stream as usize] = end;
        }
        cursor
    }

    /// The ends of the complete lines, in order.
    fn line_ends(&self, torn: [usize; 2]) -> impl Iterator<Item = (StreamId, u64)> {
        let (mut at, mut kept) = (0, [0; 2]);
        self.pieces.iter().flat_map(move |piece| {
            let (place, bytes) = (piece.stream as usize, &self.bytes[at..at + piece.length]);
            let begun: usize = kept[place];
            at += piece.length;
            kept[place] += piece.length;
            let first = torn[place].saturating_sub(begun).min(bytes.len());
            let base = self.past[place].dropped + begun as u64;
            let ends = bytes.iter().enumerate().skip(first).filter(|(_, byte)| **byte == b'\n');
            ends.map(move |(end, _)| (piece.stream, base + end as u64 + 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::CUT_MARK;
    use super::*;
    use crate::testing::Random;

    /// What a reader has been given of each stream, gaps included, by the place where it was.
    #[derive(Default)]
    struct Seen([Vec<Option<u8>>; 2]);

    impl Seen {
        fn take(&mut self, batch: &Batch) {
            for stream in StreamId::BOTH {
                let gap = usize::try_from(batch.missed(stream).bytes).unwrap();
                self.0[stream as usize].extend(std::iter::repeat_n(None, gap));
            }
            for (stream, bytes) in batch.pieces() {
                self.0[stream as usize].extend(bytes.iter().copied().map(Some));
            }
        }

        #[track_caller]
        fn assert_is(&self, stream: StreamId, written: &[u8]) {
            let seen = &self.0[stream as usize];
            assert_eq!(seen.len(), written.len(), "a byte is missing or there twice");
            assert!(seen.iter().zip(written).all(|(seen, byte)| seen.is_none_or(|seen| seen == *byte)));
        }
    }

    /// Any interleaving of writers and readers: each reader gets each byte once, or in a gap that is reported.
    #[test]
    fn every_byte_is_read_once_or_missed() {
        let mut random = Random(99);
        let (mut gaps, mut reads) = (0, 0);
        for _ in 0..300 {
            let mut buffer = LogBuffer::new(200 + random.below(3000));
            let mut model = [Vec::new(), Vec::new()];
            let selections = [Selection::Combined, Selection::Stdout, Selection::Stderr];
            let mut readers = selections.map(|selection| (selection, Cursor::default(), Seen::default()));
            let mut batch = Batch::default();
            for _ in 0..200 {
                match random.below(4) {
                    reader @ 0..3 => {
                        let (selection, cursor, seen) = &mut readers[reader];
                        let reading = buffer.read(cursor, *selection, 1 + random.below(300), &mut batch);
                        assert_eq!(
                            reading == Reading::Nothing,
                            batch.pieces.is_empty() && batch.missed == [Missed::default(); 2]
                        );
                        gaps += batch.missed.iter().filter(|missed| missed.bytes > 0).count();
                        reads += 1;
                        seen.take(&batch);
                    }
                    _ => {
                        let stream = StreamId::BOTH[random.below(2)];
                        let part: Vec<u8> = (0..random.below(90)).map(|_| b"abc\n"[random.below(4)]).collect();
                        buffer.push(stream, &part);
                        model[stream as usize].extend_from_slice(&part);
                    }
                }
            }
            for (selection, cursor, seen) in &mut readers {
                while buffer.read(cursor, *selection, 64, &mut batch) == Reading::New {
                    seen.take(&batch);
                }
                for stream in StreamId::BOTH.into_iter().filter(|&stream| selection.has(stream)) {
                    seen.assert_is(stream, &model[stream as usize]);
                }
            }
        }
        assert!(gaps > 100 && reads > 1000, "{gaps} gaps in {reads} reads test nothing");
    }

    #[test]
    fn a_batch_keeps_the_order_of_arrival_and_its_limit() {
        let mut buffer = LogBuffer::new(100_000);
        for number in 0..500 {
            buffer.push(StreamId::BOTH[number % 2], b"0123456789\n");
        }
        let (mut cursor, mut batch, mut order) = (Cursor::default(), Batch::default(), Vec::new());
        while buffer.read(&mut cursor, Selection::Combined, 1000, &mut batch) == Reading::New {
            assert!(batch.cost() <= 1000 + size_of::<Piece>(), "{}", batch.cost());
            order.extend(batch.pieces().flat_map(|(stream, bytes)| std::iter::repeat_n(stream, bytes.len())));
        }
        assert_eq!(order.len(), 5500);
        assert!(order.chunks(11).enumerate().all(|(line, part)| part == [StreamId::BOTH[line % 2]; 11]));
    }

    fn from(buffer: &LogBuffer, selection: Selection, tail: Option<usize>) -> String {
        let (mut cursor, mut batch) = (buffer.copy(selection).start(tail), Batch::default());
        let mut text = Vec::new();
        while buffer.read(&mut cursor, selection, 4, &mut batch) == Reading::New {
            assert_eq!(batch.missed, [Missed::default(); 2], "what was dropped before the start is not missed");
            batch.pieces().for_each(|(_, bytes)| text.extend_from_slice(bytes));
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_reader_begins_with_the_last_lines() {
        let mut buffer = LogBuffer::new(10_000);
        assert_eq!(from(&buffer, Selection::Combined, Some(3)), "");
        buffer.push(StreamId::Stdout, b"a\nb\n");
        buffer.push(StreamId::Stderr, b"E\nF");
        buffer.push(StreamId::Stdout, b"c\nunfin");
        for (tail, expected) in [
            (None, "a\nb\nE\nFc\nunfin"),
            (Some(0), "Funfin"),
            (Some(2), "Funfin"),
            (Some(3), "Fc\nunfin"),
            (Some(4), "E\nFc\nunfin"),
            (Some(5), "b\nE\nFc\nunfin"),
            (Some(9), "a\nb\nE\nFc\nunfin"),
        ] {
            assert_eq!(from(&buffer, Selection::Combined, tail), expected, "{tail:?}");
        }
        assert_eq!(from(&buffer, Selection::Stdout, Some(1)), "unfin");
        assert_eq!(from(&buffer, Selection::Stdout, Some(2)), "c\nunfin");
        assert_eq!(from(&buffer, Selection::Stderr, Some(0)), "F");
    }

    #[test]
    fn the_history_is_that_of_a_reader_who_does_not_follow() {
        let mut random = Random(5);
        for _ in 0..300 {
            let mut buffer = LogBuffer::new(300 + random.below(700));
            for _ in 0..random.below(100) {
                let part: Vec<u8> = (0..random.below(40)).map(|_| b"abc\n"[random.below(4)]).collect();
                buffer.push(StreamId::BOTH[random.below(2)], &part);
            }
            for selection in [Selection::Stdout, Selection::Stderr] {
                let shown = buffer.copy(selection).render(None).bytes;
                let shown = shown.strip_prefix(CUT_MARK).unwrap_or(&shown);
                assert_eq!(from(&buffer, selection, None).as_bytes(), shown);
            }
        }
    }
}
