//! Reads into the spare capacity of a buffer, without filling it first.
//!
//! Owns: one read. Never: a wait, or a repetition.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads at most `most` bytes behind the content of `into`, and returns how many came; 0 is the end. On an error `into`
/// is as before. (To set 16 KiB to zero for each read was a third of a relay's time: the release is built for size,
/// byte by byte.)
pub fn read(from: BorrowedFd<'_>, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    into.reserve_exact(most);
    // SAFETY: `most` bytes of the allocation lie behind the content, and the kernel only writes to them.
    let count = unsafe { libc::read(from.as_raw_fd(), into.as_mut_ptr().add(into.len()).cast(), most) };
    let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has written `count` bytes there, and no more than `most`.
    unsafe { into.set_len(into.len() + count) };
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_read_stands_behind_the_content() {
        let (mut one, other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        let mut into = b"ab".to_vec();
        one.write_all(b"cdef").unwrap();
        assert_eq!(read(other.as_fd(), &mut into, 3).unwrap(), 3);
        assert_eq!(read(other.as_fd(), &mut into, 3).unwrap(), 1);
        assert_eq!(read(other.as_fd(), &mut into, 3).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert_eq!(read(other.as_fd(), &mut into, 3).unwrap(), 0);
        assert_eq!(into, b"abcdef");
    }
}
