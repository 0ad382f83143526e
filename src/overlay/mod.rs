//! Overlays: copies of templates that can be used before they are complete.
//!
//! Owns: the table of overlays, their threads, and their shutdown. Never: HTTP, a server; a write into a template.
//!
//! `job` is the thread of one overlay and the order of its steps: `place` opens the target, `plan` decides about each
//! entry, `workers` runs the tasks of `copy` and `file` in parallel, `heavy` replaces placeholders, `venv` adapts
//! Python environments. `remove` deletes copied files. `state` is shared with clients; `record` is stored.
//!
//! The lock of the table is never held during a wait, a spawn or file I/O.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use self::copy::Attempt;
use self::plan::CopyPlan;
use self::progress::{Halt, Stats, StopCause};
use self::record::{Records, StoredOverlay};
use self::remove::Eraser;
use crate::control::Admission;
use crate::log;
use crate::model::overlay::{CopyStatus, OverlayId, OverlaySpec, Target};
use crate::os::deadline;
use crate::os::fs::{Dir, Last};
use crate::os::random;
use crate::os::thread::{self, Joined};
use crate::sorted::Sorted;
use crate::sync::lock;

mod copy;
mod file;
pub mod glob;
mod heavy;
mod job;
mod pair;
mod place;
mod plan;
pub mod progress;
pub mod record;
mod remove;
mod state;
#[cfg(test)]
mod tests;
mod venv;
mod workers;

pub use state::{Change, Overlay, OverlayView, OverlayWatcher, Until};

/// Ten hexadecimal digits: short, and drawn again on a collision.
const ID_BYTES: usize = 5;
/// The limit of the wait for a stopped copy, which checks for a stop between files and pieces of large files: after
/// this its file system hangs.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The limit of the checks of a new overlay's directories.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// The limit of a client's wait for the deletion of files.
const ERASE_LIMIT: Duration = Duration::from_secs(8);

pub struct Overlays {
    root: PathBuf,
    records: Arc<dyn Records>,
    table: Mutex<OverlayTable>,
}

struct OverlayTable {
    overlays: Sorted<OverlayId, Arc<Overlay>>,
    admission: Admission,
}

/// Why an overlay was not created.
#[derive(Debug)]
pub enum CreateError {
    /// Invalid fields, each with a phrase that follows its name.
    Fields(Vec<(&'static str, String)>),
    ShuttingDown,
    /// The record can't be stored.
    Storage(io::Error),
    /// No thread could be created.
    NoThread(io::Error),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::Fields(wrong) => {
                let wrong: Vec<String> = wrong.iter().map(|(field, why)| format!("{field} {why}")).collect();
                f.write_str(&wrong.join("; "))
            }
            CreateError::ShuttingDown => f.write_str("servisor is shutting down"),
            CreateError::Storage(error) => write!(f, "it can't be stored: {error}"),
            CreateError::NoThread(error) => write!(f, "the system has no thread for it: {error}"),
        }
    }
}

/// Why a deletion failed, or is incomplete.
#[derive(Debug)]
pub enum DeleteError {
    /// No overlay has this id.
    Unknown,
    /// Its record can't be removed; the overlay exists as before, and its copy continues.
    Storage(io::Error),
    /// Its copy does not stop, because its file system hangs. The overlay still exists; the deletion can be repeated.
    Stuck,
    /// The overlay is deleted, but not all of its files: the first that could not be removed, and why.
    Files(PathBuf, io::Error),
    /// The overlay is deleted; the removal of its files continues in the background.
    FilesLater,
}

/// Whether the files of a deleted overlay are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteFiles {
    Keep,
    /// Files that the overlay copied and that are unchanged since are removed.
    Remove,
}

