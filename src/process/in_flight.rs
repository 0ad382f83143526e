//! Counting operations in flight.
//!
//! Owns: the numbers of begun and of ended operations. Never: what they do.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter of operations that several threads begin and end.
#[derive(Debug, Default)]
pub struct InFlight {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// An operation, ended on drop.
pub struct Operation<'a>(&'a InFlight);

/// A moment at which nothing was in flight.
#[derive(Debug, Clone, Copy)]
pub struct Idle(u64);

impl InFlight {
    pub fn begin(&self) -> Operation<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Operation(self)
    }

    /// Whether nothing is in flight, and since when.
    pub fn idle(&self) -> Option<Idle> {
        // In this order: an operation that begins in between makes them differ.
        let ended = self.ended.load(Ordering::SeqCst);
        (self.begun.load(Ordering::SeqCst) == ended).then_some(Idle(ended))
    }

    /// Whether nothing has begun since `idle`.
    pub fn is_idle_since(&self, idle: Idle) -> bool {
        self.begun.load(Ordering::SeqCst) == idle.0
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_idle_when_all_that_began_has_ended() {
        let flights = InFlight::default();
        let idle = flights.idle().unwrap();
        let operation = flights.begin();
        let another = flights.begin();
        drop(operation);
        assert!(flights.idle().is_none() && !flights.is_idle_since(idle));
        drop(another);
        assert!(!flights.is_idle_since(idle) && flights.is_idle_since(flights.idle().unwrap()));
    }
}
