//! The one place where threads are made.
//!
//! Owns: names, stack sizes, the report of a panic, and joins with a limit. Never: what a thread does.
//!
//! A panic is caught at the thread's outermost frame, logged with the thread's name, and told to whoever
//! joins. `std::thread::spawn` is not used anywhere else: it panics when the system has no thread to give.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;
use std::time::Instant;

use super::oneshot::{self, Unsaid, oneshot};
use crate::log;

/// The stack of a thread that calls nothing deep. Resident memory depends on the pages touched, not on this
/// number, but address space and the kernel's page tables do.
pub const SMALL_STACK: usize = 64 * 1024;
/// The stack of a thread that parses or formats JSON, copies files or spawns processes.
pub const STACK: usize = 256 * 1024;

/// How a thread ended, as far as its owner waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It returned.
    Ended,
    /// It panicked; the panic has been logged.
    Panicked,
    /// It was still at work when the limit came.
    Late,
}

/// The owner's side of a thread. Dropping it leaves the thread to itself.
#[derive(Debug)]
pub struct Thread {
    ended: oneshot::Receiver<Joined>,
}

impl Thread {
    /// Waits until the thread has ended, but not past `deadline`.
    pub fn join_by(&self, deadline: Instant) -> Joined {
        // A sender that is gone without a word can't happen short of a panic while reporting one.
        match self.ended.recv_deadline(deadline) {
            Ok(joined) => joined,
            Err(Unsaid::Late) => Joined::Late,
            Err(Unsaid::Lost) => Joined::Panicked,
        }
    }
}

/// Starts a thread. The kernel shows the first 15 bytes of `name`, so the role comes first.
///
/// # Errors
/// The system has no memory or no thread to give (`EAGAIN` at a limit on processes).
pub fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    start(name, stack, Box::new(body))
}

/// The same for every body: the code of `std` that starts a thread is there once, not once for each role.
fn start(name: &str, stack: usize, body: Box<dyn FnOnce() + Send>) -> io::Result<Thread> {
    let (ended_tx, ended) = oneshot();
    let thread_name = name.to_owned();
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || {
        let joined = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(()) => Joined::Ended,
            Err(panic) => {
                log::error(format_args!("thread {thread_name} panicked: {}", panic_text(&*panic)));
                Joined::Panicked
            }
        };
        ended_tx.send(joined);
    })?;
    Ok(Thread { ended })
}

/// The message of a caught panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_join_tells_how_the_thread_ended() {
        assert_eq!(spawn("fine", SMALL_STACK, || {}).unwrap().join_by(soon()), Joined::Ended);
        assert_eq!(spawn("bad", SMALL_STACK, || panic!("on purpose")).unwrap().join_by(soon()), Joined::Panicked);
    }

    #[test]
    fn a_join_does_not_wait_for_ever() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let thread = spawn("held", SMALL_STACK, move || assert!(held.recv().is_err())).unwrap();
        assert_eq!(thread.join_by(Instant::now()), Joined::Late);
        drop(hold);
        assert_eq!(thread.join_by(soon()), Joined::Ended);
    }
}
