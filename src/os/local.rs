//! Sockets with a name in the file system.
//!
//! Owns: the permissions that one begins with, and the user at the other end of a connection. Never: a byte that is
//! sent.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::check;

/// Only the owner may connect.
const PRIVATE: u32 = 0o600;

/// Listens on a new socket at `path` that only the owner may connect to, from its first moment on. The process has one
/// umask for all of its threads: to be called before others make files.
///
/// # Errors
/// The system's.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = {
        let _umask = Umask::set(0o177);
        UnixListener::bind(path)?
    };
    // Default access control lists of the directory count instead of the umask.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(PRIVATE))?;
    Ok(listener)
}

/// The umask before is set again at the end of a scope.
struct Umask(libc::mode_t);

impl Umask {
    fn set(mask: libc::mode_t) -> Umask {
        // SAFETY: a plain number; the call can't fail.
        Umask(unsafe { libc::umask(mask) })
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        // SAFETY: a plain number; the call can't fail.
        unsafe { libc::umask(self.0) };
    }
}

/// The user who made the connection that `socket` is the accepted end of.
///
/// # Errors
/// The system's.
fn peer_user(socket: impl AsFd) -> io::Result<u32> {
    let mut peer = MaybeUninit::<libc::ucred>::zeroed();
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (fd, level, name) = (socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: `peer` is memory of `length` bytes, both live through the call; the descriptor is open.
    check(unsafe { libc::getsockopt(fd, level, name, peer.as_mut_ptr().cast(), &mut length) })?;
    // SAFETY: all of it was zero, which is valid, and the kernel has filled it in.
    Ok(unsafe { peer.assume_init() }.uid)
}

pub fn own_user() -> u32 {
    // SAFETY: the call can't fail and touches nothing.
    unsafe { libc::geteuid() }
}

/// Whether the peer of `socket` is the daemon's own user, or root.
pub fn is_own_peer(socket: impl AsFd) -> bool {
    peer_user(socket).is_ok_and(|user| may_use(user, own_user()))
}

fn may_use(user: u32, own: u32) -> bool {
    user == 0 || user == own
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_user_at_the_other_end_is_known() {
        let scratch = crate::testing::Scratch::new();
        let path = scratch.0.join("socket");
        let listener = listen(&path).unwrap();
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE);
        let _client = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(peer_user(&accepted).unwrap(), own_user());
        assert!(is_own_peer(&accepted));
        assert!(may_use(0, 5) && may_use(5, 5) && !may_use(6, 5) && !may_use(5, 0));
    }
}
