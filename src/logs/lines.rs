//! From bytes as they are read to lines that can be shown, pure.
//!
//! Owns: the lines that have begun and not ended, and the count of what is missing. Never: the form in which a line is
//! shown, a clock, I/O.
//!
//! A line counts as a line when it has ended; so those of two streams can't tear each other. The rest of a line whose
//! beginning was missed is no line: it is left out and counted with what was missed.

use std::mem;

use super::buffer::{Batch, StreamId};

#[cfg(test)]
mod tests;

/// A longer line is given in parts of this length, in bytes, so that one without an end takes no more memory.
pub const LINE_MAX: usize = 64 * 1024;

/// Something to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A line, or the rest of one, without its end.
    Line(StreamId, &'a [u8]),
    /// A part of a line that goes on.
    Part(StreamId, &'a [u8]),
    /// So many bytes are missing here.
    Missed(u64),
}

/// The lines of one reader.
#[derive(Debug, Default)]
pub struct Lines {
    begun: [Vec<u8>; 2],
    /// So far the end of a torn line is still looked for.
    torn: [usize; 2],
    /// Not told yet.
    missed: u64,
}

impl Lines {
    /// Whether a line has begun and not ended.
    pub fn has_unfinished(&self) -> bool {
        self.begun.iter().any(|begun| !begun.is_empty())
    }

    /// Gives what `batch` completes.
    ///
    /// # Errors
    /// Those of `show`; nothing more is given then.
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
                self.tell_missed(&mut show)?;
                self.line(stream, &rest[..end], &mut show)?;
                rest = &rest[end + 1..];
            }
            if !rest.is_empty() {
                self.tell_missed(&mut show)?;
                self.begin(stream, rest, &mut show)?;
            }
        }
        self.tell_missed(&mut show)
    }

    /// Gives the lines that have not ended, as far as they go.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn flush<E>(&mut self, mut show: impl FnMut(Shown<'_>) -> Result<(), E>) -> Result<(), E> {
        for stream in StreamId::BOTH {
            let begun = mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() {
                show(Shown::Part(stream, &begun))?;
            }
        }
        Ok(())
    }

    fn tell_missed<E>(&mut self, show: &mut impl FnMut(Shown<'_>) -> Result<(), E>) -> Result<(), E> {
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

    /// `bytes` end a line.
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

    /// `bytes` are the beginning of a line, or go on with one.
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

/// How many bytes at the end belong to a character of UTF-8 that goes on behind it.
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
