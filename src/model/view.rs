//! All that the outside may know of a server at one moment.
//!
//! Owns: the view, whether everything can be used, and when a status that is waited for is reached. Never: how a view
//! comes to be (see `supervisor`), JSON.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::health::{Health, HealthStatus};
use super::machine::{Exit, Machine, Phase, Rest};
use super::overlay::OverlayId;
use super::spec::{Port, ServerSpec};
use super::status::Status;

#[cfg(test)]
mod tests;

/// A server that has asked for no port and no health check and has not listened for so long is a worker: nobody waits
/// for its URL.
pub const WORKER_AFTER: Duration = Duration::from_secs(10);

/// All that is known of a server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    /// What was asked for.
    pub spec: Arc<ServerSpec>,
    /// The public status.
    pub status: Status,
    /// Why, for a person.
    pub reason: Option<String>,
    /// The leader of the living run.
    pub pid: Option<u32>,
    /// The port that it was seen to listen on; before that the one that was allocated, and when nothing runs the one
    /// last used.
    pub port: Option<Port>,
    /// All ports that it was seen to listen on.
    pub ports: Vec<Port>,
    /// Where it is reached; as long as it is seen to listen.
    pub url: Option<String>,
    /// What its health checks have found; with a health check only.
    pub health: Option<Health>,
    /// Why it does not run, if it doesn't.
    pub rests: Rests,
    /// The overlays that were made for it, in the order of its specification.
    pub overlays: Vec<OverlayId>,
    /// The overlays that it waits for now.
    pub waits_for: Vec<OverlayId>,
    /// Automatic restarts since the last start by hand.
    pub restarts: u32,
    /// How the last run ended; nothing while one lives.
    pub exit: Option<Exit>,
    /// When this configuration came.
    pub created_at: SystemTime,
    /// When any of this last changed.
    pub updated_at: SystemTime,
    /// When the present or last run of the start command was spawned.
    pub started_at: Option<SystemTime>,
    /// When that run could first be used.
    pub ready_at: Option<SystemTime>,
    /// The beginning of the living run of the start command, by the clock for intervals.
    pub alive_since: Option<Instant>,
}

/// Whether somebody wants it not to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rests {
    /// It runs, or is about to.
    No,
    /// It was stopped, or not started yet.
    ByHand,
    /// It ended, or could not be started.
    ByItself,
}

impl Rests {
    /// How it is with a life-cycle.
    pub fn of(machine: &Machine) -> Rests {
        match machine.phase() {
            Phase::Resting(Rest::Stopped) | Phase::Removed => Rests::ByHand,
            Phase::Resting(
                Rest::Completed | Rest::Unprepared(_) | Rest::InstallFailed(_) | Rest::Failed(_) | Rest::GaveUp { .. },
            ) => Rests::ByItself,
            Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Alive { .. }
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Waiting { .. } => Rests::No,
        }
    }
}

impl ServerView {
    /// Whether its port, or a check of its health, is waited for, however long it takes.
    pub fn is_expected_to_listen(&self) -> bool {
        self.spec.port.is_some() || self.spec.health_check.is_some()
    }

    /// How far it is on the way to `goal`.
    pub fn progress_to(&self, goal: Status) -> Progress {
        let rank = |status: Status| match status {
            Status::Installing => Some(0),
            Status::Starting => Some(1),
            Status::Running => Some(2),
            Status::Ready => Some(3),
            Status::Restarting | Status::Stopped | Status::Failed => None,
        };
        // Whoever waits for `running` does not mind that it is `ready` already.
        let is_past = rank(self.status).zip(rank(goal)).is_some_and(|(is, wanted)| is > wanted);
        match (self.status, self.rests) {
            (status, _) if status == goal || is_past => Progress::There,
            (_, Rests::ByHand | Rests::ByItself) => Progress::OutOfReach,
            (_, Rests::No) => Progress::OnTheWay,
        }
    }

    fn role(&self, now: Instant) -> Role {
        if !self.spec.autostart || self.rests == Rests::ByHand {
            return Role::Optional;
        }
        match self.alive_since {
            Some(since) if self.ports.is_empty() && !self.is_expected_to_listen() => {
                let worker_at = since + WORKER_AFTER;
                if now < worker_at { Role::OptionalFrom(worker_at) } else { Role::Optional }
            }
            Some(_) | None => Role::Needed,
        }
    }
}

/// How far a server is on the way to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has it, or has gone past it.
    There,
    /// It may still come to it.
    OnTheWay,
    /// It rests with another one, and nothing but a command will change that.
    OutOfReach,
}

/// Whether all are kept waiting by a server.
enum Role {
    Needed,
    Optional,
    OptionalFrom(Instant),
}

/// Whether everything can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Every server that counts has its port and its URL.
    pub ready: bool,
    /// Every one of them that has a health check passes it.
    pub healthy: bool,
    /// When the passing of time alone will change this.
    pub look_again: Option<Instant>,
}

impl Readiness {
    /// What it all comes to at `now`. A server that was stopped by hand, or is not started by itself, does not count, nor
    /// does a worker.
    pub fn of(views: &[Arc<ServerView>], now: Instant) -> Readiness {
        let mut all = Readiness { ready: true, healthy: true, look_again: None };
        for view in views {
            match view.role(now) {
                Role::Optional => continue,
                Role::OptionalFrom(at) => all.look_again = Some(all.look_again.map_or(at, |other| other.min(at))),
                Role::Needed => {}
            }
            all.ready &= view.url.is_some();
            let passes = view.health.as_ref().is_none_or(|health| health.status == HealthStatus::Healthy);
            all.healthy &= passes;
        }
        all
    }
}
