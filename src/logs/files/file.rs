//! One log file and its rotated predecessor.
//!
//! Owns: the names, the rotation, and the note about lost bytes. Never: the handling of errors, a descriptor for longer
//! than one turn.
//!
//! A file is opened for each turn: so an idle server holds no descriptor, and a file that was moved or removed is
//! created again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memchr::memrchr;

use super::super::buffer::StreamId;
use crate::model::spec::Slug;

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
}

/// A write that failed before its end.
#[derive(Debug)]
pub struct Unwritten {
    /// The number of bytes that were not written.
    pub left: usize,
    pub error: io::Error,
}

/// The path of the log file for `stream` of the server `slug`.
pub fn path(directory: &Path, slug: &Slug, stream: StreamId) -> PathBuf {
    directory.join(format!("{slug}.{}.log", stream.as_str()))
}

impl LogFile {
    /// Opens the file at `path`, or creates it with mode 0600. It will not exceed `limit` bytes.
    ///
    /// # Errors The system's, and if the path is a symlink or not a regular file: another user with access to the
    /// directory could redirect a privileged daemon, or block it.
    pub fn open(path: PathBuf, limit: u64) -> io::Result<LogFile> {
        let (file, length) = open(&path)?;
        Ok(LogFile { path, file, length, limit })
    }

    /// Appends `bytes`; rotates the file whenever it is full.
    ///
    /// # Errors
    /// A write failed.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), Unwritten> {
        while !bytes.is_empty() {
            match self.append_some(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Unwritten { left: bytes.len(), error }),
            }
        }
        Ok(())
    }

    /// Writes a line that notes the number of missing bytes.
    ///
    /// # Errors
    /// A write failed.
    pub fn note_missing(&mut self, bytes: u64) -> io::Result<()> {
        let mut last = [b'\n'];
        if self.length > 0 {
            self.file.read_exact_at(&mut last, self.length - 1)?;
        }
        let begin = if last == [b'\n'] { "" } else { "\n" };
        let note = format!("{begin}servisor: {bytes} bytes are missing here: they could not be written in time\n");
        self.append(note.as_bytes()).map_err(|unwritten| unwritten.error)
    }

    fn append_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = fitting(bytes, self.length, self.limit);
        if count == 0 {
            self.rotate()?;
            return Ok(0);
        }
        match self.file.write(&bytes[..count])? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => {
                self.length += written as u64;
                Ok(written)
            }
        }
    }

    /// Replaces the predecessor by the current file in one rename, and opens a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".1");
        fs::rename(&self.path, aside)?;
        (self.file, self.length) = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    Ok((file, metadata.len()))
}

/// The number of `bytes` to write to a file of `length` bytes with this `limit`: all of them, else as many whole lines
/// as fit; 0 if the file must be rotated first. Only a line longer than a whole file is cut.
fn fitting(bytes: &[u8], length: u64, limit: u64) -> usize {
    let room = usize::try_from(limit.saturating_sub(length)).unwrap_or(usize::MAX);
    if bytes.len() <= room {
        return bytes.len();
    }
    match memrchr(b'\n', &bytes[..room]) {
        Some(end) => end + 1,
        None if length == 0 => room,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_filled_with_whole_lines_up_to_its_limit() {
        for (bytes, length, limit, count) in [
            ("abc\n", 0, 10, 4),
            ("abc\n", 6, 10, 4),
            ("abc\n", 7, 10, 0),
            ("abc\n", 10, 10, 0),
            ("abc\n", 99, 10, 0),
            ("a\nb\nc\n", 5, 10, 4),
            ("0123456789ABC\n", 0, 10, 10),
            ("0123456789ABC\n", 1, 10, 0),
        ] {
            assert_eq!(fitting(bytes.as_bytes(), length, limit), count, "{bytes:?} {length} {limit}");
        }
    }
}
