//! Signalling one process, never another one that has reused its number.
//!
//! Owns: the signals that the daemon sends, and `pidfd_send_signal(2)`. Never: when to signal what.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use super::proc::Process;
use super::{Pid, check, owned};
use crate::log;
use crate::model::stop::StopSignal;

/// A signal that the daemon sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    /// The one that a server has chosen.
    Stop(StopSignal),
    /// SIGCONT: a stopped process receives other signals only when it continues.
    Continue,
    Kill,
}

impl Signal {
    /// The kernel's number for it.
    pub fn number(self) -> libc::c_int {
        match self {
            Signal::Terminate => libc::SIGTERM,
            Signal::Stop(signal) => signal.number(),
            Signal::Continue => libc::SIGCONT,
            Signal::Kill => libc::SIGKILL,
        }
    }
}

/// Signals `process`: its number may belong to another process by now, so it is opened first, read again, and signalled
/// by what was opened. A process that has ended is no error.
///
/// # Errors
/// The system refuses it (EPERM): the process is another user's.
pub fn signal(process: &Process, signal: Signal) -> io::Result<()> {
    let sent = match open(process.pid) {
        Ok(opened) if process.is_still_there() => {
            // SAFETY: `opened` is an open descriptor and stays open during the call; the pointer to details may be
            // null. Each argument is as wide as a register.
            let returned = unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    libc::c_long::from(opened.as_fd().as_raw_fd()),
                    libc::c_long::from(signal.number()),
                    ptr::null::<libc::siginfo_t>(),
                    0 as libc::c_long,
                )
            };
            check(returned as libc::c_int)
        }
        Ok(_) => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        // A kernel before 5.3, a filter of system calls, or no descriptor left. The process is checked right before.
        Err(error) => {
            log::debug(format_args!(
                "process {} can't be opened ({error}); it is signalled by its number",
                process.pid
            ));
            if !process.is_still_there() {
                return Ok(());
            }
            // SAFETY: plain numbers; the number is positive and was this process's a moment ago.
            check(unsafe { libc::kill(process.pid.raw(), signal.number()) })
        }
    };
    match sent {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether a signal to `process` would be refused. None is sent.
pub fn refuses(process: &Process) -> Option<io::Error> {
    // SAFETY: signal 0 sends nothing.
    match check(unsafe { libc::kill(process.pid.raw(), 0) }) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Some(error),
        Ok(_) | Err(_) => None,
    }
}

fn open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers, each as wide as a register.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid.raw()), 0 as libc::c_long) };
    // SAFETY: the call returned a new descriptor.
    unsafe { owned(libc::c_int::try_from(fd).unwrap_or(-1)) }
}
