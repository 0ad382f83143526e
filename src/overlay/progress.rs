//! How far a copy is, written by its threads and read by everybody.
//!
//! Owns: the counts, the list of what was skipped, the word to stop and the first failure. Never: a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// As many skipped paths are named; the rest is counted.
const SKIPPED_MAX: usize = 1000;
/// As many bytes their names take together: each of them is in every answer and in the record.
const SKIPPED_BYTES: usize = 256 * 1024;

/// What was done, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Files and symlinks that were copied.
    pub copied_files: u64,
    /// Directories that were made.
    pub copied_dirs: u64,
    /// What was left out, relative to the target: `.git`, what matches a pattern, what was there already, and what can't
    /// be copied (pipes, sockets, devices). The first ones only.
    pub skipped: Vec<String>,
    /// How many were left out.
    pub skipped_count: u64,
}

/// Why a copy has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The overlay is being deleted.
    Delete,
    /// The daemon is ending; the next one goes on.
    ShutDown,
}

/// Why a copy did not get to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// It was told to stop.
    Stopped(Stop),
    /// In words: which file, and why.
    Failed(String),
}

/// The state of a copy that its threads share.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    directories: AtomicU64,
    skipped: Mutex<Skipped>,
    /// Looked at between files and between the pieces of large ones.
    is_halted: AtomicBool,
    halt: Mutex<Option<Halt>>,
}

#[derive(Debug, Default)]
struct Skipped {
    paths: Vec<PathBuf>,
    bytes: usize,
    count: u64,
}

impl Progress {
    /// As it was when it was last kept.
    pub fn kept(stats: &Stats) -> Progress {
        let paths = stats.skipped.iter().map(PathBuf::from).collect();
        let bytes = stats.skipped.iter().map(String::len).sum();
        Progress {
            files: AtomicU64::new(stats.copied_files),
            directories: AtomicU64::new(stats.copied_dirs),
            skipped: Mutex::new(Skipped { paths, bytes, count: stats.skipped_count }),
            ..Progress::default()
        }
    }

    /// One more file or symlink.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// One more directory.
    pub fn directory(&self) {
        self.directories.fetch_add(1, Ordering::Relaxed);
    }

    /// `path` is left out.
    pub fn skip(&self, path: &Path) {
        let mut skipped = lock(&self.skipped);
        skipped.count += 1;
        let bytes = skipped.bytes + path.as_os_str().len();
        if skipped.paths.len() < SKIPPED_MAX && bytes <= SKIPPED_BYTES {
            skipped.bytes = bytes;
            skipped.paths.push(path.to_owned());
        }
    }

    /// The numbers by now.
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

    /// Ends the copy as soon as possible. The first word counts.
    pub fn halt(&self, why: Halt) {
        lock(&self.halt).get_or_insert(why);
        self.is_halted.store(true, Ordering::SeqCst);
    }

    /// Counts from nothing, with no reason to stop: for the next attempt, when the last one has ended.
    pub fn begin_anew(&self) {
        self.files.store(0, Ordering::Relaxed);
        self.directories.store(0, Ordering::Relaxed);
        *lock(&self.skipped) = Skipped::default();
        *lock(&self.halt) = None;
        self.is_halted.store(false, Ordering::SeqCst);
    }

    /// Ends the copy because `path` could not be copied: `error`.
    pub fn fail(&self, path: &Path, error: &io::Error) {
        self.halt(Halt::Failed(format!("{}: {error}; what was copied before it stays", path.display())));
    }

    /// Why to stop, if there is a reason.
    pub fn halted(&self) -> Option<Halt> {
        if self.is_halted.load(Ordering::Relaxed) { lock(&self.halt).clone() } else { None }
    }

    /// An error once there is a reason to stop: for loops that end at errors anyway.
    ///
    /// # Errors
    /// There is one.
    pub fn go_on(&self) -> io::Result<()> {
        if self.is_halted.load(Ordering::Relaxed) { Err(io::Error::other("the copy was stopped")) } else { Ok(()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_to_stop_counts() {
        let progress = Progress::default();
        assert!(progress.go_on().is_ok() && progress.halted().is_none());
        progress.fail(Path::new("a/b"), &io::Error::from_raw_os_error(28));
        progress.halt(Halt::Stopped(Stop::Delete));
        assert!(progress.go_on().is_err());
        let Some(Halt::Failed(why)) = progress.halted() else { panic!("{progress:?}") };
        assert!(why.starts_with("a/b: No space left"), "{why}");
        progress.file();
        progress.skip(Path::new("c"));
        progress.begin_anew();
        assert!(progress.go_on().is_ok() && progress.halted().is_none());
        assert_eq!(progress.stats(), Stats::default());
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let progress = Progress::default();
        (0..3000).for_each(|n| progress.skip(Path::new(&format!("{n}"))));
        progress.file();
        let stats = progress.stats();
        assert_eq!((stats.skipped.len(), stats.skipped_count, stats.copied_files), (SKIPPED_MAX, 3000, 1));
        assert_eq!(Progress::kept(&stats).stats(), stats);
        let progress = Progress::default();
        (0..200).for_each(|n| progress.skip(Path::new(&"x".repeat(4000 + n))));
        assert_eq!((progress.stats().skipped.len(), progress.stats().skipped_count), (65, 200));
    }
}
