//! The ring buffer of a server's output, pure.
//!
//! Owns: the bytes in the order of their arrival, and the stream of each. Never: a lock, a thread, I/O.
//!
//! The bytes form *pieces*: consecutive bytes of one stream are one piece, so there is no bookkeeping per line. Old
//! bytes are dropped by whole lines if possible, so that the rest of a line is not shown as a line. The size of a
//! piece's own record counts too, so two streams that alternate byte by byte can't exceed the limit.

use std::collections::VecDeque;
use std::mem;

use memchr::memrchr;

pub use crate::model::stream::{Selection, StreamId};

mod cursor;
mod tail;
#[cfg(test)]
pub mod tests;

pub use cursor::{Batch, Cursor, Reading};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub bytes: Vec<u8>,
    /// The number of older bytes of the selection that were dropped.
    pub dropped_bytes: u64,
}

/// At least this part of the capacity is freed at once, so that the search for a line end is rare.
const EVICT_PART: usize = 64;
/// How far the end of a line to be dropped is searched, in bytes. A longer line is cut and its newest part kept: it may
/// be a position bar, all that a program ever wrote.
const LINE_SEARCH: usize = 64 * 1024;
/// The mark before the rest of a line whose beginning was dropped.
pub const CUT_MARK: &[u8] = "[…] ".as_bytes();

#[derive(Debug, Clone, Copy)]
struct Piece {
    stream: StreamId,
    length: usize,
}

/// What was dropped of a stream.
#[derive(Debug, Clone, Copy, Default)]
struct Dropped {
    dropped: u64,
    /// The last dropped byte was not a line end.
    torn: bool,
}

/// The ring.
#[derive(Debug)]
pub struct LogBuffer {
    capacity: usize,
    bytes: VecDeque<u8>,
    pieces: VecDeque<Piece>,
    past: [Dropped; 2],
    /// The number of bytes ever written, for each stream.
    written: [u64; 2],
}

impl LogBuffer {
    /// Creates an empty ring. Its memory grows with its content, up to about `capacity` bytes.
    pub fn new(capacity: usize) -> LogBuffer {
        LogBuffer {
            capacity,
            bytes: VecDeque::new(),
            pieces: VecDeque::new(),
            past: [Dropped::default(); 2],
            written: [0; 2],
        }
    }

    /// Appends `data`.
    pub fn push(&mut self, stream: StreamId, data: &[u8]) {
        // More than half the ring at once would drop its own beginning.
        for part in data.chunks((self.capacity / 2).max(1)) {
            self.push_part(stream, part);
        }
    }

    /// Copies the pieces of `selection`.
    pub fn copy(&self, selection: Selection) -> RingCopy {
        let mut copy = RingCopy { bytes: Vec::new(), pieces: Vec::new(), past: self.past, selection };
        let wanted = self.pieces.iter().filter(|piece| selection.has(piece.stream));
        copy.bytes.reserve_exact(wanted.map(|piece| piece.length).sum());
        let mut at = 0;
        for piece in &self.pieces {
            if selection.has(piece.stream) {
                self.copy_range(at, piece.length, &mut copy.bytes);
                copy.pieces.push(*piece);
            }
            at += piece.length;
        }
        copy
    }

    /// Copies the part of `selection` that contains its last `lines` lines: the whole ring may be a thousand times as
    /// large.
    pub fn copy_tail(&self, selection: Selection, lines: usize) -> RingCopy {
        if StreamId::BOTH.iter().any(|&stream| selection.has(stream) && self.past[stream as usize].torn) {
            // The rest of a torn line is at the old end.
            return self.copy(selection);
        }
        let mut copy = RingCopy { bytes: Vec::new(), pieces: Vec::new(), past: self.past, selection };
        let from = self.tail_from(selection, lines);
        let mut at = 0;
        for piece in &self.pieces {
            let begin = from[piece.stream as usize].max(at);
            at += piece.length;
            if selection.has(piece.stream) && begin < at {
                self.copy_range(begin, at - begin, &mut copy.bytes);
                copy.pieces.push(Piece { stream: piece.stream, length: at - begin });
            }
        }
        copy
    }

