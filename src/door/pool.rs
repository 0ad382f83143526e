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

/// A worker answers within microseconds; a backend that takes this long is stuck.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);
/// As long as this a request waits for a connection of its own.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);
/// The longest head of an answer, and the longest body: a list of very many servers.
const ANSWER_HEAD_MAX: usize = 16 * 1024;
const ANSWER_BODY_MAX: usize = 1024 * 1024 * 1024;
const HEADERS_MAX: usize = 32;
/// The headers of the API that a client gets to see; the rest is tiny_http's affair.
const PASSED_ON: [&str; 11] = [
    "Content-Type", "Date", "Allow", "WWW-Authenticate", "Retry-After", "Vary", "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age", "Cache-Control",
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
}

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
        let state = Mutex::new(State { generation: 0, health: Health::Good, idle });
        Ok(Pool { backend, state, changed: Condvar::new() })
    }

    /// Passes on a request in canonical form and takes the whole answer.
    ///
    /// # Errors
    /// It was not passed on (`Unavailable`), or was and the answer did not come (`Lost`).
    pub fn exchange(&self, request: &[u8]) -> Result<Answer, Refusal> {
        let (generation, mut connection) = self.check_out()?;
        match exchange(&mut connection, request) {
            Ok((reply, ticket)) => {
                self.check_in(generation, connection);
                match ticket {
                    None => Ok(Answer::Whole(reply)),
                    Some(ticket) => match self.backend.claim(ticket) {
                        Some(later) => Ok(Answer::Unfinished(later)),
                        None => Err(Refusal::Lost),
                    },
                }
            }
            Err(error) => {
                log::error(format_args!("the internal HTTP server failed, it is started anew: {error}"));
                self.give_up(generation);
                Err(Refusal::Lost)
            }
        }
    }

    fn check_out(&self) -> Result<(u64, UnixStream), Refusal> {
        let limit = Instant::now() + QUEUE_LIMIT;
        let mut state = self.state();
        loop {
            match state.health {
                Health::Broken => {
                    state.health = Health::Rebuilding;
                    drop(state);
                    state = self.rebuild()?;
                }
                Health::Good => {
                    if let Some(connection) = state.idle.pop() {
                        return Ok((state.generation, connection));
                    }
                }
                Health::Rebuilding => {}
            }
            if state.health == Health::Good && !state.idle.is_empty() {
                continue;
            }
            let patience = limit.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(Refusal::Unavailable);
            }
            state = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Without the lock: it takes as long as it takes, and others shall be able to give up waiting.
    fn rebuild(&self) -> Result<MutexGuard<'_, State>, Refusal> {
        let opened = self.backend.open();
        let mut state = self.state();
        self.changed.notify_all();
        match opened {
            Ok(idle) => {
                state.generation += 1;
                state.health = Health::Good;
                state.idle = idle;
                Ok(state)
            }
            Err(error) => {
                state.health = Health::Broken;
                log::error(format_args!("the internal HTTP server can't be started: {error}"));
                Err(Refusal::Unavailable)
            }
        }
    }

    fn check_in(&self, generation: u64, connection: UnixStream) {
        let mut state = self.state();
        if state.generation == generation && state.health == Health::Good {
            state.idle.push(connection);
            self.changed.notify_one();
        }
    }

    fn give_up(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation && state.health == Health::Good {
            state.health = Health::Broken;
            state.idle.clear();
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exchange(connection: &mut UnixStream, request: &[u8]) -> io::Result<(Reply, Option<u64>)> {
    connection.set_write_timeout(Some(EXCHANGE_LIMIT))?;
    connection.set_read_timeout(Some(EXCHANGE_LIMIT))?;
    connection.write_all(request)?;
    let mut bytes = Vec::with_capacity(4 * 1024);
    let mut buffer = [0; 8 * 1024];
    let (mut reply, ticket, head, length) = loop {
        match connection.read(&mut buffer)? {
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
    let mut body = bytes.split_off(head);
    if body.len() > length {
        return Err(odd("its answer is longer than it says"));
    }
    let begun = body.len();
    body.resize(length, 0);
    connection.read_exact(&mut body[begun..])?;
    reply.body = body;
    Ok((reply, ticket))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The head of an answer, its length, and the length of the body; `None` while the head is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Reply, Option<u64>, usize, usize)>> {
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
    Ok(Some((reply, ticket, head, length)))
}
