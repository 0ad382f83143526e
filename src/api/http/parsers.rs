//! The pool of parsers.
//!
//! Owns: their number: one at first, more while requests wait, fewer after a burst. Never: a client's connection; a
//! parsed request: by then its parser is free again.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{ParsedRequest, Parser};
use crate::log;
use crate::os::random;
use crate::sync::{lock, wait_for};

/// A head is parsed within some ten microseconds: so few parsers keep two cores busy, with little memory.
const PARSERS_MAX: usize = 4;
/// A request that has waited longer starts another parser.
const MAKE_AFTER: Duration = Duration::from_millis(1);
/// The limit of a request's wait for a parser.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);
/// The pause after a parser has failed or could not be started: the threads of a failed one take seconds to end and
/// must not pile up.
const PAUSE: Duration = Duration::from_millis(100);
/// The same if one could not be started while others exist.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// An extra parser that was not needed for so long is closed.
const EXTRA_FOR: Duration = Duration::from_secs(5);
/// The interval at which such parsers are searched.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Random bytes in the name of a new directory.
const DIRECTORY_BYTES: usize = 8;

pub struct Parsers {
    directory: PathBuf,
    state: Mutex<ParserState>,
    /// A parser is free, or one may be started.
    changed: Condvar,
}

struct ParserState {
    idle: Vec<Parser>,
    /// Parsers that are idle, in use, or starting.
    count: usize,
    /// Parsers started so far: names their sockets.
    made: u64,
    /// Requests that wait for a parser. A later one does not overtake them.
    waiting: usize,
    /// No parser is started before this.
    make_at: Instant,
    /// When requests last waited.
    burst_at: Instant,
    /// A thread is in `close_idle`.
    is_closing: bool,
}

/// A parser with its socket in a new directory: when the state directory was removed, servers must still be stoppable.
fn elsewhere(name: &str) -> io::Result<Parser> {
    let directory = env::temp_dir().join(format!("servisor-{}", random::hex(DIRECTORY_BYTES)?));
    DirBuilder::new().mode(0o700).create(&directory)?;
    let parser = Parser::open(&directory, name);
    let _ = fs::remove_dir(&directory);
    parser
}

/// A parser in use, or starting. Unless it is returned it is closed, after a panic too.
pub(super) struct Lease<'a> {
    parsers: &'a Parsers,
    parser: Option<Parser>,
}

