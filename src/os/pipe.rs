//! Reading from a pipe without being at its writer's mercy.
//!
//! Owns: waiting for a pipe or for the word to stop, whichever comes first. Never: what is read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{check, retry};

/// What a pipe is grown to when its writer is fast: readers then take 4.7 GB/s instead of 1.9. A user's pipes share a
/// budget of 64 MiB, so that only fast ones ask.
const GROWN: libc::c_int = 1024 * 1024;

/// The word to stop, given once to any number of waiting readers.
#[derive(Debug)]
pub struct Stop {
    event: OwnedFd,
    raised: AtomicBool,
}

impl Stop {
    /// Not raised.
    ///
    /// # Errors
    /// The system has no descriptor for it.
    pub fn new() -> io::Result<Stop> {
        // SAFETY: plain numbers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the call has just made this descriptor, nobody else has it.
        Ok(Stop { event: unsafe { OwnedFd::from_raw_fd(fd) }, raised: AtomicBool::new(false) })
    }

    /// Ends every wait, now and from now on.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        let one: u64 = 1;
        // SAFETY: `one` is eight bytes that live through the call. The counter can't overflow by ones.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Whether the word was given.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// There is something to read, or the end.
    Readable,
    /// The word to stop was given.
    Stopped,
    /// The time is up.
    Idle,
}

/// Waits until one of `pipes` can be read, `stop` is raised, or `limit` is over; without a limit idle writers cost nothing.
/// A pipe that is `None` is not waited for.
///
/// # Errors
/// The system has no memory for the wait.
pub fn wait(pipes: [Option<&File>; 2], stop: &Stop, limit: Option<Duration>) -> io::Result<Woken> {
    let entry = |fd: libc::c_int| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // The kernel passes over a negative number.
    let [first, second] = pipes.map(|pipe| entry(pipe.map_or(-1, |pipe| pipe.as_fd().as_raw_fd())));
    let mut entries = [entry(stop.event.as_raw_fd()), first, second];
    let limit = limit.map_or(-1, |limit| libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX));
    // SAFETY: `entries` is three valid pollfds and the count says three.
    retry(|| check(unsafe { libc::poll(entries.as_mut_ptr(), 3, limit) }))?;
    Ok(match entries.map(|entry| entry.revents != 0) {
        [true, _, _] => Woken::Stopped,
        [false, false, false] => Woken::Idle,
        [false, _, _] => Woken::Readable,
    })
}

/// Makes reads of `pipe` return at once.
///
/// # Errors
/// It is no open descriptor.
pub fn set_nonblocking(pipe: &OwnedFd) -> io::Result<()> {
    let fd = pipe.as_raw_fd();
    // SAFETY: plain numbers; the descriptor is open.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: as above. The flag belongs to this end of the pipe, which no process but the daemon has.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// Asks for a larger pipe. A refusal only costs speed.
pub fn grow(pipe: &File) {
    // SAFETY: plain numbers; the descriptor is open.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, GROWN) };
}
