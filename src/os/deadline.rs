//! Calls that may never return, with a limit.
//!
//! Owns: the helper thread of such a call, and how many of them may hang. Never: what is called.
//!
//! A path of a client or of a configuration can lie on a file system that never answers (FUSE, NFS): no flag of
//! `open(2)` or `stat(2)` limits that. The call runs on a thread of its own; its caller waits for it up to a limit and
//! then abandons it. The thread ends when the file system answers or is unmounted. A path whose earlier call still
//! hangs is refused at once, so that repeated tries do not cost a thread each.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::thread::{self, Joined};
use crate::sync::lock;

/// At most so many calls may hang; further ones are refused.
const HUNG_MAX: usize = 32;

/// The calls that have not returned yet.
static CALLS: Mutex<PendingCalls> = Mutex::new(PendingCalls { next: 0, open: Vec::new() });

struct PendingCalls {
    next: u64,
    open: Vec<PendingCall>,
}

struct PendingCall {
    number: u64,
    path: PathBuf,
    limit: Instant,
}

/// Removes a call from the list when it returns or panics.
struct CallGuard(u64);

impl Drop for CallGuard {
    fn drop(&mut self) {
        calls().open.retain(|call| call.number != self.0);
    }
}

/// Runs `call`, which does something on `path`, on a thread of its own and returns its result.
///
/// # Errors
/// `TimedOut` when it has not returned within `limit`, or when an earlier call for the same path still hangs; `EAGAIN` when
/// the system has no thread for it, or too many calls hang.
pub fn within<T: Send + 'static>(
    limit: Duration,
    path: &Path,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let result = Arc::new(Mutex::new(None));
    let filled = Arc::clone(&result);
    run(limit, path, Box::new(move || *lock(&filled) = Some(call())))?;
    let result = lock(&result).take();
    result.ok_or_else(|| io::Error::other("servisor failed during the call; its log says more"))
}

/// Not generic, so that its code is linked once.
fn run(limit: Duration, path: &Path, call: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let now = Instant::now();
    let deadline = now + limit;
    let number = {
        let mut calls = calls();
        let hung = || calls.open.iter().filter(|call| call.limit <= now);
        if hung().any(|call| call.path == path) {
            return Err(late("its file system has not answered an earlier call yet"));
        }
        if hung().count() >= HUNG_MAX {
            let text = format!("{HUNG_MAX} calls hang in file systems that do not answer; unmount these");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        calls.next += 1;
        let number = calls.next;
        calls.open.push(PendingCall { number, path: path.to_owned(), limit: deadline });
        number
    };
    let open = CallGuard(number);
    let thread = thread::spawn("look", thread::STACK, move || {
        let _open = open;
        call();
    })?;
    match thread.join_by(deadline) {
        Joined::Ended | Joined::Panicked => Ok(()),
        // In whole seconds, as all limits are: to print a fraction takes 8 KiB of code.
        Joined::Late => Err(late(&format!("its file system has not answered within {} s", limit.as_secs()))),
    }
}

fn late(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, text)
}

fn calls() -> MutexGuard<'static, PendingCalls> {
    lock(&CALLS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const FAR: Duration = Duration::from_secs(60);

    fn soon(what: impl Fn() -> bool) {
        let limit = Instant::now() + FAR;
        while !what() {
            assert!(Instant::now() < limit);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_call_that_returns_gives_its_result() {
        assert_eq!(within(FAR, Path::new("/good"), || 7).unwrap(), 7);
        let failed = within(FAR, Path::new("/bad"), || if FAR.is_zero() { 7 } else { panic!("on purpose") });
        assert!(failed.unwrap_err().to_string().contains("its log says more"));
    }

    #[test]
    fn a_call_that_hangs_is_left_behind_and_not_made_again() {
        let (release, held) = mpsc::channel::<()>();
        let path = Path::new("/hung");
        let late = within(Duration::ZERO, path, move || held.recv().is_err()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let again = within(FAR, path, || ()).unwrap_err();
        assert!(again.to_string().contains("earlier call"), "{again}");
        assert!(within(FAR, Path::new("/other"), || ()).is_ok());
        drop(release);
        soon(|| within(FAR, path, || ()).is_ok());
    }
}