    /// For each stream, the start of its first line among the last `lines` of `selection`.
    fn tail_from(&self, selection: Selection, lines: usize) -> [usize; 2] {
        let mut from = StreamId::BOTH.map(|stream| if selection.has(stream) { None } else { Some(self.bytes.len()) });
        let (mut left, mut at) = (lines, self.bytes.len());
        for piece in self.pieces.iter().rev() {
            let mut end = at;
            at -= piece.length;
            let from = &mut from[piece.stream as usize];
            while from.is_none() {
                match self.last_line_end(at, end) {
                    None => break,
                    Some(found) if left == 0 => *from = Some(found + 1),
                    Some(found) => (left, end) = (left - 1, found),
                }
            }
        }
        from.map(Option::unwrap_or_default)
    }

    /// The last line end between `at` and `end`.
    fn last_line_end(&self, at: usize, end: usize) -> Option<usize> {
        let (front, back) = self.bytes.as_slices();
        let half = front.len();
        let find = |part: &[u8], from: usize| memrchr(b'\n', part).map(|found| from + found);
        let in_back = || find(&back[at.saturating_sub(half)..end.saturating_sub(half)], at.max(half));
        in_back().or_else(|| find(&front[at.min(half)..end.min(half)], at.min(half)))
    }

    fn copy_range(&self, at: usize, length: usize, to: &mut Vec<u8>) {
        let (front, back) = self.bytes.as_slices();
        let end = at + length;
        to.extend_from_slice(&front[at.min(front.len())..end.min(front.len())]);
        to.extend_from_slice(&back[at.saturating_sub(front.len())..end.saturating_sub(front.len())]);
    }

    fn push_part(&mut self, stream: StreamId, part: &[u8]) {
        let more = part.len() + mem::size_of::<Piece>();
        if self.cost() + more > self.capacity {
            self.evict((self.cost() + more - self.capacity).max(self.capacity / EVICT_PART));
        }
        if self.bytes.capacity() < self.bytes.len() + part.len() {
            // Doubles, up to the limit.
            let wanted = (self.bytes.capacity() * 2).min(self.capacity).max(self.bytes.len() + part.len());
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend(part);
        self.written[stream as usize] += part.len() as u64;
        match self.pieces.back_mut() {
            Some(last) if last.stream == stream => last.length += part.len(),
            Some(_) | None => self.pieces.push_back(Piece { stream, length: part.len() }),
        }
    }

    fn cost(&self) -> usize {
        self.bytes.len() + self.pieces.len() * mem::size_of::<Piece>()
    }

    /// Frees at least `needed` bytes.
    fn evict(&mut self, needed: usize) {
        let mut freed = 0;
        while freed < needed {
            let Some(&Piece { length, .. }) = self.pieces.front() else { return };
            let rest = needed - freed;
            if length <= rest {
                self.drop_front(length);
                freed += length + mem::size_of::<Piece>();
            } else {
                let searched = self.bytes.range(rest - 1..length.min(rest + LINE_SEARCH));
                let (line, update) = line_ends(searched.copied());
                self.drop_front(rest + line.or(update).unwrap_or_default());
                return;
            }
        }
    }

    /// Drops `count` bytes (at least 1) of the oldest piece.
    fn drop_front(&mut self, count: usize) {
        let Some(piece) = self.pieces.front_mut() else { return };
        let past = &mut self.past[piece.stream as usize];
        past.dropped += count as u64;
        past.torn = self.bytes.get(count.saturating_sub(1)) != Some(&b'\n');
        piece.length -= count;
        if piece.length == 0 {
            self.pieces.pop_front();
        }
        self.bytes.drain(..count);
    }
}

/// A copy of some pieces, for work without the lock.
#[derive(Debug)]
pub struct RingCopy {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    past: [Dropped; 2],
    selection: Selection,
}

impl RingCopy {
    /// Returns the output, or only its last `tail` lines; an unfinished line counts as one.
    pub fn render(self, tail: Option<usize>) -> Rendered {
        let dropped: u64 = [StreamId::Stdout, StreamId::Stderr]
            .iter()
            .filter(|&&stream| self.selection.has(stream))
            .map(|&stream| self.past[stream as usize].dropped)
            .sum();
        let torn = self.torn_ends();
        let (mut bytes, lost) = match &self.pieces[..] {
            // With one stream, the copy is the text.
            [piece] => {
                let (mut bytes, torn) = (self.bytes, torn[piece.stream as usize]);
                let mark = if torn.is_cut { CUT_MARK } else { &[] };
                bytes.splice(..torn.left_out, mark.iter().copied());
                (bytes, torn.left_out)
            }
            _ => self.merge(torn),
        };
        if let Some(lines) = tail {
            bytes.drain(..tail_start(&bytes, lines));
        }
        Rendered { bytes, dropped_bytes: dropped + lost as u64 }
    }

