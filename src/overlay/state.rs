//! One overlay, as its thread and everyone else share it.
//!
//! Owns: its status, who waits for it, who is told of it, and the order of keeping and telling: what is said to be over
//! is kept first. Never: a file of the template or the target.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::pair::lock;
use super::progress::{Progress, Stats};
use super::record::{Kept, Records};
use crate::log;
use crate::model::overlay::{CopyStatus, OverlayId, OverlaySpec, Strategy};
use crate::os::thread::{Joined, Thread};

/// How an overlay is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayView {
    /// Its name.
    pub id: OverlayId,
    /// The template.
    pub source: PathBuf,
    /// The target, as it was sent.
    pub target: String,
    /// The target as an absolute path.
    pub resolved_target: PathBuf,
    /// In which order it is copied.
    pub strategy: Strategy,
    /// What is left out.
    pub ignore: Vec<String>,
    /// When it was created.
    pub created_at: SystemTime,
    /// What was done by now.
    pub stats: Stats,
    /// How far it is.
    pub status: CopyStatus,
    /// Why it failed.
    pub error: Option<String>,
}

/// What happened to an overlay, for who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The copy has begun.
    Begun,
    /// All is there.
    Complete,
    /// Why not.
    Failed(String),
    /// It was deleted before it was over.
    Deleted,
}

/// Is told of each change, on the thread that makes it, under no lock. It must not wait.
pub type Watcher = Arc<dyn Fn(&OverlayId, &Change) + Send + Sync>;

/// How the copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All is there.
    Complete,
    /// Why not.
    Failed(String),
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All can be used, if only through placeholders.
    Usable,
    /// Nothing more will happen.
    Over,
}

/// One overlay.
pub struct Overlay {
    /// Its name.
    pub id: OverlayId,
    /// What was asked for.
    pub spec: OverlaySpec,
    /// When.
    pub created_at: SystemTime,
    /// The daemon's root.
    pub root: PathBuf,
    /// How far the copy is.
    pub progress: Arc<Progress>,
    thread: Mutex<Option<Arc<Thread>>>,
    records: Arc<dyn Records>,
    /// Whoever writes the record has this, so that none is written after it was removed.
    keeping: Mutex<Keeping>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Yes,
    Forgotten,
}

struct State {
    status: CopyStatus,
    error: Option<String>,
    is_usable: bool,
    presence: Presence,
    watchers: Vec<Watcher>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Here,
    /// Somebody has a [`Deletion`] of it.
    Leaving,
    Deleted,
}

/// The one deletion of an overlay that is under way. Dropping it leaves the overlay as it is, for the next one to try.
pub(super) struct Deletion<'a>(&'a Overlay);

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("id", &self.id).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Overlay {
    /// As it is kept, without a thread.
    pub(super) fn new(kept: Kept, root: &Path, records: Arc<dyn Records>) -> Overlay {
        // A second attempt counts anew.
        let stats = if kept.status.is_over() { kept.stats } else { Stats::default() };
        let state = State {
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
            progress: Arc::new(Progress::kept(&stats)),
            thread: Mutex::new(None),
            records,
            keeping: Mutex::new(Keeping::Yes),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// How it is now.
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

    /// How far it is now.
    pub fn status(&self) -> CopyStatus {
        lock(&self.state).status
    }

    /// Waits for `until`, or its deletion, but not past `deadline`.
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
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells `watcher` of every change from now on; gives the status that the first of them changes.
    pub fn subscribe(&self, watcher: Watcher) -> CopyStatus {
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

    pub(super) fn finish(&self, ended: Ended) {
        let (status, error, change) = match ended {
            Ended::Complete => (CopyStatus::Complete, None, Change::Complete),
            Ended::Failed(why) => (CopyStatus::Failed, Some(why.clone()), Change::Failed(why)),
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

    /// Gives it the thread of its copy.
    pub(super) fn works_on(&self, thread: Thread) {
        *lock(&self.thread) = Some(Arc::new(thread));
    }

    /// Waits until nothing copies for it any more, but not past `deadline`. Any number may wait.
    pub(super) fn join_by(&self, deadline: Instant) -> Joined {
        let thread = lock(&self.thread).clone();
        thread.map_or(Joined::Ended, |thread| thread.join_by(deadline))
    }

    /// Begins to delete it, once nobody else does; `None` when it has been deleted.
    pub(super) fn begin_deletion(&self) -> Option<Deletion<'_>> {
        let mut state = lock(&self.state);
        // Whoever deletes it waits for nothing without a limit, and has this end in any case.
        while state.presence == Presence::Leaving {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.presence {
            Presence::Deleted => None,
            Presence::Here | Presence::Leaving => {
                state.presence = Presence::Leaving;
                Some(Deletion(self))
            }
        }
    }

    /// Tells who waits that there is nothing to wait for any more.
    pub(super) fn deleted(&self) {
        let watchers = {
            let mut state = lock(&self.state);
            state.presence = Presence::Deleted;
            std::mem::take(&mut state.watchers)
        };
        self.changed.notify_all();
        watchers.iter().for_each(|watcher| watcher(&self.id, &Change::Deleted));
    }

    /// Keeps it with this status, unless it is forgotten.
    pub(super) fn keep(&self, status: CopyStatus, error: Option<&str>) -> std::io::Result<()> {
        let kept = Kept {
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

    /// Keeps it no more.
    pub(super) fn forget(&self) -> std::io::Result<()> {
        let mut keeping = lock(&self.keeping);
        self.records.remove(&self.id)?;
        *keeping = Keeping::Forgotten;
        Ok(())
    }
}

impl Drop for Deletion<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        if state.presence == Presence::Leaving {
            state.presence = Presence::Here;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}
