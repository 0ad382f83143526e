//! Memory that all clients share: how much of it is free, and which requests wait for a share.
//!
//! Owns: the count and the queue. Never: the memory itself; a wait without a limit.

use crate::sync::{lock, wait_for};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// A number of bytes, shared by all clients.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<BudgetState>,
    changed: Condvar,
}

#[derive(Debug)]
struct BudgetState {
    free: usize,
    next_ticket: u64,
    /// The tickets of waiting requests, in order: small requests must not starve a large one.
    queue: Vec<u64>,
}

/// A part of a budget, returned on drop.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Budget> {
        let state = BudgetState { free: bytes, next_ticket: 0, queue: Vec::new() };
        Arc::new(Budget { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// An empty share, which can grow.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }

    /// Bytes that are free.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.state().free
    }

    fn state(&self) -> MutexGuard<'_, BudgetState> {
        lock(&self.state)
    }
}

impl Share {
    /// Grows it to at least `bytes`, waiting for its turn until `deadline`. Returns whether it did.
    pub fn grow_to(&mut self, bytes: usize, deadline: Instant) -> bool {
        let Some(missing) = bytes.checked_sub(self.bytes).filter(|missing| *missing > 0) else { return true };
        let mut state = self.budget.state();
        if !state.queue.is_empty() || state.free < missing {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.queue.push(ticket);
            while state.queue.first() != Some(&ticket) || state.free < missing {
                let patience = deadline.saturating_duration_since(Instant::now());
                if patience.is_zero() {
                    state.queue.retain(|waiting| *waiting != ticket);
                    drop(state);
                    self.budget.changed.notify_all();
                    return false;
                }
                state = wait_for(&self.budget.changed, state, patience);
            }
            state.queue.remove(0);
            // The next one may have enough too.
            self.budget.changed.notify_all();
        }
        state.free -= missing;
        self.bytes = bytes;
        true
    }

    /// The same without a wait.
    pub fn try_grow_to(&mut self, bytes: usize) -> bool {
        self.grow_to(bytes, Instant::now())
    }

    pub fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            let mut state = self.budget.state();
            state.free += bytes;
            let is_awaited = !state.queue.is_empty();
            drop(state);
            if is_awaited {
                self.budget.changed.notify_all();
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn shares_are_taken_in_turn_and_given_back() {
        let budget = Budget::new(100);
        let mut held = budget.share();
        assert!(held.try_grow_to(80) && held.try_grow_to(90) && held.try_grow_to(10));
        assert_eq!(budget.free(), 10);
        let mut other = budget.share();
        assert!(!other.try_grow_to(11) && other.try_grow_to(10));
        let begun = Instant::now();
        assert!(!budget.share().grow_to(1, begun + Duration::from_millis(30)));
        assert!(begun.elapsed() >= Duration::from_millis(30));
        let waiting = std::thread::spawn({
            let mut large = budget.share();
            move || large.grow_to(95, Instant::now() + Duration::from_secs(20))
        });
        while budget.state().queue.is_empty() {
            std::thread::yield_now();
        }
        // What is free is kept for the one that has waited longer.
        drop(other);
        assert!(!budget.share().try_grow_to(1));
        drop(held);
        assert!(waiting.join().unwrap());
        assert_eq!(budget.free(), 100);
    }
}
