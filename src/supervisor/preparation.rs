//! The overlays that a server waits for before its first process.
//!
//! Owns: which of them are not there yet, and what has become of the others. Never: a copy (see `overlay`), what
//! follows (see `model::machine`).

use std::sync::Arc;

use crate::model::overlay::{CopyStatus, OverlayId};
use crate::overlay::{OverlayWatcher, Overlays};

/// The overlays that one server waits for.
pub struct AwaitedOverlays {
    overlays: Arc<Overlays>,
    waits_for: Vec<OverlayId>,
}

/// The state of the overlays that a server waits for.
pub enum PreparationState {
    /// Some are still being copied.
    Waiting,
    /// All are complete.
    Done,
    /// One of them has failed or was deleted, for this reason.
    Failed(String),
}

impl AwaitedOverlays {
    /// Begins to wait for `ids`; `notify` is called whenever it is worth a look.
    pub fn begin(overlays: &Arc<Overlays>, ids: Vec<OverlayId>, notify: OverlayWatcher) -> AwaitedOverlays {
        for id in &ids {
            // What is over already, or unknown, is seen at the first look.
            let _ = overlays.subscribe(id, Arc::clone(&notify));
        }
        AwaitedOverlays { overlays: Arc::clone(overlays), waits_for: ids }
    }

    /// The overlays that are not complete yet.
    pub fn waits_for(&self) -> &[OverlayId] {
        &self.waits_for
    }

    /// Reads the status of each.
    pub fn check(&mut self) -> PreparationState {
        let mut failure = None;
        let overlays = &self.overlays;
        self.waits_for.retain(|id| match overlays.find(id).map(|overlay| overlay.view()) {
            None => {
                failure.get_or_insert_with(|| format!("overlay {id}, which it waits for, was deleted"));
                true
            }
            Some(view) => match (view.status, view.error) {
                (CopyStatus::Complete, _) => false,
                (CopyStatus::Pending | CopyStatus::InProgress, _) => true,
                (CopyStatus::Failed, error) => {
                    let why = error.unwrap_or_else(|| "its log says more".into());
                    failure.get_or_insert_with(|| format!("overlay {id}, which it waits for, failed: {why}"));
                    true
                }
            },
        });
        match failure {
            Some(why) => PreparationState::Failed(why),
            None if self.waits_for.is_empty() => PreparationState::Done,
            None => PreparationState::Waiting,
        }
    }
}
