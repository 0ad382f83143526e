//! Asking a connected socket what its other side is up to.
//!
//! Owns: that question. Never: a byte that was sent.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::{check, retry};

/// Whether the other side has closed or half closed the connection: it sends no more, and most likely nobody reads any
/// more either (nginx takes it in the same way).
pub fn has_left(socket: impl AsFd) -> bool {
    let mut look = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: `look` is one valid pollfd and the count says one.
    let looked: io::Result<_> = retry(|| check(unsafe { libc::poll(&mut look, 1, 0) }));
    looked.is_err() || look.revents != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

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
