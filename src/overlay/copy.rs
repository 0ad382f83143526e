//! A tree into another one: what happens to each directory and each file.
//!
//! Owns: the order of calls that keeps the promises: nothing is overwritten, nothing half-written has a name that anyone
//! could take for the whole, nothing is written outside of the target. Never: when to start, placeholders (see `heavy`).
//!
//! All is done by descriptors of directories that were opened one component after the other without following a symlink;
//! whoever swaps one in makes a call fail, and leads none elsewhere. In a shared directory a file is written under a
//! temporary name and gets its own in one step that replaces nothing. In a tree of our own, which has a temporary name
//! as a whole, that would be a waste.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::pair::{Maker, Pair, lock};
use super::plan::{self, CopyPlan, EntryAction};
use super::progress::{CopyProgress, Halt};
use super::venv;
use super::workers::{TaskQueue, Work};
use crate::model::overlay::OverlayId;
use crate::os::fs::data::{Copier, Ways};
use crate::os::fs::{Dir, Kind, Made, Moment, Name, Stat};

/// As many files of one directory are one task.
const BATCH: usize = 32;

/// Whether an earlier daemon may have copied a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// No.
    First,
    /// Yes: what looks like ours is ours, and what is left half done is removed.
    Again,
}

/// One copy.
#[derive(Debug)]
pub struct TreeCopy {
    /// Whose it is.
    pub id: OverlayId,
    /// What becomes of each entry.
    pub plan: CopyPlan,
    /// How far it is.
    pub progress: Arc<CopyProgress>,
    /// What is known of the file systems.
    pub ways: Ways,
    /// When the overlay came into being: what is older is not its work.
    pub since: Moment,
    /// Whether it is the first time.
    pub attempt: Attempt,
    /// The daemon's own owner, which all gets anyway; `None` unless it may give others.
    pub owner: Option<(u32, u32)>,
    /// The target, in case it lies inside of the source after all.
    pub target: (u64, u64),
    /// What has to be copied later.
    pub deferred: Mutex<Vec<Deferred>>,
    /// Counts temporary names.
    pub temporaries: AtomicU64,
}

/// A heavy directory, for later.
#[derive(Debug)]
pub struct Deferred {
    /// The directory that it is in, relative to the target.
    pub directory: PathBuf,
    /// Its name there.
    pub name: Name,
    /// What its parent in the template is, if the parent's copy has to be made the same again afterwards, and the identity
    /// of that copy.
    pub dress: Option<(Stat, (u64, u64))>,
    /// What stands there now.
    pub stands: Stands,
}

/// What stands where a heavy directory will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// A symlink to the template.
    Placeholder,
    /// A directory that was there before, to be filled up.
    Directory,
}

/// A piece of the work.
#[derive(Debug)]
pub enum CopyTask {
    /// All that is in a directory.
    Fill(Arc<Pair>),
    /// A directory in another one.
    Directory(Arc<Pair>, Name),
    /// Some files and symlinks of a directory.
    Files(Arc<Pair>, Vec<(Name, Kind)>),
}

impl Work for TreeCopy {
    type Task = CopyTask;
    type Tool<'a> = Copier<'a>;

