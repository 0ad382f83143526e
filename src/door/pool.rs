//! The internal connections, and what goes over them.
//!
//! Owns: one generation of connections to the backend, and its replacement when anything is odd with it. Never: a
//! client's connection; a request twice: one that was lost may have been carried out.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Backend;
use super::answer::Refusal;
use crate::handoff::{Later, Reply, TICKET_HEADER};
use crate::log;
use crate::os::retry;

/// A worker answers within microseconds; a backend that takes this long is stuck.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);
/// As long as this a request waits for a connection of its own.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);
/// Generations follow each other at least at this distance: the threads of a dead one take their seconds to end, and
/// must not pile up, whatever it is that kills one after the other.
const REBUILD_PAUSE: Duration = Duration::from_millis(100);
/// The longest head of an answer, and the longest body: a list of very many servers.
const ANSWER_HEAD_MAX: usize = 16 * 1024;
const ANSWER_BODY_MAX: usize = 1024 * 1024 * 1024;
const HEADERS_MAX: usize = 32;
/// The headers of the API that a client gets to see; the rest is tiny_http's affair.
const PASSED_ON: [&str; 11] = [
    "Content-Type",
    "Date",
    "Allow",
    "WWW-Authenticate",
    "Retry-After",
    "Vary",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
    "Cache-Control",
];

/// What the API has to say.
pub enum Answer {
    /// This.
    Whole(Reply),
    /// It has left work to be done.
    Unfinished(Later),
}

/// The connections of the present generation.
pub struct Pool {
    backend: Arc<dyn Backend>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    generation: u64,
    health: Health,
    idle: Vec<UnixStream>,
    /// Not before this may a new generation begin.
    rebuild_at: Instant,
}

/// A connection that is in use. Unless it is given back it takes its generation with it, so that a panic can't make the
/// pool smaller one by one.
struct Lease<'a> {
    pool: &'a Pool,
    generation: u64,
    connection: Option<UnixStream>,
}

/// Somebody is building a new generation. Unless it is said to be good the next one may try, after a panic too.
struct Rebuild<'a>(&'a Pool);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// Whoever comes first begins a new generation.
    Broken,
    /// Somebody is at it.
    Rebuilding,
}

impl Pool {
    /// The first generation.
    ///
    /// # Errors
    /// The backend can't be opened.
    pub fn new(backend: Arc<dyn Backend>) -> io::Result<Pool> {
        let idle = backend.open()?;
        let state = Mutex::new(State { generation: 0, health: Health::Good, idle, rebuild_at: Instant::now() });
        Ok(Pool { backend, state, changed: Condvar::new() })
    }

    /// Passes on a request in canonical form and takes the whole answer.
    ///
    /// # Errors
    /// It was not passed on (`Unavailable`), or was and the answer did not come (`Lost`).
    pub fn exchange(&self, request: &[u8]) -> Result<Answer, Refusal> {
        let mut lease = self.check_out()?;
        let (reply, ticket) = lease.exchange(request).map_err(|error| {
            log::error(format_args!("the internal HTTP server failed, it is started anew: {error}"));
            Refusal::Lost
        })?;
        lease.give_back();
        match ticket {
            None => Ok(Answer::Whole(reply)),
            Some(ticket) => self.backend.claim(ticket).map(Answer::Unfinished).ok_or(Refusal::Lost),
        }
    }

    fn check_out(&self) -> Result<Lease<'_>, Refusal> {
        let limit = Instant::now() + QUEUE_LIMIT;
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let mut wake_at = limit;
            match state.health {
                Health::Broken if now >= state.rebuild_at => {
                    state.health = Health::Rebuilding;
                    drop(state);
                    state = self.rebuild()?;
                    continue;
                }
                Health::Broken => wake_at = limit.min(state.rebuild_at),
                Health::Good => {
                    if let Some(connection) = state.idle.pop() {
                        return Ok(Lease { pool: self, generation: state.generation, connection: Some(connection) });
                    }
                }
                Health::Rebuilding => {}
            }
            // Never zero while `wake_at` is the moment to rebuild: that has just been found to lie ahead.
            let patience = wake_at.saturating_duration_since(now);
            if patience.is_zero() {
                return Err(Refusal::Unavailable);
            }
            state = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Without the lock: it takes as long as it takes, and others shall be able to give up waiting.
    fn rebuild(&self) -> Result<MutexGuard<'_, State>, Refusal> {
        let attempt = Rebuild(self);
        let idle = self.backend.open().map_err(|error| {
            log::error(format_args!("the internal HTTP server can't be started: {error}"));
            Refusal::Unavailable
        })?;
        let mut state = self.state();
        state.generation += 1;
        state.health = Health::Good;
        state.idle = idle;
        drop(state);
        drop(attempt);
        Ok(self.state())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    fn exchange(&mut self, request: &[u8]) -> io::Result<(Reply, Option<u64>)> {
        match &mut self.connection {
            Some(connection) => exchange(connection, request),
            None => Err(odd("its connection was given back already")),
        }
    }

