//! Waiting for many descriptors at once.
//!
//! Owns: `poll(2)`. Never: what is read or written; how another thread ends a wait (see `waker`).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

use super::{check, retry};

/// Waits until one of `entries` has an event, or `limit` is over; without a limit for as long as it takes. Entries with
/// a negative descriptor are ignored.
///
/// # Errors
/// The kernel has no memory for the wait, or the limit on open files was lowered below the number of entries.
pub(super) fn poll(entries: &mut [libc::pollfd], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.map(|limit| libc::timespec {
        // By the field's own type: `libc` deprecates the name `time_t` on musl.
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        // Below a billion, which fits in any `c_long`.
        tv_nsec: limit.subsec_nanos() as libc::c_long,
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    let count = entries.len() as libc::nfds_t;
    // SAFETY: `entries` is `count` valid pollfds; `limit` is null or points to a timespec that lives through the call;
    // no signal mask is passed.
    retry(|| check(unsafe { libc::ppoll(entries.as_mut_ptr(), count, limit, ptr::null()) })).map(drop)
}

/// The entry of `poll` for one descriptor.
pub(super) fn entry(fd: libc::c_int, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Room to write.
    Write,
    Both,
    /// The other side has closed, or half closed.
    Left,
    /// The connection is closed in both directions, or reset.
    Broken,
}

/// The descriptors of one wait. Reuse it: the memory is kept from wait to wait.
#[derive(Default)]
pub struct Poll {
    entries: Vec<libc::pollfd>,
}

impl Poll {
    /// Removes all descriptors.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a descriptor and returns its index in the next wait. One that is closed before the wait counts as ready.
    pub fn add(&mut self, descriptor: &impl AsFd, interest: Interest) -> usize {
        let events = match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::Both => libc::POLLIN | libc::POLLOUT,
            Interest::Left => libc::POLLRDHUP,
            // Reported without being asked for.
            Interest::Broken => 0,
        };
        self.entries.push(entry(descriptor.as_fd().as_raw_fd(), events));
        self.entries.len() - 1
    }

    /// Waits until one of the descriptors is ready or has an error, or `limit` is over.
    ///
    /// # Errors
    /// The kernel has no memory for the wait, or the limit on open files was lowered below their number.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        poll(&mut self.entries, limit)
    }

    /// Whether the last wait found something to read there, the end, or an error.
    pub fn is_readable(&self, place: usize) -> bool {
        self.entries.get(place).is_some_and(|entry| entry.revents & !libc::POLLOUT != 0)
    }

    /// Whether the last wait found room to write there, or an error.
    pub fn is_writable(&self, place: usize) -> bool {
        self.entries.get(place).is_some_and(|entry| entry.revents & !libc::POLLIN != 0)
    }

    /// Whether the last wait found the descriptor at `place` ready, or in an error that its next use returns.
    pub fn is_ready(&self, place: usize) -> bool {
        self.entries.get(place).is_some_and(|entry| entry.revents != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn one_of_two_interests() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let looked = || {
            let mut poll = Poll::default();
            let place = poll.add(&ours, Interest::Both);
            poll.wait(Some(Duration::from_secs(20))).unwrap();
            (poll.is_readable(place), poll.is_writable(place))
        };
        assert_eq!(looked(), (false, true));
        theirs.write_all(b"a").unwrap();
        assert_eq!(looked(), (true, true));
        drop(theirs);
        assert_eq!(looked(), (true, true));
    }
}
