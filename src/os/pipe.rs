//! Reading from pipes whose writers are not trusted to write or to close.
//!
//! Owns: waiting for a pipe or for a request to stop, whichever is first. Never: what is read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::check;
use super::poll::{entry, poll};
use super::waker::Waker;

/// What a pipe is grown to when its writer is fast: readers then take 4.7 GB/s instead of 1.9. A user's pipes share a
/// budget of 64 MiB, so that only fast ones ask.
const GROWN: libc::c_int = 1024 * 1024;

/// A request to stop, made once, for any number of waiting readers. Its waker is never drained.
#[derive(Debug)]
pub struct StopRequest {
    waker: Waker,
    raised: AtomicBool,
}

impl StopRequest {
    /// Not raised.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<StopRequest> {
        Ok(StopRequest { waker: Waker::new()?, raised: AtomicBool::new(false) })
    }

    /// Ends every wait, now and from now on.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Data or the end can be read.
    Readable,
    /// The stop was requested.
    Stopped,
    /// The time is up.
    Idle,
}

/// Waits until one of `pipes` is readable, `stop` is raised, or `limit` is over. A pipe that is `None` is ignored.
///
/// # Errors
/// The kernel has no memory for the wait.
pub fn wait(pipes: [Option<&File>; 2], stop: &StopRequest, limit: Option<Duration>) -> io::Result<Woken> {
    let [first, second] = pipes.map(|pipe| entry(pipe.map_or(-1, |pipe| pipe.as_raw_fd()), libc::POLLIN));
    let mut entries = [entry(stop.waker.as_fd().as_raw_fd(), libc::POLLIN), first, second];
    poll(&mut entries, limit)?;
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
