//! Copies a tree: the handling of directories and symlinks.
//!
//! Owns: the order of system calls that ensures that nothing is overwritten, no incomplete file has its final name, and
//! nothing is written outside of the target. Never: when to start, placeholders (see `heavy`).
//!
//! All calls are relative to descriptors of directories that were opened component by component without following
//! symlinks: a symlink that is swapped in makes a call fail, and redirects none. In a shared directory, a file is
//! written under a temporary name and renamed without replacing anything. A private tree has a temporary name as a
//! whole, so its files do not need one.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::pair::{Maker, Pair};
use super::plan::{self, CopyPlan, EntryAction};
use super::progress::{CopyProgress, Halt};
use super::venv;
use super::workers::{TaskQueue, Work};
use crate::model::overlay::OverlayId;
use crate::os::fs::copy_file::{Copier, Ways};
use crate::os::fs::{Dir, FileKind, Made, Moment, Name, Stat};
use crate::sync::lock;

/// The number of files of one directory in a task.
const BATCH: usize = 32;

/// Whether an earlier attempt may have copied a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    First,
    /// Yes: files that look like copies count as copied, and temporary files are removed.
    Again,
}

#[derive(Debug)]
pub struct TreeCopy {
    pub id: OverlayId,
    /// Decides about each entry.
    pub plan: CopyPlan,
    pub progress: Arc<CopyProgress>,
    /// What the file systems support.
    pub ways: Ways,
    /// When the overlay was created: older files are not its copies.
    pub since: Moment,
    pub attempt: Attempt,
    /// The daemon's own user and group, if it may set other owners.
    pub owner: Option<(u32, u32)>,
    /// The identity of the target, to skip it if it lies inside the source.
    pub target: (u64, u64),
    /// The heavy directories, copied later.
    pub deferred: Mutex<Vec<Deferred>>,
    /// The counter for temporary names.
    pub temporaries: AtomicU64,
}

/// A heavy directory to be copied later.
#[derive(Debug)]
pub struct Deferred {
    /// Its parent, relative to the target.
    pub directory: PathBuf,
    pub name: Name,
    /// The metadata of its parent in the template, to be restored on the parent's copy afterwards, and the identity of
    /// that copy.
    pub metadata: Option<(Stat, (u64, u64))>,
    /// What is at its path now.
    pub stands: Stands,
}

/// What is at the path of a heavy directory before it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// A symlink to the template.
    Placeholder,
    /// An existing directory, to which missing entries are added.
    Directory,
}

/// A task of the worker pool.
#[derive(Debug)]
pub enum CopyTask {
    /// The entries of a directory.
    Fill(Arc<Pair>),
    Directory(Arc<Pair>, Name),
    Files(Arc<Pair>, Vec<(Name, FileKind)>),
}

impl Work for TreeCopy {
    type Task = CopyTask;
    type Tool<'a> = Copier<'a>;

    fn tool(&self) -> Copier<'_> {
        Copier::new(&self.ways)
    }

    fn work<'a>(&'a self, copier: &mut Copier<'a>, task: CopyTask, queue: &TaskQueue<CopyTask>) {
        if self.progress.check_stop().is_err() {
            return;
        }
        match task {
            CopyTask::Fill(pair) => {
                let filled = self.fill(&pair, queue);
                self.note(&pair.path, filled);
                self.leave(&pair);
            }
            CopyTask::Directory(parent, name) => {
                let path = parent.path.join(name.as_os_str());
                let entered = self.enter(&parent, &name, &path);
                self.leave(&parent);
                match entered {
                    Ok(Some(pair)) => {
                        let filled = self.fill(&pair, queue);
                        self.note(&path, filled);
                        self.leave(&pair);
                    }
                    Ok(None) => {}
                    Err(error) => self.progress.fail(&path, &error),
                }
            }
            CopyTask::Files(pair, files) => {
                for (name, kind) in files {
                    let path = pair.path.join(name.as_os_str());
                    let copied = self.progress.check_stop().and_then(|()| match kind {
                        FileKind::Symlink => self.symlink(&pair, &name, &path),
                        FileKind::File | FileKind::Directory | FileKind::Special => {
                            self.file(&pair, &name, &path, copier)
                        }
                    });
                    self.note(&path, copied);
                }
                self.leave(&pair);
            }
        }
    }

    fn lost(&self) {
        self.progress.halt(Halt::Failed("servisor failed while copying; its log says more".into()));
    }
}

