//! The public status of a server, and the sentences for how a run ended.
//!
//! Owns: the seven API names, how each follows from the life-cycle, and the sentences. Never: JSON, a decision.

use std::fmt;

use super::machine::{Cause, Exit, IdleReason, Machine, Phase, RunEnd, RunStage, Wanted};
use super::signal::signal_name;
use super::stop::StopSignal;

/// The public status of a server. Clients know these seven and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Its overlays are being copied, or its install command runs.
    Installing,
    /// Its process was spawned less than [`SETTLE`](super::machine::SETTLE) ago.
    Starting,
    /// Its process runs, and is not known to be usable.
    Running,
    /// The server listens and passes its health check, if it has one.
    Ready,
    /// The server ended, or is being ended, and will be started again.
    Restarting,
    /// The server does not run: it was stopped, not started yet, or exited with code 0.
    Stopped,
    /// The server does not run because something failed.
    Failed,
}

impl Status {
    /// All variants with their API names.
    pub const ALL: [(&'static str, Status); 7] = [
        ("installing", Self::Installing),
        ("starting", Self::Starting),
        ("running", Self::Running),
        ("ready", Self::Ready),
        ("restarting", Self::Restarting),
        ("stopped", Self::Stopped),
        ("failed", Self::Failed),
    ];

    /// The API name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installing => "installing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// The status of a life-cycle. The only place where a phase becomes a public status.
    pub fn of(machine: &Machine) -> Status {
        match (machine.phase(), machine.wanted()) {
            (Phase::Idle(IdleReason::Stopped | IdleReason::Unused | IdleReason::Completed), _)
            | (Phase::Removed, _) => Status::Stopped,
            (
                Phase::Idle(
                    IdleReason::Unprepared(_)
                    | IdleReason::InstallFailed(_)
                    | IdleReason::Failed(_)
                    | IdleReason::GaveUp { .. }
                    | IdleReason::Lost(_),
                ),
                _,
            ) => Status::Failed,
            (Phase::Preparing, _) => Status::Installing,
            (Phase::Spawning { job: super::machine::Job::Install }, _) => Status::Installing,
            (Phase::Spawning { job: super::machine::Job::Start }, _) => Status::Starting,
            (Phase::Alive { .. }, _) if machine.ready() => Status::Ready,
            (Phase::Alive { stage, .. }, _) => Status::of_stage(*stage),
            // Its process tree is alive, so it is not stopped yet.
            (Phase::Draining { stage, .. } | Phase::Killing { stage, .. }, Wanted::Down | Wanted::Gone)
            | (Phase::Draining { stage, cause: Cause::Own, .. }, Wanted::Up)
            | (Phase::Killing { stage, cause: Cause::Own, .. }, Wanted::Up) => Status::of_stage(*stage),
            (
                Phase::Draining { cause: Cause::Asked | Cause::Unhealthy | Cause::Unused, .. }
                | Phase::Killing { cause: Cause::Asked | Cause::Unhealthy | Cause::Unused, .. },
                Wanted::Up,
            ) => Status::Restarting,
            (Phase::Waiting { .. }, _) => Status::Restarting,
        }
    }

    fn of_stage(stage: RunStage) -> Status {
        match stage {
            RunStage::Installing => Status::Installing,
            RunStage::Starting { .. } => Status::Starting,
            RunStage::Up(_) => Status::Running,
        }
    }
}

/// The meaning of the shells' exit codes 127 and 126.
const NOT_FOUND: &str = "command not found";
const NOT_EXECUTABLE: &str = "command can't be executed";

/// As [`reason`], with `fault`, the cause found by the daemon, in place of the shell's meaning of the exit code.
pub fn reason_with(machine: &Machine, fault: Option<&str>, signal: StopSignal) -> Option<String> {
    let reason = reason(machine, signal)?;
    Some(match fault {
        Some(fault) => reason.replacen(NOT_FOUND, fault, 1).replacen(NOT_EXECUTABLE, fault, 1),
        None => reason,
    })
}

/// The sentence that explains the status; `None` where the status says it all. `signal` is the one that a stop sends.
pub fn reason(machine: &Machine, signal: StopSignal) -> Option<String> {
    match (machine.phase(), machine.wanted()) {
        (Phase::Idle(IdleReason::Stopped), _) => None,
        (Phase::Idle(IdleReason::Unused), _) => Some("was stopped after its idle_stop_ms without visitors".into()),
        (Phase::Idle(IdleReason::Completed), _) => Some("exited with code 0".into()),
        (Phase::Idle(IdleReason::Unprepared(why)), _) => Some(why.clone()),
        (Phase::Preparing, _) => Some("waiting for its overlays".into()),
        (Phase::Idle(IdleReason::InstallFailed(end)), _) => Some(format!("install {end}")),
        (Phase::Idle(IdleReason::Failed(end)), _) => Some(end.to_string()),
        (Phase::Idle(IdleReason::GaveUp { restarts, last }), _) => {
            let plural = if *restarts == 1 { "" } else { "s" };
            Some(format!("gave up after {restarts} restart{plural}; the last run {last}"))
        }
        (Phase::Idle(IdleReason::Lost(why)), _) => {
            Some(format!("was lost in a fault of servisor, please report it: {why}"))
        }
        (Phase::Waiting { last, .. }, _) => Some(format!("{last}; waiting for the restart delay")),
        (Phase::Draining { cause: Cause::Unused, .. } | Phase::Killing { cause: Cause::Unused, .. }, _) => {
            Some("stopping: it had no visitors for its idle_stop_ms".into())
        }
        (Phase::Draining { .. }, Wanted::Down | Wanted::Gone) => {
            Some(format!("stopping: {signal} was sent, its processes are ending"))
        }
        (Phase::Killing { cause: Cause::Asked | Cause::Unhealthy, .. }, Wanted::Down | Wanted::Gone) => {
            Some("stopping: SIGKILL was sent, its processes are being killed".into())
        }
        (
            Phase::Draining { cause: Cause::Unhealthy, .. } | Phase::Killing { cause: Cause::Unhealthy, .. },
            Wanted::Up,
        ) => Some("restarting: its health checks failed too often".into()),
        (
            Phase::Draining { cause: Cause::Asked | Cause::Own, .. } | Phase::Killing { cause: Cause::Asked, .. },
            Wanted::Up,
        ) => Some("restarting: the processes of the last run are ending".into()),
        (Phase::Killing { cause: Cause::Own, .. }, _) => {
            Some("its process has ended; what it left behind is being killed".into())
        }
        (Phase::Spawning { .. } | Phase::Alive { .. } | Phase::Removed, _) => None,
    }
}

impl Exit {
    /// The exit code as shells and Docker show it: 128 + n after death by signal n.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => i32::from(code),
            Exit::Signal(number) => 128 + number,
        }
    }

    /// The name of the signal that ended the process.
    pub fn signal_name(self) -> Option<String> {
        match self {
            Exit::Code(_) => None,
            Exit::Signal(number) => Some(signal_name(number)),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(127) => write!(f, "exited with code 127 ({NOT_FOUND})"),
            Exit::Code(126) => write!(f, "exited with code 126 ({NOT_EXECUTABLE})"),
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(number) => write!(f, "was ended by {}", signal_name(*number)),
        }
    }
}

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunEnd::Exited(exit) => exit.fmt(f),
            RunEnd::NotSpawned(why) => write!(f, "could not be started: {why}"),
            RunEnd::Unhealthy(exit) => write!(f, "was ended because its health checks failed too often; it {exit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_word() {
        for (word, status) in Status::ALL {
            assert_eq!(status.as_str(), word);
        }
    }

    #[test]
    fn a_death_by_signal_has_the_code_that_docker_shows() {
        assert_eq!(Exit::Signal(9).code(), 137);
        assert_eq!(Exit::Code(3).code(), 3);
        assert_eq!(Exit::Signal(9).signal_name().as_deref(), Some("SIGKILL"));
        assert_eq!(Exit::Code(3).signal_name(), None);
    }
}
