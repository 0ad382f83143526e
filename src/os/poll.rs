//! Waiting for many descriptors at once.
//!
//! Owns: the wait, and the bell by which another thread ends it. Never: what is read or written.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::{check, retry};

/// Ends a wait of the thread that has it in its [`Poll`], as often as it is rung.
#[derive(Debug)]
pub struct Bell {
    event: OwnedFd,
}

impl Bell {
    /// A bell that was not rung.
    ///
    /// # Errors
    /// The system has no descriptor for it.
    pub fn new() -> io::Result<Bell> {
        // SAFETY: plain numbers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the call has just made this descriptor, nobody else has it.
        Ok(Bell { event: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Ends the present wait or the next one.
    pub fn ring(&self) {
        let one: u64 = 1;
        // SAFETY: `one` is eight bytes that live through the call. A counter that is full is a bell that was rung.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes it silent again. What it was rung for has to be looked at after this, not before.
    pub fn hush(&self) {
        let mut count: u64 = 0;
        // SAFETY: `count` is eight bytes that live through the call. A bell that was not rung is EAGAIN.
        unsafe { libc::read(self.event.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Room to write.
    Write,
    /// The other side has closed, or half closed.
    Left,
}

/// The descriptors of one wait; the memory is kept from wait to wait.
#[derive(Default)]
pub struct Poll {
    entries: Vec<libc::pollfd>,
}

impl Poll {
    /// Forgets the descriptors of the last wait.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a descriptor and returns its place in the next wait. One that is closed before counts as ready.
    pub fn add(&mut self, descriptor: &impl AsFd, interest: Interest) -> usize {
        let events = match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::Left => libc::POLLRDHUP,
        };
        self.entries.push(libc::pollfd { fd: descriptor.as_fd().as_raw_fd(), events, revents: 0 });
        self.entries.len() - 1
    }

    /// Waits until one of the descriptors is ready or has an error, or `limit` is over; without a limit it costs nothing.
    ///
    /// # Errors
    /// The system has no memory for the wait, or the limit on open files was lowered below their number.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map(|limit| libc::timespec {
            // By the field's own type: `libc` deprecates the name `time_t` on musl.
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            // Below a billion, which fits in any `c_long`.
            tv_nsec: limit.subsec_nanos() as libc::c_long,
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        let count = self.entries.len() as libc::nfds_t;
        // SAFETY: `entries` is `count` valid pollfds; `limit` is null or points to a timespec that lives through the
        // call; no signal mask is passed.
        let waited = retry(|| check(unsafe { libc::ppoll(self.entries.as_mut_ptr(), count, limit, ptr::null()) }));
        waited.map(drop)
    }

    /// Whether the last wait has found the descriptor at `place` ready, or has found an error that its use will tell.
    pub fn is_ready(&self, place: usize) -> bool {
        self.entries.get(place).is_some_and(|entry| entry.revents != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_bell_ends_waits_until_it_is_hushed() {
        let bell = Bell::new().unwrap();
        let mut poll = Poll::default();
        let place = poll.add(&bell, Interest::Read);
        poll.wait(Some(Duration::ZERO)).unwrap();
        assert!(!poll.is_ready(place));
        bell.ring();
        bell.ring();
        poll.wait(None).unwrap();
        assert!(poll.is_ready(place));
        bell.hush();
        bell.hush();
        let begun = Instant::now();
        poll.wait(Some(Duration::from_micros(1500))).unwrap();
        assert!(!poll.is_ready(place) && begun.elapsed() >= Duration::from_micros(1500));
        assert!(!poll.is_ready(place + 1));
    }
}
