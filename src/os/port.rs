//! Whether a port could be listened on.
//!
//! Owns: the trial bind, and which ports the system gives out by itself. Never: which ports are spoken for by other servers (see `ports`).

use std::fs;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check;

/// What Linux has if nobody changes it.
const EPHEMERAL_DEFAULT: RangeInclusive<u16> = 32768..=60999;

/// What a trial bind says of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Every local address can be bound.
    Free,
    /// Something listens on it, on one of the addresses at least.
    Taken,
    /// The daemon may not bind it (a port below 1024 without the right to).
    Denied,
}

/// Tries to bind `port` on both wildcards and both loopback addresses, and lets it go again. Nothing listens in
/// between, so that nobody can connect; connections of an earlier listener that are still closing don't count.
///
/// # Errors
/// The system has no descriptor or no memory for a socket.
pub fn availability(port: u16) -> io::Result<Availability> {
    for ip in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST] {
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
            sin_zero: [0; 8],
        };
        match try_bind(libc::AF_INET, &address)? {
            Availability::Free => {}
            other => return Ok(other),
        }
    }
    for ip in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
        let address = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: port.to_be(),
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
            sin6_scope_id: 0,
        };
        match try_bind(libc::AF_INET6, &address)? {
            Availability::Free => {}
            other => return Ok(other),
        }
    }
    Ok(Availability::Free)
}

/// The ports that the system gives to those who ask for none in particular.
pub fn ephemeral() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    parse_range(&text).unwrap_or(EPHEMERAL_DEFAULT)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.trim().split_once(|letter: char| letter.is_ascii_whitespace())?;
    Some(first.parse().ok()?..=last.trim_start().parse().ok()?)
}

fn try_bind<Address>(family: libc::c_int, address: &Address) -> io::Result<Availability> {
    // SAFETY: no memory is passed.
    let socket = match check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }) {
        // SAFETY: the call has just made this descriptor, nobody else has it.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        // A kernel without IPv6: nobody can listen there.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(Availability::Free),
        Err(error) => return Err(error),
    };
    set_flag(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if family == libc::AF_INET6 {
        // Else the IPv6 wildcard would stand for IPv4 too, which has had its own trial.
        set_flag(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
    }
    let length = mem::size_of::<Address>() as libc::socklen_t;
    // SAFETY: `address` is a valid socket address of `family`, `length` bytes long.
    match check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const *address).cast(), length) }) {
        Ok(_) => Ok(Availability::Free),
        Err(error) => match error.raw_os_error() {
            Some(libc::EADDRINUSE) => Ok(Availability::Taken),
            Some(libc::EACCES | libc::EPERM) => Ok(Availability::Denied),
            // The address does not exist here (IPv6 is off, loopback is down): nobody can listen there.
            Some(libc::EADDRNOTAVAIL) => Ok(Availability::Free),
            _ => Err(error),
        },
    }
}

fn set_flag(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: `on` is a c_int, `length` bytes long, and lives through the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_listener_on_any_address_takes_the_port() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(availability(port).unwrap(), Availability::Taken, "{address}");
            drop(listener);
            assert_eq!(availability(port).unwrap(), Availability::Free, "{address}");
        }
    }

    #[test]
    fn the_range_of_given_out_ports() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_range("1024 65535"), Some(1024..=65535));
        assert_eq!(["", "1", "a b", "1 70000"].map(parse_range), [const { None }; 4]);
    }

    #[test]
    fn a_closing_connection_does_not_take_the_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        // The side that closes first is the one that keeps the address for a while (TIME_WAIT).
        drop(server);
        drop(client);
        drop(listener);
        assert_eq!(availability(address.port()).unwrap(), Availability::Free);
    }
}
