//! The sequence of visible changes.
//!
//! Owns: the sequence of changes, the newest one of each server, the last deletions, and the waiters. Never: the
//! content of a change: waiters read the views again.
//!
//! A change is visible before it is counted: a reader that has seen the count sees the change, or a later one. This
//! lock is a leaf: nothing else is locked, sent or waited for while it is held, so it may be taken under another lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::model::spec::Slug;
use crate::os::waker::Waker;
use crate::runs::ClosedBook;
use crate::sorted::Sorted;
use crate::sync::{lock, wait_for};

/// The number of deletions that are remembered for readers of events that reconnect.
const DELETIONS: usize = 256;

/// How many changes there were. A client that waits for a state compares two of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeCount(u64);

impl ChangeCount {
    /// Before the first change.
    pub const NONE: ChangeCount = ChangeCount(0);

    /// The count as a sequence number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The number of a sequence as a count.
    pub fn of(number: u64) -> ChangeCount {
        ChangeCount(number)
    }
}

/// The deletion of a server.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// The number of this change.
    pub number: u64,
    pub slug: Slug,
    pub runs: ClosedBook,
}

/// What has changed since a count.
#[derive(Debug, Default)]
pub struct ChangesSince {
    /// The servers that have, each with the number of its newest change.
    pub marks: Vec<(u64, Slug)>,
    /// The servers that were deleted, the first one first.
    pub deletions: Vec<Deletion>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    marks: Sorted<Slug, u64>,
    deletions: VecDeque<Deletion>,
    /// The number of the newest deletion that is not remembered any more.
    forgotten: u64,
    wakers: Vec<Arc<Waker>>,
}

#[derive(Debug, Default)]
pub struct Changes {
    state: Mutex<State>,
    more: Condvar,
    waiting: AtomicUsize,
}

/// Wakes its waker at each change until it is dropped.
pub struct WakeGuard<'a> {
    changes: &'a Changes,
    waker: Arc<Waker>,
}

impl Drop for WakeGuard<'_> {
    fn drop(&mut self) {
        self.changes.state().wakers.retain(|waker| !Arc::ptr_eq(waker, &self.waker));
    }
}

impl Changes {
    /// The number of changes until now. Read it before the look that decides whether to wait.
    pub fn count(&self) -> ChangeCount {
        ChangeCount(self.state().count)
    }

    /// Records a change of `slug`, which is visible by now. Returns its number.
    pub fn mark(&self, slug: &Slug) -> u64 {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        match state.marks.get_mut(slug) {
            Some(mark) => *mark = number,
            None => drop(state.marks.insert(slug.clone(), number)),
        }
        self.wake(&state);
        number
    }

    /// Records the deletion of `slug`.
    pub fn delete(&self, slug: &Slug, runs: ClosedBook) {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        state.marks.remove(slug);
        if state.deletions.len() == DELETIONS
            && let Some(oldest) = state.deletions.pop_front()
        {
            state.forgotten = oldest.number;
        }
        state.deletions.push_back(Deletion { number, slug: slug.clone(), runs });
        self.wake(&state);
    }

    /// Wakes all waiters for a change that is not about one server.
    pub fn wake_all(&self) {
        let mut state = self.state();
        state.count += 1;
        self.wake(&state);
    }

    /// Returns the changes after `seen`, and the count up to which they are complete; `None` if it is too long ago.
    pub fn since(&self, seen: ChangeCount) -> Option<(ChangesSince, ChangeCount)> {
        let state = self.state();
        if state.forgotten > seen.0 || seen.0 > state.count {
            return None;
        }
        let marks = state.marks.iter().filter(|(_, mark)| *mark > seen.0);
        let deletions = state.deletions.iter().filter(|deletion| deletion.number > seen.0);
        let since = ChangesSince {
            marks: marks.map(|(slug, mark)| (*mark, slug.clone())).collect(),
            deletions: deletions.cloned().collect(),
        };
        Some((since, ChangeCount(state.count)))
    }

    /// Wakes `waker` at each change from now on.
    pub fn wake_on_change(&self, waker: Arc<Waker>) -> WakeGuard<'_> {
        self.state().wakers.push(Arc::clone(&waker));
        WakeGuard { changes: self, waker }
    }

    /// Waits until there are more than `seen`, but not past `deadline`.
    pub fn wait(&self, seen: ChangeCount, deadline: Instant) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.count != seen.0 || left.is_zero() {
                break;
            }
            state = wait_for(&self.more, state, left);
        }
        drop(state);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self, state: &State) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.more.notify_all();
        }
        // An eventfd takes it without waiting.
        state.wakers.iter().for_each(|waker| waker.wake());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn slug(text: &str) -> Slug {
        Slug::parse(text).unwrap()
    }

    fn names(since: &ChangesSince) -> Vec<(u64, &str)> {
        since.marks.iter().map(|(mark, slug)| (*mark, slug.as_str())).collect()
    }

    #[test]
    fn a_waiting_client_wakes_at_the_next_change_and_never_waits_for_an_earlier_one() {
        let changes = Arc::new(Changes::default());
        let seen = changes.count();
        changes.wake_all();
        let far = Instant::now() + Duration::from_secs(60);
        changes.wait(seen, far);
        let seen = changes.count();
        let waker = Arc::clone(&changes);
        let waiter = std::thread::spawn(move || changes.wait(seen, far));
        while waker.waiting.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        waker.mark(&slug("web"));
        waiter.join().unwrap();
        assert!(Instant::now() < far);
    }

    #[test]
    fn a_wait_has_an_end() {
        let changes = Changes::default();
        changes.wait(changes.count(), Instant::now() + Duration::from_millis(1));
    }

    #[test]
    fn a_server_stands_once_however_often_it_changed() {
        let changes = Changes::default();
        for _ in 0..3 {
            changes.mark(&slug("a"));
        }
        changes.mark(&slug("b"));
        let (since, count) = changes.since(ChangeCount::NONE).unwrap();
        assert_eq!((names(&since), count), (vec![(3, "a"), (4, "b")], ChangeCount(4)));
        changes.mark(&slug("b"));
        let (since, _) = changes.since(count).unwrap();
        assert_eq!(names(&since), [(5, "b")]);
        assert!(changes.since(ChangeCount(99)).is_none(), "a number of another life");
    }

    #[test]
    fn deletions_are_reported_once_and_dropped_in_the_end() {
        let changes = Changes::default();
        changes.mark(&slug("a"));
        let seen = changes.count();
        changes.delete(&slug("a"), ClosedBook::default());
        let (since, count) = changes.since(seen).unwrap();
        assert!(since.marks.is_empty() && since.deletions[0].slug == slug("a"));
        assert!(changes.since(count).unwrap().0.deletions.is_empty());
        for _ in 0..DELETIONS {
            changes.delete(&slug("b"), ClosedBook::default());
        }
        assert!(changes.since(seen).is_none());
        assert_eq!(changes.since(count).unwrap().0.deletions.len(), DELETIONS);
    }

    #[test]
    fn a_waker_is_woken_until_its_guard_is_dropped() {
        let (changes, waker) = (Changes::default(), Arc::new(Waker::new().unwrap()));
        let is_woken = || {
            let mut poll = crate::os::poll::Poll::default();
            let place = poll.add(&*waker, crate::os::poll::Interest::Read);
            poll.wait(Some(Duration::ZERO)).unwrap();
            waker.drain();
            poll.is_ready(place)
        };
        let guard = changes.wake_on_change(Arc::clone(&waker));
        changes.mark(&slug("a"));
        assert!(is_woken());
        drop(guard);
        changes.mark(&slug("a"));
        assert!(!is_woken());
    }
}
