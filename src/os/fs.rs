//! Directories and what is in them, by descriptor and never by a path that could mean another place by now.
//!
//! Owns: the calls that take a directory and one name in it. None of them follows a symlink, so
//! that one swapped in can't lead the caller elsewhere. Never: which entries, a loop over a tree.
//!
//! A [`Name`] is one component: a slash, `.` or `..` can't be in it, whatever a directory claims to contain.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{check, owned, retry};
use stat::{apply_metadata, statx};

pub use stat::{FileKind, Moment, Stat};

pub mod copy_file;
mod own;
pub mod plain;
mod stat;

#[cfg(test)]
mod tests;

/// Reads at most `max` bytes of `file`, from where it stands. A longer one is cut without notice.
///
/// # Errors
/// The system's.
#[inline(never)]
pub fn read_bounded(file: &File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One component of a path, as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(CString);

impl Name {
    /// Takes `text`, unless it is no name of something inside a directory.
    pub fn new(text: &OsStr) -> Option<Name> {
        let bytes = text.as_bytes();
        let inside = !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/');
        inside.then(|| CString::new(bytes).ok().map(Name)).flatten()
    }

    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(self.0.as_bytes())
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

/// Whether a directory is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    New,
    Present,
}

/// Whether a symlink as the last component of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Yes, as every other component.
    Follow,
    /// No: a symlink there is an error.
    Refuse,
}

const DIRECTORY: libc::c_int = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
/// As much of a directory is read at once.
const ENTRIES_BYTES: usize = 32 * 1024;

