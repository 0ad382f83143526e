//! The worker threads of one copy.
//!
//! Owns: the threads, the queue of tasks, and the detection of its end. Never: what a task does.
//!
//! The newest task is taken first. So a tree is walked depth first, and the number of open directories depends on its
//! depth, not on its width.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::log;
use crate::os::thread::{self, Thread};
use crate::sync::{lock, wait};

/// The most threads of one copy; more only wait for each other in the file system.
const THREADS_MAX: usize = 4;
/// The most helper threads in the daemon. A copy that gets none works on its own thread alone.
const HELPERS_MAX: usize = 8;
static HELPERS: AtomicUsize = AtomicUsize::new(0);

pub trait Work: Send + Sync + 'static {
    type Task: Send + 'static;
    /// The state of each worker.
    type Tool<'a>;

    /// Creates the state of a worker.
    fn tool(&self) -> Self::Tool<'_>;
    /// Executes `task`, and pushes new ones to `queue`.
    fn work<'a>(&'a self, tool: &mut Self::Tool<'a>, task: Self::Task, queue: &TaskQueue<Self::Task>);
    /// Records that a task panicked.
    fn lost(&self);
}

#[derive(Debug)]
pub struct TaskQueue<Task> {
    state: Mutex<QueueState<Task>>,
    changed: Condvar,
}

#[derive(Debug)]
struct QueueState<Task> {
    waiting: VecDeque<Task>,
    /// The number of tasks that wait or are being executed.
    open: usize,
    /// The number of workers that wait for a task.
    idle: usize,
    is_closed: bool,
}

impl<Task> TaskQueue<Task> {
    /// Adds a task, which is taken before the older ones.
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

    /// Waits for the next task; `None` when `is_over`.
    fn next(&self, is_over: impl Fn(&QueueState<Task>) -> bool) -> Option<Task> {
        let mut state = self.state();
        loop {
            if let Some(task) = state.waiting.pop_back() {
                return Some(task);
            }
            if is_over(&state) {
                return None;
            }
            state.idle += 1;
            state = wait(&self.changed, state);
            state.idle -= 1;
        }
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, QueueState<Task>> {
        lock(&self.state)
    }
}

/// Counts a task as done when dropped, also by a panic.
struct TaskGuard<'a, W: Work>(&'a TaskQueue<W::Task>, &'a W);

impl<W: Work> Drop for TaskGuard<'_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.lost();
        }
        self.0.done();
    }
}

/// A pool of helper threads; the thread that owns it works too. Dropping it ends the helpers.
pub struct WorkerPool<W: Work> {
    work: Arc<W>,
    queue: Arc<TaskQueue<W::Task>>,
    helpers: Vec<Thread>,
}

impl<W: Work> WorkerPool<W> {
    /// Starts helpers: one for each further CPU, up to the limits. `name` is the prefix of their names.
    pub fn new(name: &str, work: Arc<W>) -> WorkerPool<W> {
        let state = QueueState { waiting: VecDeque::new(), open: 0, idle: 0, is_closed: false };
        let queue = Arc::new(TaskQueue { state: Mutex::new(state), changed: Condvar::new() });
        let wanted = thread::processors().min(THREADS_MAX) - 1;
        let mut pool = WorkerPool { work, queue, helpers: Vec::new() };
        for number in 1..=wanted {
            let Some(permit) = HelperPermit::take() else { break };
            let (work, queue) = (Arc::clone(&pool.work), Arc::clone(&pool.queue));
            let helper = thread::spawn(&format!("{name}.{number}"), thread::STACK, move || {
                let _permit = permit;
                let mut tool = work.tool();
                while let Some(task) = queue.next(|state| state.is_closed) {
                    let _done = TaskGuard(&queue, &*work);
                    work.work(&mut tool, task, &queue);
                }
            });
            match helper {
                Ok(helper) => pool.helpers.push(helper),
                Err(error) => {
                    log::debug(format_args!("{name} gets no helper: {error}"));
                    break;
                }
            }
        }
        pool
    }

    /// Executes `task` and all tasks that it leads to.
    pub fn run(&self, task: W::Task) {
        self.queue.push(task);
        let mut tool = self.work.tool();
        while let Some(task) = self.queue.next(|state| state.open == 0) {
            let _done = TaskGuard(&self.queue, &*self.work);
            self.work.work(&mut tool, task, &self.queue);
        }
    }

    pub fn work(&self) -> &Arc<W> {
        &self.work
    }

    /// Ends the helpers and waits for them until `deadline`.
    pub fn join_by(self, deadline: Instant) {
        self.queue.close();
        for helper in &self.helpers {
            helper.join_by(deadline);
        }
    }
}

impl<W: Work> Drop for WorkerPool<W> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A permit for one helper thread, from the daemon's limit.
struct HelperPermit;

impl HelperPermit {
    fn take() -> Option<HelperPermit> {
        let taken = HELPERS
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| (taken < HELPERS_MAX).then_some(taken + 1));
        taken.is_ok().then_some(HelperPermit)
    }
}

impl Drop for HelperPermit {
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

        fn work(&self, _: &mut (), task: u64, queue: &TaskQueue<u64>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            (0..task).for_each(|child| queue.push(child));
        }

        fn lost(&self) {}
    }

    #[test]
    fn all_is_done_when_a_run_returns() {
        let pool = WorkerPool::new("test", Arc::new(Count(AtomicU64::new(0))));
        pool.run(6);
        // Node n has 2^n nodes below and including it.
        assert_eq!(pool.work().0.load(Ordering::SeqCst), 64);
        pool.run(5);
        assert_eq!(pool.work().0.load(Ordering::SeqCst), 96);
        pool.join_by(Instant::now() + Duration::from_secs(30));
    }
}
