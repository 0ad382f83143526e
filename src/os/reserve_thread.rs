//! A thread in reserve, for jobs at the limit on processes.
//!
//! Owns: that thread. Never: what a job does.
//!
//! A fork bomb in a server takes each process number as soon as it is free. So the thread is started in advance and
//! waits for its next job when one is done.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::thread;
use crate::sync::{lock, wait};

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsOn {
    /// On a new thread.
    Own,
    /// On the thread in reserve: the next job may wait for it, so this one must be short.
    Reserve,
}

type ReserveJob = Box<dyn FnOnce(RunsOn) + Send>;

enum SlotState {
    Idle,
    Given(ReserveJob),
    Busy,
    Closed,
}

struct JobSlot {
    state: Mutex<SlotState>,
    given: Condvar,
}

/// The owner's side of the thread, which ends when this is dropped and its job is done.
pub struct ReserveThread {
    slot: Arc<JobSlot>,
    stack: usize,
}

impl ReserveThread {
    /// Starts the thread, named `name`. Jobs have stacks of `stack` bytes, wherever they run.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(name: &str, stack: usize) -> io::Result<ReserveThread> {
        let slot = Arc::new(JobSlot { state: Mutex::new(SlotState::Idle), given: Condvar::new() });
        let for_thread = Arc::clone(&slot);
        thread::spawn(name, stack, move || for_thread.run())?;
        Ok(ReserveThread { slot, stack })
    }

    /// Runs `job` on a new thread named `name`, or on the one in reserve if no thread can be started.
    ///
    /// # Errors
    /// No thread can be started, and the one in reserve is busy. The job is dropped.
    pub fn spawn(&self, name: &str, job: ReserveJob) -> io::Result<RunsOn> {
        // `std` drops the closure of a thread that can't be started.
        let job = Arc::new(Mutex::new(Some(job)));
        let for_thread = Arc::clone(&job);
        match thread::spawn(name, self.stack, move || run(take(&for_thread), RunsOn::Own)) {
            Ok(_) => Ok(RunsOn::Own),
            Err(_) if take(&job).is_some_and(|job| self.slot.give(job)) => Ok(RunsOn::Reserve),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ReserveThread {
    fn drop(&mut self) {
        // A job that no thread took is dropped after the lock is released: it can own a slot, whose drop takes another
        // lock.
        let before = std::mem::replace(&mut *self.slot.state(), SlotState::Closed);
        self.slot.given.notify_one();
        drop(before);
    }
}

impl fmt::Debug for ReserveThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReserveThread")
    }
}

fn take(job: &Mutex<Option<ReserveJob>>) -> Option<ReserveJob> {
    lock(job).take()
}

fn run(job: Option<ReserveJob>, place: RunsOn) {
    if let Some(job) = job {
        job(place);
    }
}

impl JobSlot {
    /// Passes `job` to the thread if that is idle. Returns whether it was.
    fn give(&self, job: ReserveJob) -> bool {
        let mut state = self.state();
        match *state {
            SlotState::Idle => {
                *state = SlotState::Given(job);
                self.given.notify_one();
                true
            }
            SlotState::Given(_) | SlotState::Busy | SlotState::Closed => false,
        }
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            // The panic hook has logged it.
            let _ = catch_unwind(AssertUnwindSafe(|| job(RunsOn::Reserve)));
            let mut state = self.state();
            match *state {
                SlotState::Busy => *state = SlotState::Idle,
                SlotState::Idle | SlotState::Given(_) | SlotState::Closed => {}
            }
        }
    }

    /// Waits for a job; `None` when closed.
    fn next(&self) -> Option<ReserveJob> {
        let mut state = self.state();
        loop {
            match std::mem::replace(&mut *state, SlotState::Busy) {
                SlotState::Given(job) => return Some(job),
                SlotState::Closed => {
                    *state = SlotState::Closed;
                    return None;
                }
                SlotState::Idle | SlotState::Busy => *state = SlotState::Idle,
            }
            state = wait(&self.given, state);
        }
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::LIMIT;
    use std::sync::mpsc::{channel, sync_channel};
    use std::time::Instant;

    /// More than any address space, so that no thread can be started.
    const IMPOSSIBLE: usize = 1 << 60;

    /// A reserve where no other thread can be started.
    fn starved() -> ReserveThread {
        let mut reserve = ReserveThread::start("reserve", thread::SMALL_STACK).unwrap();
        reserve.stack = IMPOSSIBLE;
        reserve
    }

    #[test]
    fn a_job_runs_on_a_new_thread_if_one_can_be_started() {
        let reserve = ReserveThread::start("reserve", thread::SMALL_STACK).unwrap();
        let (sender, receiver) = channel();
        let job = move |place| sender.send((place, std::thread::current().name().map(str::to_owned))).unwrap();
        assert_eq!(reserve.spawn("own", Box::new(job)).unwrap(), RunsOn::Own);
        assert_eq!(receiver.recv_timeout(LIMIT).unwrap(), (RunsOn::Own, Some("own".into())));
    }

    #[test]
    fn without_threads_one_job_after_the_other_runs_in_reserve() {
        let reserve = starved();
        for number in 0..100 {
            let (sender, receiver) = channel();
            let job = move |place| {
                sender.send(place).unwrap();
                // The thread survives a panic of a job.
                assert_ne!(number % 10, 3, "on purpose");
            };
            assert_eq!(reserve.spawn("none", Box::new(job)).unwrap(), RunsOn::Reserve);
            assert_eq!(receiver.recv_timeout(LIMIT).unwrap(), RunsOn::Reserve);
            let given = Instant::now();
            while !matches!(*reserve.slot.state(), SlotState::Idle) {
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