    /// Merges the lines of both streams in the order of their ends, without the `torn` ones at the start; also returns
    /// the number of bytes of these.
    fn merge(&self, torn: [TornEnd; 2]) -> (Vec<u8>, usize) {
        let mut left_out = torn.map(|torn| torn.left_out);
        let mut all_lost = 0;
        let mut bytes = Vec::with_capacity(self.bytes.len());
        // Unfinished lines: another stream's line may end before them.
        let mut begun = torn.map(|torn| if torn.is_cut { CUT_MARK.to_vec() } else { Vec::new() });
        let mut at = 0;
        for piece in &self.pieces {
            let mut part = &self.bytes[at..at + piece.length];
            at += piece.length;
            let left_out = &mut left_out[piece.stream as usize];
            let lost = part.len().min(*left_out);
            *left_out -= lost;
            all_lost += lost;
            part = &part[lost..];
            let begun = &mut begun[piece.stream as usize];
            let ended = memrchr(b'\n', part).map_or(0, |last| last + 1);
            if ended > 0 {
                bytes.append(begun);
                bytes.extend_from_slice(&part[..ended]);
            }
            begun.extend_from_slice(&part[ended..]);
        }
        for unfinished in begun.iter_mut().filter(|unfinished| !unfinished.is_empty()) {
            if bytes.last().is_some_and(|&last| last != b'\n') {
                bytes.push(b'\n');
            }
            bytes.append(unfinished);
        }
        (bytes, all_lost)
    }

    /// For each stream, how the rest of a line is shown whose beginning was dropped. It is left out if another line
    /// follows. A long one, or the only one, is shown from its first update (`\r`), with a mark.
    fn torn_ends(&self) -> [TornEnd; 2] {
        StreamId::BOTH.map(|stream| {
            if !self.past[stream as usize].torn {
                return TornEnd::default();
            }
            let total: usize =
                self.pieces.iter().filter(|piece| piece.stream == stream).map(|piece| piece.length).sum();
            let (mut at, mut length, mut first_update) = (0, 0, None);
            for piece in &self.pieces {
                let part = &self.bytes[at..at + piece.length];
                at += piece.length;
                if piece.stream != stream {
                    continue;
                }
                let (line, update) = line_ends(part.iter().copied());
                first_update = first_update.or(update.map(|update| length + update + 1));
                match line {
                    Some(end) if length + end + 1 < total && length + end < LINE_SEARCH => {
                        return TornEnd { left_out: length + end + 1, is_cut: false };
                    }
                    Some(end) => return TornEnd::cut(first_update, length + end),
                    None => length += part.len(),
                }
            }
            if total == 0 { TornEnd::default() } else { TornEnd::cut(first_update, total) }
        })
    }
}

/// How the rest of a line is shown whose beginning was dropped.
#[derive(Debug, Clone, Copy, Default)]
struct TornEnd {
    /// The number of its bytes that are not shown.
    left_out: usize,
    /// The others are, as a line that was cut.
    is_cut: bool,
}

impl TornEnd {
    /// Shows a rest of `length` bytes from its first update on, if one begins near enough and something follows it.
    fn cut(first_update: Option<usize>, length: usize) -> TornEnd {
        let near = first_update.filter(|begin| *begin < length && *begin <= LINE_SEARCH);
        TornEnd { left_out: near.unwrap_or(0), is_cut: true }
    }
}

/// Where the first line ends, and where the first update of a position bar before that ends: at a `\r` that is not a
/// part of the line's end.
fn line_ends(bytes: impl Iterator<Item = u8>) -> (Option<usize>, Option<usize>) {
    let (mut update, mut last) = (None, 0);
    for (at, byte) in bytes.enumerate() {
        if byte == b'\n' {
            return (Some(at), update.filter(|update| update + 1 < at));
        }
        if last == b'\r' {
            update = update.or(Some(at - 1));
        }
        last = byte;
    }
    (None, update)
}

/// Where the last `lines` lines begin.
fn tail_start(bytes: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return bytes.len();
    }
    let mut before = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for _ in 0..lines {
        match memrchr(b'\n', before) {
            Some(end) => before = &before[..end],
            None => return 0,
        }
    }
    before.len() + 1
}
