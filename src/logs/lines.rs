//! Splits output into lines, pure.
//!
//! Owns: the unfinished lines, and the count of missing bytes. Never: the format of a shown line, a clock, I/O.
//!
//! A line is emitted when it has ended, so lines of two streams do not mix. The rest of a line whose beginning is
//! missing is not emitted, and counts as missing.

use std::mem;

use super::buffer::{Batch, StreamId};

#[cfg(test)]
mod tests;

/// The longest line, in bytes; a longer one is emitted in parts of this length, which bounds the memory.
pub const LINE_MAX: usize = 64 * 1024;

/// An item to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A line, or the last part of one, without its line end.
    Line(StreamId, &'a [u8]),
    /// A part of a line that continues.
    Part(StreamId, &'a [u8]),
    /// The number of bytes that are missing here.
    Missed(u64),
}

/// The lines of one reader.
#[derive(Debug, Default)]
pub struct Lines {
    begun: [Vec<u8>; 2],
    /// For each stream, how many more bytes are searched for the end of a torn line.
    torn: [usize; 2],
    /// Missing bytes that were not reported yet.
    missed: u64,
}

impl Lines {
    /// Whether there is an unfinished line.
    pub fn has_unfinished(&self) -> bool {
        self.begun.iter().any(|begun| !begun.is_empty())
    }

    /// Emits the lines that `batch` completes.
    ///
    /// # Errors
    /// The error of `show`; the rest of the batch is lost then.
    pub fn take<E>(&mut self, batch: &Batch, mut show: impl FnMut(Shown<'_>) -> Result<(), E>) -> Result<(), E> {
        for stream in StreamId::BOTH {
            let missed = batch.missed(stream);
            if missed.bytes > 0 {
                self.missed += missed.bytes + self.begun[stream as usize].len() as u64;
                self.begun[stream as usize].clear();
                self.torn[stream as usize] = if missed.torn { LINE_MAX } else { 0 };
            }
        }
        for (stream, bytes) in batch.pieces() {
            let mut rest = self.without_torn(stream, bytes);
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                self.show_missed(&mut show)?;
                self.line(stream, &rest[..end], &mut show)?;
                rest = &rest[end + 1..];
            }
            if !rest.is_empty() {
                self.show_missed(&mut show)?;
                self.begin(stream, rest, &mut show)?;
            }
        }
        self.show_missed(&mut show)
    }

    /// Emits the unfinished lines.
    ///
    /// # Errors
    /// The error of `show`.
    pub fn flush<E>(&mut self, mut show: impl FnMut(Shown<'_>) -> Result<(), E>) -> Result<(), E> {
        for stream in StreamId::BOTH {
            let begun = mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() {
                show(Shown::Part(stream, &begun))?;
            }
        }
        Ok(())
    }

    fn show_missed<E>(&mut self, show: &mut impl FnMut(Shown<'_>) -> Result<(), E>) -> Result<(), E> {
        match mem::take(&mut self.missed) {
            0 => Ok(()),
            missed => show(Shown::Missed(missed)),
        }
    }

    fn without_torn<'a>(&mut self, stream: StreamId, bytes: &'a [u8]) -> &'a [u8] {
        let torn = &mut self.torn[stream as usize];
        let searched = &bytes[..bytes.len().min(*torn)];
        let left_out = match searched.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                *torn = 0;
                end + 1
            }
            None => {
                *torn -= searched.len();
                searched.len()
            }
        };
        self.missed += left_out as u64;
        &bytes[left_out..]
    }

    /// Emits the line that `bytes` end.
    fn line<E>(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        show: &mut impl FnMut(Shown<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.begun[stream as usize].is_empty() && bytes.len() <= LINE_MAX {
            return show(Shown::Line(stream, bytes));
        }
        self.begin(stream, bytes, show)?;
        let begun = &mut self.begun[stream as usize];
        show(Shown::Line(stream, begun))?;
        begun.clear();
        Ok(())
    }

    /// Stores the beginning, or a middle part, of a line; emits parts of [`LINE_MAX`].
    fn begin<E>(
        &mut self,
        stream: StreamId,
        mut bytes: &[u8],
        show: &mut impl FnMut(Shown<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let begun = &mut self.begun[stream as usize];
        while begun.len() + bytes.len() > LINE_MAX {
            let (now, later) = bytes.split_at(LINE_MAX - begun.len());
            begun.extend_from_slice(now);
            bytes = later;
            let part = begun.len() - cut_character(begun);
            show(Shown::Part(stream, &begun[..part]))?;
            begun.drain(..part);
        }
        begun.extend_from_slice(bytes);
        Ok(())
    }
}

/// The number of bytes at the end that belong to an incomplete UTF-8 character.
fn cut_character(bytes: &[u8]) -> usize {
    let back = bytes.iter().rev().take(3).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    match back {
        Some(back) => {
            let length = match bytes[bytes.len() - 1 - back] {
                0b1100_0000..0b1110_0000 => 2,
                0b1110_0000..0b1111_0000 => 3,
                0b1111_0000.. => 4,
                _ => 1,
            };
            if length > back + 1 { back + 1 } else { 0 }
        }
        None => 0,
    }
}
