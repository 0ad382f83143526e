//! Overlays: copies of templates that are usable at once.
//!
//! Owns: which overlays there are, their threads, and their end. Never: HTTP, a server; a write into a template.
//!
//! `place` finds the target and `plan` decides about each entry; `crew` has the threads that carry out `copy` with `file`,
//! and `heavy` what comes later; `venv` knows what else Python environments need; `job` is the order of all that. `remove`
//! takes back what was made.
//!
//! The table's lock is never held across a wait, a spawn or a file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use self::copy::Attempt;
use self::pair::lock;
use self::plan::Plan;
use self::progress::{Halt, Stats, Stop};
use self::record::{Kept, Records};
use self::remove::Eraser;
use crate::log;
use crate::model::overlay::{CopyStatus, OverlayId, OverlaySpec, Target};
use crate::os::deadline;
use crate::os::fs::{Dir, Last};
use crate::os::random;
use crate::os::thread::{self, Joined};
use crate::sorted::Sorted;

mod copy;
mod crew;
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

pub use state::{Change, Overlay, OverlayView, Until, Watcher};

/// Ten hexadecimal digits: short, and made again if they are taken.
const ID_BYTES: usize = 5;
/// A copy looks up between files and between pieces of large ones; after this its file system hangs.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Both directories of a new overlay are looked at within this.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// A client that deletes an overlay with its files waits for so long.
const ERASE_LIMIT: Duration = Duration::from_secs(8);

/// The overlays of the daemon.
pub struct Overlays {
    root: PathBuf,
    records: Arc<dyn Records>,
    table: Mutex<Table>,
}

struct Table {
    overlays: Sorted<OverlayId, Arc<Overlay>>,
    door: Door,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

/// Why an overlay was not created.
#[derive(Debug)]
pub enum Refused {
    /// Fields that can't be, by name; each with a phrase that fits after it.
    Fields(Vec<(&'static str, String)>),
    /// The daemon is ending.
    ShuttingDown,
    /// It can't be stored.
    Storage(io::Error),
    /// The system has no thread for it.
    NoThread(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Fields(wrong) => {
                let wrong: Vec<String> = wrong.iter().map(|(field, why)| format!("{field} {why}")).collect();
                f.write_str(&wrong.join("; "))
            }
            Refused::ShuttingDown => f.write_str("servisor is shutting down"),
            Refused::Storage(error) => write!(f, "it can't be stored: {error}"),
            Refused::NoThread(error) => write!(f, "the system has no thread for it: {error}"),
        }
    }
}

/// Why an overlay was not deleted as it was asked for.
#[derive(Debug)]
pub enum Undeleted {
    /// There is none of that id.
    Unknown,
    /// It can't be taken out of the store; it is there as before, and its copy goes on.
    Storage(io::Error),
    /// Its copy does not stop, though it will if it ever can. The overlay is there, to be deleted once more.
    Stuck,
    /// It is forgotten, and not all of its files could be removed: which one, and why.
    Files(PathBuf, io::Error),
    /// It is forgotten, and the removal of its files takes longer than a client waits.
    FilesLater,
}

/// What becomes of the files when an overlay is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They stay.
    Keep,
    /// What the overlay made and nobody has changed since is removed.
    Remove,
}

impl Overlays {
    /// The overlays that are kept; nothing is copied before [`Overlays::resume`]. Relative targets are taken from `root`.
    pub fn new(root: &Path, records: Arc<dyn Records>, kept: Vec<Kept>) -> Arc<Overlays> {
        let mut overlays = Sorted::default();
        for kept in kept {
            let overlay = Overlay::new(kept, root, Arc::clone(&records));
            overlays.insert(overlay.id.clone(), Arc::new(overlay));
        }
        Arc::new(Overlays { root: root.to_owned(), records, table: Mutex::new(Table { overlays, door: Door::Open }) })
    }

    /// Goes on with what was not over when the last daemon ended.
    pub fn resume(&self) {
        let unfinished = self.all().into_iter().filter(|overlay| !overlay.status().is_over());
        for overlay in unfinished {
            take_up_again(&overlay);
        }
    }

    /// Makes an overlay and begins to copy. Looks at the file system: not for a thread that must not wait.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn create(&self, spec: OverlaySpec) -> Result<Arc<Overlay>, Refused> {
        self.make(spec, None)
    }

    /// The overlay that was made of `spec` before, by whichever server, and is still of use, or else a new one.
    ///
    /// # Errors
    /// As [`Overlays::create`].
    pub fn obtain(&self, spec: OverlaySpec) -> Result<Arc<Overlay>, Refused> {
        match self.reusable(&spec) {
            Ok(present) => Ok(present),
            Err(useless) => self.make(spec, Some(&useless)),
        }
    }

