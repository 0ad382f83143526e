//! What the daemon inherits from its parent: signals, descriptors, limits.
//!
//! Owns: the one-time changes to the process itself. Never: a decision of the daemon. It has to run before the first
//! thread is started: threads and children inherit signal masks and dispositions. It is here and not in `process`
//! because each step is an `unsafe` system call.

use std::fs;
use std::io;
use std::ptr;

use super::{Pid, check};
use crate::log;

/// What the servers get back, and what is known of the daemon's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// The soft limit on open files before the daemon raised its own; `None` if it has not.
    pub open_files: Option<u64>,
    /// Whether a child of the daemon can be anything but a descendant of one of its servers.
    pub strangers: Strangers,
}

/// Whether processes that do not come from a server can become children of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// As PID 1 of a container, or when it had children before it was servisor (a shell's `exec`).
    Possible,
    /// Every child comes from one of its servers.
    Impossible,
}

/// Resets signals, keeps inherited descriptors from the servers, makes the daemon a child subreaper and raises its
/// own limit on open files. Descriptors 0 to 2 are open already (see `start`).
///
/// # Errors
/// The system refused one of these, which the daemon can't work without.
pub fn set_up_process() -> io::Result<Inherited> {
    reset_signals()?;
    close_on_exec()?;
    let strangers = if Pid::own().raw() == 1 || has_children() { Strangers::Possible } else { Strangers::Impossible };
    become_subreaper()?;
    Ok(Inherited { open_files: raise_open_files(), strangers })
}

/// Orphans of servers become our children from now on.
fn become_subreaper() -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    let yes: libc::c_ulong = 1;
    // SAFETY: this option takes plain numbers, each a long.
    match check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, yes, NONE, NONE, NONE) }) {
        Ok(_) => Ok(()),
        // Every kernel since 3.4 knows the option; qemu's user mode does not. The process
        // that starts us there may have set it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            log::warn(format_args!("this system has no child subreapers: orphans that hide well may be missed"));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// A parent may have ignored or blocked signals (`nohup`, a careless runtime). Children inherit both, and with an
/// ignored SIGCHLD the kernel would reap them before their exit status is read.
fn reset_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        match signal {
            // These two can't be changed; SIGPIPE is ignored (see `start`), and restored in children.
            libc::SIGKILL | libc::SIGSTOP | libc::SIGPIPE => {}
            // SAFETY: the default disposition is always valid. The numbers that libc keeps for itself are refused with
            // EINVAL: what was inherited for them ends at the program of a server (see `launch`).
            _ => unsafe {
                libc::signal(signal, libc::SIG_DFL);
            },
        }
    }
    // SAFETY: an all-zero sigset_t is valid memory for sigemptyset, which then fills it; no other thread runs yet.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&mut none))?;
        check(libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut()))?;
    }
    Ok(())
}

/// Other inherited descriptors stay open (one may hold a lock of the parent) but are not passed to servers.
fn close_on_exec() -> io::Result<()> {
    const FIRST: libc::c_ulong = 3;
    let (last, flags) = (libc::c_ulong::from(libc::c_uint::MAX), libc::c_ulong::from(libc::CLOSE_RANGE_CLOEXEC));
    // SAFETY: the call takes plain numbers, each a long, and changes flags of descriptors only.
    let done = unsafe { libc::syscall(libc::SYS_close_range, FIRST, last, flags) };
    if done == 0 {
        return Ok(());
    }
    // Before Linux 5.11, or under a filter of system calls.
    let open: Vec<libc::c_int> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > libc::STDERR_FILENO)
        .collect();
    for fd in open {
        // SAFETY: the call changes a flag. The listing's own descriptor is closed by now and gives a harmless EBADF.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

fn has_children() -> bool {
    // SAFETY: an all-zero siginfo_t is valid, and the call only writes to it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

/// A server takes three descriptors or four, a client one; the usual soft limit of 1024 would be the daemon's ceiling.
/// The limit before goes back to the servers: programs that use `select` rely on it.
fn raise_open_files() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }).ok()?;
    let before = limit.rlim_cur;
    if before == limit.rlim_max {
        return None;
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).ok()?;
    Some(before)
}