    /// The answer was read to its end: the next request may follow.
    fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            let mut state = self.pool.state();
            if state.generation == self.generation && state.health == Health::Good {
                state.idle.push(connection);
                self.pool.changed.notify_one();
            }
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.connection.is_none() {
            return;
        }
        let mut state = self.pool.state();
        if state.generation == self.generation && state.health == Health::Good {
            state.health = Health::Broken;
            state.idle.clear();
            self.pool.changed.notify_all();
        }
    }
}

impl Drop for Rebuild<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.rebuild_at = Instant::now() + REBUILD_PAUSE;
        if state.health == Health::Rebuilding {
            state.health = Health::Broken;
        }
        self.0.changed.notify_all();
    }
}

fn exchange(connection: &mut UnixStream, request: &[u8]) -> io::Result<(Reply, Option<u64>)> {
    connection.set_write_timeout(Some(EXCHANGE_LIMIT))?;
    connection.set_read_timeout(Some(EXCHANGE_LIMIT))?;
    connection.write_all(request)?;
    let mut bytes = Vec::with_capacity(4 * 1024);
    let mut buffer = [0; 8 * 1024];
    let mut parsed = loop {
        match retry(|| connection.read(&mut buffer))? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed a connection")),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        if let Some(parsed) = parse(&bytes)? {
            break parsed;
        }
        if bytes.len() > ANSWER_HEAD_MAX {
            return Err(odd("the head of its answer has no end"));
        }
    };
    let mut body = bytes.split_off(parsed.head);
    if body.len() > parsed.length {
        return Err(odd("its answer is longer than it says"));
    }
    let begun = body.len();
    body.resize(parsed.length, 0);
    connection.read_exact(&mut body[begun..])?;
    parsed.reply.body = body;
    Ok((parsed.reply, parsed.ticket))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The head of an answer, with what it says of the rest.
struct Parsed {
    /// Without the body.
    reply: Reply,
    ticket: Option<u64>,
    /// Bytes of the head.
    head: usize,
    /// Bytes of the body.
    length: usize,
}

/// `None` while the head is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<Parsed>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let head = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(head)) => head,
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let status = parsed.code.ok_or_else(|| odd("its answer has no status"))?;
    let mut reply = Reply { status, headers: Vec::new(), content_type: None, body: Vec::new() };
    let (mut ticket, mut length) = (None, None);
    for header in parsed.headers.iter() {
        let value = str::from_utf8(header.value).map_err(|_| odd("its answer has a header that is no text"))?;
        if header.name.eq_ignore_ascii_case("Content-Length") {
            length = Some(value.parse().map_err(|_| odd("its answer has an odd length"))?);
        } else if header.name.eq_ignore_ascii_case(TICKET_HEADER) {
            ticket = Some(value.parse().map_err(|_| odd("its answer has an odd ticket"))?);
        } else if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err(odd("its answer comes in chunks"));
        } else if let Some(name) = PASSED_ON.iter().find(|name| header.name.eq_ignore_ascii_case(name)) {
            reply.headers.push((name, value.to_owned()));
        }
    }
    let length = match (length, status) {
        (Some(length), _) => length,
        (None, 204 | 304) => 0,
        (None, _) => return Err(odd("its answer has no length")),
    };
    if length > ANSWER_BODY_MAX {
        return Err(odd("its answer is too long"));
    }
    Ok(Some(Parsed { reply, ticket, head, length }))
}
