//! The one place where threads are made.
//!
//! Owns: names, stack sizes, the report of a panic, and joins with a limit. Never: what a thread does.
//!
//! A panic is logged with the thread's name where it happens, caught at the thread's outermost frame, and returned by
//! the join. `std::thread::spawn` is not used anywhere else: it panics when the system has no thread to give.

use std::any::Any;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::thread::Builder;
use std::time::Instant;

use super::oneshot::{self, oneshot};
use super::signals::BlockedSignals;
use super::{Pid, RecvError};
use crate::log;

/// The stack of a thread that calls nothing deep. Resident memory depends on the pages touched, not on this
/// number, but address space and the kernel's page tables do.
pub const SMALL_STACK: usize = 64 * 1024;
/// The stack of a thread that parses or formats JSON, copies files or spawns processes.
pub const STACK: usize = 256 * 1024;

/// How a thread ended, as far as its owner waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    Ended,
    /// By a panic, which has been logged.
    Panicked,
    /// Not at the deadline: the thread still runs.
    Late,
}

/// The owner's side of a thread. Dropping it leaves the thread to itself.
#[derive(Debug)]
pub struct Thread {
    ended: oneshot::OnceReceiver<Joined>,
}

impl Thread {
    /// Waits until the thread has ended, but not past `deadline`.
    pub fn join_by(&self, deadline: Instant) -> Joined {
        // The sender is dropped unused only by a panic in the report of another.
        match self.ended.recv_deadline(deadline) {
            Ok(joined) => joined,
            Err(RecvError::Timeout) => Joined::Late,
            Err(RecvError::Disconnected) => Joined::Panicked,
        }
    }
}

/// Starts a thread. The kernel shows the first 15 bytes of `name`: put the role first.
///
/// # Errors
/// The system has no memory or no thread to give (`EAGAIN` at a limit on processes).
pub fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    start(name, stack, Box::new(body))
}

/// Not generic: the code of `std` that starts a thread is linked once, not once for each body.
fn start(name: &str, stack: usize, body: Box<dyn FnOnce() + Send>) -> io::Result<Thread> {
    let (ended_tx, ended) = oneshot();
    let _blocked = BlockedSignals::block();
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || {
        let joined = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(()) => Joined::Ended,
            Err(_) => Joined::Panicked,
        };
        ended_tx.send(joined);
    })?;
    Ok(Thread { ended })
}

/// Logs each panic from now on, caught or not. What `std` writes by itself would block on a stderr that is not read.
pub fn report_panics() {
    panic::set_hook(Box::new(|info| {
        let current = std::thread::current();
        // To `std` the main thread, which it has not made, has no name.
        let name = current.name().unwrap_or(if is_main() { "main" } else { "of a library" });
        // The release build has no places.
        let place = info.location().filter(|place| place.line() > 0).map(|place| format!(" at {place}"));
        let place = place.unwrap_or_default();
        log::panic(format_args!("thread {name} panicked{place}: {}", panic_text(info.payload())));
    }));
}

/// How many processors this process may use at a time: what `std` says for 3 KiB more, but for the limits of old
/// control groups.
pub fn processors() -> usize {
    // SAFETY: an all-zero set is valid; the kernel writes at most as many bytes as it has, and they are counted.
    let allowed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) {
            0 => libc::CPU_COUNT(&set).unsigned_abs() as usize,
            // There are more than the set has room for.
            _ => usize::MAX,
        }
    };
    allowed.min(quota().unwrap_or(usize::MAX)).max(1)
}

/// The limit of the control group, in whole processors.
fn quota() -> Option<usize> {
    let text = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok()?;
    let (share, period) = text.trim_ascii().split_once(' ')?;
    share.parse::<usize>().ok()?.checked_div(period.parse().ok()?)
}

fn is_main() -> bool {
    // SAFETY: the call takes nothing and can't fail.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    thread == libc::c_long::from(Pid::own().raw())
}

/// Replaces musl's function, which `std` calls on the thread to be named. musl's can name other threads too and formats
/// a path for that: the `printf` behind it is 10 KiB of code that nothing else needs.
#[cfg(target_env = "musl")]
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(_: libc::pthread_t, name: *const libc::c_char) -> libc::c_int {
    // SAFETY: the caller gives the address of a text that ends with a NUL byte, as it would to musl; the kernel reads
    // at most 16 bytes of it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name, NONE, NONE, NONE) }
}

/// Calls `make` under another thread name, which the threads inherit that a library creates in it.
pub fn under_name<T>(name: &CStr, make: impl FnOnce() -> T) -> T {
    let (_back, _blocked) = (Renamed(own_name()), BlockedSignals::block());
    set_own_name(name);
    make()
}

/// Gives the calling thread its name back at the end of a scope.
struct Renamed([u8; NAME_BYTES]);

impl Drop for Renamed {
    fn drop(&mut self) {
        if let Ok(name) = CStr::from_bytes_until_nul(&self.0) {
            set_own_name(name);
        }
    }
}

/// The kernel's limit for a name, its end included.
const NAME_BYTES: usize = 16;
/// The arguments of `prctl` that these options do not use: it reads each of them as a long.
const NONE: libc::c_ulong = 0;

fn own_name() -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    // SAFETY: the kernel writes at most 16 bytes to the address, and has as many there.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr(), NONE, NONE, NONE) };
    name
}

fn set_own_name(name: &CStr) {
    // SAFETY: the kernel reads from the address up to a zero byte, which a `CStr` ends in.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), NONE, NONE, NONE) };
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
    use crate::testing::soon;

    #[test]
    fn a_join_reports_how_the_thread_ended() {
        assert_eq!(spawn("fine", SMALL_STACK, || {}).unwrap().join_by(soon()), Joined::Ended);
        assert_eq!(spawn("bad", SMALL_STACK, || panic!("on purpose")).unwrap().join_by(soon()), Joined::Panicked);
    }

    #[test]
    fn a_thread_has_another_name_for_a_while_after_a_panic_too() {
        let own = own_name();
        let name = under_name(c"other", || std::thread::spawn(own_name).join().unwrap());
        assert_eq!(CStr::from_bytes_until_nul(&name).unwrap(), c"other");
        assert_eq!(own_name(), own);
        assert!(catch_unwind(|| under_name(c"other", || panic!("on purpose"))).is_err());
        assert_eq!(own_name(), own);
    }

    #[test]
    fn no_handler_of_a_signal_runs_on_another_thread_than_the_main_one() {
        /// SIGTERM and SIGCHLD, 15 and 17, in the mask of `/proc/PID/status`.
        const SIGNALS: u64 = 1 << 14 | 1 << 16;
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap()
        };
        let before = blocked();
        let (mask, reported) = std::sync::mpsc::channel();
        let thread = spawn("masked", SMALL_STACK, move || mask.send(blocked()).unwrap()).unwrap();
        assert_eq!(reported.recv_timeout(crate::testing::LIMIT).unwrap() & SIGNALS, SIGNALS);
        assert_eq!(thread.join_by(soon()), Joined::Ended);
        assert_eq!(under_name(c"other", || std::thread::spawn(blocked).join().unwrap()) & SIGNALS, SIGNALS);
        assert_eq!(blocked(), before);
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
