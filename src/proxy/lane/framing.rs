//! What a lane makes of the bytes that were read.
//!
//! Owns: the head of an answer, decoding by the source's framing, and framing anew for the sink. Never: a socket.

use super::{LAST_CHUNK, Lane, LaneError, NextPart, PIECE, SIZE_ROOM};
use crate::http::body::{BodyProgress, Chunked};
use crate::http::visit::VisitEnd;
use crate::proxy::response::{self, AnswerFraming, Answered, BrokenAnswer};

/// The status of an answer that makes a tunnel.
const SWITCHED: u16 = 101;

impl Lane {
    /// Decodes what was read, behind what is in `out`. Returns whether something has come of it.
    pub(super) fn decode(&mut self) -> Result<bool, LaneError> {
        let at = self.out.len();
        match &mut self.expected {
            NextPart::Length(0) => {
                self.finish();
                return Ok(true);
            }
            _ if self.raw.is_empty() => return Ok(false),
            NextPart::Held | NextPart::Ended | NextPart::Over => return Ok(false),
            NextPart::Head(context, searched) => {
                let answered = response::read(&self.raw, *searched, context).map_err(LaneError::Broken)?;
                *searched = self.raw.len();
                return self.take_head(answered);
            }
            NextPart::Length(left) => {
                let most = PIECE.min(usize::try_from(*left).unwrap_or(PIECE));
                self.move_raw(most);
            }
            NextPart::ToEnd => self.move_raw(PIECE),
            NextPart::Chunks(chunked) => {
                self.out.resize(at + SIZE_ROOM, 0);
                chunked.decode_onto(std::mem::take(&mut self.out));
                let progress = chunked.take(&mut self.raw).map_err(|_| LaneError::Unreadable)?;
                self.out = chunked.take_decoded();
                let has_come = self.frame_decoded(at);
                if progress == BodyProgress::Complete {
                    self.finish();
                    return Ok(true);
                }
                return Ok(has_come);
            }
        }
        Ok(self.frame_decoded(at))
    }

    /// Moves at most `most` bytes of what was read into the place of a piece.
    fn move_raw(&mut self, most: usize) {
        self.out.resize(self.out.len() + SIZE_ROOM, 0);
        self.out.extend(self.raw.drain(..most.min(self.raw.len())));
    }

    /// Frames the piece that ends `out`. Returns whether there is one: an empty chunk would be the end.
    fn frame_decoded(&mut self, at: usize) -> bool {
        let count = self.out.len() - at - SIZE_ROOM;
        if count == 0 {
            self.out.truncate(at);
        } else {
            self.frame(at, count);
        }
        count > 0
    }

    /// Takes the head of an answer, and what has come of its body with it, which goes to the client at once.
    fn take_head(&mut self, answered: Answered) -> Result<bool, LaneError> {
        let used = match answered {
            Answered::Incomplete => return Ok(false),
            Answered::Interim(length) => {
                if let NextPart::Head(_, searched) = &mut self.expected {
                    *searched = 0;
                }
                self.raw.drain(..length);
                return Ok(true);
            }
            Answered::Final { status, length, head, framing, in_chunks, after } => {
                self.status = Some(status);
                self.ends_by_close = !in_chunks && !matches!(framing, AnswerFraming::Length(_));
                self.expected = match framing {
                    AnswerFraming::Length(length) => NextPart::Length(length),
                    AnswerFraming::Chunks => NextPart::Chunks(Chunked::new(usize::MAX)),
                    AnswerFraming::ToEnd => NextPart::ToEnd,
                };
                (self.in_chunks, self.out, self.after) = (in_chunks, head, Some(after));
                length
            }
            Answered::Switch { length, head } => {
                self.expected = NextPart::ToEnd;
                (self.out, self.after, self.has_switched) = (head, Some(VisitEnd::Close), true);
                self.status = Some(SWITCHED);
                length
            }
        };
        self.raw.drain(..used);
        self.decode().map_err(|_| {
            self.status = None;
            LaneError::Broken(BrokenAnswer("has chunks that can't be read"))
        })?;
        Ok(true)
    }

    /// Frames the piece of `count` bytes that stands in `out` behind its room at `at`.
    pub(super) fn frame(&mut self, at: usize, count: usize) {
        if let NextPart::Length(left) = &mut self.expected {
            *left -= count as u64;
        }
        let mut size = String::new();
        if self.in_chunks {
            size = format!("{count:x}\r\n");
            self.out.extend_from_slice(b"\r\n");
        }
        let begin = at + SIZE_ROOM - size.len();
        self.out[begin..at + SIZE_ROOM].copy_from_slice(size.as_bytes());
        if at == 0 {
            self.written = begin;
        } else {
            // It follows a head.
            self.out.drain(at..begin);
        }
    }

    pub(super) fn finish(&mut self) {
        self.expected = NextPart::Over;
        if self.in_chunks {
            self.out.extend_from_slice(LAST_CHUNK);
        }
    }
}
