//! Reading from a client, with deadlines.
//!
//! Owns: the bytes that were read and not consumed, and how much memory they may take. Never: their meaning (see
//! `head`, `body`).

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::FrontLimits;
use super::body::{BodyProgress, Chunked};
use super::head::{self, Head};
use super::heads::HeadRoom;
use super::response::Refusal;
use crate::os::spare;

/// The size of one read. Most heads are shorter.
const STEP: usize = 2 * 1024;
/// The size of a read into a body.
const BODY_STEP: usize = 64 * 1024;
/// A longer head needs a share of the memory for strangers.
const HEAD_FREE: usize = 4 * 1024;
/// A read may exceed its deadline by this part of its time: setting the exact time-out of the socket before each read
/// would cost more than the read.
const LATENESS_PART: u32 = 16;

/// Why reading ends.
pub enum End {
    /// The connection ends without a response.
    Quiet,
    /// The reason is sent as a response.
    Refused(Refusal),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Quiet
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> End {
        End::Refused(refusal)
    }
}

/// The reading side of a connection.
pub struct Input<'a> {
    socket: &'a UnixStream,
    bytes: Vec<u8>,
    /// The time-out that is set on the socket.
    read_limit: Duration,
}

impl<'a> Input<'a> {
    pub fn new(socket: &'a UnixStream) -> Input<'a> {
        Input { socket, bytes: Vec::new(), read_limit: Duration::MAX }
    }

    /// Whether all that was read is consumed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The number of bytes that were read and not consumed.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Waits for the first byte of a request. A time-out gets no response.
    pub fn await_request(&mut self, deadline: Instant) -> Result<(), End> {
        if !self.bytes.is_empty() {
            return Ok(());
        }
        match self.read(STEP, deadline) {
            Err(End::Refused(Refusal::Timeout)) => Err(End::Quiet),
            other => other,
        }
    }

    /// Reads a whole head and returns its length. A long one takes its memory from `room`, if one is given.
    pub fn head(
        &mut self,
        limits: &FrontLimits,
        deadline: Instant,
        mut room: Option<HeadRoom<'_>>,
    ) -> Result<usize, End> {
        let mut searched = 0;
        loop {
            if let Some(end) = head::end(&self.bytes, searched, limits)? {
                return Ok(end);
            }
            searched = self.bytes.len();
            let length = searched + STEP;
            if length > HEAD_FREE && room.as_mut().is_some_and(|room| !room.grow_to(length, deadline)) {
                return Err(Refusal::TooMuchForStrangers.into());
            }
            self.read(STEP, deadline)?;
        }
    }

    /// Vets the head of `length` bytes that was read, and consumes it.
    pub fn vetted(&mut self, length: usize, limits: &FrontLimits) -> Result<Head, End> {
        let head = head::vet(&self.bytes[..length], limits)?;
        self.bytes.drain(..length);
        Ok(head)
    }

    /// The bytes that were read and not consumed.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Reads a body of `length` bytes into `share`, which has room for them.
    pub fn body(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, End> {
        let mut body = Vec::with_capacity(length);
        let there = length.min(self.bytes.len());
        body.extend(self.bytes.drain(..there));
        while body.len() < length {
            let step = BODY_STEP.min(length - body.len());
            receive(self.socket, &mut self.read_limit, &mut body, step, deadline)?;
        }
        self.give_back();
        Ok(body)
    }

    /// Reads the rest of a chunked body. `grow` is called with the length for which memory is needed
    /// next, and returns by how much the deadline moves.
    pub fn chunks(
        &mut self,
        chunked: &mut Chunked,
        mut deadline: Instant,
        mut grow: impl FnMut(&mut Chunked, usize) -> Result<Duration, End>,
    ) -> Result<(), End> {
        loop {
            deadline += grow(chunked, chunked.length() + self.bytes.len())?;
            if chunked.take(&mut self.bytes)? == BodyProgress::Complete {
                self.give_back();
                return Ok(());
            }
            self.read(STEP, deadline)?;
        }
    }

    /// Reads `length` bytes and discards them.
    pub fn skip(&mut self, mut length: usize, deadline: Instant) -> Result<(), End> {
        loop {
            let there = length.min(self.bytes.len());
            self.bytes.drain(..there);
            length -= there;
            if length == 0 {
                return Ok(());
            }
            self.read(STEP, deadline)?;
        }
    }

    /// Frees the memory of a long head before the request is carried out.
    fn give_back(&mut self) {
        self.bytes.shrink_to(STEP);
    }

    /// Reads up to `most` bytes, waiting for them until `deadline`.
    fn read(&mut self, most: usize, deadline: Instant) -> Result<(), End> {
        receive(self.socket, &mut self.read_limit, &mut self.bytes, most, deadline)
    }
}

/// Adds up to `most` bytes to `into`. `read_limit` is the time-out that is set on `socket`.
fn receive(
    socket: &UnixStream,
    read_limit: &mut Duration,
    into: &mut Vec<u8>,
    most: usize,
    deadline: Instant,
) -> Result<(), End> {
    loop {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(Refusal::Timeout.into());
        }
        if read_limit.abs_diff(patience) > patience / LATENESS_PART {
            socket.set_read_timeout(Some(patience))?;
            *read_limit = patience;
        }
        match spare::read(socket.as_fd(), into, most) {
            Ok(0) => return Err(End::Quiet),
            Ok(_) => return Ok(()),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
    }
}
