//! A directory of the template and its copy.
//!
//! Owns: their descriptors, and the state until the last entry of the copy is created. Never: a decision.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use crate::os::fs::{Dir, Name, Stat};

/// Whether others can see a tree while it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Yes: it has its final name, and others may write into it.
    Shared,
    /// No: it has a temporary name, and is removed if it is not finished.
    Private,
}

#[derive(Debug)]
pub struct CopyTree {
    pub visibility: Visibility,
    /// Its top directory in the target.
    pub to: Dir,
    /// The path of that, relative to the target.
    pub path: PathBuf,
    /// Hard-linked files by identity: the path of the first copied name. The inner lock belongs to one file: its holder
    /// copies.
    pub first_names: Mutex<HashMap<(u64, u64), FirstName>>,
}

pub type FirstName = Arc<Mutex<Option<PathBuf>>>;

/// The creator of the copy of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// This attempt.
    Us,
    /// An earlier attempt.
    UsBefore,
    /// Not the overlay: its mode and times stay.
    Another,
}

/// A directory and its copy.
#[derive(Debug)]
pub struct Pair {
    pub tree: Arc<CopyTree>,
    /// The directory of the template.
    pub from: Dir,
    /// Its copy.
    pub to: Dir,
    /// Its path, relative to the target.
    pub path: PathBuf,
    /// The metadata of the directory in the template.
    pub stat: Stat,
    pub maker: Maker,
    /// Whether it has the scripts of a Python environment.
    pub has_scripts: bool,
    /// The number of tasks that may still create entries in it, which changes its time.
    pub open: AtomicUsize,
    /// Whether it has deferred entries, for which it must stay writable.
    pub has_deferred: AtomicBool,
}

impl Pair {
    /// Creates the top of a tree at `path`, relative to the target.
    ///
    /// # Errors
    /// The system's.
    pub fn top(from: Dir, to: Dir, path: PathBuf, maker: Maker, visibility: Visibility) -> io::Result<Arc<Pair>> {
        let again = to.try_clone()?;
        let tree = Arc::new(CopyTree { visibility, to: again, path: path.clone(), first_names: Mutex::default() });
        Pair::new(tree, from, to, path, maker, false)
    }

    /// Creates a pair with one open task.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        tree: Arc<CopyTree>,
        from: Dir,
        to: Dir,
        path: PathBuf,
        maker: Maker,
        has_scripts: bool,
    ) -> io::Result<Arc<Pair>> {
        let (stat, open, has_deferred) = (from.own_stat()?, AtomicUsize::new(1), AtomicBool::new(false));
        Ok(Arc::new(Pair { tree, from, to, path, stat, maker, has_scripts, open, has_deferred }))
    }

    /// Whether it belongs to a heavy directory, in which nothing is deferred again.
    pub fn is_in_heavy(&self) -> bool {
        !self.tree.path.as_os_str().is_empty()
    }
}

/// Opens `path` below `top` component by component, without following symlinks.
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
