//! The options of a listening socket, which accepted connections inherit.
//!
//! Owns: the length of the accept queue, the time-outs for a silent peer, and the send buffer for a slow one.
//! Never: an accept, a byte.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use super::check;

/// Connections that wait to be accepted. The standard library asks for 128, and each one above has to try again after a
/// second. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: libc::c_int = 4096;
/// Seconds of silence before the first keepalive probe. A host whose end of the connection is gone answers it with a
/// reset.
const KEEPALIVE_IDLE: libc::c_int = 20;
/// Seconds between further probes.
const KEEPALIVE_INTERVAL: libc::c_int = 20;
/// Milliseconds without an acknowledgement after which the peer counts as gone, for keepalive probes too: with this
/// option the kernel does not count them.
const USER_TIMEOUT: libc::c_int = 120_000;
/// Bytes that the kernel takes beyond what it could send so far.
const UNSENT_MAX: libc::c_int = 64 * 1024;

/// Sets `listener` up for clients that vanish, do not read, or come in bursts.
///
/// # Errors
/// The kernel does not know one of the options.
pub fn prepare(listener: &TcpListener) -> io::Result<()> {
    let socket = listener.as_raw_fd();
    set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    for (option, value) in [
        // Answers are written whole; there is nothing to wait for.
        (libc::TCP_NODELAY, 1),
        (libc::TCP_KEEPIDLE, KEEPALIVE_IDLE),
        (libc::TCP_KEEPINTVL, KEEPALIVE_INTERVAL),
        (libc::TCP_USER_TIMEOUT, USER_TIMEOUT),
        (libc::TCP_NOTSENT_LOWAT, UNSENT_MAX),
    ] {
        set(socket, libc::IPPROTO_TCP, option, value)?;
    }
    // SAFETY: plain numbers; on a socket that listens already this changes the length of its queue alone.
    check(unsafe { libc::listen(socket, BACKLOG) }).map(drop)
}

/// Sets an option of a socket that is a number.
pub(super) fn set(socket: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is an int that lives through the call, and its length is given.
    check(unsafe { libc::setsockopt(socket, level, option, (&raw const value).cast(), length) }).map(drop)
}
