//! The kernel's listening TCP sockets, and which processes have them open.
//!
//! Owns: reading them, by netlink or from `/proc` (and, in `open`, the descriptors of processes). Never: which server
//! they belong to, which of them matters.
//!
//! `NETLINK_SOCK_DIAG` can list listeners alone, so its cost does not depend on the number of connections. Where it is
//! refused (gVisor, a filter of system calls) `/proc/net/tcp` and `tcp6` are read, with all connections in them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Mutex;

use crate::log;
use crate::model::spec::Port;
use crate::sorted::SortedSet;
use crate::sync::lock;

mod netlink;
mod open;
#[cfg(test)]
pub(crate) mod tests;

use netlink::Netlink;
pub use open::{Descriptors, Extent, FdChunk, extent, is_gone, open_sockets, threads_apart};

/// The state of a listener in `/proc/net/tcp`, and as a bit in netlink's filter.
const LISTEN: u8 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListeningSocket {
    /// The inode, as in the links of `/proc/PID/fd`.
    pub inode: u64,
    /// The local address. An IPv4-mapped IPv6 address is given as IPv4.
    pub ip: IpAddr,
    pub port: Port,
    /// Whether IPv4 clients reach it too, if its address is the IPv6 wildcard.
    pub family: Family,
}

/// Which clients a listener accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Clients of its address's own family.
    Own,
    /// Clients of both: a socket on the IPv6 wildcard that takes IPv4 clients as well.
    Both,
}

/// Reads the listening sockets of this network namespace.
#[derive(Debug)]
pub struct ListeningSockets {
    source: ListenerSource,
}

#[derive(Debug)]
enum ListenerSource {
    Netlink(Netlink),
    Proc,
}

impl ListeningSockets {
    /// Chooses netlink, or `/proc/net/tcp` where that is refused.
    ///
    /// # Errors
    /// Neither can be used.
    pub fn open() -> io::Result<ListeningSockets> {
        let refused = match Netlink::open().and_then(|mut netlink| netlink.read(&mut Vec::new()).map(|()| netlink)) {
            Ok(netlink) => return Ok(ListeningSockets { source: ListenerSource::Netlink(netlink) }),
            Err(refused) => refused,
        };
        ListeningSockets::from_proc(&refused)
    }

    /// Replaces the content of `found` by them, in the kernel's order.
    ///
    /// # Errors
    /// Neither way works any more; `found` is incomplete.
    pub fn read(&mut self, found: &mut Vec<ListeningSocket>) -> io::Result<()> {
        found.clear();
        if let ListenerSource::Netlink(netlink) = &mut self.source {
            let Err(refused) = netlink.read(found) else { return Ok(()) };
            found.clear();
            *self = ListeningSockets::from_proc(&refused)?;
        }
        read_proc(found)
    }

    fn from_proc(refused: &io::Error) -> io::Result<ListeningSockets> {
        read_proc(&mut Vec::new()).map_err(|error| {
            io::Error::other(format!(
                "the system does not show its listening sockets: netlink is refused ({refused}), and /proc/net/tcp can't be \
                 read ({error})"
            ))
        })?;
        log::debug(format_args!("netlink is refused ({refused}); listening sockets are read from /proc/net/tcp"));
        Ok(ListeningSockets { source: ListenerSource::Proc })
    }
}

/// Finds the listeners behind an address.
#[derive(Debug)]
pub struct ListenerLookup(Option<Mutex<Netlink>>);

impl ListenerLookup {
    /// By netlink; where that is refused nothing is found.
    pub fn open() -> ListenerLookup {
        let mut netlink = Netlink::open().ok();
        ListenerLookup(netlink.take_if(|netlink| netlink.read_port(1, &mut Vec::new()).is_ok()).map(Mutex::new))
    }

    /// Whether it finds any.
    pub fn is_usable(&self) -> bool {
        self.0.is_some()
    }

