//! Writing to stderr without ever waiting for its reader.
//!
//! Owns: the one write. Never: what is written (see `log`).

use std::io;
use std::time::Duration;

use super::poll::{entry, poll};
use super::retry;
use crate::log::LINE_MAX;

/// Writes `line` (at most [`LINE_MAX`] bytes) at once or not at all: after a poll, a write of that much does not block.
///
/// # Errors
/// There is no room now, or no reader. The line is lost.
pub fn write_now(line: &[u8]) -> io::Result<()> {
    debug_assert!(line.len() <= LINE_MAX);
    let mut stderr = [entry(libc::STDERR_FILENO, libc::POLLOUT)];
    poll(&mut stderr, Some(Duration::ZERO))?;
    if stderr[0].revents == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // SAFETY: `line` is valid for reads of its length. A closed stderr gives EBADF or EPIPE (SIGPIPE is ignored).
    let written = retry(|| match unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) } {
        written if written < 0 => Err(io::Error::last_os_error()),
        written => Ok(written.unsigned_abs()),
    })?;
    // A rest would have to wait; a torn line is better than a wait.
    if written == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
