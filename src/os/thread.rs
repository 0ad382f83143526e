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

/// So much below the present frame is left alone: the calls that give the rest back need it themselves.
const STACK_MARGIN: usize = 4 * 1024;
/// The smallest page of all the systems that this runs on; with a larger one nothing is given back.
const PAGE: usize = 4 * 1024;

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

/// Gives back the pages of the calling thread's stack that were used once and are not in use now: a thread that waits
/// for long after a deep call would keep them. One system call; a failure costs memory only.
pub fn give_back_stack() {
    let here = 0_u8;
    let used_from = (&raw const here).addr().saturating_sub(STACK_MARGIN) & !(PAGE - 1);
    // SAFETY: an all-zero attribute is valid memory for the call, which fills it; the other calls only read and release
    // what it has filled. What lies below the margin under the present frame is no object's any more, and no one else
    // uses this stack; the next deeper call finds zeros there, as at the thread's beginning.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return;
        }
        let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
        if libc::pthread_attr_getstack(&attributes, &mut lowest, &mut size) == 0 {
            let from = lowest.addr().next_multiple_of(PAGE);
            if from < used_from && used_from - from < size {
                libc::madvise(lowest.with_addr(from), used_from - from, libc::MADV_DONTNEED);
            }
        }
        libc::pthread_attr_destroy(&mut attributes);
    }
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

    /// Touches 100 KiB of stack and gives some sum of it.
    #[inline(never)]
    fn deep() -> u64 {
        let wide = std::hint::black_box([7_u8; 100 * 1024]);
        wide.iter().map(|&byte| u64::from(byte)).sum()
    }

    #[test]
    fn a_stack_is_given_back_and_can_be_used_again() {
        let sum = 7 * 100 * 1024;
        let thread = spawn("deep", STACK, move || {
            for _ in 0..10 {
                assert_eq!(deep(), sum);
                let kept = std::hint::black_box([1_u8, 2, 3]);
                give_back_stack();
                assert_eq!(kept, [1, 2, 3]);
            }
        });
        assert_eq!(thread.unwrap().join_by(soon()), Joined::Ended);
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
