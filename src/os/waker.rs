//! Waking a thread that waits in `poll(2)`.
//!
//! Owns: the eventfd. Never: what the thread does when it wakes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::owned;

/// Ends waits of the threads that have it in their [`super::poll::Poll`]: one for each [`Waker::wake`] if it is
/// drained, all further ones if it is not.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
}

impl Waker {
    /// Creates the eventfd, with its counter at 0.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Waker> {
        // SAFETY: plain numbers; the call returns a new descriptor.
        Ok(Waker { event: unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }? })
    }

    /// Ends the present wait or the next one.
    pub fn wake(&self) {
        let one: u64 = 1;
        // SAFETY: `one` is eight bytes that live through the call. A full counter (EAGAIN) is readable already.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Resets the counter. Drain before looking at what it was woken for, else a wake-up in between is lost.
    pub fn drain(&self) {
        let mut count: u64 = 0;
        // SAFETY: `count` is eight bytes that live through the call. A counter at 0 gives EAGAIN.
        unsafe { libc::read(self.event.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::poll::{Interest, Poll};
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_waker_ends_waits_until_it_is_drained() {
        let waker = Waker::new().unwrap();
        let mut poll = Poll::default();
        let place = poll.add(&waker, Interest::Read);
        poll.wait(Some(Duration::ZERO)).unwrap();
        assert!(!poll.is_ready(place));
        waker.wake();
        waker.wake();
        poll.wait(None).unwrap();
        assert!(poll.is_ready(place));
        waker.drain();
        waker.drain();
        let begun = Instant::now();
        poll.wait(Some(Duration::from_micros(1500))).unwrap();
        assert!(!poll.is_ready(place) && begun.elapsed() >= Duration::from_micros(1500));
        assert!(!poll.is_ready(place + 1));
    }
}
