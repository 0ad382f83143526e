//! Who listens on a port that was wanted.
//!
//! Owns: the search through the processes, and how the one found is named. Never: what follows from it.

use std::fmt;

use crate::model::marker;
use crate::model::spec::{Port, Slug};
use crate::os::sockets::{self, ListeningSockets};
use crate::process::snapshot::Snapshot;
use crate::sorted::SortedSet;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// The name of its program; empty if that can't be seen.
    pub program: String,
    /// The server that it belongs to, if it is one of ours.
    pub server: Option<Slug>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(slug) = &self.server {
            write!(f, "server {slug}, ")?;
        }
        match self.program.as_str() {
            "" => write!(f, "pid {}", self.pid),
            program => write!(f, "pid {} ({program})", self.pid),
        }
    }
}

impl Holder {
    /// Looks for the one on `port`; `daemon` is how the markers of our own servers begin. All processes that the daemon
    /// may look into are gone through, so this is for when something has failed already. None is found when it is
    /// another user's, or in another container with the same network.
    pub fn find(port: Port, daemon: &str) -> Option<Holder> {
        let mut all = Vec::new();
        ListeningSockets::open().and_then(|mut listeners| listeners.read(&mut all)).ok()?;
        let wanted: SortedSet<u64> =
            all.iter().filter(|listener| listener.port == port).map(|listener| listener.inode).collect();
        if wanted.is_empty() {
            return None;
        }
        let processes = Snapshot::take().ok()?;
        // Of several that share it, the one that was there first: a server rather than its workers.
        let process = processes
            .all()
            .filter(|process| sockets::open_sockets(process.pid, &wanted).is_ok_and(|open| !open.is_empty()))
            .min_by_key(|process| (process.started, process.pid))?;
        Some(Holder {
            pid: process.pid.number(),
            program: process.program().unwrap_or_default(),
            server: process.marker().ok().flatten().and_then(|word| marker::slug_in(daemon, word)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_holder_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port::new(listener.local_addr().unwrap().port()).unwrap();
        let holder = Holder::find(port, "x").unwrap();
        assert_eq!(holder.pid, std::process::id());
        let program = std::env::current_exe().unwrap();
        assert_eq!(holder.program, program.file_name().unwrap().to_str().unwrap());
        assert_eq!(holder.to_string(), format!("pid {} ({})", holder.pid, holder.program));
    }

    #[test]
    fn a_server_of_ours_is_named() {
        let server = Slug::parse("web").ok();
        let holder = Holder { pid: 42, program: "node".into(), server };
        assert_eq!(holder.to_string(), "server web, pid 42 (node)");
        assert_eq!(Holder { program: String::new(), server: None, ..holder }.to_string(), "pid 42");
    }
}
