//! The operating system, made safe: processes, signals, descriptors, sockets, threads, memory.
//!
//! Owns: all `unsafe` of this crate, each block with its reason, and the terms of the kernel as types. Never: a server,
//! a policy, HTTP.

use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

// Linked for its symbols alone: what the standard library calls to unwind (see Cargo.toml).
#[cfg(target_env = "musl")]
use unwinding as _;

mod address;
pub mod child;
pub mod connect;
pub mod deadline;
pub mod environment;
pub mod fs;
pub mod inbox;
pub mod inherit;
pub mod launch;
pub mod limits;
pub mod listener;
pub mod local;
pub mod memory;
pub mod oneshot;
pub mod peer;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod port;
pub mod proc;
pub mod random;
pub mod reserve_thread;
pub mod signals;
pub mod sockets;
pub mod spare;
pub mod start;
pub mod stderr;
pub mod terminal;
pub mod thread;
pub mod wait;
pub mod waker;

/// The number of a process: positive, and never 0 or negative, which `kill(2)` takes for whole groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(libc::pid_t);

impl Pid {
    /// Takes a number from the kernel.
    pub fn new(number: libc::pid_t) -> Option<Pid> {
        (number > 0).then_some(Pid(number))
    }

    /// The number for the kernel.
    pub fn raw(self) -> libc::pid_t {
        self.0
    }

    /// The number for people.
    pub fn number(self) -> u32 {
        self.0.unsigned_abs()
    }

    /// The daemon itself.
    pub fn own() -> Pid {
        Pid(std::process::id() as libc::pid_t)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The result of a system call that returns -1 and sets `errno` when it fails.
fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// The descriptor that a system call returned.
///
/// # Safety
/// `returned` is the result of a call that creates a descriptor, so that nothing else owns it.
unsafe fn owned(returned: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    check(returned).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Why a channel returned no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvError {
    /// None was sent before the deadline.
    Timeout,
    /// None will be sent: all senders are dropped.
    Disconnected,
}

/// Whether `error` is a shortage of a resource that others may free: a retry can succeed.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN))
}

/// The sentence of an error for `what`, which can't be opened.
pub fn unopened(what: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "the limit on open files is reached".into(),
        _ => format!("{what} can't be opened: {error}"),
    }
}

/// Repeats a system call that a signal interrupts. SIGCONT alone interrupts a read or write of a socket with a
/// time-out.
///
/// # Errors
/// Any other error of `call`.
pub fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
