//! The progress of a copy, shared by its threads and readers.
//!
//! Owns: the counts, the list of skipped paths, the stop flag and the first failure. Never: a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sync::lock;
use serde::Serialize;

/// The most skipped paths that are listed; the rest is counted.
const SKIPPED_MAX: usize = 1000;
/// The most bytes of these paths: they are part of every answer and of the record.
const SKIPPED_BYTES: usize = 256 * 1024;

/// The counts of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The number of copied files and symlinks.
    pub copied_files: u64,
    /// The number of created directories.
    pub copied_dirs: u64,
    /// The first skipped paths, relative to the target: `.git`, matches of a pattern, existing files, and what can't be
    /// copied (pipes, sockets, devices).
    pub skipped: Vec<String>,
    /// The number of skipped paths.
    pub skipped_count: u64,
}

/// Why a copy was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The overlay is being deleted.
    Delete,
    /// The daemon is shutting down; the next one resumes the copy.
    ShutDown,
}

/// Why a copy ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    Stopped(StopCause),
    /// A sentence: which file, and why.
    Failed(String),
}

#[derive(Debug, Default)]
pub struct CopyProgress {
    files: AtomicU64,
    directories: AtomicU64,
    skipped: Mutex<Skipped>,
    /// Checked between files and between the pieces of large ones.
    is_halted: AtomicBool,
    halt: Mutex<Option<Halt>>,
}

#[derive(Debug, Default)]
struct Skipped {
    paths: Vec<PathBuf>,
    bytes: usize,
    count: u64,
}

impl CopyProgress {
    /// Restores the stored counts.
    pub fn kept(stats: &Stats) -> CopyProgress {
        let paths = stats.skipped.iter().map(PathBuf::from).collect();
        let bytes = stats.skipped.iter().map(String::len).sum();
        CopyProgress {
            files: AtomicU64::new(stats.copied_files),
            directories: AtomicU64::new(stats.copied_dirs),
            skipped: Mutex::new(Skipped { paths, bytes, count: stats.skipped_count }),
            ..CopyProgress::default()
        }
    }

    /// Counts a file or symlink.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub fn directory(&self) {
        self.directories.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts and lists a skipped path.
    pub fn skip(&self, path: &Path) {
        let mut skipped = lock(&self.skipped);
        skipped.count += 1;
        let bytes = skipped.bytes + path.as_os_str().len();
        if skipped.paths.len() < SKIPPED_MAX && bytes <= SKIPPED_BYTES {
            skipped.bytes = bytes;
            skipped.paths.push(path.to_owned());
        }
    }

    pub fn stats(&self) -> Stats {
        let skipped = lock(&self.skipped);
        let mut paths: Vec<String> = skipped.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        paths.sort_unstable();
        Stats {
            copied_files: self.files.load(Ordering::Relaxed),
            copied_dirs: self.directories.load(Ordering::Relaxed),
            skipped: paths,
            skipped_count: skipped.count,
        }
    }

    /// Stops the copy. The first reason counts.
    pub fn halt(&self, why: Halt) {
        lock(&self.halt).get_or_insert(why);
        self.is_halted.store(true, Ordering::SeqCst);
    }

    /// Resets counts and stop flag for the next attempt, after the last one has ended.
    pub fn reset(&self) {
        self.files.store(0, Ordering::Relaxed);
        self.directories.store(0, Ordering::Relaxed);
        *lock(&self.skipped) = Skipped::default();
        *lock(&self.halt) = None;
        self.is_halted.store(false, Ordering::SeqCst);
    }

    /// Stops the copy because `path` could not be copied.
    pub fn fail(&self, path: &Path, error: &io::Error) {
        self.halt(Halt::Failed(format!("{}: {error}; what was copied before it stays", path.display())));
    }

    /// The reason to stop, if there is one.
    pub fn halted(&self) -> Option<Halt> {
        if self.is_halted.load(Ordering::Relaxed) { lock(&self.halt).clone() } else { None }
    }

    /// Fails if the copy was stopped, for use with `?` in loops.
    ///
    /// # Errors
    /// The copy was stopped.
    pub fn check_stop(&self) -> io::Result<()> {
        if self.is_halted.load(Ordering::Relaxed) { Err(io::Error::other("the copy was stopped")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_to_stop_counts() {
        let progress = CopyProgress::default();
        assert!(progress.check_stop().is_ok() && progress.halted().is_none());
        progress.fail(Path::new("a/b"), &io::Error::from_raw_os_error(28));
        progress.halt(Halt::Stopped(StopCause::Delete));
        assert!(progress.check_stop().is_err());
        let Some(Halt::Failed(why)) = progress.halted() else { panic!("{progress:?}") };
        assert!(why.starts_with("a/b: No space left"), "{why}");
        progress.file();
        progress.skip(Path::new("c"));
        progress.reset();
        assert!(progress.check_stop().is_ok() && progress.halted().is_none());
        assert_eq!(progress.stats(), Stats::default());
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let progress = CopyProgress::default();
        (0..3000).for_each(|n| progress.skip(Path::new(&format!("{n}"))));
        progress.file();
        let stats = progress.stats();
        assert_eq!((stats.skipped.len(), stats.skipped_count, stats.copied_files), (SKIPPED_MAX, 3000, 1));
        assert_eq!(CopyProgress::kept(&stats).stats(), stats);
        let progress = CopyProgress::default();
        (0..200).for_each(|n| progress.skip(Path::new(&"x".repeat(4000 + n))));
        assert_eq!((progress.stats().skipped.len(), progress.stats().skipped_count), (65, 200));
    }
}
