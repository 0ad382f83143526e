//! On what a server listens, port by port.
//!
//! Owns: where each port can be connected to from this machine, and what its URL has to name. Never: a choice among the
//! ports (see `choose`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::spec::Port;
use crate::os::sockets::{Family, ListeningSocket};

/// What a server listens on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listening {
    /// The open ports, in ascending order.
    pub open: Vec<OpenPort>,
    /// Who listens on the port that it was given.
    pub given: RequestedPort,
    /// The inodes of its listeners, in ascending order.
    pub inodes: Vec<u64>,
}

/// Who listens on the port that a server was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequestedPort {
    /// The server, or no process.
    #[default]
    Free,
    /// A process that is not one of the server's, and the server doesn't.
    Foreign,
}

/// A port on which a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenPort {
    pub port: Port,
    /// Where it can be connected to from this machine.
    pub probe: SocketAddr,
    /// Where the name `localhost` leads with this port.
    pub localhost: Localhost,
}

/// Where the name `localhost` leads with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Localhost {
    /// To the server and to no other process.
    Here,
    /// Perhaps, or certainly, to another process.
    Elsewhere,
}

impl OpenPort {
    /// What a URL has to name because `localhost` would not lead to the server.
    pub fn named(&self) -> Option<SocketAddr> {
        match self.localhost {
            Localhost::Here if is_localhost(self.probe.ip()) => None,
            Localhost::Here | Localhost::Elsewhere => Some(self.probe),
        }
    }
}

/// The ports of a server with these listeners; `is_shared` says whether another process listens on a port of one of
/// `localhost`'s addresses.
pub fn ports_of(listeners: &[ListeningSocket], is_shared: impl Fn(Port) -> bool) -> Vec<OpenPort> {
    let mut ports: Vec<Port> = listeners.iter().map(|listener| listener.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let open = |port| {
        let localhost = if is_shared(port) { Localhost::Elsewhere } else { Localhost::Here };
        Some(OpenPort { port, probe: probe(listeners, port)?, localhost })
    };
    ports.into_iter().filter_map(open).collect()
}

/// Whether the name `localhost` can lead to a listener.
pub fn is_on_localhost(listener: &ListeningSocket) -> bool {
    is_localhost(reached_at(listener))
}

fn is_localhost(ip: IpAddr) -> bool {
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

/// The address at which a listener is reached from this machine.
fn reached_at(listener: &ListeningSocket) -> IpAddr {
    match listener.ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => match listener.family {
            Family::Both => Ipv4Addr::LOCALHOST.into(),
            Family::Own => Ipv6Addr::LOCALHOST.into(),
        },
        ip => ip,
    }
}

/// Loopback if it is reached by it, IPv4 rather than IPv6, since some sandboxes have no IPv6 on loopback; else the
/// lowest of its addresses.
fn probe(listeners: &[ListeningSocket], port: Port) -> Option<SocketAddr> {
    let addresses = listeners.iter().filter(|listener| listener.port == port).map(reached_at);
    let ip = addresses.min_by_key(|ip| (*ip != Ipv4Addr::LOCALHOST, *ip != Ipv6Addr::LOCALHOST, *ip))?;
    Some(SocketAddr::new(ip, port.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn listener(address: &str, family: Family) -> ListeningSocket {
        let address: SocketAddr = address.parse().unwrap();
        ListeningSocket { inode: 1, ip: address.ip(), port: port(address.port()), family }
    }

    #[test]
    fn where_it_is_reached_and_what_its_url_names() {
        for (addresses, expected, named) in [
            (&[("0.0.0.0:80", Family::Own)][..], "127.0.0.1:80", None),
            (&[("127.0.0.1:80", Family::Own)], "127.0.0.1:80", None),
            (&[("[::]:80", Family::Both)], "127.0.0.1:80", None),
            (&[("[::]:80", Family::Own)], "[::1]:80", None),
            (&[("[::1]:80", Family::Own)], "[::1]:80", None),
            (&[("[::1]:80", Family::Own), ("127.0.0.1:80", Family::Own)], "127.0.0.1:80", None),
            (&[("[::]:80", Family::Own), ("0.0.0.0:80", Family::Own)], "127.0.0.1:80", None),
            (&[("10.1.2.3:80", Family::Own), ("[::1]:80", Family::Own)], "[::1]:80", None),
            (&[("10.1.2.3:80", Family::Own), ("10.1.2.2:80", Family::Own)], "10.1.2.2:80", Some("10.1.2.2")),
            (&[("127.0.0.2:80", Family::Own)], "127.0.0.2:80", Some("127.0.0.2")),
            (&[("[fd00::1]:80", Family::Own)], "[fd00::1]:80", Some("fd00::1")),
            (&[("127.0.0.1:81", Family::Own), ("[::1]:80", Family::Own)], "[::1]:80", None),
        ] {
            let listeners: Vec<_> = addresses.iter().map(|(address, family)| listener(address, *family)).collect();
            let open = ports_of(&listeners, |_| false)[0];
            assert_eq!(open.probe, expected.parse().unwrap(), "{addresses:?}");
            assert_eq!(open.named().map(|named| named.ip()), named.map(|ip| ip.parse().unwrap()), "{addresses:?}");
            let shared = ports_of(&listeners, |_| true)[0];
            assert_eq!(shared.named(), Some(shared.probe), "{addresses:?}");
        }
    }

    #[test]
    fn ports_are_in_order_and_each_stands_once() {
        let listeners = ["0.0.0.0:9000", "[::1]:80", "127.0.0.1:80"].map(|address| listener(address, Family::Own));
        let ports: Vec<_> = ports_of(&listeners, |_| false).iter().map(|open| open.port).collect();
        assert_eq!(ports, [port(80), port(9000)]);
        assert!(ports_of(&[], |_| true).is_empty());
    }

    #[test]
    fn what_the_name_localhost_leads_to() {
        for (address, family, expected) in [
            ("127.0.0.1:80", Family::Own, true),
            ("0.0.0.0:80", Family::Own, true),
            ("[::1]:80", Family::Own, true),
            ("[::]:80", Family::Own, true),
            ("[::]:80", Family::Both, true),
            ("127.0.0.2:80", Family::Own, false),
            ("10.1.2.3:80", Family::Own, false),
            ("[fd00::1]:80", Family::Own, false),
        ] {
            assert_eq!(is_on_localhost(&listener(address, family)), expected, "{address}");
        }
    }
}
