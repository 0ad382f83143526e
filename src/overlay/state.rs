//! The shared state of one overlay.
//!
//! Owns: its status, waiters and watchers, and the order of storing and publishing: a final status is stored before it
//! is published. Never: a file of the template or the target.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Instant, SystemTime};

use super::progress::{CopyProgress, Stats};
use super::record::{Records, StoredOverlay};
use crate::log;
use crate::model::overlay::{CopyStatus, OverlayId, OverlaySpec, Strategy};
use crate::os::thread::{Joined, Thread};
use crate::sync::{lock, wait, wait_for};

/// A snapshot of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayView {
    pub id: OverlayId,
    pub source: PathBuf,
    /// The target as the client sent it.
    pub target: String,
    pub resolved_target: PathBuf,
    pub strategy: Strategy,
    /// Patterns of files that are not copied.
    pub ignore: Vec<String>,
    pub created_at: SystemTime,
    /// The counts so far.
    pub stats: Stats,
    pub status: CopyStatus,
    /// Why it failed.
    pub error: Option<String>,
}

/// A change of an overlay, for watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Begun,
    Complete,
    /// With the reason.
    Failed(String),
    /// The overlay was deleted before the copy ended.
    Deleted,
}

/// A callback for changes; called on the thread that makes the change, without a lock. It must not block.
pub type OverlayWatcher = Arc<dyn Fn(&OverlayId, &Change) + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyResult {
    /// All is there.
    Complete,
    /// Why not.
    Failed(String),
}

/// What a client can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything can be read, if only through placeholders.
    Usable,
    /// The status is final.
    Over,
}

pub struct Overlay {
    pub id: OverlayId,
    pub spec: OverlaySpec,
    pub created_at: SystemTime,
    pub root: PathBuf,
    pub progress: Arc<CopyProgress>,
    thread: Mutex<Option<Arc<Thread>>>,
    records: Arc<dyn Records>,
    /// Locked while the record is written, so that none is written after its removal.
    keeping: Mutex<Keeping>,
    state: Mutex<OverlayState>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Yes,
    Forgotten,
}

struct OverlayState {
    status: CopyStatus,
    error: Option<String>,
    is_usable: bool,
    presence: Presence,
    watchers: Vec<OverlayWatcher>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Here,
    /// A [`OverlayDeletion`] of it exists.
    Leaving,
    Deleted,
}

