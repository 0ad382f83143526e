//! The public view of a server at one time.
//!
//! Owns: the view, the readiness of all servers together, and whether an awaited status is reached. Never: how a view
//! is made (see `supervisor`), JSON.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::health::{Health, HealthStatus};
use super::machine::{Exit, IdleReason, Machine, Phase};
use super::overlay::OverlayId;
use super::proxy::AccessKey;
use super::run::EndedRun;
use super::spec::{Port, ServerSpec};
use super::status::Status;

#[cfg(test)]
mod tests;

/// A server without a requested port and a health check that has not listened for this long is a worker: `/readyz`
/// does not wait for its URL.
pub const WORKER_AFTER: Duration = Duration::from_secs(10);

/// A snapshot of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    pub spec: Arc<ServerSpec>,
    pub status: Status,
    /// A sentence that explains the status.
    pub reason: Option<String>,
    /// The leader of the current run.
    pub pid: Option<u32>,
    /// The port that it listens on; before that the allocated one, and without a run the last one.
    pub port: Option<Port>,
    /// All ports that it listens on.
    pub ports: Vec<Port>,
    /// Whether it listens on a port that counts as its own.
    pub is_listening: bool,
    /// Its URL, while it listens or would be started by a visit. None behind a proxy whose template needs a slug that
    /// no host name can have.
    pub url: Option<String>,
    /// What a client needs to visit it through the proxy; `None` if nothing is needed.
    pub key: Option<AccessKey>,
    /// Whether a visit through the proxy starts it now.
    pub starts_on_visit: bool,
    /// The results of its health check, if it has one.
    pub health: Option<Health>,
    /// Whether it is active, and if not, whether a command stopped it.
    pub activity: Activity,
    /// The overlays that were created for it, in the order of its spec.
    pub overlays: Vec<OverlayId>,
    /// The overlays that it waits for now.
    pub waits_for: Vec<OverlayId>,
    /// The number of automatic restarts since the last start command.
    pub restarts: u32,
    /// How the last run ended; `None` during a run.
    pub exit: Option<Exit>,
    /// When this configuration was created.
    pub created_at: SystemTime,
    /// When any field last changed.
    pub updated_at: SystemTime,
    /// When the current or last run of the start command was spawned.
    pub started_at: Option<SystemTime>,
    /// When that run first became ready.
    pub ready_at: Option<SystemTime>,
    /// When the current run of the start command was spawned, on the monotonic clock.
    pub alive_since: Option<Instant>,
    /// The newest run that is over.
    pub last_run: Option<Arc<EndedRun>>,
}

/// Whether a server is active, and if not, whether a command stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The server runs, or will without a further command.
    Active,
    /// A command stopped it, or it was not started yet.
    Stopped,
    /// The server ended by itself, or could not be started.
    Ended,
}

impl Activity {
    pub fn of(machine: &Machine) -> Activity {
        match machine.phase() {
            Phase::Idle(IdleReason::Stopped | IdleReason::Unused) | Phase::Removed => Activity::Stopped,
            Phase::Idle(
                IdleReason::Completed
                | IdleReason::Unprepared(_)
                | IdleReason::InstallFailed(_)
                | IdleReason::Failed(_)
                | IdleReason::GaveUp { .. }
                | IdleReason::Lost(_),
            ) => Activity::Ended,
            Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Alive { .. }
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Waiting { .. } => Activity::Active,
        }
    }
}

impl ServerView {
    /// Whether nothing but the account of health checks differs: their time, status, error and number.
    pub fn is_like(&self, other: &ServerView) -> bool {
        let status = |view: &ServerView| view.health.as_ref().map(|health| health.status);
        status(self) == status(other) && *self == ServerView { health: self.health.clone(), ..other.clone() }
    }

    /// The link that opens it in a browser, if a client needs a key for that.
    pub fn access_url(&self) -> Option<String> {
        Some(self.key.as_ref()?.link(self.url.as_ref()?))
    }

    /// Whether it has to listen: it has a requested port or a health check.
    pub fn is_expected_to_listen(&self) -> bool {
        self.spec.port.is_some() || self.spec.health_check.is_some()
    }

    /// Whether it has, or can still reach, the status `goal`.
    pub fn reach_of(&self, goal: Status) -> Reach {
        let rank = |status: Status| match status {
            Status::Installing => Some(0),
            Status::Starting => Some(1),
            Status::Running => Some(2),
            Status::Ready => Some(3),
            Status::Restarting | Status::Stopped | Status::Failed => None,
        };
        // A wait for `running` ends with `ready` too.
        let is_past = rank(self.status).zip(rank(goal)).is_some_and(|(is, wanted)| is > wanted);
        match (self.status, self.activity) {
            (status, _) if status == goal || is_past => Reach::Reached,
            (_, Activity::Stopped | Activity::Ended) => Reach::Impossible,
            (_, Activity::Active) => Reach::Possible,
        }
    }

    fn role(&self, now: Instant) -> Role {
        if !self.spec.autostart || self.activity == Activity::Stopped {
            return Role::Optional;
        }
        match self.alive_since {
            Some(since) if self.ports.is_empty() && !self.is_expected_to_listen() => {
                let worker_at = since + WORKER_AFTER;
                if now < worker_at { Role::OptionalFrom(worker_at) } else { Role::Optional }
            }
            Some(_) | None => Role::Required,
        }
    }
}

/// Whether a server has an awaited status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The server has the status, or a later one.
    Reached,
    /// The server may still get the status.
    Possible,
    /// The server is not active and has another status; only a command can change that.
    Impossible,
}

/// Whether the common readiness depends on a server.
enum Role {
    Required,
    Optional,
    OptionalFrom(Instant),
}

/// The readiness of all servers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Every required server listens. The API calls this `ready`, which is less than [`Status::Ready`] of each: a
    /// health check counts in `healthy`.
    pub reachable: bool,
    /// Every required server with a health check is healthy.
    pub healthy: bool,
    /// When this may change with time alone.
    pub recheck_at: Option<Instant>,
}

impl Readiness {
    /// Computes the readiness at `now`. Not required are: servers that a command stopped, servers without `autostart`,
    /// workers.
    pub fn of(views: &[Arc<ServerView>], now: Instant) -> Readiness {
        let mut all = Readiness { reachable: true, healthy: true, recheck_at: None };
        for view in views {
            match view.role(now) {
                Role::Optional => continue,
                Role::OptionalFrom(at) => all.recheck_at = Some(all.recheck_at.map_or(at, |other| other.min(at))),
                Role::Required => {}
            }
            all.reachable &= view.is_listening;
            let passes = view.health.as_ref().is_none_or(|health| health.status == HealthStatus::Healthy);
            all.healthy &= passes;
        }
        all
    }
}
