//! One direction of a relay: bytes from one socket, by their framing, to the other.
//!
//! Owns: at most one piece of a body at a time, and the head before it. Never: a wait, a deadline, the other direction.
//!
//! A piece is read, framed anew and written before the next one is read, so a body of any length takes the same memory,
//! and each piece is on its way as soon as it has come. A lane that is quiet gives its buffers back. One whose reads
//! are full gets a larger piece, from memory that all lanes share: most of the time of a large body goes into waking
//! the two others, so that pieces of 126 KiB need two thirds of the processor time of those of 16 KiB (measured).

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::response::{BrokenAnswer, RequestContext};
use crate::http::body::Chunked;
use crate::http::budget::Share;
use crate::http::visit::VisitEnd;
use crate::os::{retry, spare};

mod framing;

const PIECE: usize = 16 * 1024;
/// The same for a lane whose reads are full, if there is memory for it: nearly two segments of a connection over
/// loopback (65,483 bytes each). A little more than a whole number of segments, such as 64 KiB, costs twice as much.
const LARGE_PIECE: usize = 126 * 1024;
/// The size of a read into a head. Most heads are shorter.
const HEAD_STEP: usize = 2 * 1024;
/// The bytes of one turn from which on a piece is made larger: an ordinary page is not worth it.
const LARGE_FROM: usize = 64 * 1024;
/// The size of a read from a tunnel, as long as no read is full: most frames are shorter. A block of less than a page
/// is no mapping of its own; with those, 512 tunnels with a frame now and then wait for each other in the kernel.
const FRAME: usize = 2 * 1024;
/// Room before a piece for the size of a chunk and CRLF.
const SIZE_ROOM: usize = 8;
/// The pieces that are moved before the other direction has its turn.
const TURN: usize = 16;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is read next.
enum NextPart {
    /// Nothing before the server has consented to a tunnel.
    Held,
    /// The head of an answer. So many bytes were searched for its end.
    Head(Box<RequestContext>, usize),
    /// So many bytes.
    Length(u64),
    Chunks(Chunked),
    ToEnd,
    /// The source has ended; whether the body is complete is not known yet.
    Ended,
    /// All was read.
    Over,
}

/// What a lane waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Bytes from its source.
    Source,
    /// Room in its sink.
    Sink,
    /// Another turn.
    Turn,
    /// A tunnel.
    Consent,
    /// To know whether the end of the source is that of the body: see [`Lane::confirm_end`].
    EndCheck,
    /// Nothing: all was passed on.
    Nothing,
}

/// Why a lane ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneError {
    /// The source has ended in the middle.
    CutOff,
    /// The bytes of the source can't be parsed.
    Unreadable,
    /// The source is a server, and its answer is none.
    Broken(BrokenAnswer),
    /// The sink takes nothing any more.
    Sink,
}

pub struct Lane {
    expected: NextPart,
    /// Whether the body is sent in chunks.
    in_chunks: bool,
    /// What was read and not decoded.
    raw: Vec<u8>,
    /// How much may be read beyond a chunk. What comes after a request is kept until its answer is over.
    ahead: usize,
    /// What is to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The size of a piece, and the memory for a large one.
    piece: usize,
    share: Share,
    /// Whether the last read has left nothing in the source, and whether it was full.
    is_drained: bool,
    is_flowing: bool,
    /// Bytes moved in the last turn.
    pub moved: usize,
    /// What becomes of the client's connection, once the answer's head was read.
    pub after: Option<VisitEnd>,
    /// The status of the answer, until it was counted.
    pub status: Option<u16>,
    /// Whether the server has consented to a tunnel.
    pub has_switched: bool,
    /// Whether the body ends with the client's connection, without any other sign.
    pub ends_by_close: bool,
}

impl Lane {
    fn new(expected: NextPart, first: Vec<u8>, share: Share) -> Lane {
        Lane {
            expected,
            in_chunks: false,
            raw: Vec::new(),
            ahead: usize::MAX,
            out: first,
            written: 0,
            piece: PIECE,
            share,
            is_drained: false,
            is_flowing: false,
            moved: 0,
            after: None,
            status: None,
            has_switched: false,
            ends_by_close: false,
        }
    }

    /// From a client to a server: `head`, and a body of `length` bytes, or in chunks.
    pub fn of_request(head: Vec<u8>, length: Option<u64>, read: Vec<u8>, share: Share) -> Lane {
        let expected = match length {
            Some(length) => NextPart::Length(length),
            None => NextPart::Chunks(Chunked::new(usize::MAX)),
        };
        Lane { raw: read, ahead: PIECE, in_chunks: length.is_none(), ..Lane::new(expected, head, share) }
    }

    /// From a client to a server, for a request for a tunnel.
    pub fn of_upgrade(head: Vec<u8>, read: Vec<u8>, share: Share) -> Lane {
        Lane { raw: read, ..Lane::new(NextPart::Held, head, share) }
    }

    /// From a server to a client: `interim`, and the answer.
    pub fn of_answer(context: RequestContext, interim: &[u8], share: Share) -> Lane {
        Lane::new(NextPart::Head(Box::new(context), 0), interim.to_vec(), share)
    }

