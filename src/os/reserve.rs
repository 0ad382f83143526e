//! One thread in reserve: it takes a job when the system has no other thread to give.
//!
//! Owns: that thread, for as long as the process lives. Never: what a job does.
//!
//! A fork bomb in a server takes each number that becomes free at once. So the thread is made in advance and kept: it waits
//! for its next job when one is done.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::thread;

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On a thread of its own.
    Own,
    /// On the thread in reserve: the next job may be waiting for it, so this one must be short.
    Reserve,
}

type Job = Box<dyn FnOnce(Place) + Send>;

/// What the thread in reserve is at.
enum State {
    Idle,
    Given(Job),
    Busy,
    Closed,
}

struct Shared {
    state: Mutex<State>,
    given: Condvar,
}

/// A thread in reserve. It ends when this is dropped, or after the job that it is at.
pub struct Reserve {
    shared: Arc<Shared>,
    stack: usize,
}

impl Reserve {
    /// Makes the thread, called `name`. Jobs have stacks of `stack` bytes, wherever they run.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(name: &str, stack: usize) -> io::Result<Reserve> {
        let shared = Arc::new(Shared { state: Mutex::new(State::Idle), given: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(name, stack, move || for_thread.run())?;
        Ok(Reserve { shared, stack })
    }

    /// Runs `job` on a new thread called `name`, or on the one in reserve if the system has no thread to give.
    ///
    /// # Errors
    /// There is no thread, and the one in reserve is busy. The job is dropped then.
    pub fn spawn(&self, name: &str, job: Job) -> io::Result<Place> {
        // The standard library drops what it can't start.
        let job = Arc::new(Mutex::new(Some(job)));
        let for_thread = Arc::clone(&job);
        match thread::spawn(name, self.stack, move || run(take(&for_thread), Place::Own)) {
            Ok(_) => Ok(Place::Own),
            Err(_) if take(&job).is_some_and(|job| self.shared.give(job)) => Ok(Place::Reserve),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        *self.shared.state() = State::Closed;
        self.shared.given.notify_one();
    }
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reserve")
    }
}

fn take(job: &Mutex<Option<Job>>) -> Option<Job> {
    job.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn run(job: Option<Job>, place: Place) {
    if let Some(job) = job {
        job(place);
    }
}

impl Shared {
    /// Whether the thread was idle, and has the job now.
    fn give(&self, job: Job) -> bool {
        let mut state = self.state();
        match *state {
            State::Idle => {
                *state = State::Given(job);
                self.given.notify_one();
                true
            }
            State::Given(_) | State::Busy | State::Closed => false,
        }
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            // The report of a panic is made where it happens; the thread outlives it.
            let _ = catch_unwind(AssertUnwindSafe(|| job(Place::Reserve)));
            let mut state = self.state();
            match *state {
                State::Busy => *state = State::Idle,
                State::Idle | State::Given(_) | State::Closed => {}
            }
        }
    }

    /// Waits for a job; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            match std::mem::replace(&mut *state, State::Busy) {
                State::Given(job) => return Some(job),
                State::Closed => {
                    *state = State::Closed;
                    return None;
                }
                State::Idle | State::Busy => *state = State::Idle,
            }
            state = self.given.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, sync_channel};
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(10);
    /// No system has so much address space to give, so no thread can be made.
    const IMPOSSIBLE: usize = 1 << 60;

    /// A reserve in a system that has no other thread to give.
    fn starved() -> Reserve {
        let mut reserve = Reserve::start("reserve", thread::SMALL_STACK).unwrap();
        reserve.stack = IMPOSSIBLE;
        reserve
    }

    #[test]
    fn a_job_has_a_thread_of_its_own_while_there_are_threads() {
        let reserve = Reserve::start("reserve", thread::SMALL_STACK).unwrap();
        let (told, heard) = channel();
        let job = move |place| told.send((place, std::thread::current().name().map(str::to_owned))).unwrap();
        assert_eq!(reserve.spawn("own", Box::new(job)).unwrap(), Place::Own);
        assert_eq!(heard.recv_timeout(LIMIT).unwrap(), (Place::Own, Some("own".into())));
    }

    #[test]
    fn without_threads_one_job_after_the_other_runs_in_reserve() {
        let reserve = starved();
        for number in 0..100 {
            let (told, heard) = channel();
            let job = move |place| {
                told.send(place).unwrap();
                // It outlives what a job does to it.
                assert_ne!(number % 10, 3, "on purpose");
            };
            assert_eq!(reserve.spawn("none", Box::new(job)).unwrap(), Place::Reserve);
            assert_eq!(heard.recv_timeout(LIMIT).unwrap(), Place::Reserve);
            let given = Instant::now();
            while !matches!(*reserve.shared.state(), State::Idle) {
                assert!(given.elapsed() < LIMIT, "it is not idle again");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_busy_reserve_is_an_error_and_the_job_is_dropped() {
        let reserve = starved();
        let (hold, held) = sync_channel::<()>(0);
        let (begun, has_begun) = channel();
        let long = move |_| {
            begun.send(()).unwrap();
            assert!(held.recv().is_err());
        };
        reserve.spawn("none", Box::new(long)).unwrap();
        has_begun.recv_timeout(LIMIT).unwrap();
        let (kept, dropped) = channel::<()>();
        assert!(reserve.spawn("none", Box::new(move |_| drop(kept))).is_err());
        assert_eq!(dropped.recv_timeout(LIMIT), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
        drop(hold);
    }
}
