//! A restart for failed checks, deferred: the server may only have moved to another port.
//!
//! Owns: the look at its ports and the one check of each other one. Never: the count of failures (see `model::health`).

use std::time::{Duration, Instant};

use super::{Pace, PortWatch, RunObserver, System};
use crate::model::machine::Event;
use crate::ports::CheckTarget;

/// A look at the ports takes milliseconds; after this time the restart follows without it.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

pub enum DeferredRestart {
    /// Until its ports have been looked at.
    Looking { until: Instant },
    /// Until each of these ports has failed a check.
    Trying { left: Vec<CheckTarget>, until: Instant },
}

impl DeferredRestart {
    /// When the restart follows in any case.
    pub fn deadline(&self) -> Instant {
        match self {
            DeferredRestart::Looking { until } | DeferredRestart::Trying { until, .. } => *until,
        }
    }

    /// What is checked meanwhile.
    pub fn targets(&self) -> &[CheckTarget] {
        match self {
            DeferredRestart::Looking { .. } => &[],
            DeferredRestart::Trying { left, .. } => left,
        }
    }
}

impl<S: System> RunObserver<S> {
    /// Defers a restart and looks at the ports. The chosen one is not checked any more.
    pub(super) fn defer_restart(&mut self, now: Instant) {
        let until = now + LOOK_LIMIT;
        self.deferred_restart = Some(DeferredRestart::Looking { until });
        self.close_until = self.close_until.max(until);
        self.check(now);
        // At `OnRequest` the ports would not be looked at.
        self.pace = Pace::Fast;
        self.watch.set_pace(self.pace);
        self.watch.look();
    }

    /// Checks the other ports, once the ports have been looked at and the chosen one is still open.
    pub(super) fn try_other_ports(&mut self, now: Instant) -> Vec<Event> {
        let (Some(DeferredRestart::Looking { .. }), Some(check)) = (&self.deferred_restart, &self.spec.health_check)
        else {
            return Vec::new();
        };
        let left = self.choice.others(now);
        if left.is_empty() {
            return self.give_up();
        }
        self.deferred_restart = Some(DeferredRestart::Trying { left, until: now + check.timeout + LOOK_LIMIT });
        self.check(now);
        Vec::new()
    }

    /// Takes the failed check of a port that is not the chosen one.
    pub(super) fn other_port_failed(&mut self, target: CheckTarget) -> Vec<Event> {
        let Some(DeferredRestart::Trying { left, .. }) = &mut self.deferred_restart else { return Vec::new() };
        left.retain(|other| *other != target);
        if left.is_empty() { self.give_up() } else { Vec::new() }
    }

    /// Ends the deferral: the restart is due.
    pub(super) fn give_up(&mut self) -> Vec<Event> {
        self.deferred_restart = None;
        self.probes.clear();
        vec![Event::RestartDue(self.run)]
    }
}