    /// Whether the body of the request is not all passed on: an answer that begins before ends the connection.
    pub fn note_body_left(&mut self, is_left: bool) {
        if let NextPart::Head(context, _) = &mut self.expected {
            context.has_body_left = is_left;
        }
    }

    /// Makes a tunnel of a lane that waits for consent.
    pub fn release(&mut self) {
        self.expected = NextPart::ToEnd;
    }

    /// Takes the end of the source as that of the body.
    pub fn confirm_end(&mut self) {
        self.finish();
    }

    /// What the lane waits for before its first turn.
    pub fn first_need(&self) -> Needs {
        if self.out.is_empty() { Needs::Source } else { Needs::Turn }
    }

    /// Whether all was read and written.
    pub fn is_over(&self) -> bool {
        matches!(self.expected, NextPart::Over) && self.out.is_empty()
    }

    /// Whether there is memory to give back.
    pub fn has_buffer(&self) -> bool {
        let is_large = self.piece > PIECE && !self.holds_large();
        is_large || self.out.capacity() > self.out.len() || self.raw.capacity() > self.raw.len()
    }

    /// Gives back all memory but that of bytes which are on their way.
    pub fn give_back(&mut self) {
        self.out.shrink_to_fit();
        self.raw.shrink_to_fit();
        if !self.holds_large() {
            self.piece = PIECE;
            self.share.release();
        }
    }

    /// Whether a large piece is on its way.
    fn holds_large(&self) -> bool {
        self.out.len().max(self.raw.len()) > SIZE_ROOM + PIECE + LAST_CHUNK.len()
    }

    /// Returns what was read beyond the end, in no more memory than it takes.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.raw.shrink_to_fit();
        self.raw
    }

    /// Moves what can be moved without waiting. Both sockets never block.
    pub fn pump(&mut self, source: &UnixStream, sink: &UnixStream) -> Result<Needs, LaneError> {
        self.moved = 0;
        for _ in 0..TURN {
            while self.written < self.out.len() {
                match retry(|| (&*sink).write(&self.out[self.written..])) {
                    Ok(0) => return Err(LaneError::Sink),
                    Ok(count) => {
                        self.written += count;
                        self.moved += count;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Needs::Sink),
                    Err(_) => return Err(LaneError::Sink),
                }
            }
            self.out.clear();
            self.written = 0;
            // What was read before may have the next piece in it.
            let decoded = self.decode()?;
            if !self.out.is_empty() {
                continue;
            }
            let needs = match (&self.expected, decoded) {
                (NextPart::Over, _) => Needs::Nothing,
                (NextPart::Held, _) => Needs::Consent,
                (NextPart::Ended, _) => Needs::EndCheck,
                (_, true) => continue,
                (_, false) => match self.refill(source)? {
                    true => continue,
                    false => Needs::Source,
                },
            };
            return Ok(needs);
        }
        Ok(Needs::Turn)
    }

    /// Reads once. Returns whether there was something, or the end.
    fn refill(&mut self, source: &UnixStream) -> Result<bool, LaneError> {
        let piece = self.piece;
        let (into, most, from) = match &self.expected {
            NextPart::Head(..) => (&mut self.raw, HEAD_STEP, 0),
            NextPart::Chunks(chunked) => (&mut self.raw, piece.min(chunked.missing().saturating_add(self.ahead)), 0),
            NextPart::Length(left) => (&mut self.out, piece.min(usize::try_from(*left).unwrap_or(piece)), SIZE_ROOM),
            NextPart::ToEnd if !self.is_flowing => (&mut self.out, FRAME, SIZE_ROOM),
            NextPart::ToEnd | NextPart::Held | NextPart::Ended | NextPart::Over => (&mut self.out, piece, SIZE_ROOM),
        };
        if std::mem::take(&mut self.is_drained) {
            return Ok(false);
        }
        let before = into.len();
        into.reserve_exact(from + most + LAST_CHUNK.len());
        into.resize(before + from, 0);
        let read = retry(|| spare::read(source.as_fd(), into, most));
        let count = *read.as_ref().unwrap_or(&0);
        if count == 0 {
            into.truncate(before);
        }
        match read {
            Ok(0) => return self.source_ended().map(|()| true),
            // The next read would find nothing.
            Ok(_) => (self.is_drained, self.is_flowing) = (count < most, count == most),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(LaneError::CutOff),
        }
        if from > 0 {
            self.frame(before, count);
        }
        if count == PIECE && self.moved >= LARGE_FROM && self.share.try_grow_to(LARGE_PIECE) {
            self.piece = LARGE_PIECE;
        }
        Ok(true)
    }

    fn source_ended(&mut self) -> Result<(), LaneError> {
        match self.expected {
            // A last chunk says that the body is whole, or an end without a reset.
            NextPart::ToEnd if self.in_chunks || self.ends_by_close => {
                self.expected = NextPart::Ended;
                Ok(())
            }
            NextPart::ToEnd => {
                self.finish();
                Ok(())
            }
            NextPart::Held | NextPart::Head(..) | NextPart::Length(_) | NextPart::Chunks(_) => Err(LaneError::CutOff),
            NextPart::Ended | NextPart::Over => Err(LaneError::CutOff),
        }
    }
}
