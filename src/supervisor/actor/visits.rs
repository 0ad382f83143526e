//! Visitors of the server through the proxy.
//!
//! Owns: which run may be visited, whether a visit starts the server, and when it had no visitor for too long. Never: a
//! request (see `traffic`), what follows (see `model::machine`).

use std::time::{Duration, Instant};

use super::super::system::System;
use super::super::visits;
use super::{Actor, Lifetime};
use crate::log::Level;
use crate::model::machine::{Cause, Command, Event, IdleReason, Phase, RunId, RunStage, Wanted};
use crate::model::proxy::AccessKey;

/// As long as requests are in flight their end is looked for at this interval, or at the limit if that is longer.
const IDLE_LOOK: Duration = Duration::from_millis(250);

impl<S: System> Actor<S> {
    /// The run that may be connected to: one that is being killed may have left its address to another process, and one
    /// that is stopped for lack of visitors has none; who visits it then waits for the next run.
    pub(super) fn visited_run(&self) -> Option<RunId> {
        match self.machine.phase() {
            Phase::Draining { cause: Cause::Unused, .. } => None,
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

    /// Whether a visit starts it. One that failed stays as it is: its visitors see why, and it is not tried again by
    /// each.
    pub(super) fn starts_on_visit(&self) -> bool {
        let is_stopped = match self.machine.phase() {
            Phase::Idle(IdleReason::Stopped | IdleReason::Unused | IdleReason::Completed)
            | Phase::Draining { cause: Cause::Unused, .. }
            | Phase::Killing { cause: Cause::Unused, .. } => true,
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
            self.execute(Command::Start);
        }
    }

    /// When it has had no visitor for too long, or when to look at that again.
    pub(super) fn idle_deadline(&self, now: Instant) -> Option<Instant> {
        let limit = self.spec.proxy.idle_stop.filter(|_| self.context.proxy.is_some())?;
        let is_up = matches!(self.machine.phase(), Phase::Alive { .. }) && self.machine.wanted() == Wanted::Up;
        let since = self.ready_since.filter(|_| is_up)?;
        Some(match self.shared.traffic.activity() {
            (0, last) => last.map_or(since, |last| last.max(since)) + limit,
            // This thread is not notified when a request ends.
            _ => now + limit.max(IDLE_LOOK),
        })
    }

    /// Stops it if it has had no visitor for too long.
    pub(super) fn check_idle(&mut self, now: Instant) {
        if self.idle_deadline(now).is_some_and(|deadline| deadline <= now) {
            let effects = self.machine.event(Event::Unused(self.machine.run()), now);
            self.carry_out(effects);
        }
    }

    /// Records whether a client's command has stopped the server: a visit does not start it then.
    pub(super) fn record_client_command(&mut self, command: Command) {
        match command {
            Command::Stop | Command::Kill => self.record.stopped_by_hand(&self.spec, true),
            Command::Start | Command::Restart => self.record.stopped_by_hand(&self.spec, false),
            Command::Delete | Command::Mark(_) => {}
        }
    }
}
