//! Whether a connection to an address leads to the run that was seen there.
//!
//! Owns: the comparison of the listeners at an address with those that a look has found in the run's processes. Never:
//! a look, a connection.
//!
//! A server that is being stopped, or that has lost its listener, may live on for a while, and another process may take
//! its port meanwhile: a foreign one, or another server, whose key the client may not have. With `SO_REUSEPORT` one of
//! the same user may even listen beside the server, at the same address or at a more specific one. So each connection
//! is checked after it was made and before a byte is sent: the listener at the address is the run's, and so are all
//! that share the address with it. Where the kernel does not show it, the look at the ports alone counts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::os::sockets::ListenerLookup;
use crate::supervisor::VisitTarget;
use crate::sync::lock;

/// Who shares an address is asked for each connection, but not more often than this: the kernel finds one listener in
/// no time, all of them by a walk (24 µs here, more on larger machines).
const ALONE_FOR: Duration = Duration::from_millis(5);

/// Where connections to an address lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerOwner {
    /// To the run alone, as far as the kernel shows.
    Run,
    /// To another process, always or at times.
    Foreign,
    None,
}

/// An address at which all listeners were a run's at that moment.
struct Alone {
    address: SocketAddr,
    own: Arc<[u64]>,
    at: Instant,
}

/// Checks where connections lead.
pub struct Proofs {
    lookup: ListenerLookup,
    alone: Mutex<Vec<Alone>>,
}

impl Proofs {
    pub fn new() -> Proofs {
        Proofs { lookup: ListenerLookup::open(), alone: Mutex::default() }
    }

    /// Where a connection to the target leads `now`.
    pub fn check(&self, target: &VisitTarget, now: Instant) -> ListenerOwner {
        if !self.lookup.is_usable() {
            return ListenerOwner::Run;
        }
        let one = judge(self.lookup.inode_at(target.address).as_slice(), &target.inodes);
        if one != ListenerOwner::Run || self.was_alone(target, now) {
            return one;
        }
        let all = judge(&self.lookup.inodes_at(target.address), &target.inodes);
        if all == ListenerOwner::Run {
            lock(&self.alone).push(Alone { address: target.address, own: Arc::clone(&target.inodes), at: now });
        }
        all
    }

    fn was_alone(&self, target: &VisitTarget, now: Instant) -> bool {
        let mut alone = lock(&self.alone);
        alone.retain(|alone| now.saturating_duration_since(alone.at) < ALONE_FOR);
        alone.iter().any(|alone| alone.address == target.address && Arc::ptr_eq(&alone.own, &target.inodes))
    }
}

fn judge(present: &[u64], own: &[u64]) -> ListenerOwner {
    match present {
        [] => ListenerOwner::None,
        _ if present.iter().all(|inode| own.binary_search(inode).is_ok()) => ListenerOwner::Run,
        _ => ListenerOwner::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stranger_among_them_is_enough() {
        for (present, own, expected) in [
            (&[][..], &[][..], ListenerOwner::None),
            (&[], &[1], ListenerOwner::None),
            (&[1], &[], ListenerOwner::Foreign),
            (&[1], &[1], ListenerOwner::Run),
            (&[3, 1], &[1, 2, 3], ListenerOwner::Run),
            (&[1, 4], &[1, 2, 3], ListenerOwner::Foreign),
        ] {
            assert_eq!(judge(present, own), expected, "{present:?} {own:?}");
        }
    }
}
