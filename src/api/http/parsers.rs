//! The parsers: how many there are, and who has one when.
//!
//! Owns: their number, one to begin with, more while requests wait, and the end of those that only a rush has needed.
//! Never: a client's connection; a request that was read: by then its parser is free again.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{Parser, Read};
use crate::log;
use crate::os::random;
use crate::sync::{lock, wait_for};

/// A head is read within some ten microseconds: so few parsers keep two cores busy, and their memory small.
const PARSERS_MAX: usize = 4;
/// A request that has waited longer than this makes another parser.
const PATIENCE: Duration = Duration::from_millis(1);
/// As long as this a request waits for a parser.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);
/// After one has failed, or could not be made, for so long none is made: the threads of a dead one take their seconds to
/// end and must not pile up.
const PAUSE: Duration = Duration::from_millis(100);
/// The same after one could not be made while there are others.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// An extra parser that nothing has needed for so long is closed.
const EXTRA_FOR: Duration = Duration::from_secs(5);
/// Between two looks for such parsers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A directory of that name is not there yet.
const DIRECTORY_BYTES: usize = 8;

/// The parsers that there are.
pub struct Parsers {
    directory: PathBuf,
    state: Mutex<State>,
    /// A parser is free, or one may be made.
    changed: Condvar,
}

struct State {
    idle: Vec<Parser>,
    /// The parsers that are idle, in use, or being made.
    count: usize,
    /// Parsers made so far: each has a socket of its own name.
    made: u64,
    /// Requests that wait for a parser. A later one does not overtake them.
    waiting: usize,
    /// Before this no parser is made.
    make_at: Instant,
    /// When requests waited for the last time.
    rush_at: Instant,
    /// A thread looks for parsers to close.
    is_closing: bool,
}

/// A parser with its socket in a new directory. When the state directory was removed, stops and deletions still have to be
/// understood.
fn elsewhere(name: &str) -> io::Result<Parser> {
    let directory = env::temp_dir().join(format!("servisor-{}", random::hex(DIRECTORY_BYTES)?));
    DirBuilder::new().mode(0o700).create(&directory)?;
    let parser = Parser::open(&directory, name);
    let _ = fs::remove_dir(&directory);
    parser
}

/// A parser in use, or being made. Unless it is given back it is lost, after a panic too.
pub(super) struct Lease<'a> {
    parsers: &'a Parsers,
    parser: Option<Parser>,
}

impl Parsers {
    /// One parser, with its socket in `directory`.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new(directory: &Path) -> io::Result<Parsers> {
        let now = Instant::now();
        let idle = vec![Parser::open(directory, &name(0))?];
        let state = State { idle, count: 1, made: 1, waiting: 0, make_at: now, rush_at: now, is_closing: false };
        Ok(Parsers { directory: directory.to_owned(), state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Has a head read. After a failure it is read once more, by a fresh parser: nothing of the request was done yet.
    ///
    /// # Errors
    /// It could not be read.
    pub fn read(&self, head: &[u8]) -> io::Result<Read> {
        let mut lease = self.take()?;
        let error = match lease.read(head) {
            Ok(read) => {
                lease.give_back();
                return Ok(read);
            }
            Err(error) => error,
        };
        log::error(format_args!("an internal HTTP server failed, it is started anew: {error}"));
        // It keeps its place among the others: their number does not grow.
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
                1..PARSERS_MAX => Some(state.make_at.max(begun + PATIENCE)),
                PARSERS_MAX.. => None,
            };
            if make_at.is_some_and(|at| at <= now) {
                state.count += 1;
                state.waiting -= usize::from(is_waiting);
                state.rush_at = now;
                // None is made beside it before it is there.
                state.make_at = now + PATIENCE;
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
                // One of the others will be free soon.
                is_waiting = false;
                continue;
            }
            if now >= limit {
                state.waiting -= usize::from(is_waiting);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no internal HTTP server is free"));
            }
            state.waiting += usize::from(!is_waiting);
            is_waiting = true;
            let patience = make_at.map_or(limit, |at| at.min(limit)).saturating_duration_since(now);
            state = wait_for(&self.changed, state, patience);
        }
    }

    /// Makes a parser that is counted already. Without the lock: it takes as long as it takes.
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
            log::error(format_args!("an internal HTTP server can't be started: {error}"));
        })
    }

    /// Closes the extra parsers when the rush is over, and waits for that. One thread at a time does it.
    pub fn close_idle(&self) {
        let mut state = self.state();
        if state.count <= 1 || state.is_closing {
            return;
        }
        state.is_closing = true;
        while state.count > 1 {
            if state.rush_at.elapsed() >= EXTRA_FOR
                && let Some(parser) = state.idle.pop()
            {
                state.count -= 1;
                drop(state);
                drop(parser);
                state = self.state();
                continue;
            }
            drop(state);
            std::thread::sleep(LOOK_EVERY);
            state = self.state();
        }
        state.is_closing = false;
    }

    /// Parsers in any state.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.state().count
    }

    /// Makes the idle ones fail when they are used next.
    #[cfg(test)]
    pub fn break_one(&self) {
        let mut state = self.state();
        assert!(state.idle.iter_mut().all(|parser| parser.read(b"\xff\xff\r\n\r\n").is_err()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn name(number: u64) -> String {
    format!("api-{number}.sock")
}

impl Lease<'_> {
    fn read(&mut self, head: &[u8]) -> io::Result<Read> {
        match &mut self.parser {
            Some(parser) => parser.read(head),
            None => Err(io::Error::other("its parser was given back already")),
        }
    }

    /// The next request may follow.
    fn give_back(mut self) {
        if let Some(parser) = self.parser.take() {
            let mut state = self.parsers.state();
            state.idle.push(parser);
            let is_awaited = state.waiting > 0;
            if is_awaited {
                state.rush_at = Instant::now();
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
    /// It was lost, or could not be made.
    fn drop(&mut self) {
        let mut state = self.parsers.state();
        state.count -= 1;
        let pause = if self.parser.is_none() && state.count > 0 { LONG_PAUSE } else { PAUSE };
        state.make_at = Instant::now() + pause;
        drop(state);
        self.parsers.changed.notify_all();
    }
}