impl Overlays {
    /// Creates the table from the stored records. Nothing is copied before [`Overlays::resume`]. Relative targets are
    /// resolved against `root`.
    pub fn new(root: &Path, records: Arc<dyn Records>, kept: Vec<StoredOverlay>) -> Arc<Overlays> {
        let mut overlays = Sorted::default();
        for kept in kept {
            let overlay = Overlay::new(kept, root, Arc::clone(&records));
            overlays.insert(overlay.id.clone(), Arc::new(overlay));
        }
        Arc::new(Overlays {
            root: root.to_owned(),
            records,
            table: Mutex::new(OverlayTable { overlays, admission: Admission::Open }),
        })
    }

    /// Resumes the copies that were unfinished when the last daemon ended.
    pub fn resume(&self) {
        let unfinished = self.all().into_iter().filter(|overlay| !overlay.status().is_over());
        for overlay in unfinished {
            resume_copy(&overlay);
        }
    }

    /// Creates an overlay and starts its copy. Blocks on the file system for at most 5 s.
    ///
    /// # Errors
    /// The overlay was not created.
    pub fn create(&self, spec: OverlaySpec) -> Result<Arc<Overlay>, CreateError> {
        self.make(spec, None)
    }

    /// Returns the existing overlay with the same `spec` if it is usable, or creates one.
    ///
    /// # Errors
    /// As [`Overlays::create`].
    pub fn obtain(&self, spec: OverlaySpec) -> Result<Arc<Overlay>, CreateError> {
        match self.reusable(&spec) {
            Ok(present) => Ok(present),
            Err(useless) => self.make(spec, Some(&useless)),
        }
    }

    /// Creates an overlay, unless another thread has just created the same: `useless` are the known ones with this spec
    /// that can't be reused; `None` always creates.
    fn make(&self, spec: OverlaySpec, useless: Option<&[OverlayId]>) -> Result<Arc<Overlay>, CreateError> {
        self.check(&spec).map_err(CreateError::Fields)?;
        let kept = |id| StoredOverlay {
            id,
            spec: spec.clone(),
            created_at: SystemTime::now(),
            status: CopyStatus::Pending,
            error: None,
            stats: Stats::default(),
        };
        let overlay = loop {
            let id = random::hex(ID_BYTES).map_err(CreateError::NoThread)?;
            let Some(id) = OverlayId::parse(&id) else { continue };
            let overlay = Arc::new(Overlay::new(kept(id), &self.root, Arc::clone(&self.records)));
            let mut table = self.table();
            let is_new = |other: &&Arc<Overlay>| {
                useless.is_some_and(|useless| !useless.contains(&other.id)) && self.is_same(&other.spec, &spec)
            };
            if let Some(other) = table.overlays.values().find(is_new) {
                return Ok(Arc::clone(other));
            }
            match (table.admission, table.overlays.contains_key(&overlay.id)) {
                (Admission::Closed, _) => return Err(CreateError::ShuttingDown),
                (Admission::Open, true) => {}
                (Admission::Open, false) => {
                    table.overlays.insert(overlay.id.clone(), Arc::clone(&overlay));
                    break overlay;
                }
            }
        };
        let begun = overlay.keep(CopyStatus::Pending, None).map_err(CreateError::Storage).and_then(|()| {
            launch(&overlay, Attempt::First).map_err(|error| {
                // If this fails too, the next daemon resumes the pending overlay.
                let _ = overlay.forget();
                CreateError::NoThread(error)
            })
        });
        if begun.is_ok() {
            let (source, target) = (overlay.spec.source.display(), overlay.spec.target.as_str());
            log::info(format_args!("overlay {}: copying {source} to {target:?}", overlay.id));
        } else {
            self.table().overlays.remove(&overlay.id);
            overlay.deleted();
        }
        begun.map(|()| overlay)
    }

    /// Checks whether an overlay of `spec` could be created now. Blocks on the file system for at most 5 s.
    ///
    /// # Errors
    /// The name of each invalid field, with a phrase that follows it.
    pub fn check(&self, spec: &OverlaySpec) -> Result<(), Vec<(&'static str, String)>> {
        let (root, looked_at) = (self.root.clone(), spec.clone());
        deadline::within(LOOK_LIMIT, &spec.source, move || place::check(&root, &looked_at)).unwrap_or_else(|error| {
            let (source, target) = (spec.source.display(), spec.target.as_str());
            Err(vec![("source", format!("can't be used: {source} or the target {target:?}: {error}"))])
        })
    }

