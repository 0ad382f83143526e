//! Before a server is restarted for its failed checks: it may only have moved to another port.
//!
//! Owns: the look at its ports and the one check of each other one. Never: the count of failures (see `model::health`).

use std::time::{Duration, Instant};

use super::{Pace, PortWatch, RunObserver, System};
use crate::model::machine::Event;
use crate::ports::Checked;

/// A look at the ports takes milliseconds; after this time the restart follows without it.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// A restart that is put off.
pub enum Rescue {
    /// Until its ports have been looked at.
    Looking { until: Instant },
    /// Until each of these ports has failed a check.
    Trying { left: Vec<Checked>, until: Instant },
}

impl Rescue {
    /// When it is over in any case.
    pub fn deadline(&self) -> Instant {
        match self {
            Rescue::Looking { until } | Rescue::Trying { until, .. } => *until,
        }
    }

    /// What is checked meanwhile.
    pub fn targets(&self) -> &[Checked] {
        match self {
            Rescue::Looking { .. } => &[],
            Rescue::Trying { left, .. } => left,
        }
    }
}

impl<S: System> RunObserver<S> {
    /// Looks at its ports. Its own is not checked any more.
    pub(super) fn begin_rescue(&mut self, now: Instant) {
        let until = now + LOOK_LIMIT;
        self.rescue = Some(Rescue::Looking { until });
        self.close_until = self.close_until.max(until);
        self.check(now);
        // Who waits for nothing is not looked into.
        self.pace = Pace::Fast;
        self.watch.set_pace(self.pace);
        self.watch.look();
    }

    /// Its ports have been looked at, and its own is still open: the others are tried.
    pub(super) fn look_for_rescue(&mut self, now: Instant) -> Vec<Event> {
        let (Some(Rescue::Looking { .. }), Some(check)) = (&self.rescue, &self.spec.health_check) else {
            return Vec::new();
        };
        let left = self.choice.others(now);
        if left.is_empty() {
            return self.give_up();
        }
        self.rescue = Some(Rescue::Trying { left, until: now + check.timeout + LOOK_LIMIT });
        self.check(now);
        Vec::new()
    }

    /// Another port than its own has failed a check.
    pub(super) fn rescue_failed(&mut self, target: Checked) -> Vec<Event> {
        let Some(Rescue::Trying { left, .. }) = &mut self.rescue else { return Vec::new() };
        left.retain(|other| *other != target);
        if left.is_empty() { self.give_up() } else { Vec::new() }
    }

    /// The restart is due.
    pub(super) fn give_up(&mut self) -> Vec<Event> {
        self.rescue = None;
        self.probes.clear();
        vec![Event::RestartDue(self.run)]
    }
}
