//! The types of the life-cycle: commands, events, phases, effects.
//!
//! Owns: these types, and which stop rules a phase has. Never: a transition (see the parent).

use std::time::Instant;

use super::super::spec::ServerSpec;
use super::super::stop::StopRules;
use super::readiness::{RunObservations, StatusMark};

/// The number of a run: one life of the server's process, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// The command that a run executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    Install,
    Start,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    Code(u8),
    Signal(i32),
}

/// How a run ended, or why it could not begin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RunEnd {
    /// Its leader exited by itself.
    Exited(Exit),
    /// The spawn failed, for this reason.
    NotSpawned(String),
    /// The daemon ended it because its health checks failed too often; the exit is that of the leader.
    Unhealthy(Exit),
}

impl RunEnd {
    /// Whether the end counts as a success for the policy `on-failure`.
    pub fn success(&self) -> bool {
        match self {
            RunEnd::Exited(Exit::Code(0)) => true,
            RunEnd::Exited(Exit::Code(_) | Exit::Signal(_)) | RunEnd::NotSpawned(_) | RunEnd::Unhealthy(_) => false,
        }
    }
}

/// The state that clients have asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Running.
    Up,
    /// Not running.
    Down,
    /// Deleted. Never taken back.
    Gone,
}

/// Why no process runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IdleReason {
    /// Stopped by a command, or not started yet.
    Stopped,
    /// Stopped because it had no visitors.
    Unused,
    /// Exited with code 0, and the policy asks for no restart.
    Completed,
    /// An overlay that it waits for has failed; a sentence that says why.
    Unprepared(String),
    /// The install command did not succeed.
    InstallFailed(RunEnd),
    /// Ended with a failure, and the policy asks for no restart.
    Failed(RunEnd),
    /// Ended after its last allowed restart.
    GaveUp { restarts: u32, last: RunEnd },
    /// Its supervisor panicked, with this message.
    Lost(String),
}

/// The stage of a live run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStage {
    Installing,
    /// The start command was spawned, and nothing was observed yet.
    Starting {
        /// When it counts as running if nothing is observed before.
        settled_at: Instant,
    },
    /// The process lives longer than [`SETTLE`](super::SETTLE), or was observed or marked.
    Up(RunObservations),
}

impl RunStage {
    /// The observations of a start command; `None` for an install command.
    pub fn observations(self) -> Option<RunObservations> {
        match self {
            RunStage::Installing => None,
            RunStage::Starting { .. } => Some(RunObservations::default()),
            RunStage::Up(observations) => Some(observations),
        }
    }
}

/// What ends a run, and so what decides the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The leader exited: the restart policy decides.
    Own,
    /// Failed health checks: it is restarted until the limit of restarts.
    Unhealthy,
    /// A command: the wanted state decides.
    Asked,
    /// No visitors: it is stopped.
    Unused,
}

/// The actual state of the server's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// No process.
    Idle(IdleReason),
    /// No process yet: it waits for overlays.
    Preparing,
    /// A spawn was ordered; its result is not known yet.
    Spawning { job: Job },
    /// The leader runs.
    Alive {
        stage: RunStage,
        /// When it was spawned.
        since: Instant,
    },
    /// SIGTERM was sent; SIGKILL follows at the deadline.
    Draining {
        stage: RunStage,
        cause: Cause,
        /// When it was spawned.
        since: Instant,
        deadline: Instant,
    },
    /// SIGKILL was sent to the rest of the tree.
    Killing {
        stage: RunStage,
        cause: Cause,
        /// When it was spawned.
        since: Instant,
        /// When SIGKILL is repeated.
        again_at: Instant,
    },
    /// No process during the restart delay.
    Waiting { until: Instant, last: RunEnd },
    /// Deleted, the final phase.
    Removed,
}

impl Phase {
    /// How the run of this phase is asked to end. The rules of a spec are for its start command: an install command is
    /// another program.
    pub fn stop_rules(&self, spec: &ServerSpec) -> StopRules {
        match self {
            Phase::Alive { stage: RunStage::Installing, .. } | Phase::Draining { stage: RunStage::Installing, .. } => {
                StopRules::default()
            }
            Phase::Alive { .. }
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Idle(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => spec.stop,
        }
    }
}

/// A command of a client, or of the daemon's shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Starts it; refused if it is active.
    Start,
    /// Ends it and keeps its configuration.
    Stop,
    /// Ends it if it is active, then starts it.
    Restart,
    /// Ends it and deletes its configuration.
    Delete,
    /// Ends it with SIGKILL at once. No route has it: the daemon sends it after a second SIGTERM.
    Kill,
    /// Overrides its observed readiness.
    Mark(StatusMark),
}

/// A report about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its overlays are ready.
    Prepared(RunId),
    /// An overlay failed, with the reason.
    PrepareFailed(RunId, String),
    Spawned(RunId),
    /// The ordered spawn failed, with the reason.
    SpawnFailed(RunId, String),
    /// The leader exited; other processes of its tree may still run.
    LeaderExited(RunId),
    /// The last process of the run is gone.
    Ended(RunId, Exit),
    /// The server listens on a port.
    Listening(RunId),
    Silent(RunId),
    /// A health check passed.
    Healthy(RunId),
    /// The server became unhealthy and is not ready any more.
    Unhealthy(RunId),
    /// Its health checks failed as often as the spec allows before a restart.
    RestartDue(RunId),
    /// No visitor came for as long as the spec allows.
    Unused(RunId),
}

/// An action for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Effect {
    /// Wait for the overlays, then report `Prepared` or `PrepareFailed`. Cancelled when the machine changes its phase
    /// or run.
    Prepare(RunId),
    /// Spawn a process, then report `Spawned` or `SpawnFailed`.
    Spawn(RunId, Job),
    /// Send SIGTERM to the run's tree, and report `Ended` when its last process is gone.
    Terminate(RunId),
    /// Send SIGKILL to the run's tree, and report `Ended` when its last process is gone.
    Kill(RunId),
    Remove,
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandRefusal {
    Active,
    BeingDeleted,
    /// No process of its start command runs.
    NotLive,
}
