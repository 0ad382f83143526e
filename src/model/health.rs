//! The health checks of one server during one run, as a pure state machine.
//!
//! Owns: when a check is due, how long it may take, and what its outcome means. Never: a socket, a clock, HTTP.
//! Outcomes and timeouts go in, each with the current time; changes of the health come out. Each run has a machine of
//! its own.
//!
//! Before the first success, failures have no effect. A dev server compiles at its first request, and a client that
//! disconnects and retries only makes it start over. So one request stays open far beyond its timeout, and a late
//! answer is as good as a timely one.

use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use super::spec::HealthCheck;

#[cfg(test)]
mod tests;
mod types;

pub use types::{CheckFailure, CheckOutcome, Health, HealthChange, HealthStatus};

/// The consecutive failures that make a healthy server `unhealthy` (the figure of Docker and Kubernetes).
pub const FAILURES_MAX: u32 = 3;
/// How long a server that has not passed yet is `checking`, and how long a request to it stays open (Docker's term).
pub const START_PERIOD: Duration = Duration::from_secs(60);
/// A timeout that is noticed later than this shows that the machine, or the daemon, was paused.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The shortest interval, under every spec.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The checks of one server during one run.
#[derive(Debug, Clone)]
pub struct Checks {
    interval: Duration,
    timeout: Duration,
    restart_after: Option<NonZeroU32>,
    first_success: FirstSuccess,
    phase: CheckPhase,
    health: Health,
}

/// Whether the server has passed a check in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstSuccess {
    /// No check has begun.
    NotChecked,
    /// No check has passed since the first one began, at this time.
    AwaitedSince(Instant),
    /// A check has passed: failures count.
    Seen,
}

/// The check in progress, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckPhase {
    /// The next check begins at `due`.
    Idle { due: Instant },
    /// A check runs, and is given up at `until`. If that is later than its timeout, the delay is reported at
    /// `overdue_at`.
    InFlight { begun: Instant, overdue_at: Option<Instant>, until: Instant, extension: Extension },
}

/// Whether a check was given its time again because the daemon was paused when it ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    Available,
    /// Given once; not given again.
    Used,
}

/// The action that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until [`Checks::deadline`].
    Nothing,
    /// Begin a check, then report its [outcome](Checks::outcome).
    Begin,
    /// Cancel the running check: it has failed.
    GiveUp(HealthChange),
    /// Report the health, which has changed with time alone.
    Report(HealthChange),
}