    /// As [`Overlays::obtain`], for the setup payload: so the same payload at the next start does not copy over the
    /// user's changes. If the creation fails, an overlay with the status `failed` stands for it, since no client can be
    /// answered.
    pub fn ensure(&self, spec: OverlaySpec) -> Arc<Overlay> {
        match self.obtain(spec.clone()) {
            Ok(overlay) => overlay,
            Err(refused) => {
                log::error(format_args!("the overlay of {} can't be made: {refused}", spec.source.display()));
                let (id, created_at) = (OverlayId::of_number(self.table().overlays.len()), SystemTime::now());
                let (status, error) = (CopyStatus::Failed, Some(refused.to_string()));
                let kept = StoredOverlay { id: id.clone(), spec, created_at, status, error, stats: Stats::default() };
                let overlay = Arc::new(Overlay::new(kept, &self.root, Arc::clone(&self.records)));
                self.table().overlays.insert(id, Arc::clone(&overlay));
                overlay
            }
        }
    }

    /// Returns the overlay with the same `spec`, if it is being copied or its target exists. Deletes the records of
    /// others, so that a new one can replace them; returns those that could not be deleted.
    fn reusable(&self, spec: &OverlaySpec) -> Result<Arc<Overlay>, Vec<OverlayId>> {
        let mut useless = Vec::new();
        for present in self.all().into_iter().filter(|overlay| self.is_same(&overlay.spec, spec)) {
            match present.status() {
                CopyStatus::Pending | CopyStatus::InProgress => return Ok(present),
                CopyStatus::Complete if self.has_target(&spec.target) => return Ok(present),
                CopyStatus::Complete | CopyStatus::Failed => {
                    if self.delete(&present.id, DeleteFiles::Keep).is_err() {
                        useless.push(present.id.clone());
                    }
                }
            }
        }
        Err(useless)
    }

    fn is_same(&self, one: &OverlaySpec, other: &OverlaySpec) -> bool {
        one.source == other.source
            && one.strategy == other.strategy
            && one.ignore == other.ignore
            && one.target.resolved(&self.root) == other.target.resolved(&self.root)
    }

    pub fn ensure_all(&self, specs: Vec<OverlaySpec>) -> Vec<OverlayId> {
        specs.into_iter().map(|spec| self.ensure(spec).id.clone()).collect()
    }

    /// All overlays, the oldest first.
    pub fn views(&self) -> Vec<OverlayView> {
        let mut all = self.all();
        all.sort_unstable_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        all.iter().map(|overlay| overlay.view()).collect()
    }

    pub fn find(&self, id: &OverlayId) -> Option<Arc<Overlay>> {
        self.table().overlays.get(id).cloned()
    }

    /// Waits for `until` or `deadline`; `None` if the overlay does not exist or was deleted.
    pub fn wait(&self, id: &OverlayId, until: Until, deadline: Instant) -> Option<OverlayView> {
        self.find(id)?.wait(until, deadline);
        self.find(id).map(|overlay| overlay.view())
    }

    /// Calls `watcher` at every later change of the overlay; returns its current status, or `None` if it does not
    /// exist.
    pub fn subscribe(&self, id: &OverlayId, watcher: OverlayWatcher) -> Option<CopyStatus> {
        self.find(id).map(|overlay| overlay.subscribe(watcher))
    }

