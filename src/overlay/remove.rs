//! Removes what a copy has created.
//!
//! Owns: the removal of temporary trees, and of the files that an overlay has copied to its target. Never: other files,
//! a step through a symlink, the template.
//!
//! The copied files are not recorded, since the list would be as long as the template, but derived from the template:
//! an entry of the target is a copy if it has the same kind, size and time (a symlink: the same text), was created
//! after the overlay, and is not in the list of entries that the overlay found. So files that a user has changed or
//! added stay, and everything stays if the template is gone.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::plan::{self, CopyPlan, EntryAction};
use super::progress::Stats;
use super::venv;
use crate::os::fs::{Dir, FileKind, Moment, Name, Stat};
use crate::sorted::SortedSet;

/// Removes the tree `name`, unless it was created before `since` and so is not the overlay's.
///
/// # Errors
/// The system's.
pub fn tree(parent: &Dir, name: &Name, kind: Option<FileKind>, since: Moment) -> io::Result<()> {
    struct TreeLevel {
        name: Name,
        dir: Dir,
        entries: Vec<(Name, Option<FileKind>)>,
    }
    let is_directory = |parent: &Dir, name: &Name, kind: Option<FileKind>| match kind {
        Some(kind) => Ok(kind == FileKind::Directory),
        None => parent.stat(name).map(|stat| stat.kind == FileKind::Directory),
    };
    let enter = |parent: &Dir, name: Name| -> io::Result<TreeLevel> {
        let dir = parent.open_dir(&name)?;
        make_writable(&dir);
        let entries = dir.entries()?;
        Ok(TreeLevel { name, dir, entries })
    };
    if !is_directory(parent, name, kind)? {
        return parent.unlink(name);
    }
    let top = parent.open_dir(name)?;
    if top.own_stat()?.born.is_some_and(|born| born < since) {
        return Ok(());
    }
    make_writable(&top);
    let entries = top.entries()?;
    let mut levels = vec![TreeLevel { name: name.clone(), dir: top, entries }];
    while let Some(level) = levels.last_mut() {
        match level.entries.pop() {
            Some((name, kind)) if is_directory(&level.dir, &name, kind)? => {
                let inner = enter(&level.dir, name)?;
                levels.push(inner);
            }
            Some((name, _)) => level.dir.unlink(&name)?,
            None => {
                let Some(TreeLevel { name, .. }) = levels.pop() else { break };
                levels.last().map_or(parent, |level| &level.dir).remove_dir(&name)?;
            }
        }
    }
    Ok(())
}

/// Makes the copy of a read-only directory writable, so that its entries can be removed. Errors show there.
fn make_writable(dir: &Dir) {
    if let Ok(stat) = dir.own_stat()
        && stat.mode & 0o300 != 0o300
    {
        let _ = dir.apply_metadata(None, stat.mode | 0o700, stat.modified);
    }
}

/// Removes the files of an overlay.
#[derive(Debug)]
pub struct Eraser<'a> {
    pub plan: &'a CopyPlan,
    /// When the overlay was created.
    pub since: Moment,
    /// The entries that it found in the target, relative to it.
    pub found: SortedSet<&'a OsStr>,
    pub knows_all_found: bool,
}

struct DirLevel {
    name: Option<Name>,
    from: Dir,
    to: Dir,
    path: PathBuf,
    entries: Vec<(Name, Option<FileKind>)>,
}

impl<'a> Eraser<'a> {
    /// Creates the eraser of the overlay with these `stats`.
    pub fn new(plan: &'a CopyPlan, since: Moment, stats: &'a Stats) -> Eraser<'a> {
        let found: SortedSet<&OsStr> = stats.skipped.iter().map(OsStr::new).collect();
        let knows_all_found = stats.skipped_count == found.len() as u64;
        Eraser { plan, since, found, knows_all_found }
    }

    /// Removes from `to` what was copied from `from`. Directories are removed if they are empty then.
    ///
    /// # Errors
    /// The path, relative to the target, and the system's error.
    pub fn erase(&self, from: Dir, to: Dir) -> Result<(), (PathBuf, io::Error)> {
        let entries = from.entries().map_err(|error| (PathBuf::new(), error))?;
        let mut levels = vec![DirLevel { name: None, from, to, path: PathBuf::new(), entries }];
        while let Some(level) = levels.last_mut() {
            if let Some((name, kind)) = level.entries.pop() {
                let path = level.path.join(name.as_os_str());
                match self.entry(level, name, kind, &path) {
                    Ok(Some(inner)) => levels.push(inner),
                    Ok(None) => {}
                    // Removed already, in template or copy.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err((path, error)),
                }
            } else {
                let Some(left) = levels.pop() else { break };
                if let (Some(name), Some(parent)) = (left.name, levels.last()) {
                    match parent.to.remove_dir(&name) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                        Err(error) => return Err((left.path, error)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes a file; returns a directory to descend into.
    fn entry(&self, level: &DirLevel, name: Name, kind: Option<FileKind>, path: &Path) -> io::Result<Option<DirLevel>> {
        let source = level.from.stat(&name)?;
        let verdict = self.plan.verdict(&level.path, name.as_os_str(), kind.unwrap_or(source.kind));
        if verdict == EntryAction::Skip || self.found.contains(path.as_os_str()) {
            return Ok(None);
        }
        let there = level.to.stat(&name)?;
        let is_dated = there.born.is_some();
        match there.kind {
            FileKind::Directory if source.kind == FileKind::Directory => {
                let (from, to) = (level.from.open_dir(&name)?, level.to.open_dir(&name)?);
                let entries = from.entries()?;
                // Without a birth time, it may have existed before.
                let is_ours = is_dated && plan::is_copy(&source, &there, self.since);
                if is_ours {
                    make_writable(&to);
                }
                let name = is_ours.then_some(name);
                Ok(Some(DirLevel { name, from, to, path: path.to_owned(), entries }))
            }
            FileKind::File | FileKind::Symlink
                if (is_dated || self.knows_all_found) && self.is_copy(level, &name, &source, &there)? =>
            {
                level.to.unlink(&name).map(|()| None)
            }
            FileKind::File | FileKind::Symlink | FileKind::Directory | FileKind::Special => Ok(None),
        }
    }

    fn is_copy(&self, level: &DirLevel, name: &Name, source: &Stat, there: &Stat) -> io::Result<bool> {
        let is_same = |source: &Stat| plan::is_copy(source, there, self.since);
        // A script of a Python environment has another content than in the template, and so another length.
        if !is_same(source) && !is_same(&venv::expected(self.plan, &level.path, &level.from, name, source)) {
            return Ok(false);
        }
        if source.kind != FileKind::Symlink {
            return Ok(true);
        }
        let (original, text) = (level.from.read_link(name)?, level.to.read_link(name)?);
        Ok(self.plan.link_text(&level.path, OsStr::from_bytes(&original)).as_bytes() == text)
    }
}
