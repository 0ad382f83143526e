//! What the outside may know of a server: its public status and all that goes with it.
//!
//! Owns: the seven public words, how they follow from the life-cycle, and how an end is put into words. Never:
//! JSON, a decision.

use std::fmt;

use super::machine::{Cause, End, Exit, Machine, Phase, Rest, Stage, Wanted};

/// The public status of a server. Clients know these seven and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// What comes before the first start is under way.
    Installing,
    /// Its process was spawned a moment ago.
    Starting,
    /// Its process lives.
    Running,
    /// It can be used.
    Ready,
    /// It ended and will be started again.
    Restarting,
    /// It does not run, and nothing is wrong.
    Stopped,
    /// It does not run, because something is wrong.
    Failed,
}

impl Status {
    /// All of them, by their public words.
    pub const ALL: [(&'static str, Status); 7] = [
        ("installing", Self::Installing),
        ("starting", Self::Starting),
        ("running", Self::Running),
        ("ready", Self::Ready),
        ("restarting", Self::Restarting),
        ("stopped", Self::Stopped),
        ("failed", Self::Failed),
    ];

    /// The public word.
    pub fn word(self) -> &'static str {
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

    /// The status that a life-cycle stands for. The only place where a phase becomes a public word.
    pub fn of(machine: &Machine) -> Status {
        match (machine.phase(), machine.wanted()) {
            (Phase::Resting(Rest::Stopped | Rest::Completed), _) | (Phase::Removed, _) => Status::Stopped,
            (
                Phase::Resting(Rest::Unprepared(_) | Rest::InstallFailed(_) | Rest::Failed(_) | Rest::GaveUp { .. }),
                _,
            ) => Status::Failed,
            (Phase::Preparing, _) => Status::Installing,
            (Phase::Spawning { job: super::machine::Job::Install }, _) => Status::Installing,
            (Phase::Spawning { job: super::machine::Job::Start }, _) => Status::Starting,
            (Phase::Alive { .. }, _) if machine.ready() => Status::Ready,
            (Phase::Alive { stage, .. }, _) => Status::of_stage(*stage),
            // Its tree still lives: it is not stopped before that is over.
            (Phase::Draining { stage, .. } | Phase::Killing { stage, .. }, Wanted::Down | Wanted::Gone)
            | (Phase::Draining { stage, cause: Cause::Own, .. }, Wanted::Up)
            | (Phase::Killing { stage, cause: Cause::Own, .. }, Wanted::Up) => Status::of_stage(*stage),
            (
                Phase::Draining { cause: Cause::Asked | Cause::Unhealthy, .. }
                | Phase::Killing { cause: Cause::Asked | Cause::Unhealthy, .. },
                Wanted::Up,
            ) => Status::Restarting,
            (Phase::Waiting { .. }, _) => Status::Restarting,
        }
    }

    fn of_stage(stage: Stage) -> Status {
        match stage {
            Stage::Installing => Status::Installing,
            Stage::Starting { .. } => Status::Starting,
            Stage::Up(_) => Status::Running,
        }
    }
}

/// What an exit code stands for with shells.
const NOT_FOUND: &str = "command not found";
const NOT_EXECUTABLE: &str = "command can't be executed";

/// As [`reason`], where `fault` is known to be why a command could not be run: shells say less.
pub fn reason_with(machine: &Machine, fault: Option<&str>) -> Option<String> {
    let reason = reason(machine)?;
    Some(match fault {
        Some(fault) => reason.replacen(NOT_FOUND, fault, 1).replacen(NOT_EXECUTABLE, fault, 1),
        None => reason,
    })
}

/// Why the status is what it is, for a person; `None` when there is nothing to say.
pub fn reason(machine: &Machine) -> Option<String> {
    match (machine.phase(), machine.wanted()) {
        (Phase::Resting(Rest::Stopped), _) => None,
        (Phase::Resting(Rest::Completed), _) => Some("exited with code 0".into()),
        (Phase::Resting(Rest::Unprepared(why)), _) => Some(why.clone()),
        (Phase::Preparing, _) => Some("waiting for its overlays".into()),
        (Phase::Resting(Rest::InstallFailed(end)), _) => Some(format!("install {end}")),
        (Phase::Resting(Rest::Failed(end)), _) => Some(end.to_string()),
        (Phase::Resting(Rest::GaveUp { restarts, last }), _) => {
            let plural = if *restarts == 1 { "" } else { "s" };
            Some(format!("gave up after {restarts} restart{plural}; the last run {last}"))
        }
        (Phase::Waiting { last, .. }, _) => Some(format!("{last}; waiting for the restart delay")),
        (Phase::Draining { .. }, Wanted::Down | Wanted::Gone) => {
            Some("stopping: SIGTERM was sent, its processes are ending".into())
        }
        (Phase::Killing { cause: Cause::Asked | Cause::Unhealthy, .. }, Wanted::Down | Wanted::Gone) => {
            Some("stopping: SIGKILL was sent after the time to end was over".into())
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

    /// The name of the signal that ended the process, if one did.
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

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(exit) => exit.fmt(f),
            End::NotSpawned(why) => write!(f, "could not be started: {why}"),
            End::Unhealthy(exit) => write!(f, "was ended because its health checks failed too often; it {exit}"),
            End::Lost(why) => write!(f, "was lost in a fault of servisor, please report it: {why}"),
        }
    }
}

/// The name of a Linux signal by its number (the numbers of x86 and ARM, which are the same).
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(number).ok().and_then(|number| NAMES.get(number.checked_sub(1)?));
    match name {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_word() {
        for (word, status) in Status::ALL {
            assert_eq!(status.word(), word);
        }
    }

    #[test]
    fn signals_have_their_names() {
        for (number, name) in [(1, "SIGHUP"), (9, "SIGKILL"), (15, "SIGTERM"), (11, "SIGSEGV"), (31, "SIGSYS")] {
            assert_eq!(signal_name(number), name);
        }
        assert_eq!(signal_name(34), "signal 34");
        assert_eq!(signal_name(0), "signal 0");
    }

    #[test]
    fn a_death_by_signal_has_the_code_that_docker_shows() {
        assert_eq!(Exit::Signal(9).code(), 137);
        assert_eq!(Exit::Code(3).code(), 3);
        assert_eq!(Exit::Signal(9).signal_name().as_deref(), Some("SIGKILL"));
        assert_eq!(Exit::Code(3).signal_name(), None);
    }
}
