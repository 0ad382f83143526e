//! Whether what accepts connections at an address is the run that was seen there.
//!
//! Owns: the listeners that a look at the ports has proven to be of a run. Never: a look, a connection.
//!
//! A server that is being stopped, or that has lost its listener, may live on for a while, and another process may take its
//! port meanwhile: a foreign one, or another server, whose key the client may not have. So each connection is checked after
//! it was made: the listener at the address is the very socket that was found in the run's processes, and so it was all the
//! time in between. Where the kernel does not tell, the look at the ports alone counts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::os::sockets::ListenerLookup;
use crate::supervisor::{EndSign, VisitTarget};
use crate::sync::lock;

struct ProvenListener {
    run: Arc<EndSign>,
    address: SocketAddr,
    inode: u64,
}

/// What is proven.
pub struct Proofs {
    lookup: ListenerLookup,
    known: Mutex<Vec<ProvenListener>>,
}

impl Proofs {
    pub fn new() -> Proofs {
        Proofs { lookup: ListenerLookup::open(), known: Mutex::default() }
    }

    /// The listener at the target's address. To be asked before the look at the ports that proves whose it is.
    pub fn listener_at(&self, target: &VisitTarget) -> Option<u64> {
        self.lookup.inode_at(target.address)
    }

    /// A look at the ports, begun after `inode` was seen at the address, has found that the run listens there.
    pub fn learn(&self, target: &VisitTarget, inode: Option<u64>) {
        let mut known = lock(&self.known);
        known.retain(|proof| !proof.run.is_over() && !is_of(proof, target));
        if let Some(inode) = inode {
            known.push(ProvenListener { run: Arc::clone(&target.end), address: target.address, inode });
        }
    }

    /// Whether a look has found the run at the address, as far as the kernel tells.
    pub fn know(&self, target: &VisitTarget) -> bool {
        !self.lookup.is_usable() || lock(&self.known).iter().any(|proof| is_of(proof, target))
    }

    /// Whether what has accepted a connection a moment ago was the run. If not, the next connection needs another look.
    pub fn hold(&self, target: &VisitTarget) -> bool {
        if !self.lookup.is_usable() {
            return true;
        }
        let present = self.listener_at(target);
        let mut known = lock(&self.known);
        let holds = known.iter().any(|proof| is_of(proof, target) && Some(proof.inode) == present);
        if !holds {
            known.retain(|proof| !is_of(proof, target));
        }
        holds
    }
}

fn is_of(proof: &ProvenListener, target: &VisitTarget) -> bool {
    Arc::ptr_eq(&proof.run, &target.end) && proof.address == target.address
}
