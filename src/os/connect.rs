//! Connecting without waiting for it.
//!
//! Owns: the socket and the first step of its connection. Never: a wait (see `poll`), what is sent over it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use super::{address, check, owned};

/// Begins to connect. The stream never blocks. It becomes writable when it is connected or has failed; the first write
/// or [`TcpStream::take_error`] returns the error.
///
/// # Errors
/// No descriptor is left, or there is no route to `address`.
pub fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers; the call returns a new descriptor.
    let socket = unsafe { owned(libc::socket(address::family(&address), kind, 0)) }?;
    // SAFETY: `raw` is valid for reads of `length` bytes during the call; the descriptor is open.
    let connect = |raw, length| check(unsafe { libc::connect(socket.as_raw_fd(), raw, length) });
    match address::with_raw(&address, connect) {
        Ok(_) => Ok(socket.into()),
        // Interrupted by a signal, the connection continues.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}
