//! How the runs of servers ended: one book a server.
//!
//! Owns: the numbers of runs, the newest ended ones, and the counters that `/metrics` shows. Never: a process, a
//! decision.
//!
//! A number counts every install and start, and every failure before them, without gaps; it continues over a restart of
//! the daemon ([`mod@file`]). Each ended run has the sequence number of the change that made it visible, so that a
//! client that reconnects to the events gets the runs that it missed, or their number.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::model::ending::{EndingKind, Reason};
pub use crate::model::run::{EndedRun, Living, Usage};
use crate::sync::lock;

pub mod books;
pub mod file;
pub mod form;
pub mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

/// The number of ended runs that are kept of each server.
pub const KEPT: usize = 20;
/// Of as many more it is known when they ended; 4 KiB for a server that crashes all the time.
const REMEMBERED: usize = 512;
/// The same of a deleted server, of which there can be 256.
const REMEMBERED_CLOSED: usize = 64;

/// What is counted of a server over its runs. Nothing of it ever decreases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Ended runs, by [`Reason`].
    pub exits: [u64; Reason::ALL.len()],
    pub restarts: u64,
    /// Processor time of ended runs, and of the living one as far as it was seen.
    pub cpu: Duration,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { exits: [0; Reason::ALL.len()], restarts: 0, cpu: Duration::ZERO }
    }
}

/// What a reader of events gets of a book.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RunsSince {
    /// The kept runs that ended after the given sequence number, the oldest first, each with its own.
    pub runs: Vec<(u64, Arc<EndedRun>)>,
    /// How many ended before them, after that number, and are not kept any more.
    pub missed: u64,
}

/// What is remembered of the book of a deleted server.
#[derive(Debug, Clone, Default)]
pub struct ClosedBook {
    /// The newest run, with its sequence number.
    pub last: Option<(u64, Arc<EndedRun>)>,
    /// The sequence numbers of those before it.
    pub earlier: Vec<u64>,
}

/// The book of one server.
#[derive(Debug, Default)]
pub struct Book {
    state: Mutex<BookState>,
    /// Whether a write is queued.
    is_queued: AtomicBool,
}

#[derive(Debug, Default)]
struct BookState {
    /// The number of the newest run.
    last: u64,
    /// The living run, with the monotonic time of its beginning.
    living: Option<(Living, Instant)>,
    /// With their sequence numbers, the oldest first.
    ended: VecDeque<(u64, Arc<EndedRun>)>,
    /// The sequence numbers of the runs before these, the oldest first.
    dropped: VecDeque<u64>,
    /// A failed write of the file was reported.
    reported: bool,
    /// The sequence number of the newest run of which nothing is known any more.
    forgotten: u64,
    counters: Counters,
    /// Processor time that the living run was seen to have used.
    living_cpu: Duration,
}

impl Book {
    /// Continues where an earlier daemon stopped: its runs, and the number of its newest one.
    pub fn restored(ended: Vec<EndedRun>, last: u64) -> Book {
        let ended: VecDeque<_> = ended.into_iter().map(|run| (0, Arc::new(run))).collect();
        let last = ended.back().map_or(last, |(_, run)| last.max(run.run.number));
        let state = Mutex::new(BookState { last, ended, ..BookState::default() });
        Book { state, is_queued: AtomicBool::new(false) }
    }

    /// Begins a run and returns its number.
    pub fn begin(&self, kind: EndingKind, now: (SystemTime, Instant)) -> u64 {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        let living =
            Living { number, kind, started_at: now.0, ready_at: None, ready_after: None, pid: None, port: None };
        state.living = Some((living, now.1));
        number
    }

    /// Adds what became known of the living run.
    pub fn note(&self, change: impl FnOnce(&mut Living)) {
        if let Some((living, _)) = &mut self.state().living {
            change(living);
        }
    }

    /// Counts an automatic restart.
    pub fn count_restart(&self) {
        self.state().counters.restarts += 1;
    }

