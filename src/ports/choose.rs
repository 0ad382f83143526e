//! Which of a server's ports is the one to show, and where to reach it from here.
//!
//! Owns: the choice. Never: a look at what is there; all it needs comes in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use crate::model::spec::Port;
use crate::os::sockets::{Family, Listener};

/// Where Node's debugger listens, and the one of a process that it has forked.
const DEBUGGERS: [u16; 2] = [9229, 9230];

/// Whether a debugger's port can be all that a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// A debugger listens before what it debugs does: there is more to come.
    TooEarly,
    /// There was time enough for anything else.
    Counts,
}

/// On what a server listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listening {
    /// The port to show; there is one as soon as there is any, a debugger's aside.
    pub chosen: Option<Chosen>,
    /// All of them, in order.
    pub ports: Vec<Port>,
}

/// The port of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// The port.
    pub port: Port,
    /// Where it can be connected to from this machine.
    pub probe: SocketAddr,
}

impl Listening {
    /// What a server with these listeners is to be known for. `requested` is the port that it was given, `before` the
    /// one that was chosen last, and the system hands out the `ephemeral` ones to whoever asks for none in particular.
    pub fn of(
        listeners: &[Listener],
        requested: Option<Port>,
        before: Option<Port>,
        ephemeral: &RangeInclusive<u16>,
        debugger: Alone,
    ) -> Listening {
        let mut ports: Vec<Port> = listeners.iter().map(|listener| listener.port).collect();
        ports.sort_unstable();
        ports.dedup();
        // The one of before goes before its equals, so that the choice does not jump; a better one comes first still.
        let key = |port: &Port| (rank(*port, requested, ephemeral), before != Some(*port), *port);
        let is_taken = |port: &Port| debugger == Alone::Counts || rank(*port, requested, ephemeral) != Rank::Debugger;
        let port = ports.iter().copied().filter(is_taken).min_by_key(key);
        Listening { chosen: port.and_then(|port| Some(Chosen { port, probe: probe(listeners, port)? })), ports }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Requested,
    Ordinary,
    Ephemeral,
    Debugger,
}

fn rank(port: Port, requested: Option<Port>, ephemeral: &RangeInclusive<u16>) -> Rank {
    if requested == Some(port) {
        Rank::Requested
    } else if DEBUGGERS.contains(&port.get()) {
        Rank::Debugger
    } else if ephemeral.contains(&port.get()) {
        Rank::Ephemeral
    } else {
        Rank::Ordinary
    }
}

/// Loopback if it is reached by it, IPv4 rather than IPv6, since some sandboxes have no IPv6 on loopback; else the lowest
/// of its addresses.
fn probe(listeners: &[Listener], port: Port) -> Option<SocketAddr> {
    let addresses = listeners.iter().filter(|listener| listener.port == port).map(|listener| match listener.ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => match listener.family {
            Family::Both => Ipv4Addr::LOCALHOST.into(),
            Family::Own => Ipv6Addr::LOCALHOST.into(),
        },
        ip => ip,
    });
    let ip = addresses.min_by_key(|ip| (*ip != Ipv4Addr::LOCALHOST, *ip != Ipv6Addr::LOCALHOST, *ip))?;
    Some(SocketAddr::new(ip, port.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn listener(address: &str, family: Family) -> Listener {
        let address: SocketAddr = address.parse().unwrap();
        Listener { inode: 1, ip: address.ip(), port: port(address.port()), family }
    }

    fn chosen(numbers: &[u16], requested: u16, before: u16) -> Option<u16> {
        let listeners: Vec<_> =
            numbers.iter().map(|number| listener(&format!("0.0.0.0:{number}"), Family::Own)).collect();
        Listening::of(&listeners, Port::new(requested), Port::new(before), &EPHEMERAL, Alone::Counts)
            .chosen
            .map(|chosen| chosen.port.get())
    }

    #[test]
    fn the_choice_among_several() {
        for (numbers, requested, before, expected) in [
            (&[][..], 3000, 0, None),
            (&[], 3000, 3000, None),
            (&[3000], 0, 0, Some(3000)),
            (&[8080, 3000], 0, 0, Some(3000)),
            // Asked for.
            (&[3000, 8080], 8080, 0, Some(8080)),
            (&[3000, 40000], 40000, 0, Some(40000)),
            (&[3000, 9229], 9229, 0, Some(9229)),
            (&[3000, 5000], 4000, 0, Some(3000)),
            // Doubtful ones only when there is nothing else.
            (&[9229, 9230, 10000], 0, 0, Some(10000)),
            (&[24678, 32768], 0, 0, Some(24678)),
            (&[60999, 61000], 0, 0, Some(61000)),
            (&[45000, 44000], 0, 0, Some(44000)),
            (&[9229, 44000], 0, 0, Some(44000)),
            (&[9230], 0, 0, Some(9230)),
            // The one of before, as long as it lives.
            (&[3000, 8080], 0, 8080, Some(8080)),
            (&[3000, 8080], 0, 5000, Some(3000)),
            (&[44000, 45000], 0, 45000, Some(45000)),
            // But not against a better one.
            (&[3000, 8080], 3000, 8080, Some(3000)),
            (&[3000, 9229], 0, 9229, Some(3000)),
            (&[3000, 44000], 0, 44000, Some(3000)),
        ] {
            assert_eq!(chosen(numbers, requested, before), expected, "{numbers:?} {requested} {before}");
        }
    }

    #[test]
    fn a_debugger_comes_before_what_it_debugs() {
        let chosen = |numbers: &[u16], requested| {
            let listeners: Vec<_> =
                numbers.iter().map(|number| listener(&format!("127.0.0.1:{number}"), Family::Own)).collect();
            let listening = Listening::of(&listeners, Port::new(requested), None, &EPHEMERAL, Alone::TooEarly);
            assert_eq!(listening.ports.len(), numbers.len());
            listening.chosen.map(|chosen| chosen.port.get())
        };
        assert_eq!(chosen(&[9229], 3000), None);
        assert_eq!(chosen(&[9229, 9230], 0), None);
        assert_eq!(chosen(&[9229], 9229), Some(9229));
        assert_eq!(chosen(&[9229, 3000], 0), Some(3000));
        assert_eq!(chosen(&[9229, 44000], 0), Some(44000));
    }

    #[test]
    fn where_it_is_reached() {
        for (addresses, expected) in [
            (&[("0.0.0.0:80", Family::Own)][..], "127.0.0.1:80"),
            (&[("127.0.0.1:80", Family::Own)], "127.0.0.1:80"),
            (&[("[::]:80", Family::Both)], "127.0.0.1:80"),
            (&[("[::]:80", Family::Own)], "[::1]:80"),
            (&[("[::1]:80", Family::Own)], "[::1]:80"),
            (&[("[::1]:80", Family::Own), ("127.0.0.1:80", Family::Own)], "127.0.0.1:80"),
            (&[("[::]:80", Family::Own), ("0.0.0.0:80", Family::Own)], "127.0.0.1:80"),
            (&[("10.1.2.3:80", Family::Own), ("[::1]:80", Family::Own)], "[::1]:80"),
            (&[("10.1.2.3:80", Family::Own), ("10.1.2.2:80", Family::Own)], "10.1.2.2:80"),
            (&[("127.0.0.2:80", Family::Own)], "127.0.0.2:80"),
            (&[("[fd00::1]:80", Family::Own)], "[fd00::1]:80"),
            (&[("127.0.0.1:81", Family::Own), ("[::1]:80", Family::Own)], "[::1]:80"),
        ] {
            let listeners: Vec<_> = addresses.iter().map(|(address, family)| listener(address, *family)).collect();
            let listening = Listening::of(&listeners, Some(port(80)), None, &EPHEMERAL, Alone::Counts);
            assert_eq!(listening.chosen.unwrap().probe, expected.parse().unwrap(), "{addresses:?}");
        }
    }

    #[test]
    fn ports_are_in_order_and_each_stands_once() {
        let listeners = ["0.0.0.0:9000", "[::1]:80", "127.0.0.1:80"].map(|address| listener(address, Family::Own));
        assert_eq!(Listening::of(&listeners, None, None, &EPHEMERAL, Alone::Counts).ports, [port(80), port(9000)]);
        assert_eq!(Listening::of(&[], None, None, &EPHEMERAL, Alone::Counts), Listening::default());
    }
}