impl Parsers {
    /// Starts one parser, with its socket in `directory`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn new(directory: &Path) -> io::Result<Parsers> {
        let now = Instant::now();
        let idle = vec![Parser::open(directory, &name(0))?];
        let state = ParserState { idle, count: 1, made: 1, waiting: 0, make_at: now, burst_at: now, is_closing: false };
        Ok(Parsers { directory: directory.to_owned(), state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Parses a head. After a failure, tries once more with a new parser: nothing of the request is carried out yet.
    ///
    /// # Errors
    /// It could not be parsed.
    pub fn read(&self, head: &[u8]) -> io::Result<ParsedRequest> {
        let mut lease = self.take()?;
        let error = match lease.read(head) {
            Ok(read) => {
                lease.give_back();
                return Ok(read);
            }
            Err(error) => error,
        };
        log::error(format_args!("tiny_http failed to parse a request, which a new instance parses again: {error}"));
        // The lease stays counted: the number of parsers does not grow.
        lease.parser = None;
        lease.parser = Some(self.make()?);
        let read = lease.read(head)?;
        lease.give_back();
        Ok(read)
    }

    pub(super) fn take(&self) -> io::Result<Lease<'_>> {
        let begun = Instant::now();
        let limit = begun + QUEUE_LIMIT;
        let mut state = self.state();
        let mut is_waiting = false;
        loop {
            if let Some(parser) = if is_waiting || state.waiting == 0 { state.idle.pop() } else { None } {
                state.waiting -= usize::from(is_waiting);
                return Ok(Lease { parsers: self, parser: Some(parser) });
            }
            let now = Instant::now();
            let make_at = match state.count {
                0 => Some(state.make_at),
                1..PARSERS_MAX => Some(state.make_at.max(begun + MAKE_AFTER)),
                PARSERS_MAX.. => None,
            };
            if make_at.is_some_and(|at| at <= now) {
                state.count += 1;
                state.waiting -= usize::from(is_waiting);
                state.burst_at = now;
                // No second one is started meanwhile.
                state.make_at = now + MAKE_AFTER;
                drop(state);
                let mut lease = Lease { parsers: self, parser: None };
                let error = match self.make() {
                    Ok(parser) => {
                        lease.parser = Some(parser);
                        return Ok(lease);
                    }
                    Err(error) => error,
                };
                drop(lease);
                state = self.state();
                if state.count == 0 {
                    return Err(error);
                }
                // Another one will be free soon.
                is_waiting = false;
                continue;
            }
            if now >= limit {
                state.waiting -= usize::from(is_waiting);
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "all parsers of HTTP requests were busy; send it again later",
                ));
            }
            state.waiting += usize::from(!is_waiting);
            is_waiting = true;
            let patience = make_at.map_or(limit, |at| at.min(limit)).saturating_duration_since(now);
            state = wait_for(&self.changed, state, patience);
        }
    }

    /// Starts a parser that is counted already. Without the lock, since it may take long.
    fn make(&self) -> io::Result<Parser> {
        let number = {
            let mut state = self.state();
            state.made += 1;
            state.made
        };
        let opened = match Parser::open(&self.directory, &name(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => elsewhere(&name(number)),
            opened => opened,
        };
        opened.inspect_err(|error| {
            log::error(format_args!(
                "another instance of tiny_http can't be started: {error}; raise the limits on threads and open files"
            ));
        })
    }

    /// Waits for the end of the burst and closes the extra parsers. Returns at once if another thread does so.
    pub fn close_idle(&self) {
        let mut state = self.state();
        if state.count <= 1 || state.is_closing {
            return;
        }
        state.is_closing = true;
        while state.count > 1 {
            if state.burst_at.elapsed() >= EXTRA_FOR
                && let Some(parser) = state.idle.pop()
            {
                state.count -= 1;
                drop(state);
                drop(parser);
                state = self.state();
                continue;
            }
            drop(state);
            std::thread::sleep(CHECK_EVERY);
            state = self.state();
        }
        state.is_closing = false;
    }

    /// Parsers in any state.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.state().count
    }

    /// Makes the idle ones fail at their next use.
    #[cfg(test)]
    pub fn break_one(&self) {
        let mut state = self.state();
        assert!(state.idle.iter_mut().all(|parser| parser.read(b"\xff\xff\r\n\r\n").is_err()));
    }

    fn state(&self) -> MutexGuard<'_, ParserState> {
        lock(&self.state)
    }
}

fn name(number: u64) -> String {
    format!("api-{number}.sock")
}

impl Lease<'_> {
    fn read(&mut self, head: &[u8]) -> io::Result<ParsedRequest> {
        match &mut self.parser {
            Some(parser) => parser.read(head),
            None => Err(io::Error::other("its parser was given back already")),
        }
    }

    fn give_back(mut self) {
        if let Some(parser) = self.parser.take() {
            let mut state = self.parsers.state();
            state.idle.push(parser);
            let is_awaited = state.waiting > 0;
            if is_awaited {
                state.burst_at = Instant::now();
            }
            drop(state);
            if is_awaited {
                self.parsers.changed.notify_one();
            }
            std::mem::forget(self);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.parsers.state();
        state.count -= 1;
        let pause = if self.parser.is_none() && state.count > 0 { LONG_PAUSE } else { PAUSE };
        state.make_at = Instant::now() + pause;
        drop(state);
        self.parsers.changed.notify_all();
    }
}
