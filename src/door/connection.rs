//! A client's thread: one request after the other.
//!
//! Owns: the reading of a request to its end, its deadline, and the order of requests and answers. Never: two requests at
//! a time; a read from the client while a request is carried out.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::Limits;
use super::answer::{self, After, BodyIs, Refusal};
use super::body::{Chunked, Progress};
use super::head::{self, Expects, Framing, Head, Persistence, Version};
use super::pool::Pool;
use super::table::{Activity, Seat, Standing, Table};
use crate::handoff::{Client, Outcome, StreamBody};
use crate::log;
use crate::os::thread::panic_text;
use crate::os::{peer, retry};

/// After a refusal the client may still be sending; so much and so long is read and thrown away, so that it gets to
/// see the refusal and not a reset.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const READ_BUFFER: usize = 8 * 1024;
/// A read may wait longer than it should by this part of its time; to tell the system a new limit for each one would cost
/// more than the rest of it.
const LATENESS_PART: u32 = 16;

/// What all connections share.
pub struct Shared {
    /// What is allowed.
    pub limits: Limits,
    /// The way to the API.
    pub pool: Pool,
    /// Who is connected.
    pub table: std::sync::Arc<Table>,
}

/// Why a connection ends.
enum End {
    /// There is nothing more to say.
    Quiet,
    /// The client is told why.
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

/// Serves a client until it leaves or has to.
pub fn serve(shared: &Shared, seat: &Seat) {
    let mut connection = Connection { shared, seat, input: Vec::new(), read_limit: Duration::MAX };
    match connection.serve() {
        Ok(()) | Err(End::Quiet) => {}
        Err(End::Refused(refusal)) => {
            if answer::send(seat.socket(), &refusal.reply(), After::Close, BodyIs::Sent).is_ok() {
                connection.linger();
            }
        }
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
    /// What was read and not used yet.
    input: Vec<u8>,
    /// What the system was told to let a read wait for.
    read_limit: Duration,
}

impl Connection<'_> {
    fn serve(&mut self) -> Result<(), End> {
        let limits = &self.shared.limits;
        self.seat.socket().set_write_timeout(Some(limits.write))?;
        loop {
            if self.seat.turn(Activity::Waiting) == Standing::Leaves {
                return Ok(());
            }
            self.await_request()?;
            let deadline = Instant::now() + limits.request;
            let head = self.read_head(deadline)?;
            let body = self.read_body(&head, deadline)?;
            if self.seat.turn(Activity::Busy) == Standing::Leaves {
                return Ok(());
            }
            // The one place where a request could be given to another backend.
            let request = self.shared.pool.read(&head.canonical)?;
            let answer = self.contained(|| request.answer(body, self));
            drop(request);
            if self.answer(&head, answer)? == After::Close {
                // The client has been told; what it still sends is for nobody.
                let _ = self.seat.socket().shutdown(Shutdown::Write);
                return Ok(());
            }
        }
    }

    /// Waits for the first byte of a request.
    fn await_request(&mut self) -> Result<(), End> {
        let idle = Instant::now() + self.shared.limits.idle;
        if self.input.is_empty() {
            match self.read(idle) {
                // Silence is no reason for an answer.
                Err(End::Refused(Refusal::Timeout)) => return Err(End::Quiet),
                other => other?,
            }
        }
        Ok(())
    }

    fn read_head(&mut self, deadline: Instant) -> Result<Head, End> {
        let mut searched = 0;
        loop {
            if let Some(end) = head::end(&self.input, searched, &self.shared.limits)? {
                let head = head::vet(&self.input[..end], &self.shared.limits)?;
                self.input.drain(..end);
                return Ok(head);
            }
            searched = self.input.len();
            self.read(deadline)?;
        }
    }

    fn read_body(&mut self, head: &Head, deadline: Instant) -> Result<Vec<u8>, End> {
        let is_missing = match head.framing {
            Framing::Length(length) => self.input.len() < length,
            Framing::Chunks => self.input.is_empty(),
        };
        if head.expects == Expects::Continue && is_missing && head.version == Version::Http11 {
            self.seat.socket().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match head.framing {
            Framing::Length(length) => {
                while self.input.len() < length {
                    self.read(deadline)?;
                }
                let rest = self.input.split_off(length);
                Ok(std::mem::replace(&mut self.input, rest))
            }
            Framing::Chunks => {
                let mut chunked = Chunked::new(self.shared.limits.body);
                while chunked.take(&mut self.input)? == Progress::Incomplete {
                    self.read(deadline)?;
                }
                Ok(chunked.into_body())
            }
        }
    }

    /// Adds what the client has sent to the input, waiting for it until `deadline`.
    fn read(&mut self, deadline: Instant) -> Result<(), End> {
        let mut socket = self.seat.socket();
        let mut buffer = [0; READ_BUFFER];
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(Refusal::Timeout.into());
            }
            if self.read_limit.abs_diff(patience) > patience / LATENESS_PART {
                socket.set_read_timeout(Some(patience))?;
                self.read_limit = patience;
            }
            match socket.read(&mut buffer) {
                Ok(0) => return Err(End::Quiet),
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    fn answer(&self, head: &Head, answer: Outcome) -> Result<After, End> {
        let after = match (head.persistence, head.version) {
            (Persistence::Close, _) => After::Close,
            (Persistence::KeepAlive, Version::Http11) => After::KeepAlive,
            (Persistence::KeepAlive, Version::Http10) => After::KeepAliveInWords,
        };
        let reply = match answer {
            Outcome::Whole(reply) => reply,
            Outcome::Stream { content_type, headers, body } => {
                return self.stream(head, content_type, headers, body);
            }
        };
        let body = if head.is_head { BodyIs::LeftOut } else { BodyIs::Sent };
        answer::send(self.seat.socket(), &reply, after, body)?;
        Ok(after)
    }

    fn stream(
        &self,
        head: &Head,
        content_type: &'static str,
        headers: Vec<(&'static str, String)>,
        body: StreamBody,
    ) -> Result<After, End> {
        let framing = match head.version {
            Version::Http10 => answer::Framing::Close,
            Version::Http11 => answer::Framing::Chunks,
        };
        if self.seat.turn(Activity::Streaming) == Standing::Leaves {
            return Err(End::Quiet);
        }
        self.seat.socket().set_write_timeout(Some(self.shared.limits.stall))?;
        let mut writer = answer::begin_stream(self.seat.socket(), content_type, headers, framing)?;
        if head.is_head {
            return Ok(After::Close);
        }
        match catch_unwind(AssertUnwindSafe(|| body(&mut writer))) {
            Ok(written) => written?,
            // The end is left out: that is how the client sees that it is not whole.
            Err(panic) => {
                log::error(format_args!("a stream panicked: {}", panic_text(&*panic)));
                return Err(End::Quiet);
            }
        }
        writer.finish()?;
        Ok(After::Close)
    }

    /// A panic of the API is its own.
    fn contained(&self, answer: impl FnOnce() -> Outcome) -> Outcome {
        catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|panic| {
            log::error(format_args!("a request handler panicked: {}", panic_text(&*panic)));
            Outcome::Whole(Refusal::Panicked.reply())
        })
    }

    fn linger(&self) {
        let mut socket = self.seat.socket();
        // If it can't be half closed there is nobody to wait for.
        if socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER_LIMIT;
        let mut left = LINGER_BYTES;
        let mut buffer = [0; READ_BUFFER];
        while left > 0 {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() || socket.set_read_timeout(Some(patience)).is_err() {
                return;
            }
            match retry(|| socket.read(&mut buffer)) {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }
}

impl Client for Connection<'_> {
    fn is_present(&self) -> bool {
        !peer::has_left(self.seat.socket())
    }
}