    /// Makes an overlay of `spec`, unless someone else has just done so: `useless` are those of the same kind that are known
    /// and can't be taken; `None` makes one in any case.
    fn make(&self, spec: OverlaySpec, useless: Option<&[OverlayId]>) -> Result<Arc<Overlay>, Refused> {
        self.check(&spec).map_err(Refused::Fields)?;
        let kept = |id| Kept {
            id,
            spec: spec.clone(),
            created_at: SystemTime::now(),
            status: CopyStatus::Pending,
            error: None,
            stats: Stats::default(),
        };
        let overlay = loop {
            let id = random::hex(ID_BYTES).map_err(Refused::NoThread)?;
            let Some(id) = OverlayId::parse(&id) else { continue };
            let overlay = Arc::new(Overlay::new(kept(id), &self.root, Arc::clone(&self.records)));
            let mut table = self.table();
            let is_new = |other: &&Arc<Overlay>| {
                useless.is_some_and(|useless| !useless.contains(&other.id)) && self.is_same(&other.spec, &spec)
            };
            if let Some(other) = table.overlays.values().find(is_new) {
                return Ok(Arc::clone(other));
            }
            match (table.door, table.overlays.contains_key(&overlay.id)) {
                (Door::Closed, _) => return Err(Refused::ShuttingDown),
                (Door::Open, true) => {}
                (Door::Open, false) => {
                    table.overlays.insert(overlay.id.clone(), Arc::clone(&overlay));
                    break overlay;
                }
            }
        };
        let begun = overlay.keep(CopyStatus::Pending, None).map_err(Refused::Storage).and_then(|()| {
            launch(&overlay, Attempt::First).map_err(|error| {
                // If that fails too, the next daemon finds a pending overlay and copies it.
                let _ = overlay.forget();
                Refused::NoThread(error)
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

    /// Whether `spec` could be made now. Looks at the file system, within 5 s.
    ///
    /// # Errors
    /// For each field that can't be its name, and a phrase that fits after it.
    pub fn check(&self, spec: &OverlaySpec) -> Result<(), Vec<(&'static str, String)>> {
        let (root, looked_at) = (self.root.clone(), spec.clone());
        deadline::within(LOOK_LIMIT, &spec.source, move || place::check(&root, &looked_at)).unwrap_or_else(|error| {
            let (source, target) = (spec.source.display(), spec.target.as_str());
            Err(vec![("source", format!("can't be used: {source} or the target {target:?}: {error}"))])
        })
    }

    /// As [`Overlays::obtain`]: what comes with every start of the same sandbox is not laid out again over what its user has
    /// done since. One that can't be made has failed: there is nobody to refuse it to.
    pub fn ensure(&self, spec: OverlaySpec) -> Arc<Overlay> {
        match self.obtain(spec.clone()) {
            Ok(overlay) => overlay,
            Err(refused) => {
                log::error(format_args!("the overlay of {} can't be made: {refused}", spec.source.display()));
                let (id, created_at) = (OverlayId::of_number(self.table().overlays.len()), SystemTime::now());
                let (status, error) = (CopyStatus::Failed, Some(refused.to_string()));
                let kept = Kept { id: id.clone(), spec, created_at, status, error, stats: Stats::default() };
                let overlay = Arc::new(Overlay::new(kept, &self.root, Arc::clone(&self.records)));
                self.table().overlays.insert(id, Arc::clone(&overlay));
                overlay
            }
        }
    }

    /// The overlay that was made of `spec` before, if it is under way or its target is still there. One that is of no use is
    /// forgotten, so that a new one takes its place; those for which that was not possible are given.
    fn reusable(&self, spec: &OverlaySpec) -> Result<Arc<Overlay>, Vec<OverlayId>> {
        let mut useless = Vec::new();
        for present in self.all().into_iter().filter(|overlay| self.is_same(&overlay.spec, spec)) {
            match present.status() {
                CopyStatus::Pending | CopyStatus::InProgress => return Ok(present),
                CopyStatus::Complete if self.has_target(&spec.target) => return Ok(present),
                CopyStatus::Complete | CopyStatus::Failed => {
                    if self.delete(&present.id, Files::Keep).is_err() {
                        useless.push(present.id.clone());
                    }
                }
            }
        }
        Err(useless)
    }

    /// Whether both ask for the same, however they write the target.
    fn is_same(&self, one: &OverlaySpec, other: &OverlaySpec) -> bool {
        one.source == other.source
            && one.strategy == other.strategy
            && one.ignore == other.ignore
            && one.target.resolved(&self.root) == other.target.resolved(&self.root)
    }

    /// Each of `specs` as [`Overlays::ensure`] has it: those that servers which come with them wait for.
    pub fn ensure_all(&self, specs: Vec<OverlaySpec>) -> Vec<OverlayId> {
        specs.into_iter().map(|spec| self.ensure(spec).id.clone()).collect()
    }

    /// All overlays, the oldest first.
    pub fn views(&self) -> Vec<OverlayView> {
        let mut all = self.all();
        all.sort_unstable_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        all.iter().map(|overlay| overlay.view()).collect()
    }

    /// The overlay `id`.
    pub fn find(&self, id: &OverlayId) -> Option<Arc<Overlay>> {
        self.table().overlays.get(id).cloned()
    }

    /// Waits until the overlay `id` is `until`, but not past `deadline`; `None` if there is none or it was deleted.
    pub fn wait(&self, id: &OverlayId, until: Until, deadline: Instant) -> Option<OverlayView> {
        self.find(id)?.wait(until, deadline);
        self.find(id).map(|overlay| overlay.view())
    }

    /// Tells `watcher` of every change of the overlay `id` from now on; gives the status before the first of them, `None`
    /// if there is no such overlay.
    pub fn subscribe(&self, id: &OverlayId, watcher: Watcher) -> Option<CopyStatus> {
        self.find(id).map(|overlay| overlay.subscribe(watcher))
    }

    /// Stops the copy if there is one, and forgets the overlay. Waits for the copy's thread and for the file system.
    ///
    /// In this order: as long as a placeholder may be there, which leads into the template, the record is there too, by
    /// which the next daemon finds it, however this one ends.
    ///
    /// # Errors
    /// See [`Undeleted`].
    pub fn delete(&self, id: &OverlayId, files: Files) -> Result<(), Undeleted> {
        let overlay = self.find(id).ok_or(Undeleted::Unknown)?;
        // Only one of two who delete it at once goes on.
        let deletion = overlay.begin_deletion().ok_or(Undeleted::Unknown)?;
        overlay.progress.halt(Halt::Stopped(Stop::Delete));
        if overlay.join_by(Instant::now() + STOP_LIMIT) == Joined::Late {
            return Err(Undeleted::Stuck);
        }
        if let Err(error) = overlay.forget() {
            let is_unfinished = !overlay.status().is_over();
            if is_unfinished && self.table().door == Door::Open {
                overlay.progress.begin_anew();
                take_up_again(&overlay);
            }
            return Err(Undeleted::Storage(error));
        }
        self.table().overlays.remove(id);
        overlay.deleted();
        drop(deletion);
        log::info(format_args!("overlay {id} is deleted"));
        match files {
            Files::Keep => Ok(()),
            Files::Remove => {
                let erased = Arc::clone(&overlay);
                match deadline::within(ERASE_LIMIT, &overlay.spec.source, move || erase(&erased)) {
                    Ok(erased) => erased.map_err(|(path, error)| Undeleted::Files(path, error)),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Undeleted::FilesLater),
                    Err(error) => Err(Undeleted::Files(overlay.spec.source.clone(), error)),
                }
            }
        }
    }

    /// Takes no more overlays, and stops all copies; the next daemon goes on with them. Waits for them until `deadline`.
    pub fn close(&self, deadline: Instant) {
        self.table().door = Door::Closed;
        let all = self.all();
        all.iter().for_each(|overlay| overlay.progress.halt(Halt::Stopped(Stop::ShutDown)));
        for overlay in &all {
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

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

fn launch(overlay: &Arc<Overlay>, attempt: Attempt) -> io::Result<()> {
    let worker = Arc::clone(overlay);
    let thread = thread::spawn(&format!("ovl:{}", overlay.id), thread::STACK, move || job::run(&worker, attempt))?;
    overlay.works_on(thread);
    Ok(())
}

/// Goes on with a copy that was begun before.
fn take_up_again(overlay: &Arc<Overlay>) {
    log::info(format_args!("overlay {} is taken up again", overlay.id));
    if let Err(error) = launch(overlay, Attempt::Again) {
        overlay.finish(state::Ended::Failed(format!("the system has no thread for it: {error}")));
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
    let (plan, stats) = (Plan::new(spec, canonical, &overlay.root), overlay.progress.stats());
    let since = job::since(overlay.created_at);
    let made = to.own_stat().is_ok_and(|stat| stat.born.is_some_and(|born| born >= since));
    Eraser::new(&plan, since, &stats).erase(from, to)?;
    if made {
        // Fails when something is left in it.
        let _ = place::remove_empty(&overlay.root, &spec.target, &again);
    }
    Ok(())
}
