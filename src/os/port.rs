//! Whether a port can be listened on.
//!
//! Owns: the trial bind, and the range of ephemeral ports. Never: which ports are reserved for servers (see `ports`).

use std::fs;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{address, check, owned};

/// The default of Linux.
const EPHEMERAL_DEFAULT: RangeInclusive<u16> = 32768..=60999;

/// The result of a trial bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Every local address can be bound.
    Free,
    /// Something listens on it, on one of the addresses at least.
    Taken,
    /// The daemon may not bind it (a port below 1024 without the right to).
    Denied,
}

/// Tries to bind `port` on both wildcards and both loopback addresses, and closes the sockets again. They never listen,
/// so no client can connect; connections of an earlier listener that are still closing don't count.
///
/// # Errors
/// No descriptor or no memory for a socket is left.
pub fn availability(port: u16) -> io::Result<Availability> {
    let addresses: [IpAddr; 4] = [
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    for ip in addresses {
        match try_bind(&SocketAddr::new(ip, port))? {
            Availability::Free => {}
            other => return Ok(other),
        }
    }
    Ok(Availability::Free)
}

/// The range from which the kernel assigns ports to binds of port 0.
pub fn ephemeral() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    parse_range(&text).unwrap_or(EPHEMERAL_DEFAULT)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.trim().split_once(|letter: char| letter.is_ascii_whitespace())?;
    Some(first.parse().ok()?..=last.trim_start().parse().ok()?)
}

fn try_bind(address: &SocketAddr) -> io::Result<Availability> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers; the call returns a new descriptor.
    let socket = match unsafe { owned(libc::socket(address::family(address), kind, 0)) } {
        Ok(socket) => socket,
        // A kernel without IPv6: nothing can listen there.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(Availability::Free),
        Err(error) => return Err(error),
    };
    set_flag(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if address.is_ipv6() {
        // Else the IPv6 wildcard would include IPv4, which is tried separately.
        set_flag(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
    }
    // SAFETY: `raw` is valid for reads of `length` bytes during the call; the descriptor is open.
    match address::with_raw(address, |raw, length| check(unsafe { libc::bind(socket.as_raw_fd(), raw, length) })) {
        Ok(_) => Ok(Availability::Free),
        Err(error) => match error.raw_os_error() {
            Some(libc::EADDRINUSE) => Ok(Availability::Taken),
            Some(libc::EACCES | libc::EPERM) => Ok(Availability::Denied),
            // The address does not exist here (IPv6 is off, loopback is down): nothing can listen there.
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