    /// The inode of the listener that takes connections to `address` now. Of several that share it, it is any one.
    pub fn inode_at(&self, address: SocketAddr) -> Option<u64> {
        lock(self.0.as_ref()?).listener_at(address).ok().flatten()
    }

    /// The inodes of the listeners one of which takes a connection to `address` now. With `SO_REUSEPORT` there may be
    /// several, of several processes, and the kernel deals the connections out. This takes a walk through the kernel's
    /// table.
    pub fn inodes_at(&self, address: SocketAddr) -> Vec<u64> {
        let mut found = Vec::new();
        let read = self.0.as_ref().map(|netlink| lock(netlink).read_port(address.port(), &mut found));
        if !matches!(read, Some(Ok(()))) {
            return Vec::new();
        }
        found.retain(|listener| listener.port.get() == address.port());
        let rank = |listener: &ListeningSocket| rank_at(listener, address.ip());
        let best = found.iter().filter_map(rank).min();
        found
            .iter()
            .filter(|listener| best.is_some() && rank(listener) == best)
            .map(|listener| listener.inode)
            .collect()
    }
}

/// The kernel gives a connection to `ip` to the listeners of the lowest rank. `None`: never to this one.
fn rank_at(listener: &ListeningSocket, ip: IpAddr) -> Option<u8> {
    match (listener.ip, ip) {
        (own, ip) if own == ip => Some(0),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(_)) => Some(1),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(_)) => Some(1),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(_)) => (listener.family == Family::Both).then_some(2),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
    }
}

/// Whether the inodes of [`ListeningSockets`] are those that [`open_sockets`] sees. In some sandboxes they are not, or
/// either of them can't be read at all. A listener of our own, on loopback, is there for a moment to find that out.
///
/// # Errors
/// The system has no socket to try it with.
pub fn inodes_match(listeners: &mut ListeningSockets) -> io::Result<bool> {
    let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = ours.local_addr()?;
    let mut all = Vec::new();
    listeners.read(&mut all)?;
    let inode = fs::read_link(format!("/proc/self/fd/{}", ours.as_raw_fd())).ok().and_then(|link| inode_of(&link));
    Ok(all
        .iter()
        .any(|listener| SocketAddr::new(listener.ip, listener.port.get()) == address && Some(listener.inode) == inode))
}

fn inode_of(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn read_proc(found: &mut Vec<ListeningSocket>) -> io::Result<()> {
    parse_proc(&fs::read_to_string("/proc/net/tcp")?, found);
    match fs::read_to_string("/proc/net/tcp6") {
        Ok(text) => parse_proc(&text, found),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    assume_families(found);
    Ok(())
}

/// A line is `number: address:port remote:port state queues timer retransmits uid timeout inode …`, addresses in groups
/// of four bytes, each written as a number of this machine.
fn parse_proc(text: &str, found: &mut Vec<ListeningSocket>) {
    found.extend(text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        let port = Port::new(u16::from_str_radix(port, 16).ok()?)?;
        let ip = parse_ip(address)?;
        (state == LISTEN).then_some(ListeningSocket { inode, ip, port, family: Family::Own })
    }));
}

fn parse_ip(hex: &str) -> Option<IpAddr> {
    let group = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(group(0)?).into()),
        32 => {
            let groups = [group(0)?, group(1)?, group(2)?, group(3)?];
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(groups.concat()).ok()?).to_canonical())
        }
        _ => None,
    }
}

/// `/proc` does not say which clients an IPv6 wildcard takes. The kernel lets no other socket listen for IPv4 on the
/// port of one that takes them; where none does, what programs do by default is assumed.
fn assume_families(found: &mut [ListeningSocket]) {
    let taken: SortedSet<Port> = found.iter().filter(|other| other.ip.is_ipv4()).map(|other| other.port).collect();
    for listener in found.iter_mut().filter(|listener| listener.ip == Ipv6Addr::UNSPECIFIED) {
        listener.family = if taken.contains(&listener.port) { Family::Own } else { Family::Both };
    }
}
