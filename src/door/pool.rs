//! The internal connections, and who gets one when.
//!
//! Owns: one generation of connections to the backend, the queue for them, and their replacement when anything is odd with
//! one. Never: a client's connection; a request twice: one that was lost may have been carried out.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Backend;
use super::answer::Refusal;
use super::exchange::Wire;
use crate::handoff::{Later, Reply};
use crate::log;

/// As long as this a request waits for a connection of its own.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);
/// Generations follow each other at least at this distance: the threads of a dead one take their seconds to end, and
/// must not pile up, whatever it is that kills one after the other.
const REBUILD_PAUSE: Duration = Duration::from_millis(100);
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
}

struct State {
    generation: u64,
    health: Health,
    idle: Vec<Wire>,
    /// Who waits for a connection, the first one first: nobody gets one before someone who has waited longer.
    queue: VecDeque<Arc<Condvar>>,
    /// Not before this may a new generation begin.
    rebuild_at: Instant,
}

/// A connection that is in use. Unless it is given back it takes its generation with it, so that a panic can't make the
/// pool smaller one by one.
struct Lease<'a> {
    pool: &'a Pool,
    generation: u64,
    wire: Option<Wire>,
}

/// A place in the queue. However it is left, the next one has a look.
struct Place<'a> {
    pool: &'a Pool,
    turn: Arc<Condvar>,
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
        let state = State {
            generation: 0,
            health: Health::Good,
            idle: wires(backend.open()?)?,
            queue: VecDeque::new(),
            rebuild_at: Instant::now(),
        };
        Ok(Pool { backend, state: Mutex::new(state) })
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
        let mut place = None;
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
                    if let Some(wire) = state.next_for(place.as_ref()) {
                        let generation = state.generation;
                        drop(state);
                        return Ok(Lease { pool: self, generation, wire: Some(wire) });
                    }
                }
                Health::Rebuilding => {}
            }
            let patience = wake_at.saturating_duration_since(now);
            if patience.is_zero() {
                drop(state);
                return Err(Refusal::Unavailable);
            }
            let place = place.get_or_insert_with(|| {
                let turn = Arc::new(Condvar::new());
                state.queue.push_back(Arc::clone(&turn));
                Place { pool: self, turn }
            });
            state = place.turn.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Without the lock: it takes as long as it takes, and others shall be able to give up waiting.
    fn rebuild(&self) -> Result<MutexGuard<'_, State>, Refusal> {
        let attempt = Rebuild(self);
        let idle = self.backend.open().and_then(wires).map_err(|error| {
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

fn wires(connections: Vec<UnixStream>) -> io::Result<Vec<Wire>> {
    connections.into_iter().map(Wire::new).collect()
}

impl State {
    /// A connection, if there is one for who has this `place`, or none yet.
    fn next_for(&mut self, place: Option<&Place<'_>>) -> Option<Wire> {
        let is_next = match (self.queue.front(), place) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(first), Some(place)) => Arc::ptr_eq(first, &place.turn),
        };
        if is_next { self.idle.pop() } else { None }
    }

    /// Whoever is first may go on now.
    fn call_first(&self) {
        if let Some(first) = self.queue.front() {
            first.notify_one();
        }
    }

    /// Things are otherwise than all who wait have thought.
    fn call_all(&self) {
        self.queue.iter().for_each(|turn| turn.notify_one());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.queue.retain(|turn| !Arc::ptr_eq(turn, &self.turn));
        // There may be more than one connection, or someone has to begin a new generation.
        if state.health != Health::Good || !state.idle.is_empty() {
            state.call_first();
        }
    }
}

impl Lease<'_> {
    fn exchange(&mut self, request: &[u8]) -> io::Result<(Reply, Option<u64>)> {
        match &mut self.wire {
            Some(wire) => wire.exchange(request),
            None => Err(io::Error::other("its connection was given back already")),
        }
    }

    /// The answer was read to its end: the next request may follow.
    fn give_back(mut self) {
        if let Some(wire) = self.wire.take() {
            let mut state = self.pool.state();
            if state.generation == self.generation && state.health == Health::Good {
                state.idle.push(wire);
                state.call_first();
            }
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.wire.is_none() {
            return;
        }
        let mut state = self.pool.state();
        if state.generation == self.generation && state.health == Health::Good {
            state.health = Health::Broken;
            state.idle.clear();
            state.call_all();
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
        state.call_all();
    }
}
