//! Connecting without waiting for it.
//!
//! Owns: the socket and the first step of its connection. Never: a wait (see `poll`), what is said over it.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check;

/// Begins to connect. The stream never blocks. It can be written to as soon as it is connected or could not be; which of
/// the two it was is said by the first write or by [`TcpStream::take_error`].
///
/// # Errors
/// The system has no descriptor, or knows at once that there is no way to `address`.
pub fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            connect(libc::AF_INET, &raw)
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            connect(libc::AF_INET6, &raw)
        }
    }
}

fn connect<Address>(family: libc::c_int, address: &Address) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the call has just made this descriptor, nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let length = mem::size_of::<Address>() as libc::socklen_t;
    // SAFETY: `address` is a valid socket address of `family`, `length` bytes long.
    match check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const *address).cast(), length) }) {
        Ok(_) => Ok(socket.into()),
        // Interrupted by a signal, it goes on all the same.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}