    /// Stops the copy, if it runs, and deletes the overlay. Blocks until the thread of the copy ends, within a limit.
    ///
    /// The order matters: as long as a placeholder, a symlink into the template, may exist, its record exists too, so
    /// that after a crash the next daemon removes it.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub fn delete(&self, id: &OverlayId, files: DeleteFiles) -> Result<(), DeleteError> {
        let overlay = self.find(id).ok_or(DeleteError::Unknown)?;
        // Of two concurrent deletions only one continues.
        let deletion = overlay.begin_deletion().ok_or(DeleteError::Unknown)?;
        overlay.progress.halt(Halt::Stopped(StopCause::Delete));
        if overlay.join_by(Instant::now() + STOP_LIMIT) == Joined::Late {
            return Err(DeleteError::Stuck);
        }
        if let Err(error) = overlay.forget() {
            let is_unfinished = !overlay.status().is_over();
            if is_unfinished && self.table().admission == Admission::Open {
                overlay.progress.reset();
                resume_copy(&overlay);
            }
            return Err(DeleteError::Storage(error));
        }
        self.table().overlays.remove(id);
        overlay.deleted();
        drop(deletion);
        log::info(format_args!("overlay {id} is deleted"));
        match files {
            DeleteFiles::Keep => Ok(()),
            DeleteFiles::Remove => {
                let erased = Arc::clone(&overlay);
                match deadline::within(ERASE_LIMIT, &overlay.spec.source, move || erase(&erased)) {
                    Ok(erased) => erased.map_err(|(path, error)| DeleteError::Files(path, error)),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(DeleteError::FilesLater),
                    Err(error) => Err(DeleteError::Files(overlay.spec.source.clone(), error)),
                }
            }
        }
    }

    /// Refuses new overlays and stops all copies, which the next daemon resumes. Waits for none.
    pub fn close(&self) {
        self.table().admission = Admission::Closed;
        self.all().iter().for_each(|overlay| overlay.progress.halt(Halt::Stopped(StopCause::ShutDown)));
    }

    /// Waits for the threads of all copies until `deadline`.
    pub fn join_by(&self, deadline: Instant) {
        for overlay in self.all() {
            if overlay.join_by(deadline) == Joined::Late {
                log::warn(format_args!("overlay {} does not stop copying", overlay.id));
            }
        }
    }

    fn has_target(&self, target: &Target) -> bool {
        let (root, looked_at, path) = (self.root.clone(), target.clone(), target.resolved(&self.root));
        deadline::within(LOOK_LIMIT, &path, move || place::existing(&root, &looked_at).is_some()).unwrap_or(false)
    }

    fn all(&self) -> Vec<Arc<Overlay>> {
        self.table().overlays.values().cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, OverlayTable> {
        lock(&self.table)
    }
}

fn launch(overlay: &Arc<Overlay>, attempt: Attempt) -> io::Result<()> {
    let worker = Arc::clone(overlay);
    let thread = thread::spawn(&format!("ovl:{}", overlay.id), thread::STACK, move || job::run(&worker, attempt))?;
    overlay.works_on(thread);
    Ok(())
}

fn resume_copy(overlay: &Arc<Overlay>) {
    log::info(format_args!("overlay {} is taken up again", overlay.id));
    if let Err(error) = launch(overlay, Attempt::Again) {
        overlay.finish(state::CopyResult::Failed(format!("the system has no thread for it: {error}")));
    }
}

fn erase(overlay: &Overlay) -> Result<(), (PathBuf, io::Error)> {
    let spec = &overlay.spec;
    let at_source = |error| (spec.source.clone(), error);
    let canonical = fs::canonicalize(&spec.source).map_err(at_source)?;
    let from = Dir::open(&canonical, Last::Refuse).map_err(at_source)?;
    let Some(to) = place::existing(&overlay.root, &spec.target) else { return Ok(()) };
    let at_target = |error| (PathBuf::new(), error);
    let again = to.try_clone().map_err(at_target)?;
    let (plan, stats) = (CopyPlan::new(spec, canonical, &overlay.root), overlay.progress.stats());
    let since = job::since(overlay.created_at);
    let made = to.own_stat().is_ok_and(|stat| stat.born.is_some_and(|born| born >= since));
    Eraser::new(&plan, since, &stats).erase(from, to)?;
    if made {
        // Fails if it is not empty.
        let _ = place::remove_empty(&overlay.root, &spec.target, &again);
    }
    Ok(())
}
