//! The one place where threads are made.
//!
//! Owns: names, stack sizes, the report of a panic, and joins with a limit. Never: what a thread does.
//!
//! A panic is logged with the thread's name where it happens, caught at the thread's outermost frame, and told to whoever
//! joins. `std::thread::spawn` is not used anywhere else: it panics when the system has no thread to give.

use std::any::Any;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::ptr;
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
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || {
        let joined = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(()) => Joined::Ended,
            Err(_) => Joined::Panicked,
        };
        ended_tx.send(joined);
    })?;
    Ok(Thread { ended })
}

/// From now on the log tells of each panic, in whatever thread, whoever catches it. What `std` would write by itself waits for a
/// stderr that nobody reads.
pub fn report_panics() {
    panic::set_hook(Box::new(|info| {
        let current = std::thread::current();
        let name = current.name().unwrap_or("of a library");
        // The release build has no places.
        let place = info.location().filter(|place| place.line() > 0).map(|place| format!(" at {place}"));
        let place = place.unwrap_or_default();
        log::panic(format_args!("thread {name} panicked{place}: {}", panic_text(info.payload())));
    }));
}

/// Calls `make` as a thread of another name: those that a library makes are called like the thread that makes them.
pub fn under_name<T>(name: &CStr, make: impl FnOnce() -> T) -> T {
    let _back = Renamed(own_name());
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

fn own_name() -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    // SAFETY: the kernel writes at most 16 bytes to the address, and has as many there.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}

fn set_own_name(name: &CStr) {
    // SAFETY: the kernel reads from the address up to a zero byte, which a `CStr` ends in.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// What is still used of the stack below a local of [`give_back_stack`]: the rest of its frame, and those of the calls that
/// it makes. All of them together are a quarter of this.
const IN_USE: usize = 1024;

/// Gives what was once used of the calling thread's stack, and is not now, back to the system. Only for threads that
/// are made here: it costs a call of the system, and a fault for each page that is used again.
// Never a part of its caller: the local would be anywhere in that one's frame, and what lies below it in use.
#[inline(never)]
pub fn give_back_stack() {
    let mark = 0_u8;
    let here = (&raw const mark).addr();
    // SAFETY: a plain number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(usize::MAX);
    let Some(lowest) = lowest() else { return };
    let (from, to) = (lowest.next_multiple_of(page), here.saturating_sub(IN_USE) / page * page);
    if from < to {
        // SAFETY: the range lies in this thread's own stack and ends below all frames, that of this function included, since
        // it is never inlined: nothing in it is anyone's value, and what is pushed there later is written before it is read.
        unsafe { libc::madvise(ptr::with_exposed_provenance_mut(from), to - from, libc::MADV_DONTNEED) };
    }
}

/// The lowest address of the calling thread's stack.
fn lowest() -> Option<usize> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut address, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the first call fills the attributes when it gives 0, and only then they are read, and destroyed.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let told = libc::pthread_attr_getstack(attributes.as_ptr(), &mut address, &mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        (told == 0).then(|| address.addr())
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

    #[test]
    fn a_thread_has_another_name_for_a_while_after_a_panic_too() {
        let own = own_name();
        let told = under_name(c"other", || std::thread::spawn(own_name).join().unwrap());
        assert_eq!(CStr::from_bytes_until_nul(&told).unwrap(), c"other");
        assert_eq!(own_name(), own);
        assert!(catch_unwind(|| under_name(c"other", || panic!("on purpose"))).is_err());
        assert_eq!(own_name(), own);
    }

    #[test]
    fn a_stack_that_was_given_back_can_be_used_again() {
        fn deep(levels: u64) -> u64 {
            let frame = [levels; 64];
            if levels == 0 { 0 } else { deep(levels - 1) + std::hint::black_box(&frame)[63] }
        }
        /// Of the mapping that this thread's stack is in, in KiB.
        fn resident() -> u64 {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let lowest = lowest().unwrap();
            let mut lines = maps.lines().skip_while(|line| {
                let range = line.split(' ').next().and_then(|range| range.split_once('-'));
                let range = range.map(|(from, to)| [from, to].map(|text| usize::from_str_radix(text, 16)));
                !matches!(range, Some([Ok(from), Ok(to)]) if (from..to).contains(&lowest))
            });
            let line = lines.find(|line| line.starts_with("Rss:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        }
        let thread = spawn("deep", 16 * 1024 * 1024, move || {
            for _ in 0..3 {
                let before = resident();
                assert_eq!(deep(4000), 4000 * 4001 / 2);
                let between = resident();
                give_back_stack();
                let after = resident();
                assert!(between > before + 1500 && after + 1500 < between, "{before} {between} {after}");
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
