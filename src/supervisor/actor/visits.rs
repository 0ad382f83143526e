//! Visitors of the server through the proxy.
//!
//! Owns: which run may be visited, whether a visit starts the server, and when it had no visitor for too long. Never: a
//! request (see `traffic`), what follows (see `model::machine`).

use super::super::system::System;
use super::super::visits;
use super::{Actor, Lifetime};
use crate::log::Level;
use crate::model::machine::{Command, IdleReason, Phase, RunId, RunStage};
use crate::model::proxy::AccessKey;

impl<S: System> Actor<S> {
    /// The run that may be connected to: one that is being killed may have left its address to another process.
    pub(super) fn visited_run(&self) -> Option<RunId> {
        match self.machine.phase() {
            Phase::Alive { stage: RunStage::Starting { .. } | RunStage::Up(_), .. }
            | Phase::Draining { stage: RunStage::Starting { .. } | RunStage::Up(_), .. } => Some(self.machine.run()),
            Phase::Alive { stage: RunStage::Installing, .. }
            | Phase::Draining { stage: RunStage::Installing, .. }
            | Phase::Killing { .. }
            | Phase::Idle(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => None,
        }
    }

    /// What a client needs to visit it.
    pub(super) fn key(&self) -> Option<AccessKey> {
        let is_needed = visits::needs_key(self.context.proxy.as_ref(), &self.spec);
        is_needed.then(|| self.record.key().cloned().unwrap_or(AccessKey::UNUSABLE))
    }

    /// Whether a visit starts it. One that failed stays as it is: its visitors see why, and it is not tried again by each.
    pub(super) fn starts_on_visit(&self) -> bool {
        let is_stopped = match self.machine.phase() {
            Phase::Idle(IdleReason::Stopped | IdleReason::Completed) => true,
            Phase::Idle(_)
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Alive { .. }
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => false,
        };
        is_stopped
            && self.context.proxy.is_some()
            && self.spec.proxy.start_on_visit
            && self.lifetime == Lifetime::Serving
            && !self.record.is_stopped_by_hand()
    }

    /// A second visit finds it started.
    #[inline(never)]
    pub(super) fn take_visit(&mut self) {
        if self.starts_on_visit() {
            self.report(Level::Info, format_args!("is started by a visit"));
            self.obey(Command::Start);
        }
    }

    /// A client gave this command.
    pub(super) fn note_hand(&mut self, command: Command) {
        match command {
            Command::Stop | Command::Kill => self.record.stopped_by_hand(&self.spec, true),
            Command::Start | Command::Restart => self.record.stopped_by_hand(&self.spec, false),
            Command::Delete | Command::Mark(_) => {}
        }
    }
}
