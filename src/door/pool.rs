//! The lines by which the heads of requests are read, and who gets one when.
//!
//! Owns: the lines, the queue for them, and their number: one to begin with, more while requests wait, and another one in
//! the place of one that is lost. Never: a client's connection; a request that was read: by then its line is free again.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::Refusal;
use super::{Backend, Line, Request};
use crate::log;

/// A head is read within some ten microseconds: so few lines keep two cores busy, and their memory small.
const LINES_MAX: usize = 4;
/// After so much waiting the line that there is does not do.
const PATIENCE: Duration = Duration::from_millis(1);
/// As long as this a request waits for a line.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);
/// After a line was lost, or could not be made, for so long none is made: the threads of a dead one take their seconds to
/// end and must not pile up, whatever it is that kills one after the other.
const PAUSE: Duration = Duration::from_millis(100);

/// The same after one could not be made while there were others: what is short then is short for some time, and each attempt
/// keeps a client waiting.
const LONG_PAUSE: Duration = Duration::from_secs(2);

/// The lines that there are.
pub struct Pool {
    backend: Arc<dyn Backend>,
    state: Mutex<State>,
}

struct State {
    idle: Vec<Box<dyn Line>>,
    /// The lines that are idle, in use, or being made.
    lines: usize,
    /// Who waits for a line, the first one first: nobody gets one before someone who has waited longer, except
    /// that one who could not make a line waits anew.
    queue: VecDeque<Arc<Waiter>>,
    /// Before this no line is made.
    make_at: Instant,
}

struct Waiter {
    turn: Condvar,
    since: Instant,
}

/// A line that is in use, or being made. Unless it is given back it is lost, after a panic too.
struct Lease<'a> {
    pool: &'a Pool,
    line: Option<Box<dyn Line>>,
}

/// A place in the queue. However it is left, the next one has a look.
struct Place<'a> {
    pool: &'a Pool,
    waiter: Arc<Waiter>,
}

impl Pool {
    /// With one line.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new(backend: Arc<dyn Backend>) -> io::Result<Pool> {
        let idle = vec![backend.open()?];
        let state = State { idle, lines: 1, queue: VecDeque::new(), make_at: Instant::now() };
        Ok(Pool { backend, state: Mutex::new(state) })
    }

    /// Has the head of a request read.
    ///
    /// # Errors
    /// It could not be; nothing of the request has been done then.
    pub fn read(&self, head: &[u8]) -> Result<Box<dyn Request>, Refusal> {
        let mut lease = self.check_out()?;
        let read = lease.read(head).map_err(|error| {
            log::error(format_args!("an internal HTTP server failed, it is started anew: {error}"));
            Refusal::Unavailable
        })?;
        lease.give_back();
        Ok(read)
    }

    fn check_out(&self) -> Result<Lease<'_>, Refusal> {
        let limit = Instant::now() + QUEUE_LIMIT;
        let mut place: Option<Place<'_>> = None;
        let mut state = self.state();
        loop {
            let is_first = state.is_first(place.as_ref());
            if let Some(line) = if is_first { state.idle.pop() } else { None } {
                drop(state);
                return Ok(Lease { pool: self, line: Some(line) });
            }
            let now = Instant::now();
            let make_at = state.make_at(place.as_ref().map_or(now, |place| place.waiter.since));
            if is_first && make_at.is_some_and(|at| at <= now) {
                state.lines += 1;
                drop(state);
                // Those behind need not wait for it: they get the lines that there are.
                drop(place.take());
                match self.make() {
                    Some(lease) => return Ok(lease),
                    None if self.state().lines > 0 => {}
                    None => return Err(Refusal::Unavailable),
                }
                state = self.state();
                continue;
            }
            // If it has come to that and others are before this one, they will call it.
            let wake_at = make_at.filter(|at| *at > now).map_or(limit, |at| at.min(limit));
            let patience = wake_at.saturating_duration_since(now);
            if patience.is_zero() {
                drop(state);
                return Err(Refusal::Unavailable);
            }
            let place = place.get_or_insert_with(|| {
                let waiter = Arc::new(Waiter { turn: Condvar::new(), since: now });
                state.queue.push_back(Arc::clone(&waiter));
                Place { pool: self, waiter }
            });
            state = place.waiter.turn.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes a line that is counted already. Without the lock: it takes as long as it takes.
    fn make(&self) -> Option<Lease<'_>> {
        let mut lease = Lease { pool: self, line: None };
        let made = self.backend.open().inspect_err(|error| {
            log::error(format_args!("an internal HTTP server can't be started: {error}"));
        });
        lease.line = made.ok();
        lease.line.is_some().then_some(lease)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_first(&self, place: Option<&Place<'_>>) -> bool {
        match (self.queue.front(), place) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(first), Some(place)) => Arc::ptr_eq(first, &place.waiter),
        }
    }

    /// When someone who has waited since then may make a line; `None` if never, as things are.
    fn make_at(&self, since: Instant) -> Option<Instant> {
        match self.lines {
            // There is nothing to be patient for.
            0 => Some(self.make_at),
            1..LINES_MAX => Some(self.make_at.max(since + PATIENCE)),
            LINES_MAX.. => None,
        }
    }

    /// Whoever is first may go on now.
    fn call_first(&self) {
        if let Some(first) = self.queue.front() {
            first.turn.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.queue.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        // There may be a line for the next one too, or its time to make one has come while it was not the first.
        let now = Instant::now();
        let is_overdue = |waiter: &Arc<Waiter>| state.make_at(waiter.since).is_some() && waiter.since + PATIENCE <= now;
        if !state.idle.is_empty() || state.queue.front().is_some_and(is_overdue) {
            state.call_first();
        }
    }
}

impl Lease<'_> {
    fn read(&mut self, head: &[u8]) -> io::Result<Box<dyn Request>> {
        match &mut self.line {
            Some(line) => line.read(head),
            None => Err(io::Error::other("its line was given back already")),
        }
    }

    /// The next request may follow.
    fn give_back(mut self) {
        if let Some(line) = self.line.take() {
            let mut state = self.pool.state();
            state.idle.push(line);
            state.call_first();
            drop(state);
            std::mem::forget(self);
        }
    }
}

impl Drop for Lease<'_> {
    /// It was lost.
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.lines -= 1;
        let pause = if self.line.is_none() && state.lines > 0 { LONG_PAUSE } else { PAUSE };
        state.make_at = Instant::now() + pause;
        // Things are otherwise than all who wait have thought.
        state.queue.iter().for_each(|waiter| waiter.turn.notify_one());
    }
}
