//! The public address.
//!
//! Owns: how it is bound, the sentence when it can't be, and the name of a unix socket from its first moment to its
//! last. Never: a client.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{self, Path, PathBuf};

use crate::config::{AuthSource, Listen};
use crate::http::Listener;
use crate::os::local;

/// The bound address.
pub struct OpenedListener {
    /// Where clients connect.
    pub listener: Listener,
    /// The same, named as a client would.
    pub address: String,
    /// The same, as a client on this machine reaches it from any directory.
    pub local: String,
    /// The name of a unix socket, which is to be removed at the end.
    pub socket: Option<OwnSocket>,
}

/// Binds the public address. Without authentication a unix socket is for the daemon's own user and root alone.
///
/// # Errors
/// A sentence: which address, why, and what to do.
pub fn listen(wanted: &Listen, auth: &AuthSource) -> Result<OpenedListener, String> {
    match wanted {
        Listen::Tcp(wanted) => {
            let listener = TcpListener::bind(wanted).map_err(|error| cant_listen(wanted, &error))?;
            let address = listener.local_addr().map_err(|error| cant_listen(wanted, &error))?;
            let local = format!("http://{}", reachable(address));
            let (listener, address) = (Listener::Tcp(listener), format!("http://{address}"));
            Ok(OpenedListener { listener, address, local, socket: None })
        }
        Listen::Unix(path) => {
            let shown = path.display();
            let failed = |error: io::Error| format!("can't listen on unix socket {shown}: {error}{}", advice(&error));
            remove_dead_socket(path);
            let listener = local::listen(path).map_err(failed)?;
            let socket = OwnSocket::new(path, &listener).map_err(failed)?;
            let listener = match auth {
                AuthSource::Off => Listener::OwnUnix(listener),
                AuthSource::File(_) | AuthSource::Given(_) | AuthSource::Kept => Listener::Unix(listener),
            };
            let local = path::absolute(path).map_err(failed)?;
            let (address, local) = (format!("unix:{shown}"), format!("unix:{}", local.display()));
            Ok(OpenedListener { listener, address, local, socket: Some(socket) })
        }
    }
}

/// An address under which a client on this machine reaches `address`: loopback if that is a wildcard.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there, or the file is not a socket of this user; remove it or give --listen"
        }
        _ => "",
    }
}

fn cant_listen(address: &SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; stop it or give --listen",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; give --listen",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a right that servisor does not have; give --listen",
        _ => "give --listen",
    };
    format!("can't listen on {address}: {error}; {advice}")
}

/// A file as the kernel knows it: its device and its inode.
type Identity = (u64, u64);

/// The socket that `path` names, if its owner is the daemon's user.
fn own_socket_at(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    let is_own = found.file_type().is_socket() && found.uid() == local::own_user();
    is_own.then(|| (found.dev(), found.ino()))
}

/// Removes the socket of a daemon that was killed: it is of this user, and nothing listens on it.
fn remove_dead_socket(path: &Path) {
    let found = own_socket_at(path);
    let is_dead = UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if found.is_some() && is_dead && own_socket_at(path) == found {
        let _ = fs::remove_file(path);
    }
}

/// The name of a unix socket. Dropped, it is removed if it still names the socket that was bound.
pub struct OwnSocket {
    path: PathBuf,
    identity: Option<Identity>,
    /// As long as it is open the kernel gives the inode to no other file.
    _held: UnixListener,
}

impl OwnSocket {
    fn new(path: &Path, listener: &UnixListener) -> io::Result<OwnSocket> {
        Ok(OwnSocket { path: path.to_owned(), identity: own_socket_at(path), _held: listener.try_clone()? })
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if self.identity.is_some() && own_socket_at(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}