impl Checks {
    /// Creates the checks of a server whose port was detected at `detected`.
    pub fn new(check: &HealthCheck, detected: Instant) -> Checks {
        Checks {
            interval: check.interval.max(INTERVAL_MIN),
            timeout: check.timeout,
            restart_after: check.restart_after_failures,
            first_success: FirstSuccess::NotChecked,
            phase: CheckPhase::Idle { due: detected + check.delay },
            health: Health::default(),
        }
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When [`Checks::timeout`] must be called next.
    pub fn deadline(&self) -> Instant {
        let next = match self.phase {
            CheckPhase::Idle { due } => due,
            CheckPhase::InFlight { overdue_at, until, .. } => overdue_at.unwrap_or(until),
        };
        self.start_period_end().map_or(next, |end| end.min(next))
    }

    /// Acts on the [deadline](Checks::deadline) if it has passed. Call it until it returns `Nothing`. `at` is `now` as
    /// time of day.
    pub fn timeout(&mut self, now: Instant, at: SystemTime) -> Due {
        match &mut self.phase {
            CheckPhase::Idle { due } if *due <= now => {
                self.begin(now);
                Due::Begin
            }
            // The daemon was paused, so an answer may have arrived unseen: the check gets its time once more.
            CheckPhase::InFlight { until, extension: extension @ Extension::Available, .. }
                if *until + PAUSE_MIN <= now =>
            {
                *extension = Extension::Used;
                *until = now + self.timeout;
                Due::Nothing
            }
            CheckPhase::InFlight { begun, until, .. } if *until <= now => {
                let failure = CheckFailure::NoAnswer(until.saturating_duration_since(*begun));
                Due::GiveUp(self.outcome(CheckOutcome::Failed(failure), now, at))
            }
            CheckPhase::InFlight { overdue_at, .. } if overdue_at.is_some_and(|overdue_at| overdue_at <= now) => {
                *overdue_at = None;
                self.note(at, None, Some(CheckFailure::NoAnswer(self.timeout)));
                Due::Report(HealthChange::Same)
            }
            CheckPhase::Idle { .. } | CheckPhase::InFlight { .. } => match self.start_period_end() {
                Some(end) if end <= now => {
                    self.health.status = HealthStatus::Unhealthy;
                    Due::Report(HealthChange::BecameUnhealthy)
                }
                Some(_) | None => Due::Nothing,
            },
        }
    }

    /// Records the outcome of the running check. Ignored if none runs.
    pub fn outcome(&mut self, outcome: CheckOutcome, now: Instant, at: SystemTime) -> HealthChange {
        let CheckPhase::InFlight { begun, .. } = self.phase else { return HealthChange::Same };
        self.phase = CheckPhase::Idle { due: (begun + self.interval).max(now) };
        self.health.last_took = Some(now.saturating_duration_since(begun));
        match outcome {
            CheckOutcome::Answered(status @ 200..400) => {
                self.note(at, Some(status), None);
                self.passed()
            }
            CheckOutcome::Answered(status) => {
                self.note(at, Some(status), Some(CheckFailure::Status(status)));
                self.failed(now)
            }
            // The daemon's own limit says nothing about the server.
            CheckOutcome::Failed(failure @ CheckFailure::NoDescriptor) => {
                self.note(at, None, Some(failure));
                HealthChange::Same
            }
            CheckOutcome::Failed(failure) => {
                self.note(at, None, Some(failure));
                self.failed(now)
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        let overdue_at = now + self.timeout;
        let until = match self.first_success {
            FirstSuccess::Seen => overdue_at,
            FirstSuccess::NotChecked | FirstSuccess::AwaitedSince(_) => overdue_at.max(now + START_PERIOD),
        };
        if self.first_success == FirstSuccess::NotChecked {
            self.first_success = FirstSuccess::AwaitedSince(now);
        }
        self.phase = CheckPhase::InFlight {
            begun: now,
            overdue_at: Some(overdue_at).filter(|at| *at < until),
            until,
            extension: Extension::Available,
        };
    }

    fn note(&mut self, at: SystemTime, status: Option<u16>, failure: Option<CheckFailure>) {
        self.health.last_check = Some(at);
        self.health.last_status = status;
        self.health.last_error = failure;
    }

    fn passed(&mut self) -> HealthChange {
        self.first_success = FirstSuccess::Seen;
        self.health.consecutive_failures = 0;
        match self.health.status {
            HealthStatus::Healthy => HealthChange::Same,
            HealthStatus::Checking | HealthStatus::Unhealthy => {
                self.health.status = HealthStatus::Healthy;
                HealthChange::BecameHealthy
            }
        }
    }

    fn failed(&mut self, now: Instant) -> HealthChange {
        let before = self.health.status;
        let failures = self.health.consecutive_failures.saturating_add(1);
        self.health.consecutive_failures = failures;
        let is_enough = match self.first_success {
            FirstSuccess::Seen => failures >= FAILURES_MAX,
            FirstSuccess::NotChecked | FirstSuccess::AwaitedSince(_) => {
                self.start_period_end().is_some_and(|end| end <= now)
            }
        };
        if is_enough {
            self.health.status = HealthStatus::Unhealthy;
        }
        if self.first_success == FirstSuccess::Seen && self.restart_after.is_some_and(|after| after.get() == failures) {
            HealthChange::RestartDue
        } else if self.health.status != before {
            HealthChange::BecameUnhealthy
        } else {
            HealthChange::Same
        }
    }

    /// When a server that has never passed becomes unhealthy; `None` if it has passed, or has no failed check: a first
    /// request with a longer timeout may still be running.
    fn start_period_end(&self) -> Option<Instant> {
        match (self.first_success, self.health.status) {
            (FirstSuccess::AwaitedSince(begun), HealthStatus::Checking) if self.health.consecutive_failures > 0 => {
                Some(begun + START_PERIOD)
            }
            (FirstSuccess::NotChecked | FirstSuccess::AwaitedSince(_) | FirstSuccess::Seen, _) => None,
        }
    }
}
