//! The state of a connected socket's other end.
//!
//! Owns: detecting its close, reading without consuming (`MSG_PEEK`), its address, how long it may take nothing, and
//! how it sees our end.
//! Never: consuming a byte.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::time::Duration;

use super::listener::set;
use super::poll::{entry, poll};
use super::retry;

/// Whether the other side has closed or half closed the connection: it sends no more, and most likely
/// does not read either (nginx assumes the same).
pub fn has_left(socket: impl AsFd) -> bool {
    let mut entries = [entry(socket.as_fd().as_raw_fd(), libc::POLLRDHUP)];
    poll(&mut entries, Some(Duration::ZERO)).is_err() || entries[0].revents != 0
}

/// The address of the other side; `None` for a unix socket.
pub fn address(socket: impl AsFd) -> Option<IpAddr> {
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and is not closed here: it is never dropped.
    let stream = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(socket.as_fd().as_raw_fd()) });
    stream.peer_addr().ok().map(|address| address.ip().to_canonical())
}

/// Lets the other side of a TCP connection take nothing for `limit` before the kernel ends it.
pub fn allow_stall(socket: impl AsFd, limit: Duration) {
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // An error means that it is no TCP connection.
    let _ = set(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, limit);
}

/// Has the close of a TCP connection reset it: the other side sees an error and not an end.
pub fn reset_at_close(socket: impl AsFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = size_of::<libc::linger>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: `linger` lives through the call, and its length is given. An error means that the connection has ended.
    unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length) };
}

/// What a connected socket has for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peeked {
    Nothing,
    /// The number of bytes, up to the size of the buffer.
    Bytes(usize),
    /// The end: the other side has closed, or the connection is broken.
    End,
}

/// Reads from `socket` without consuming. `buffer` has room for at least a byte.
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> Peeked {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most as many bytes as `buffer` has.
    let looked = retry(|| match unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), flags) } {
        count if count < 0 => Err(io::Error::last_os_error()),
        count => Ok(count),
    });
    match looked {
        Ok(0) => Peeked::End,
        Ok(count) => Peeked::Bytes(count as usize),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Peeked::Nothing,
        Err(_) => Peeked::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_there_is_to_read_is_left_there() {
        use std::io::{Read, Write};
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut buffer = [0; 2];
        assert_eq!(peek(&ours, &mut buffer), Peeked::Nothing);
        theirs.write_all(b"abc").unwrap();
        drop(theirs);
        assert_eq!((peek(&ours, &mut buffer), buffer), (Peeked::Bytes(2), *b"ab"));
        assert_eq!(ours.read(&mut [0; 4]).unwrap(), 3);
        assert_eq!(peek(&ours, &mut buffer), Peeked::End);
    }

    #[test]
    fn leaving_is_seen_and_staying_too() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert!(!has_left(&ours));
        drop(theirs);
        assert!(has_left(&ours));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        assert!(!has_left(&ours));
        theirs.shutdown(Shutdown::Write).unwrap();
        while !has_left(&ours) {
            std::thread::yield_now();
        }
    }
}
