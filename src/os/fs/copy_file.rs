//! The content of a file into another one, inside the kernel where it can be.
//!
//! Owns: the ways to do it, from the cheapest on: shared blocks (`FICLONE`), `copy_file_range`, reading and writing.
//! Holes stay holes. Never: a name.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Moment, Stat, apply_metadata, is_unsupported, statx};
use crate::os::{check, retry};

/// Bytes that are copied between two calls of `check`.
const CHUNK: u64 = 8 * 1024 * 1024;
/// Up to this size a read and a write take less time than to set up a copy in the kernel.
const SMALL: u64 = 64 * 1024;
/// `_IOW(0x94, 9, int)`.
const FICLONE: u32 = 0x4004_9409;

/// Copies files for one thread, by the ways that have not failed, through one buffer.
#[derive(Debug)]
pub struct Copier<'a> {
    ways: &'a Ways,
    buffer: Vec<u8>,
}

/// The ways that have not failed yet.
#[derive(Debug)]
pub struct Ways {
    pub(super) clone: AtomicBool,
    pub(super) in_kernel: AtomicBool,
    cloned: AtomicBool,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways { clone: AtomicBool::new(true), in_kernel: AtomicBool::new(true), cloned: AtomicBool::new(false) }
    }
}

impl Ways {
    /// Whether files were cloned, so that a copy costs no time that depends on its size.
    pub fn clones(&self) -> bool {
        self.cloned.load(Ordering::Relaxed)
    }
}

/// Called between pieces of a large file; an error ends the copy.
pub type CheckContinue<'a> = &'a dyn Fn() -> io::Result<()>;

impl<'a> Copier<'a> {
    pub fn new(ways: &'a Ways) -> Copier<'a> {
        Copier { ways, buffer: vec![0; SMALL as usize] }
    }

    /// Copies all of `from`, which `stat` describes, into `to`, which is empty.
    ///
    /// # Errors
    /// The system's, or that of `check`.
    pub fn copy(&mut self, from: &File, stat: &Stat, to: &File, check: CheckContinue<'_>) -> io::Result<()> {
        if stat.size == 0 || self.clone(from, to) {
            return Ok(());
        }
        if stat.size <= SMALL {
            return self.by_hand(from, to, u64::MAX, check).map(drop);
        }
        if stat.allocated < stat.size {
            return self.pieces(from, stat.size, to, check);
        }
        // A file may have grown since it was looked at: its end counts.
        self.range(from, to, u64::MAX, check)
    }

    fn clone(&self, from: &File, to: &File) -> bool {
        if !self.ways.clone.load(Ordering::Relaxed) {
            return false;
        }
        // SAFETY: the request takes a descriptor as its argument; both are open.
        match check(unsafe { libc::ioctl(to.as_raw_fd(), FICLONE as _, libc::c_long::from(from.as_raw_fd())) }) {
            Ok(_) => {
                self.ways.cloned.store(true, Ordering::Relaxed);
                true
            }
            Err(_) => {
                // Whatever the error was, the other ways work or return it.
                self.ways.clone.store(false, Ordering::Relaxed);
                false
            }
        }
    }

    /// Copies what is between the holes.
    fn pieces(&mut self, from: &File, size: u64, to: &File, check: CheckContinue<'_>) -> io::Result<()> {
        let mut at = 0;
        while at < size {
            let start = match seek(from, at, libc::SEEK_DATA) {
                Ok(start) => start,
                // Nothing but a hole to its end.
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => break,
                // No notion of holes: all of it is data.
                Err(error) if is_unsupported(&error) => at,
                Err(error) => return Err(error),
            };
            let end = seek(from, start, libc::SEEK_HOLE).unwrap_or(size).max(start);
            seek(from, start, libc::SEEK_SET)?;
            seek(to, start, libc::SEEK_SET)?;
            self.range(from, to, end - start, check)?;
            if end == at {
                break;
            }
            at = end;
        }
        to.set_len(size)
    }

    /// Copies `length` bytes, or to the end, from where both are.
    fn range(&mut self, from: &File, to: &File, mut length: u64, check: CheckContinue<'_>) -> io::Result<()> {
        while length > 0 && self.ways.in_kernel.load(Ordering::Relaxed) {
            check()?;
            let (source, sink) = (libc::c_long::from(from.as_raw_fd()), libc::c_long::from(to.as_raw_fd()));
            let (piece, none) = (length.min(CHUNK) as usize, std::ptr::null_mut::<libc::loff_t>());
            const NO_FLAGS: libc::c_ulong = 0;
            // SAFETY: both descriptors are open; null offsets stand for their own positions.
            let call =
                || unsafe { libc::syscall(libc::SYS_copy_file_range, source, none, sink, none, piece, NO_FLAGS) };
            let copied = retry(|| match call() {
                count if count < 0 => Err(io::Error::last_os_error()),
                count => Ok(count.unsigned_abs()),
            });
            match copied {
                // The end, or a file system that returns 0 in place of an error: a read shows which.
                Ok(0) => break,
                Ok(count) => length = length.saturating_sub(count),
                Err(error) if is_unsupported(&error) => self.ways.in_kernel.store(false, Ordering::Relaxed),
                Err(error) => return Err(error),
            }
        }
        self.by_hand(from, to, length, check).map(drop)
    }

    fn by_hand(
        &mut self,
        mut from: &File,
        mut to: &File,
        mut length: u64,
        check: CheckContinue<'_>,
    ) -> io::Result<u64> {
        let mut copied = 0;
        while length > 0 {
            check()?;
            let piece = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = retry(|| from.read(&mut self.buffer[..piece]))?;
            if count == 0 {
                break;
            }
            to.write_all(&self.buffer[..count])?;
            copied += count as u64;
            length -= count as u64;
            // A regular file gives all there is: less than was asked for is its end.
            if count < piece {
                break;
            }
        }
        Ok(copied)
    }
}

/// What `file` is.
///
/// # Errors
/// The system's.
pub fn stat(file: &File) -> io::Result<Stat> {
    statx(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// Sets the owner of `file`, if one is given, its mode and its modification time.
///
/// # Errors
/// The system's.
pub fn apply_file_metadata(file: &File, owner: Option<(u32, u32)>, mode: u32, modified: Moment) -> io::Result<()> {
    apply_metadata(file.as_raw_fd(), owner, mode, modified)
}

fn seek(file: &File, offset: u64, whence: libc::c_int) -> io::Result<u64> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: plain numbers; the descriptor is open.
    match unsafe { libc::lseek(file.as_raw_fd(), offset, whence) } {
        at if at < 0 => Err(io::Error::last_os_error()),
        at => Ok(at.unsigned_abs()),
    }
}
