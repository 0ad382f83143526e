//! Files that other processes or users may have made.
//!
//! Owns: the one way to open and to read such a file. What is not a plain file, or not as demanded, is never opened: a
//! pipe would wait for a writer, a device could act. Never: a limit of time (see `os::deadline`), a name.
//!
//! The file is first opened with `O_PATH`, which opens nothing, and looked at by `fstat`. Then that very file is opened
//! by its descriptor: what has been put under its name in between makes no difference.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::stat::statx;
use super::{Dir, FileKind, Name, open, read_bounded};
use crate::os::deadline;

/// A read of a path that a user gave has this long.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// The requirements on a file.
#[derive(Debug, Clone, Copy)]
pub struct Demands {
    /// Its greatest length in bytes.
    pub max: u64,
    /// Whose it has to be, if that matters.
    pub owner: Option<u32>,
    /// Whether it must have one name only: another user could have made a second one.
    pub one_name: bool,
}

/// Why a file was not read.
#[derive(Debug)]
pub enum Rejected {
    /// A file that is not as demanded: a phrase that begins with "it".
    Unfit(String),
    Failed(io::Error),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::Unfit(why) => f.write_str(why),
            Rejected::Failed(error) => error.fmt(f),
        }
    }
}

impl From<Rejected> for io::Error {
    fn from(rejected: Rejected) -> io::Error {
        match rejected {
            Rejected::Unfit(why) => io::Error::other(why),
            Rejected::Failed(error) => error,
        }
    }
}

impl From<io::Error> for Rejected {
    fn from(error: io::Error) -> Rejected {
        Rejected::Failed(error)
    }
}

/// Reads the file at `path`, which a user has named, within 5 s. Symlinks are followed.
///
/// # Errors
/// It is no plain file, longer than `max` bytes, not there, or not read in time.
pub fn read_named(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let demands = Demands { max, owner: None, one_name: false };
    Ok(deadline::within(READ_LIMIT, path, move || read(libc::AT_FDCWD, &name, 0, &demands))??)
}

impl Dir {
    /// Reads the file `name`; a symlink is none.
    ///
    /// # Errors
    /// It is not as demanded, or the system's.
    pub fn read_plain(&self, name: &Name, demands: &Demands) -> Result<Vec<u8>, Rejected> {
        read(self.raw(), &name.0, libc::O_NOFOLLOW, demands)
    }

    /// Opens the file `name` for reading and writing, and makes it if there is none; a symlink is none.
    ///
    /// # Errors
    /// It is not as demanded, or the system's.
    pub fn open_plain(&self, name: &Name, demands: &Demands) -> Result<File, Rejected> {
        let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        match open(self.raw(), &name.0, flags | libc::O_CREAT | libc::O_EXCL, 0o600) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return Ok(File::from(made?)),
        }
        let found = check_plain(self.raw(), &name.0, libc::O_NOFOLLOW, demands)?;
        Ok(File::from(open_again(&found, libc::O_RDWR)?))
    }
}

fn read(at: libc::c_int, name: &CStr, links: libc::c_int, demands: &Demands) -> Result<Vec<u8>, Rejected> {
    let found = check_plain(at, name, links, demands)?;
    let file = File::from(open_again(&found, libc::O_RDONLY)?);
    match read_bounded(&file, demands.max + 1) {
        Ok(text) if text.len() as u64 > demands.max => Err(too_large(demands)),
        Ok(text) => Ok(text),
        // Some of the kernel's own files look plain and wait for news as a pipe does.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(Rejected::Unfit("it has no end: it waits for something to be written".into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens the file with `O_PATH` and checks it.
fn check_plain(at: libc::c_int, name: &CStr, links: libc::c_int, demands: &Demands) -> Result<OwnedFd, Rejected> {
    let found = open(at, name, libc::O_PATH | libc::O_CLOEXEC | links, 0)?;
    let stat = statx(found.as_raw_fd(), c"", libc::AT_EMPTY_PATH)?;
    match stat.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(Rejected::Unfit("it is a directory, not a regular file".into())),
        FileKind::Symlink => return Err(Rejected::Unfit("it is a symlink, not a regular file".into())),
        FileKind::Special => {
            return Err(Rejected::Unfit("it is a pipe, a socket or a device, not a regular file".into()));
        }
    }
    if let Some(owner) = demands.owner.filter(|owner| *owner != stat.owner.0) {
        return Err(Rejected::Unfit(format!("it belongs to user {}, not to user {owner}", stat.owner.0)));
    }
    if demands.one_name && stat.links > 1 {
        return Err(Rejected::Unfit(format!("it has {} names (hard links)", stat.links)));
    }
    if stat.size > demands.max { Err(too_large(demands)) } else { Ok(found) }
}

fn too_large(demands: &Demands) -> Rejected {
    Rejected::Unfit(format!("it is larger than {} bytes", demands.max))
}

/// Opens what `found` is, under whatever name.
fn open_again(found: &OwnedFd, access: libc::c_int) -> io::Result<OwnedFd> {
    let own = CString::new(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    open(libc::AT_FDCWD, &own, access | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC, 0)
}
