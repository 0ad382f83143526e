//! A directory of the template and its copy, side by side.
//!
//! Owns: their descriptors, and what has to be known until the last thing was put into the copy. Never: a decision.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::fs::{Dir, Name, Stat};

/// Who else may be in a tree while it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// It has its real name, and anyone may write into it.
    Shared,
    /// It has a temporary name, and is thrown away if it is not finished.
    Private,
}

/// A tree that is copied as a whole.
#[derive(Debug)]
pub struct Tree {
    /// Who else may be in it.
    pub company: Company,
    /// Its top in the target.
    pub to: Dir,
    /// Where that is, relative to the target.
    pub path: PathBuf,
    /// Files with more than one name, by identity: where in the target the first one is, as soon as it is whole. The
    /// inner lock is that of one file: who has it copies.
    pub first_names: Mutex<HashMap<(u64, u64), FirstName>>,
}

/// Where the first name of a file is.
pub type FirstName = Arc<Mutex<Option<PathBuf>>>;

/// Who made the copy of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// We, just now.
    Us,
    /// We, in an earlier attempt.
    UsBefore,
    /// Somebody else; its mode and time are theirs.
    Another,
}

/// A directory on both sides.
#[derive(Debug)]
pub struct Pair {
    /// What it is a part of.
    pub tree: Arc<Tree>,
    /// The directory of the template.
    pub from: Dir,
    /// Its copy.
    pub to: Dir,
    /// Relative to the target.
    pub path: PathBuf,
    /// What the one in the template is.
    pub stat: Stat,
    /// Who made the copy.
    pub maker: Maker,
    /// Whether it has the scripts of a Python environment.
    pub has_scripts: bool,
    /// Tasks that may still put something into it, which changes its time.
    pub open: AtomicUsize,
    /// Whether something in it was put off, for which it has to stay writable.
    pub has_deferred: AtomicBool,
}

impl Pair {
    /// The top of a tree: `path`, relative to the target.
    ///
    /// # Errors
    /// The system's.
    pub fn top(from: Dir, to: Dir, path: PathBuf, maker: Maker, company: Company) -> io::Result<Arc<Pair>> {
        let again = to.try_clone()?;
        let tree = Arc::new(Tree { company, to: again, path: path.clone(), first_names: Mutex::default() });
        Pair::new(tree, from, to, path, maker, false)
    }

    /// One task has it.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        tree: Arc<Tree>,
        from: Dir,
        to: Dir,
        path: PathBuf,
        maker: Maker,
        has_scripts: bool,
    ) -> io::Result<Arc<Pair>> {
        let (stat, open, has_deferred) = (from.own_stat()?, AtomicUsize::new(1), AtomicBool::new(false));
        Ok(Arc::new(Pair { tree, from, to, path, stat, maker, has_scripts, open, has_deferred }))
    }

    /// Whether it belongs to a heavy directory: nothing in there is put off once more.
    pub fn is_in_heavy(&self) -> bool {
        !self.tree.path.as_os_str().is_empty()
    }
}

/// Opens what is at `path` below `top`, component by component, without following a symlink.
///
/// # Errors
/// The system's.
pub fn descend(top: &Dir, path: &Path) -> io::Result<Dir> {
    let mut directory = top.try_clone()?;
    for component in path {
        let name = Name::new(component).ok_or(io::ErrorKind::InvalidFilename)?;
        directory = directory.open_dir(&name)?;
    }
    Ok(directory)
}

/// The data behind a lock, whatever became of who had it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
