//! The health of one server in one run, as a pure state machine.
//!
//! Owns: when a check is due, how long it may take, and what its outcome means. Never: a socket, a clock, HTTP. Outcomes
//! and the passing of time go in, each with the present moment; verdicts come out. Another run has another machine.
//!
//! Before the first success nothing counts against the server. A dev server compiles at the first request, and a client
//! that hangs up and asks again only makes it start over: so one request is left open far beyond its time-out, and a
//! late answer is as good as one in time.

use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use super::spec::HealthCheck;

#[cfg(test)]
mod tests;
mod words;

pub use words::{Failure, Health, HealthStatus, Outcome, Verdict};

/// So many failures in a row make a server `unhealthy` that was healthy before (the figure of Docker and Kubernetes).
pub const FAILURES_MAX: u32 = 3;
/// As long as this, a server that has not passed yet is `checking`, and a request to it is left open.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The machine, or the daemon alone, was paused when the end of a check is seen later than this.
pub const BLINK: Duration = Duration::from_millis(100);
/// No check begins sooner than this after the one before, whatever the spec says.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The checks of one server in one run.
#[derive(Debug, Clone)]
pub struct Checks {
    interval: Duration,
    timeout: Duration,
    restart_after: Option<NonZeroU32>,
    proof: Proof,
    phase: Phase,
    health: Health,
}

/// Whether the server was ever seen to be well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// It was not asked yet.
    NotAsked,
    /// Not in all the time since the first check began.
    NotSince(Instant),
    /// It was: failures count.
    Given,
}

/// What happens at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next check begins at `due`.
    Idle { due: Instant },
    /// A check is under way, and is given up at `until`. If that is later than its time-out, it is told at `overdue_at`
    /// that it takes longer.
    InFlight { begun: Instant, overdue_at: Option<Instant>, until: Instant, sight: Sight },
}

/// Whether somebody was there to see the answer to a check all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// As far as is known.
    Kept,
    /// Not at the moment when it was to be given up; it was given its time once more, and is not again.
    Lost,
}

/// What has to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until [`Checks::deadline`].
    Nothing,
    /// Begin a check and report its [outcome](Checks::outcome).
    Begin,
    /// Drop the check that is under way; it has failed, with this verdict.
    GiveUp(Verdict),
    /// Tell of the health, which has changed by the passing of time.
    Tell(Verdict),
}

impl Checks {
    /// The checks of a server whose port was detected at `detected`.
    pub fn new(check: &HealthCheck, detected: Instant) -> Checks {
        Checks {
            interval: check.interval.max(INTERVAL_MIN),
            timeout: check.timeout,
            restart_after: check.restart_after_failures,
            proof: Proof::NotAsked,
            phase: Phase::Idle { due: detected + check.delay },
            health: Health::default(),
        }
    }

    /// What is known.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When [`Checks::timeout`] wants to be called.
    pub fn deadline(&self) -> Instant {
        let next = match self.phase {
            Phase::Idle { due } => due,
            Phase::InFlight { overdue_at, until, .. } => overdue_at.unwrap_or(until),
        };
        self.patience_ends().map_or(next, |end| end.min(next))
    }

    /// Tells the machine that its [deadline](Checks::deadline) may have come. To be called until it says `Nothing`. `at`
    /// is `now` for people.
    pub fn timeout(&mut self, now: Instant, at: SystemTime) -> Due {
        match &mut self.phase {
            Phase::Idle { due } if *due <= now => {
                self.begin(now);
                Due::Begin
            }
            // Whoever was not looking for so long, the whole machine perhaps, can't say that there was no answer.
            Phase::InFlight { until, sight: sight @ Sight::Kept, .. } if *until + BLINK <= now => {
                *sight = Sight::Lost;
                *until = now + self.timeout;
                Due::Nothing
            }
            Phase::InFlight { begun, until, .. } if *until <= now => {
                let failure = Failure::NoAnswer(until.saturating_duration_since(*begun));
                Due::GiveUp(self.outcome(Outcome::Failed(failure), now, at))
            }
            Phase::InFlight { overdue_at, .. } if overdue_at.is_some_and(|overdue_at| overdue_at <= now) => {
                *overdue_at = None;
                self.note(at, None, Some(Failure::NoAnswer(self.timeout)));
                Due::Tell(Verdict::Same)
            }
            Phase::Idle { .. } | Phase::InFlight { .. } => match self.patience_ends() {
                Some(end) if end <= now => {
                    self.health.status = HealthStatus::Unhealthy;
                    Due::Tell(Verdict::BecameUnhealthy)
                }
                Some(_) | None => Due::Nothing,
            },
        }
    }

