//! A few threads that work off the tasks of one copy.
//!
//! Owns: the threads, the tasks that wait, and the knowledge of when none is left. Never: what a task does.
//!
//! Tasks are taken newest first, so that a tree is walked depth first and only as many directories are open as it is
//! deep, not as it is wide.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Instant;

use crate::log;
use crate::os::thread::{self, Thread};

/// More threads than these only wait for each other in the file system.
const THREADS_MAX: usize = 4;
/// As many helpers there are in the whole daemon; an overlay that finds none left does it all by itself.
const HELPERS_MAX: usize = 8;
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// What the members of a crew do.
pub trait Work: Send + Sync + 'static {
    /// A piece of it.
    type Task: Send + 'static;
    /// What each member has for itself.
    type Tool<'a>;

    /// Makes a tool.
    fn tool(&self) -> Self::Tool<'_>;
    /// Does `task`; new ones go to `crew`.
    fn work<'a>(&'a self, tool: &mut Self::Tool<'a>, task: Self::Task, crew: &Crew<Self::Task>);
    /// Hears that a task was lost to a panic.
    fn lost(&self);
}

/// The tasks, seen by whoever works.
#[derive(Debug)]
pub struct Crew<Task> {
    state: Mutex<State<Task>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<Task> {
    waiting: VecDeque<Task>,
    /// Tasks that wait or are in work.
    open: usize,
    /// Helpers that have nothing to do.
    idle: usize,
    is_closed: bool,
}

impl<Task> Crew<Task> {
    /// Adds a task; it will be taken before those that wait.
    pub fn push(&self, task: Task) {
        let mut state = self.state();
        state.open += 1;
        state.waiting.push_back(task);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    fn done(&self) {
        let mut state = self.state();
        state.open -= 1;
        if state.open == 0 {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next task, as soon as there is one; `None` at the end: for a helper that of the crew, for the leader that of
    /// the tasks.
    fn next(&self, is_over: impl Fn(&State<Task>) -> bool) -> Option<Task> {
        let mut state = self.state();
        loop {
            if let Some(task) = state.waiting.pop_back() {
                return Some(task);
            }
            if is_over(&state) {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<Task>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a task, however it comes.
struct Done<'a, W: Work>(&'a Crew<W::Task>, &'a W);

impl<W: Work> Drop for Done<'_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.lost();
        }
        self.0.done();
    }
}

/// The leader's side: it works too, and its end is that of the helpers.
pub struct Leader<W: Work> {
    work: Arc<W>,
    crew: Arc<Crew<W::Task>>,
    helpers: Vec<Thread>,
}

impl<W: Work> Leader<W> {
    /// Takes on helpers, as many as make sense and are to be had; their names begin with `name`.
    pub fn new(name: &str, work: Arc<W>) -> Leader<W> {
        let state = State { waiting: VecDeque::new(), open: 0, idle: 0, is_closed: false };
        let crew = Arc::new(Crew { state: Mutex::new(state), changed: Condvar::new() });
        let wanted = available_parallelism().map_or(1, usize::from).min(THREADS_MAX) - 1;
        let mut leader = Leader { work, crew, helpers: Vec::new() };
        for number in 1..=wanted {
            let Some(seat) = Seat::take() else { break };
            let (work, crew) = (Arc::clone(&leader.work), Arc::clone(&leader.crew));
            let helper = thread::spawn(&format!("{name}.{number}"), thread::STACK, move || {
                let _seat = seat;
                let mut tool = work.tool();
                while let Some(task) = crew.next(|state| state.is_closed) {
                    let _done = Done(&crew, &*work);
                    work.work(&mut tool, task, &crew);
                }
            });
            match helper {
                Ok(helper) => leader.helpers.push(helper),
                Err(error) => {
                    log::debug(format_args!("{name} gets no helper: {error}"));
                    break;
                }
            }
        }
        leader
    }

    /// Does `task` and all that comes of it; returns when nothing is left.
    pub fn run(&self, task: W::Task) {
        self.crew.push(task);
        let mut tool = self.work.tool();
        while let Some(task) = self.crew.next(|state| state.open == 0) {
            let _done = Done(&self.crew, &*self.work);
            self.work.work(&mut tool, task, &self.crew);
        }
    }

    /// What the crew does.
    pub fn work(&self) -> &Arc<W> {
        &self.work
    }

    /// Lets the helpers go, and waits for them until `deadline`.
    pub fn dismiss(self, deadline: Instant) {
        self.crew.close();
        for helper in &self.helpers {
            helper.join_by(deadline);
        }
    }
}

impl<W: Work> Drop for Leader<W> {
    fn drop(&mut self) {
        self.crew.close();
    }
}

/// One of the helpers' places in the daemon.
struct Seat;

impl Seat {
    fn take() -> Option<Seat> {
        let taken = HELPERS
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| (taken < HELPERS_MAX).then_some(taken + 1));
        taken.is_ok().then_some(Seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        HELPERS.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    /// Counts the nodes of a tree in which each has as many children as its number.
    struct Count(AtomicU64);

    impl Work for Count {
        type Task = u64;
        type Tool<'a> = ();

        fn tool(&self) {}

        fn work(&self, _: &mut (), task: u64, crew: &Crew<u64>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            (0..task).for_each(|child| crew.push(child));
        }

        fn lost(&self) {}
    }

    #[test]
    fn all_is_done_when_a_run_returns() {
        let leader = Leader::new("test", Arc::new(Count(AtomicU64::new(0))));
        leader.run(6);
        // Node n has 2^n nodes below and including it.
        assert_eq!(leader.work().0.load(Ordering::SeqCst), 64);
        leader.run(5);
        assert_eq!(leader.work().0.load(Ordering::SeqCst), 96);
        leader.dismiss(Instant::now() + Duration::from_secs(30));
    }
}
