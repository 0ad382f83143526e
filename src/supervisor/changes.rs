//! The news that something about some server is different.
//!
//! Owns: a count of changes, and who waits for the next one. Never: what has changed: whoever waits looks again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many changes there were. A client that waits for a state compares two of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(u64);

/// The count of changes.
#[derive(Debug, Default)]
pub struct Changes {
    count: Mutex<u64>,
    more: Condvar,
    waiting: AtomicUsize,
}

impl Changes {
    /// How many there were until now. To be asked before the look that decides whether to wait.
    pub fn count(&self) -> Count {
        Count(*self.counter())
    }

    /// One more; everybody who waits looks again.
    pub fn tell(&self) {
        *self.counter() += 1;
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.more.notify_all();
        }
    }

    /// Waits until there are more than `seen`, but not past `deadline`.
    pub fn wait(&self, seen: Count, deadline: Instant) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut count = self.counter();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if *count != seen.0 || left.is_zero() {
                break;
            }
            count = self.more.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(count);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn counter(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn who_waits_hears_of_the_next_change_and_never_waits_for_one_that_was() {
        let changes = Arc::new(Changes::default());
        let seen = changes.count();
        changes.tell();
        let far = Instant::now() + Duration::from_secs(60);
        changes.wait(seen, far);
        let seen = changes.count();
        let teller = Arc::clone(&changes);
        let waiter = std::thread::spawn(move || changes.wait(seen, far));
        while teller.waiting.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        teller.tell();
        waiter.join().unwrap();
        assert!(Instant::now() < far);
    }

    #[test]
    fn a_wait_has_an_end() {
        let changes = Changes::default();
        changes.wait(changes.count(), Instant::now() + Duration::from_millis(1));
    }
}