    /// Takes what the check that is under way has come to. Without one nothing changes.
    pub fn outcome(&mut self, outcome: Outcome, now: Instant, at: SystemTime) -> Verdict {
        let Phase::InFlight { begun, .. } = self.phase else { return Verdict::Same };
        self.phase = Phase::Idle { due: (begun + self.interval).max(now) };
        match outcome {
            Outcome::Answered(status @ 200..400) => {
                self.note(at, Some(status), None);
                self.passed()
            }
            Outcome::Answered(status) => {
                self.note(at, Some(status), Some(Failure::Status(status)));
                self.failed(now)
            }
            // What the daemon has not got is held against nobody.
            Outcome::Failed(failure @ Failure::NoDescriptor) => {
                self.note(at, None, Some(failure));
                Verdict::Same
            }
            Outcome::Failed(failure) => {
                self.note(at, None, Some(failure));
                self.failed(now)
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        let overdue_at = now + self.timeout;
        let until = match self.proof {
            Proof::Given => overdue_at,
            Proof::NotAsked | Proof::NotSince(_) => overdue_at.max(now + PATIENCE),
        };
        if self.proof == Proof::NotAsked {
            self.proof = Proof::NotSince(now);
        }
        self.phase = Phase::InFlight {
            begun: now,
            overdue_at: Some(overdue_at).filter(|at| *at < until),
            until,
            sight: Sight::Kept,
        };
    }

    fn note(&mut self, at: SystemTime, status: Option<u16>, failure: Option<Failure>) {
        self.health.last_check = Some(at);
        self.health.last_status = status;
        self.health.last_error = failure;
    }

    fn passed(&mut self) -> Verdict {
        self.proof = Proof::Given;
        self.health.consecutive_failures = 0;
        match self.health.status {
            HealthStatus::Healthy => Verdict::Same,
            HealthStatus::Checking | HealthStatus::Unhealthy => {
                self.health.status = HealthStatus::Healthy;
                Verdict::BecameHealthy
            }
        }
    }

    fn failed(&mut self, now: Instant) -> Verdict {
        let before = self.health.status;
        let failures = self.health.consecutive_failures.saturating_add(1);
        self.health.consecutive_failures = failures;
        let is_enough = match self.proof {
            Proof::Given => failures >= FAILURES_MAX,
            Proof::NotAsked | Proof::NotSince(_) => self.patience_ends().is_some_and(|end| end <= now),
        };
        if is_enough {
            self.health.status = HealthStatus::Unhealthy;
        }
        if self.proof == Proof::Given && self.restart_after.is_some_and(|after| after.get() == failures) {
            Verdict::RestartDue
        } else if self.health.status != before {
            Verdict::BecameUnhealthy
        } else {
            Verdict::Same
        }
    }

    /// When a server that has failed all the time is no longer on its way up. One that was given more time for its first
    /// answer than that, and has not used it up, has not failed.
    fn patience_ends(&self) -> Option<Instant> {
        match (self.proof, self.health.status) {
            (Proof::NotSince(begun), HealthStatus::Checking) if self.health.consecutive_failures > 0 => {
                Some(begun + PATIENCE)
            }
            (Proof::NotAsked | Proof::NotSince(_) | Proof::Given, _) => None,
        }
    }
}