    fn tool(&self) -> Copier<'_> {
        crate::os::fs::survive_file_size_limit();
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
                        Kind::Symlink => self.symlink(&pair, &name, &path),
                        Kind::File | Kind::Directory | Kind::Special => self.file(&pair, &name, &path, copier),
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
    /// A name that nothing else has.
    pub fn temporary(&self) -> io::Result<Name> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        Name::new(&plan::temporary(&self.id, number)).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
    }

    /// The owner that a copy of `stat` has to be given.
    pub fn owner(&self, stat: &Stat) -> Option<(u32, u32)> {
        self.owner.filter(|own| *own != stat.owner).map(|_| stat.owner)
    }

    fn note(&self, path: &Path, done: io::Result<()>) {
        if let Err(error) = done {
            // If the copy was stopped, that was the first reason, and this one is not heard.
            self.progress.fail(path, &error);
        }
    }

    /// One task less that puts something into `pair`; after the last one the directory gets its mode and time.
    fn leave(&self, pair: &Pair) {
        if pair.open.fetch_sub(1, Ordering::SeqCst) == 1
            && pair.maker != Maker::Another
            && self.progress.check_stop().is_ok()
        {
            let still_needed = if pair.has_deferred.load(Ordering::SeqCst) { 0o300 } else { 0 };
            let mode = pair.stat.mode | still_needed;
            self.note(&pair.path, pair.to.dress(self.owner(&pair.stat), mode, pair.stat.modified));
        }
    }

    /// Opens `name` on both sides; `None` when the target has something else there.
    fn enter(&self, parent: &Pair, name: &Name, path: &Path) -> io::Result<Option<Arc<Pair>>> {
        let from = match parent.from.open_dir(name) {
            Err(error) if self.has_vanished(parent, name, path, Kind::Directory, &error) => return Ok(None),
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
            Err(_) if made == Made::Present && parent.to.stat(name)?.kind != Kind::Directory => {
                self.progress.skip(path);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let maker = self.maker(known(made, &to)?, &stat, &to)?;
        let has_scripts = venv::has_scripts(&self.plan, path);
        Pair::new(Arc::clone(&parent.tree), from, to, path.to_owned(), maker, has_scripts).map(Some)
    }

    /// Whether `error` came of the template's `name` no longer being what was listed. That is nothing to fail for, since
    /// templates are worked on while they are copied; it is counted.
    pub fn has_vanished(&self, pair: &Pair, name: &Name, path: &Path, kind: Kind, error: &io::Error) -> bool {
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

    /// Who made `to`, the copy of `source`; counts it if that was us. What an earlier attempt has left half done in it is
    /// removed.
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
            // Removed since it was opened.
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
                // Inside of a heavy directory there is nothing left to put off.
                (EntryAction::Defer, _) if !pair.is_in_heavy() => self.defer(pair, name)?,
                (EntryAction::Copy | EntryAction::Defer, Kind::Directory) => {
                    push(CopyTask::Directory(Arc::clone(pair), name))
                }
                (EntryAction::Copy | EntryAction::Defer, Kind::File | Kind::Symlink | Kind::Special) => {
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
                Kind::Directory => Stands::Directory,
                Kind::Symlink if pair.to.read_link(&name)? == placeholder.as_os_str().as_bytes() => Stands::Placeholder,
                Kind::File | Kind::Symlink | Kind::Special => {
                    self.progress.skip(&path);
                    return Ok(());
                }
            },
            Err(error) => return Err(error),
        };
        pair.has_deferred.store(true, Ordering::SeqCst);
        let dress = match pair.maker {
            Maker::Us | Maker::UsBefore => Some((pair.stat, pair.to.own_stat()?.identity)),
            Maker::Another => None,
        };
        lock(&self.deferred).push(Deferred { directory: pair.path.clone(), name, dress, stands });
        Ok(())
    }

    fn symlink(&self, pair: &Pair, name: &Name, path: &Path) -> io::Result<()> {
        let read = pair.from.stat(name).and_then(|stat| Ok((stat, pair.from.read_link(name)?)));
        let (stat, text) = match read {
            Err(error) if self.has_vanished(pair, name, path, Kind::Symlink, &error) => return Ok(()),
            other => other?,
        };
        let text = self.plan.link_text(&pair.path, OsStr::from_bytes(&text));
        match pair.to.make_symlink(name, &text) {
            Ok(()) => {
                self.progress.file();
                pair.to.dress_symlink(name, &text, self.owner(&stat), stat.modified)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.present(pair, name, &stat, path),
            Err(error) => Err(error),
        }
    }
}

/// Whether `to`, which has the name of a directory that was `made`, is that one: someone may have put another there.
pub fn known(made: Made, to: &Dir) -> io::Result<Made> {
    match made {
        Made::New if to.is_fresh()? => Ok(Made::New),
        Made::New | Made::Present => Ok(Made::Present),
    }
}