impl Dir {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, last: Last) -> io::Result<Dir> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let flags = match last {
            Last::Follow => DIRECTORY,
            Last::Refuse => DIRECTORY | libc::O_NOFOLLOW,
        };
        open(libc::AT_FDCWD, &path, flags, 0).map(Dir)
    }

    /// Opens the directory `name`; a symlink is none. Its access time stays where that is allowed.
    ///
    /// # Errors
    /// The system's: `ENOTDIR` for anything but a directory.
    pub fn open_dir(&self, name: &Name) -> io::Result<Dir> {
        quietly(|flag| open(self.raw(), &name.0, DIRECTORY | libc::O_NOFOLLOW | flag, 0)).map(Dir)
    }

    /// Opens the file `name` for reading, without waiting for a writer if it is a pipe. Its access time stays where
    /// that is allowed.
    ///
    /// # Errors
    /// The system's: `ELOOP` for a symlink.
    pub fn open_file(&self, name: &Name) -> io::Result<File> {
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        quietly(|flag| open(self.raw(), &name.0, flags | flag, 0)).map(File::from)
    }

    /// Makes the file `name`, which is not there yet, for its owner only.
    ///
    /// # Errors
    /// The system's: `EEXIST` when anything has that name.
    pub fn create_file(&self, name: &Name) -> io::Result<File> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        open(self.raw(), &name.0, flags, 0o600).map(File::from)
    }

    /// Makes the directory `name`, if nothing has that name; of `mode` the process's mask takes its part away.
    ///
    /// # Errors
    /// The system's.
    pub fn make_dir(&self, name: &Name, mode: u32) -> io::Result<Made> {
        // SAFETY: the name is a NUL-terminated text that lives through the call; the descriptor is open.
        match check(unsafe { libc::mkdirat(self.raw(), name.0.as_ptr(), mode) }) {
            Ok(_) => Ok(Made::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Made::Present),
            Err(error) => Err(error),
        }
    }

    /// Makes the symlink `name` with `text` in it.
    ///
    /// # Errors
    /// The system's: `EEXIST` when anything has that name.
    pub fn make_symlink(&self, name: &Name, text: &OsStr) -> io::Result<()> {
        let text = CString::new(text.as_bytes())?;
        // SAFETY: two NUL-terminated texts that live through the call; the descriptor is open.
        check(unsafe { libc::symlinkat(text.as_ptr(), self.raw(), name.0.as_ptr()) }).map(drop)
    }

    /// Gives what `from` is in `other` a second name, `name`.
    ///
    /// # Errors
    /// The system's: `EEXIST` when anything has that name.
    pub fn link(&self, name: &Name, other: &Dir, from: &Name) -> io::Result<()> {
        let (old, new) = (from.0.as_ptr(), name.0.as_ptr());
        // SAFETY: two NUL-terminated texts that live through the call; both descriptors are open.
        check(unsafe { libc::linkat(other.raw(), old, self.raw(), new, 0) }).map(drop)
    }

    /// The text of the symlink `name`.
    ///
    /// # Errors
    /// The system's: `EINVAL` for anything but a symlink.
    pub fn read_link(&self, name: &Name) -> io::Result<Vec<u8>> {
        read_link(self.raw(), &name.0)
    }

    /// Renames `from` to `to`, unless anything has that name.
    ///
    /// # Errors
    /// The system's: `EEXIST` when anything has that name.
    pub fn rename_new(&self, from: &Name, to: &Name) -> io::Result<()> {
        match self.rename2(from, to, libc::RENAME_NOREPLACE) {
            // A file system that can't do it in one step.
            Err(error) if is_unsupported(&error) => match self.stat(to) {
                Ok(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => match self.stat(from)?.kind {
                    FileKind::Directory => self.rename2(from, to, 0),
                    FileKind::File | FileKind::Symlink | FileKind::Special => {
                        self.link(to, self, from).and_then(|()| self.unlink(from))
                    }
                },
                Err(error) => Err(error),
            },
            other => other,
        }
    }

    /// Renames `from` to `to`, in the place of what has that name.
    ///
    /// # Errors
    /// The system's: `EISDIR` when a directory has that name.
    pub fn rename(&self, from: &Name, to: &Name) -> io::Result<()> {
        self.rename2(from, to, 0)
    }

    /// Waits until all names in this directory are on the disk.
    ///
    /// # Errors
    /// The system's. A file system that has nothing to sync here is no error.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: a plain number; the descriptor is open.
        match check(unsafe { libc::fsync(self.raw()) }) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(()),
            synced => synced.map(drop),
        }
    }

    /// Gives this directory the permissions `mode`.
    ///
    /// # Errors
    /// The system's.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        // SAFETY: plain numbers; the descriptor is open.
        check(unsafe { libc::fchmod(self.raw(), mode) }).map(drop)
    }

    /// Locks this directory for this open descriptor, as `flock(2)` does.
    ///
    /// # Errors
    /// The system's: `EWOULDBLOCK` when another one has it.
    pub fn try_lock(&self) -> io::Result<()> {
        // SAFETY: plain numbers; the descriptor is open.
        check(unsafe { libc::flock(self.raw(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
    }

    /// Lets `one` and `other` change places, in one step.
    ///
    /// # Errors
    /// The system's; see [`is_unsupported`].
    pub fn exchange(&self, one: &Name, other: &Name) -> io::Result<()> {
        self.rename2(one, other, libc::RENAME_EXCHANGE)
    }

    fn rename2(&self, from: &Name, to: &Name, flags: libc::c_uint) -> io::Result<()> {
        let (fd, from, to) = (libc::c_long::from(self.raw()), from.0.as_ptr(), to.0.as_ptr());
        let flags = libc::c_ulong::from(flags);
        // Not every libc that is linked has a function for it.
        // SAFETY: two NUL-terminated texts that live through the call; the descriptor is open.
        let done = unsafe { libc::syscall(libc::SYS_renameat2, fd, from, fd, to, flags) };
        check(done as libc::c_int).map(drop)
    }

    /// Removes the name of a file or a symlink.
    ///
    /// # Errors
    /// The system's: `EISDIR` for a directory.
    pub fn unlink(&self, name: &Name) -> io::Result<()> {
        self.remove(name, 0)
    }

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    /// The system's: `ENOTEMPTY` when something is in it.
    pub fn remove_dir(&self, name: &Name) -> io::Result<()> {
        self.remove(name, libc::AT_REMOVEDIR)
    }

    fn remove(&self, name: &Name, flags: libc::c_int) -> io::Result<()> {
        // SAFETY: the name is a NUL-terminated text that lives through the call; the descriptor is open.
        check(unsafe { libc::unlinkat(self.raw(), name.0.as_ptr(), flags) }).map(drop)
    }

    /// What `name` is; a symlink is a symlink.
    ///
    /// # Errors
    /// The system's.
    pub fn stat(&self, name: &Name) -> io::Result<Stat> {
        statx(self.raw(), &name.0, libc::AT_SYMLINK_NOFOLLOW)
    }

    /// What this directory is.
    ///
    /// # Errors
    /// The system's.
    pub fn own_stat(&self) -> io::Result<Stat> {
        statx(self.raw(), c"", libc::AT_EMPTY_PATH)
    }

    /// Sets the owner of this directory, if one is given, its mode and its modification time.
    ///
    /// # Errors
    /// The system's.
    pub fn apply_metadata(&self, owner: Option<(u32, u32)>, mode: u32, modified: Moment) -> io::Result<()> {
        apply_metadata(self.raw(), owner, mode, modified)
    }

    /// The names in this directory, in no order, and what each is as far as the directory knows.
    ///
    /// # Errors
    /// The system's.
    pub fn entries(&self) -> io::Result<Vec<(Name, Option<FileKind>)>> {
        let mut entries = Vec::new();
        let mut buffer = vec![0_u8; ENTRIES_BYTES];
        // The descriptor remembers how far it was read before.
        // SAFETY: plain numbers; the descriptor is open.
        check(unsafe { libc::lseek(self.raw(), 0, libc::SEEK_SET) } as libc::c_int)?;
        loop {
            let (fd, start, length) = (libc::c_long::from(self.raw()), buffer.as_mut_ptr(), buffer.len());
            // SAFETY: `buffer` is valid for writes of its length through the call; the descriptor is open.
            let filled = check(unsafe { libc::syscall(libc::SYS_getdents64, fd, start, length) } as libc::c_int)?;
            let mut rest = &buffer[..filled.unsigned_abs() as usize];
            if rest.is_empty() {
                return Ok(entries);
            }
            // struct linux_dirent64: inode 8, offset 8, length 2, type 1, then the name and a NUL.
            while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, low, high, kind, text @ ..] = rest {
                if let Some(name) = CStr::from_bytes_until_nul(text).ok().and_then(name_of) {
                    entries.push((name, FileKind::of_entry(*kind)));
                }
                let length = usize::from(u16::from_ne_bytes([*low, *high]));
                rest = rest.get(length.max(1)..).unwrap_or_default();
            }
        }
    }

    /// The same directory once more.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Dir> {
        self.0.try_clone().map(Dir)
    }

    fn raw(&self) -> libc::c_int {
        self.0.as_raw_fd()
    }
}

/// The text of the symlink `name` in `at`; of what `at` is itself if there is no name.
fn read_link(at: libc::c_int, name: &CStr) -> io::Result<Vec<u8>> {
    // No symlink has more than `PATH_MAX` bytes.
    let mut text = vec![0; libc::PATH_MAX as usize];
    let (buffer, length) = (text.as_mut_ptr().cast(), text.len());
    // SAFETY: the name is NUL-terminated, `text` is valid for writes of its length, both live through the call.
    let length = unsafe { libc::readlinkat(at, name.as_ptr(), buffer, length) };
    text.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(text)
}

fn name_of(text: &CStr) -> Option<Name> {
    Name::new(OsStr::from_bytes(text.to_bytes()))
}

/// What is at `path`.
///
/// # Errors
/// The system's.
pub fn stat(path: &Path, last: Last) -> io::Result<Stat> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = match last {
        Last::Follow => 0,
        Last::Refuse => libc::AT_SYMLINK_NOFOLLOW,
    };
    statx(libc::AT_FDCWD, &path, flags)
}

/// Waits until the file or directory at `path` is on the disk.
///
/// # Errors
/// The system's.
pub fn sync(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Dir(open(libc::AT_FDCWD, &path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC, 0)?).sync()
}

/// Whether `error` says that this file system or kernel has no such operation, or a sandbox does not let us have it.
pub fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTTY, libc::EINVAL, libc::EXDEV, libc::EPERM];
    error.raw_os_error().is_some_and(|number| unsupported.contains(&number))
}

/// The daemon's own user and group.
pub fn own_owner() -> (u32, u32) {
    // SAFETY: these calls can't fail and touch nothing.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

fn open(at: libc::c_int, name: &CStr, flags: libc::c_int, mode: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: the name is a NUL-terminated text that lives through the call, which returns a new descriptor.
    retry(|| unsafe { owned(libc::openat(at, name.as_ptr(), flags, mode)) })
}

/// Only the owner of a file may leave its access time alone.
fn quietly(open: impl Fn(libc::c_int) -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    match open(libc::O_NOATIME) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open(0),
        other => other,
    }
}
