//! Waiting for children, and signalling a child by its number.
//!
//! Owns: `waitid(2)`, `wait4(2)`, `kill(2)` of a child or its group, and the list of a thread's children. Never: which
//! child, and when.

use std::fs;
use std::io;
use std::time::Duration;

use super::pidfd::Signal;
use super::{Pid, check, retry};
use crate::model::machine::Exit;
pub use crate::model::run::Usage;

/// Which children are queried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitTarget {
    One(Pid),
    /// One child, if the calling thread created it.
    OwnOne(Pid),
    /// Any child that the calling thread created.
    OwnThread,
    /// Any child of the process.
    Any,
}

/// Whether a child that has ended is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitMode {
    /// Reap the child: its number may belong to another process from now on.
    Reap,
    /// Leave it a zombie.
    Leave,
}

/// Returns which child has ended, and how; `None` when there are children and none has. Does not wait.
///
/// # Errors
/// There is no such child (ECHILD).
pub fn ended(wanted: WaitTarget, then: WaitMode) -> io::Result<Option<(Pid, Exit)>> {
    let (kind, id, from) = match wanted {
        WaitTarget::One(pid) => (libc::P_PID, pid.number(), 0),
        WaitTarget::OwnOne(pid) => (libc::P_PID, pid.number(), libc::__WNOTHREAD),
        WaitTarget::OwnThread => (libc::P_ALL, 0, libc::__WNOTHREAD),
        WaitTarget::Any => (libc::P_ALL, 0, 0),
    };
    let then = match then {
        WaitMode::Reap => 0,
        WaitMode::Leave => libc::WNOWAIT,
    };
    let options = libc::WEXITED | libc::WNOHANG | from | then;
    // SAFETY: an all-zero siginfo_t is a valid value of that plain structure.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is valid for writes, the rest are plain numbers.
    retry(|| check(unsafe { libc::waitid(kind, id, &mut info, options) }))?;
    // SAFETY: waitid has filled the fields of a child's end, or left all zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(Pid::new(pid).map(|pid| (pid, exit_of(info.si_code, status))))
}

/// Reaps a child that has ended, and returns how it ended and what it used; `None` when it has not ended. Does not
/// wait.
///
/// # Errors
/// There is no such child (ECHILD).
pub fn reap_with_usage(pid: Pid) -> io::Result<Option<(Exit, Usage)>> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for writes, the rest are plain numbers.
    let reaped = retry(|| check(unsafe { libc::wait4(pid.raw(), &mut status, libc::WNOHANG, &mut usage) }))?;
    if reaped == 0 {
        return Ok(None);
    }
    let exit = if libc::WIFEXITED(status) {
        Exit::Code((libc::WEXITSTATUS(status) & 0xff) as u8)
    } else {
        Exit::Signal(libc::WTERMSIG(status))
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    // Linux counts it in KiB.
    let max_rss_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    Ok(Some((exit, Usage { cpu: time(usage.ru_utime) + time(usage.ru_stime), max_rss_bytes })))
}

fn exit_of(code: libc::c_int, status: libc::c_int) -> Exit {
    if code == libc::CLD_EXITED { Exit::Code((status & 0xff) as u8) } else { Exit::Signal(status) }
}

/// Whether there is a process with this number, zombies included.
pub fn exists(pid: Pid) -> bool {
    // SAFETY: signal 0 sends nothing.
    unsafe { libc::kill(pid.raw(), 0) == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) }
}

/// Signals a child that is not reaped, and all others of its process group. The caller knows that it is a child of this
/// process and that no other thread reaps it now, so both numbers are in use: the child's is that of the group.
pub fn signal_group(leader: Pid, signal: Signal) {
    // SAFETY: plain numbers. An error (no process in the group, or no permission) changes nothing.
    unsafe { libc::kill(-leader.raw(), signal.number()) };
    // SAFETY: plain numbers. A session leader can't leave its group; a child without a session of its own may have
    // left.
    let has_left = unsafe { libc::getpgid(leader.raw()) != leader.raw() };
    if has_left {
        // SAFETY: plain numbers.
        unsafe { libc::kill(leader.raw(), signal.number()) };
    }
}

/// Signals a child that is not reaped. The caller knows what [`signal_group`] has to know.
pub fn signal_child(leader: Pid, signal: Signal) {
    // SAFETY: plain numbers. An error changes nothing.
    unsafe { libc::kill(leader.raw(), signal.number()) };
}

/// Whether the calling thread has other children than `known`, zombies among them.
///
/// # Errors
/// The system does not show them (`CONFIG_PROC_CHILDREN`), or has no descriptors or memory left.
pub fn has_other_children(known: Pid) -> io::Result<bool> {
    let list = fs::read_to_string("/proc/thread-self/children")?;
    Ok(list.split_ascii_whitespace().any(|number| number.parse() != Ok(known.raw())))
}

/// Whether a child of the calling thread lives. A zombie does not. Needs no descriptor, nor the list of children.
///
/// # Errors
/// The system call is refused.
pub fn has_living_child() -> io::Result<bool> {
    // A stop is waited for, so a zombie has nothing to give (`wait_consider_task` in the kernel).
    let options = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD | libc::__WALL;
    // SAFETY: an all-zero siginfo_t is a valid value of that plain structure.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is valid for writes, the rest are plain numbers.
    match retry(|| check(unsafe { libc::waitid(libc::P_ALL, 0, &mut info, options) })) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_zombie_does_not_live() {
        assert!(!has_living_child().unwrap());
        let mut first = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        assert!(has_living_child().unwrap());
        let elsewhere = std::thread::spawn(|| has_living_child().unwrap()).join().unwrap();
        assert!(!elsewhere, "a child of another thread");
        drop(first.stdin.take());
        let limit = crate::testing::soon();
        let pid = Pid::new(first.id() as i32).unwrap();
        while ended(WaitTarget::One(pid), WaitMode::Leave).unwrap().is_none() {
            assert!(std::time::Instant::now() < limit);
            std::thread::yield_now();
        }
        assert!(!has_living_child().unwrap());
        let mut second = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        assert!(has_living_child().unwrap(), "beside a zombie");
        drop(second.stdin.take());
        first.wait().unwrap();
        second.wait().unwrap();
        assert!(!has_living_child().unwrap());
    }
}