/// The deletion in progress, at most one. Dropping it leaves the overlay as it is, so that the next one can try.
pub(super) struct OverlayDeletion<'a>(&'a Overlay);

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("id", &self.id).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Overlay {
    /// Creates the state from a record, without a thread.
    pub(super) fn new(kept: StoredOverlay, root: &Path, records: Arc<dyn Records>) -> Overlay {
        // A resumed copy counts from zero.
        let stats = if kept.status.is_over() { kept.stats } else { Stats::default() };
        let state = OverlayState {
            status: kept.status,
            error: kept.error,
            is_usable: kept.status.is_over(),
            presence: Presence::Here,
            watchers: Vec::new(),
        };
        Overlay {
            id: kept.id,
            spec: kept.spec,
            created_at: kept.created_at,
            root: root.to_owned(),
            progress: Arc::new(CopyProgress::kept(&stats)),
            thread: Mutex::new(None),
            records,
            keeping: Mutex::new(Keeping::Yes),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub fn view(&self) -> OverlayView {
        let (status, error) = {
            let state = lock(&self.state);
            (state.status, state.error.clone())
        };
        OverlayView {
            id: self.id.clone(),
            source: self.spec.source.clone(),
            target: self.spec.target.as_str().to_owned(),
            resolved_target: self.spec.target.resolved(&self.root),
            strategy: self.spec.strategy,
            ignore: self.spec.ignore.clone(),
            created_at: self.created_at,
            stats: self.progress.stats(),
            status,
            error,
        }
    }

    pub fn status(&self) -> CopyStatus {
        lock(&self.state).status
    }

    /// Waits for `until`, the deletion, or `deadline`.
    pub fn wait(&self, until: Until, deadline: Instant) {
        let mut state = lock(&self.state);
        loop {
            let is_there = match until {
                Until::Usable => state.is_usable,
                Until::Over => state.status.is_over(),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if is_there || state.presence == Presence::Deleted || left.is_zero() {
                return;
            }
            state = wait_for(&self.changed, state, left);
        }
    }

    /// Calls `watcher` at every later change; returns the current status.
    pub fn subscribe(&self, watcher: OverlayWatcher) -> CopyStatus {
        let mut state = lock(&self.state);
        if !state.status.is_over() {
            state.watchers.push(watcher);
        }
        state.status
    }

    pub(super) fn begin(&self) {
        self.publish(CopyStatus::InProgress, None, &Change::Begun);
    }

    pub(super) fn usable(&self) {
        lock(&self.state).is_usable = true;
        self.changed.notify_all();
    }

    pub(super) fn finish(&self, ended: CopyResult) {
        let (status, error, change) = match ended {
            CopyResult::Complete => (CopyStatus::Complete, None, Change::Complete),
            CopyResult::Failed(why) => (CopyStatus::Failed, Some(why.clone()), Change::Failed(why)),
        };
        if let Err(cause) = self.keep(status, error.as_deref()) {
            log::warn(format_args!(
                "overlay {}: its end can't be stored and will be found out again: {cause}",
                self.id
            ));
        }
        match &error {
            None => log::info(format_args!("overlay {} is complete", self.id)),
            Some(why) => log::warn(format_args!("overlay {} failed: {why}", self.id)),
        }
        self.publish(status, error, &change);
    }

    fn publish(&self, status: CopyStatus, error: Option<String>, change: &Change) {
        let watchers = {
            let mut state = lock(&self.state);
            state.status = status;
            state.error = error;
            state.is_usable |= status.is_over();
            if status.is_over() { std::mem::take(&mut state.watchers) } else { state.watchers.clone() }
        };
        self.changed.notify_all();
        watchers.iter().for_each(|watcher| watcher(&self.id, change));
    }

    /// Stores the thread of its copy.
    pub(super) fn works_on(&self, thread: Thread) {
        *lock(&self.thread) = Some(Arc::new(thread));
    }

    /// Waits for the end of its thread until `deadline`. Any number of threads may wait.
    pub(super) fn join_by(&self, deadline: Instant) -> Joined {
        let thread = lock(&self.thread).clone();
        thread.map_or(Joined::Ended, |thread| thread.join_by(deadline))
    }

    /// Begins a deletion, after any other one in progress; `None` if the overlay has been deleted.
    pub(super) fn begin_deletion(&self) -> Option<OverlayDeletion<'_>> {
        let mut state = lock(&self.state);
        // A deletion has limits on all its waits, and its guard wakes this on every path.
        while state.presence == Presence::Leaving {
            state = wait(&self.changed, state);
        }
        match state.presence {
            Presence::Deleted => None,
            Presence::Here | Presence::Leaving => {
                state.presence = Presence::Leaving;
                Some(OverlayDeletion(self))
            }
        }
    }

    /// Marks it as deleted; wakes the waiters and calls the watchers.
    pub(super) fn deleted(&self) {
        let watchers = {
            let mut state = lock(&self.state);
            state.presence = Presence::Deleted;
            std::mem::take(&mut state.watchers)
        };
        self.changed.notify_all();
        watchers.iter().for_each(|watcher| watcher(&self.id, &Change::Deleted));
    }

    /// Stores it with this status, unless its record was removed.
    pub(super) fn keep(&self, status: CopyStatus, error: Option<&str>) -> std::io::Result<()> {
        let kept = StoredOverlay {
            id: self.id.clone(),
            spec: self.spec.clone(),
            created_at: self.created_at,
            status,
            error: error.map(str::to_owned),
            stats: self.progress.stats(),
        };
        let keeping = lock(&self.keeping);
        match *keeping {
            Keeping::Yes => self.records.save(&kept),
            Keeping::Forgotten => Ok(()),
        }
    }

    /// Removes its record.
    pub(super) fn forget(&self) -> std::io::Result<()> {
        let mut keeping = lock(&self.keeping);
        self.records.remove(&self.id)?;
        *keeping = Keeping::Forgotten;
        Ok(())
    }
}

impl Drop for OverlayDeletion<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        if state.presence == Presence::Leaving {
            state.presence = Presence::Here;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}