impl TreeCopy {
    pub fn temporary(&self) -> io::Result<Name> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        Name::new(&plan::temporary(&self.id, number)).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
    }

    /// The owner to set on a copy of `stat`; `None` if it is the daemon's.
    pub fn owner(&self, stat: &Stat) -> Option<(u32, u32)> {
        self.owner.filter(|own| *own != stat.owner).map(|_| stat.owner)
    }

    fn note(&self, path: &Path, done: io::Result<()>) {
        if let Err(error) = done {
            // If the copy was stopped before, this error is ignored: the first reason counts.
            self.progress.fail(path, &error);
        }
    }

    /// Ends one task of `pair`; after the last one the directory gets its mode and times.
    fn leave(&self, pair: &Pair) {
        if pair.open.fetch_sub(1, Ordering::SeqCst) == 1
            && pair.maker != Maker::Another
            && self.progress.check_stop().is_ok()
        {
            let still_needed = if pair.has_deferred.load(Ordering::SeqCst) { 0o300 } else { 0 };
            let mode = pair.stat.mode | still_needed;
            self.note(&pair.path, pair.to.apply_metadata(self.owner(&pair.stat), mode, pair.stat.modified));
        }
    }

    /// Opens the directory `name` in template and copy; `None` if the target has something else there.
    fn enter(&self, parent: &Pair, name: &Name, path: &Path) -> io::Result<Option<Arc<Pair>>> {
        let from = match parent.from.open_dir(name) {
            Err(error) if self.has_vanished(parent, name, path, FileKind::Directory, &error) => return Ok(None),
            other => other?,
        };
        let stat = from.own_stat()?;
        if stat.identity == self.target {
            self.progress.skip(path);
            return Ok(None);
        }
        let made = parent.to.make_dir(name, 0o700)?;
        let to = match parent.to.open_dir(name) {
            Ok(to) => to,
            Err(_) if made == Made::Present && parent.to.stat(name)?.kind != FileKind::Directory => {
                self.progress.skip(path);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let maker = self.maker(known(made, &to)?, &stat, &to)?;
        let has_scripts = venv::has_scripts(&self.plan, path);
        Pair::new(Arc::clone(&parent.tree), from, to, path.to_owned(), maker, has_scripts).map(Some)
    }

    /// Whether `error` occurred because the template's `name` was removed or replaced after it was listed. This is
    /// counted as skipped, not as a failure, since templates may change during a copy.
    pub fn has_vanished(&self, pair: &Pair, name: &Name, path: &Path, kind: FileKind, error: &io::Error) -> bool {
        let has = error.kind() == io::ErrorKind::NotFound
            || match pair.from.stat(name) {
                Ok(stat) => stat.kind != kind,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        if has {
            self.progress.skip(path);
        }
        has
    }

    /// Determines who created `to`, the copy of `source`; counts it if that was the overlay. Removes temporary files of
    /// an earlier attempt in it.
    pub fn maker(&self, made: Made, source: &Stat, to: &Dir) -> io::Result<Maker> {
        let maker = match (made, self.attempt) {
            (Made::New, _) => Maker::Us,
            (Made::Present, Attempt::First) => Maker::Another,
            (Made::Present, Attempt::Again) => {
                for (name, kind) in to.entries()? {
                    if plan::is_temporary_of(&self.id, name.as_os_str()) {
                        super::remove::tree(to, &name, kind, self.since)?;
                    }
                }
                let is_ours = plan::is_copy(source, &to.own_stat()?, self.since);
                if is_ours { Maker::UsBefore } else { Maker::Another }
            }
        };
        if maker != Maker::Another {
            self.progress.directory();
        }
        Ok(maker)
    }

    fn fill(&self, pair: &Arc<Pair>, queue: &TaskQueue<CopyTask>) -> io::Result<()> {
        let mut files = Vec::new();
        let push = |task| {
            pair.open.fetch_add(1, Ordering::SeqCst);
            queue.push(task);
        };
        let entries = match pair.from.entries() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !pair.path.as_os_str().is_empty() => {
                self.progress.skip(&pair.path);
                return Ok(());
            }
            other => other?,
        };
        for (name, kind) in entries {
            let kind = match kind.map_or_else(|| pair.from.stat(&name).map(|stat| stat.kind), Ok) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.progress.skip(&pair.path.join(name.as_os_str()));
                    continue;
                }
                other => other?,
            };
            match (self.plan.verdict(&pair.path, name.as_os_str(), kind), kind) {
                (EntryAction::Skip, _) => self.progress.skip(&pair.path.join(name.as_os_str())),
                // Inside a heavy directory nothing is deferred again.
                (EntryAction::Defer, _) if !pair.is_in_heavy() => self.defer(pair, name)?,
                (EntryAction::Copy | EntryAction::Defer, FileKind::Directory) => {
                    push(CopyTask::Directory(Arc::clone(pair), name))
                }
                (EntryAction::Copy | EntryAction::Defer, FileKind::File | FileKind::Symlink | FileKind::Special) => {
                    files.push((name, kind));
                    if files.len() == BATCH {
                        push(CopyTask::Files(Arc::clone(pair), std::mem::take(&mut files)));
                    }
                }
            }
        }
        if !files.is_empty() {
            push(CopyTask::Files(Arc::clone(pair), files));
        }
        Ok(())
    }

    fn defer(&self, pair: &Pair, name: Name) -> io::Result<()> {
        let path = pair.path.join(name.as_os_str());
        let placeholder = self.plan.placeholder(&path);
        let stands = match pair.to.make_symlink(&name, placeholder.as_os_str()) {
            Ok(()) => Stands::Placeholder,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match pair.to.stat(&name)?.kind {
                FileKind::Directory => Stands::Directory,
                FileKind::Symlink if pair.to.read_link(&name)? == placeholder.as_os_str().as_bytes() => {
                    Stands::Placeholder
                }
                FileKind::File | FileKind::Symlink | FileKind::Special => {
                    self.progress.skip(&path);
                    return Ok(());
                }
            },
            Err(error) => return Err(error),
        };
        pair.has_deferred.store(true, Ordering::SeqCst);
        let metadata = match pair.maker {
            Maker::Us | Maker::UsBefore => Some((pair.stat, pair.to.own_stat()?.identity)),
            Maker::Another => None,
        };
        lock(&self.deferred).push(Deferred { directory: pair.path.clone(), name, metadata, stands });
        Ok(())
    }

    fn symlink(&self, pair: &Pair, name: &Name, path: &Path) -> io::Result<()> {
        let read = pair.from.stat(name).and_then(|stat| Ok((stat, pair.from.read_link(name)?)));
        let (stat, text) = match read {
            Err(error) if self.has_vanished(pair, name, path, FileKind::Symlink, &error) => return Ok(()),
            other => other?,
        };
        let text = self.plan.link_text(&pair.path, OsStr::from_bytes(&text));
        match pair.to.make_symlink(name, &text) {
            Ok(()) => {
                self.progress.file();
                pair.to.set_symlink_metadata(name, &text, self.owner(&stat), stat.modified)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.present(pair, name, &stat, path),
            Err(error) => Err(error),
        }
    }
}

/// Checks that `to` is the directory that was `made`, and not one that has replaced it.
pub fn known(made: Made, to: &Dir) -> io::Result<Made> {
    match made {
        Made::New if to.is_fresh()? => Ok(Made::New),
        Made::New | Made::Present => Ok(Made::Present),
    }
}