    /// Ends the living run. `ended` gets it with the moment of its beginning; `sequence` gives the number of this
    /// change. Both are called under the book's lock, and only if a run lives.
    pub fn end(
        &self,
        ended: impl FnOnce(Living, Instant) -> EndedRun,
        sequence: impl FnOnce() -> u64,
    ) -> Option<Arc<EndedRun>> {
        let mut state = self.state();
        let (living, begun) = state.living.take()?;
        let run = Arc::new(ended(living, begun));
        state.counters.exits[run.reason as usize] += 1;
        // The kernel's account has no process that the leader did not wait for; what was shown before is not taken
        // back.
        let seen = std::mem::take(&mut state.living_cpu);
        state.counters.cpu += run.usage.map_or(seen, |usage| usage.cpu.max(seen));
        let sequence = sequence();
        state.ended.push_back((sequence, Arc::clone(&run)));
        if state.ended.len() > KEPT
            && let Some((sequence, _)) = state.ended.pop_front()
        {
            state.dropped.push_back(sequence);
        }
        if state.dropped.len() > REMEMBERED
            && let Some(sequence) = state.dropped.pop_front()
        {
            state.forgotten = sequence;
        }
        Some(run)
    }

    /// The living run with the moment of its beginning, and the newest `limit` ended ones, the newest first.
    pub fn newest(&self, limit: usize) -> (Option<(Living, Instant)>, Vec<Arc<EndedRun>>) {
        let state = self.state();
        let ended = state.ended.iter().rev().take(limit).map(|(_, run)| Arc::clone(run)).collect();
        (state.living.clone(), ended)
    }

    pub fn last_ended(&self) -> Option<Arc<EndedRun>> {
        self.state().ended.back().map(|(_, run)| Arc::clone(run))
    }

    /// What is remembered when the server is deleted.
    pub fn closed(&self) -> ClosedBook {
        let state = self.state();
        let numbers = state.dropped.iter().chain(state.ended.iter().map(|(number, _)| number)).rev().skip(1);
        ClosedBook { last: state.ended.back().cloned(), earlier: numbers.take(REMEMBERED_CLOSED).copied().collect() }
    }

    /// The number of the newest run.
    pub fn last_number(&self) -> u64 {
        self.state().last
    }

    /// The runs that ended after the change `sequence`.
    ///
    /// # Errors
    /// It is too long ago; ended runs since then are dropped.
    pub fn since(&self, sequence: u64) -> Result<RunsSince, TooOld> {
        let state = self.state();
        if state.forgotten > sequence {
            return Err(TooOld);
        }
        let later = state.ended.iter().filter(|(number, _)| *number > sequence);
        Ok(RunsSince {
            runs: later.map(|(number, run)| (*number, Arc::clone(run))).collect(),
            missed: state.dropped.iter().filter(|number| **number > sequence).count() as u64,
        })
    }

    /// Whether a failure to write the file was reported before; it counts as reported from now on.
    pub fn was_reported(&self) -> bool {
        std::mem::replace(&mut self.state().reported, true)
    }

    /// Marks a write as queued. Returns whether it was not queued before.
    fn enqueue(&self) -> bool {
        !self.is_queued.swap(true, Ordering::AcqRel)
    }

    /// Marks a write as no longer queued, just before it.
    fn dequeue(&self) {
        self.is_queued.store(false, Ordering::Release);
    }

    /// Records that the living run, whose leader is `leader`, was seen to have used `cpu`. Returns its number, and what
    /// all runs have used; `None` if another run lives.
    pub fn note_cpu(&self, leader: u32, cpu: Duration) -> Option<(u64, Duration)> {
        let mut state = self.state();
        let number = state.living.as_ref().filter(|(living, _)| living.pid == Some(leader))?.0.number;
        state.living_cpu = state.living_cpu.max(cpu);
        Some((number, state.counters.cpu + state.living_cpu))
    }

    /// The counters of the server.
    pub fn counters(&self) -> Counters {
        let state = self.state();
        let mut counters = state.counters.clone();
        counters.cpu += state.living_cpu;
        counters
    }

    fn state(&self) -> MutexGuard<'_, BookState> {
        lock(&self.state)
    }
}

/// A reader was away for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld;
