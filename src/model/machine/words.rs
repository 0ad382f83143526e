//! The words of the life-cycle: what can be asked, what can happen, what can be true, what can follow.
//!
//! Owns: these types. Never: a transition (see the parent).

use std::time::Instant;

use super::signs::{Mark, Signs};

/// One life of a process of this server, numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    /// The install command.
    Install,
    /// The start command.
    Start,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// It was ended by this signal.
    Signal(i32),
}

/// How a run ended, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum End {
    /// Its leader is gone.
    Exited(Exit),
    /// It could not be spawned, and why.
    NotSpawned(String),
    /// It was ended because its health checks failed too often; this is how it ended then.
    Unhealthy(Exit),
    /// The daemon itself lost it, by a fault of its own.
    Lost(String),
}

impl End {
    /// Whether the policy `on-failure` takes it for a success.
    pub fn success(&self) -> bool {
        match self {
            End::Exited(Exit::Code(0)) => true,
            End::Exited(Exit::Code(_) | Exit::Signal(_)) | End::NotSpawned(_) | End::Unhealthy(_) | End::Lost(_) => {
                false
            }
        }
    }
}

/// What the user wants of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// It shall run.
    Up,
    /// It shall not run.
    Down,
    /// It shall not exist. This is never taken back.
    Gone,
}

/// Why nothing runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rest {
    /// It was stopped, or not started yet.
    Stopped,
    /// It exited with code 0 and the policy asks for no restart.
    Completed,
    /// What it waited for before its first start will not come, and why.
    Unprepared(String),
    /// The install command did not succeed.
    InstallFailed(End),
    /// It ended with a failure and the policy asks for no restart.
    Failed(End),
    /// It ended once more than it may be restarted.
    GaveUp {
        /// The automatic restarts that were used up.
        restarts: u32,
        /// How the last run ended.
        last: End,
    },
}

/// How far a living run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The install command is at work.
    Installing,
    /// Spawned, and nothing is known of it yet.
    Starting {
        /// When it will count as running if nothing happens before.
        settled_at: Instant,
    },
    /// It has lived for a while, or listens, or someone has said something of it.
    Up(Signs),
}

impl Stage {
    /// What is known of a start command; nothing of an install command.
    pub fn signs(self) -> Option<Signs> {
        match self {
            Stage::Installing => None,
            Stage::Starting { .. } => Some(Signs::default()),
            Stage::Up(signs) => Some(signs),
        }
    }
}

/// Why a run comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its leader ended by itself: the restart policy decides.
    Own,
    /// Its health checks failed too often: it is started again as long as it may be.
    Unhealthy,
    /// A command: the wish decides.
    Asked,
}

/// What is true of the server's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// No process.
    Resting(Rest),
    /// What has to be there before the first process is waited for.
    Preparing,
    /// A spawn was ordered and has not been answered.
    Spawning {
        /// What for.
        job: Job,
    },
    /// The leader lives.
    Alive {
        /// How far it has come.
        stage: Stage,
        /// When it was spawned.
        since: Instant,
    },
    /// SIGTERM was sent; the tree has until the deadline.
    Draining {
        /// How far it had come.
        stage: Stage,
        /// Why.
        cause: Cause,
        /// When it was spawned.
        since: Instant,
        /// When SIGKILL follows.
        deadline: Instant,
    },
    /// SIGKILL was sent to what was left of the tree.
    Killing {
        /// How far it had come.
        stage: Stage,
        /// Why.
        cause: Cause,
        /// When it was spawned.
        since: Instant,
        /// When it is sent again.
        again_at: Instant,
    },
    /// No process until the restart delay is over.
    Waiting {
        /// When the next run begins.
        until: Instant,
        /// How the last one ended.
        last: End,
    },
    /// Nothing is left; the machine takes no further part.
    Removed,
}

/// What a user can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Run it, which is refused when it runs already.
    Start,
    /// End it and keep the configuration.
    Stop,
    /// End it if it runs, then run it.
    Restart,
    /// End it and forget it.
    Delete,
    /// End it without grace: the daemon was told twice to go.
    Kill,
    /// Take it for ready, or not, whatever is seen of it.
    Mark(Mark),
}

/// What has happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What has to be there before the first process is there.
    Prepared(RunId),
    /// It will not come, and why.
    PrepareFailed(RunId, String),
    /// The ordered spawn succeeded.
    Spawned(RunId),
    /// The ordered spawn failed, and why.
    SpawnFailed(RunId, String),
    /// The leader has ended; its tree may live on.
    LeaderExited(RunId),
    /// Nothing of the run is left.
    Ended(RunId, Exit),
    /// It was seen to listen on a port.
    Listening(RunId),
    /// It listens on no port any more.
    Silent(RunId),
    /// Its health check has passed.
    Healthy(RunId),
    /// Its health checks have failed too often to be ready.
    Unhealthy(RunId),
    /// Its health checks have failed too often to go on.
    BeyondHope(RunId),
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Effect {
    /// See to it that what has to be there before the first process comes, and answer with `Prepared` or `PrepareFailed`.
    /// It is no longer wanted once the machine is in another phase or run.
    Prepare(RunId),
    /// Spawn a process, and answer with `Spawned` or `SpawnFailed`.
    Spawn(RunId, Job),
    /// Send SIGTERM to the run's tree, and report `Ended` when it is gone.
    Terminate(RunId),
    /// Send SIGKILL to the run's tree, and report `Ended` when it is gone.
    Kill(RunId),
    /// Forget the server.
    Remove,
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It runs, or is about to.
    Active,
    /// It is being deleted.
    BeingDeleted,
    /// It has no living process of its start command.
    NotLive,
}
