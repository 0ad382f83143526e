//! The end of a run: reasons, kinds, and the sentence about it.
//!
//! Owns: the reasons and kinds in `GET /servers/{slug}/runs`, and the sentence about an end. Never: a process, a clock,
//! JSON.

use std::time::Duration;

use super::machine::{Cause, Exit, Wanted};
use super::names::by_name;

/// What a run was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingKind {
    /// The overlays before the first start; recorded only when they failed.
    Overlay,
    Install,
    Start,
}

impl EndingKind {
    /// All of them, by their public words.
    pub const ALL: [(&'static str, EndingKind); 3] =
        [("overlay", EndingKind::Overlay), ("install", EndingKind::Install), ("start", EndingKind::Start)];

    /// The public word.
    pub fn as_str(self) -> &'static str {
        match self {
            EndingKind::Overlay => "overlay",
            EndingKind::Install => "install",
            EndingKind::Start => "start",
        }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its first process exited by itself.
    Exit,
    /// Its first process was ended by a signal that servisor did not send.
    Signal,
    /// The kernel ended it for lack of memory.
    Oom,
    /// A command to stop.
    Stopped,
    /// No visitors for longer than its `idle_stop_ms`.
    Idle,
    /// A command to restart.
    Restarted,
    /// Its health checks failed too often.
    Unhealthy,
    Deleted,
    /// The daemon ended.
    Shutdown,
    /// No process could be made.
    SpawnFailed,
    /// Its strict port was not free.
    PortTaken,
    /// Its `env_file` could not be read.
    EnvFile,
    /// An overlay that it waits for failed.
    OverlayFailed,
    /// The daemon was killed while it lived.
    Lost,
}

impl Reason {
    /// All of them, by their public words, in the order of the declaration.
    pub const ALL: [(&'static str, Reason); 14] = [
        ("exit", Reason::Exit),
        ("signal", Reason::Signal),
        ("oom", Reason::Oom),
        ("stopped", Reason::Stopped),
        ("idle", Reason::Idle),
        ("restarted", Reason::Restarted),
        ("unhealthy", Reason::Unhealthy),
        ("deleted", Reason::Deleted),
        ("shutdown", Reason::Shutdown),
        ("spawn_failed", Reason::SpawnFailed),
        ("port_taken", Reason::PortTaken),
        ("env_file", Reason::EnvFile),
        ("overlay_failed", Reason::OverlayFailed),
        ("lost", Reason::Lost),
    ];

    /// The public word.
    pub fn as_str(self) -> &'static str {
        Reason::ALL[self as usize].0
    }

    /// Parses a public word.
    pub fn parse(word: &str) -> Option<Reason> {
        by_name(&Reason::ALL, word)
    }

    /// Whether the run was ended on purpose, mostly by a command: then its last lines of output are not kept.
    pub fn was_asked_for(self) -> bool {
        match self {
            Reason::Stopped | Reason::Idle | Reason::Restarted | Reason::Deleted | Reason::Shutdown => true,
            Reason::Exit
            | Reason::Signal
            | Reason::Oom
            | Reason::Unhealthy
            | Reason::SpawnFailed
            | Reason::PortTaken
            | Reason::EnvFile
            | Reason::OverlayFailed
            | Reason::Lost => false,
        }
    }
}

/// What follows a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterEnding {
    /// Another run.
    Restart,
    /// Nothing.
    None,
    /// Nothing, because `max_restarts` is used up.
    GaveUp,
}

impl AfterEnding {
    /// All of them, by their public words.
    pub const ALL: [(&'static str, AfterEnding); 3] =
        [("restart", AfterEnding::Restart), ("none", AfterEnding::None), ("gave_up", AfterEnding::GaveUp)];

    /// The public word.
    pub fn as_str(self) -> &'static str {
        match self {
            AfterEnding::Restart => "restart",
            AfterEnding::None => "none",
            AfterEnding::GaveUp => "gave_up",
        }
    }
}

/// How sure it is that the kernel ended a process for lack of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oom {
    /// No such kill was counted.
    No,
    /// The counter of the daemon's own memory cgroup went up.
    Certain,
    /// The counter of the whole machine went up.
    Likely,
}

/// Whether the daemon is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingDaemon {
    Stays,
    /// The daemon ends, and its servers with it.
    Ends,
}

/// Why a run whose first process ended with `exit` is over. `cause` and `wanted` are those of its machine before the
/// end.
pub fn reason(exit: Exit, cause: Cause, wanted: Wanted, daemon: EndingDaemon, oom: Oom) -> Reason {
    match (cause, wanted, daemon) {
        (Cause::Unhealthy, Wanted::Up, _) => Reason::Unhealthy,
        (Cause::Unused, _, _) => Reason::Idle,
        (Cause::Asked | Cause::Unhealthy, Wanted::Gone, _) => Reason::Deleted,
        (Cause::Asked | Cause::Unhealthy, Wanted::Up | Wanted::Down, EndingDaemon::Ends) => Reason::Shutdown,
        (Cause::Asked, Wanted::Up, EndingDaemon::Stays) => Reason::Restarted,
        (Cause::Asked | Cause::Unhealthy, Wanted::Down, EndingDaemon::Stays) => Reason::Stopped,
        (Cause::Own, _, _) => match (exit, oom) {
            (Exit::Signal(9), Oom::Certain | Oom::Likely) => Reason::Oom,
            (Exit::Signal(_), _) => Reason::Signal,
            (Exit::Code(_), _) => Reason::Exit,
        },
    }
}

/// Returns a sentence about the end of a run that had a process.
pub fn sentence(reason: Reason, exit: Exit, oom: Oom, lasted: Duration) -> String {
    let lasted = duration_text(lasted);
    match reason {
        Reason::Oom => {
            let how_sure = if oom == Oom::Likely { "most likely " } else { "" };
            format!("was {how_sure}killed by the kernel for lack of memory after {lasted}")
        }
        Reason::Stopped => format!("was stopped after {lasted}; it {exit}"),
        Reason::Idle => format!("was stopped after {lasted} for lack of visitors; it {exit}"),
        Reason::Restarted => format!("was stopped for a restart after {lasted}; it {exit}"),
        Reason::Deleted => format!("was stopped to be deleted after {lasted}; it {exit}"),
        Reason::Shutdown => format!("was stopped with the daemon after {lasted}; it {exit}"),
        Reason::Unhealthy => {
            format!("was stopped after {lasted} because its health checks failed too often; it {exit}")
        }
        Reason::Exit
        | Reason::Signal
        | Reason::SpawnFailed
        | Reason::PortTaken
        | Reason::EnvFile
        | Reason::OverlayFailed
        | Reason::Lost => format!("{exit} after {lasted}"),
    }
}

/// `250 ms`, `1.5 s`, `75 s`, `12 min`, `3 h`.
pub fn duration_text(lasted: Duration) -> String {
    let (seconds, millis) = (lasted.as_secs(), lasted.subsec_millis());
    match seconds {
        0 => format!("{millis} ms"),
        1..=9 => format!("{seconds}.{} s", millis / 100),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_its_own() {
        for (word, reason) in Reason::ALL {
            assert_eq!((reason.as_str(), Reason::parse(word)), (word, Some(reason)));
        }
        assert!(EndingKind::ALL.into_iter().all(|(word, kind)| kind.as_str() == word));
        assert!(AfterEnding::ALL.into_iter().all(|(word, next)| next.as_str() == word));
    }

    #[test]
    fn an_end_that_was_asked_for_has_the_reason_of_who_asked() {
        let signal = Exit::Signal(15);
        let of = |cause, wanted, daemon| reason(signal, cause, wanted, daemon, Oom::Likely);
        assert_eq!(of(Cause::Asked, Wanted::Down, EndingDaemon::Stays), Reason::Stopped);
        assert_eq!(of(Cause::Asked, Wanted::Up, EndingDaemon::Stays), Reason::Restarted);
        assert_eq!(of(Cause::Asked, Wanted::Gone, EndingDaemon::Ends), Reason::Deleted);
        assert_eq!(of(Cause::Asked, Wanted::Down, EndingDaemon::Ends), Reason::Shutdown);
        assert_eq!(of(Cause::Unhealthy, Wanted::Up, EndingDaemon::Stays), Reason::Unhealthy);
        assert_eq!(of(Cause::Unused, Wanted::Down, EndingDaemon::Stays), Reason::Idle);
        assert_eq!(of(Cause::Own, Wanted::Up, EndingDaemon::Ends), Reason::Signal);
    }

    #[test]
    fn only_a_sigkill_that_the_kernel_counted_is_for_lack_of_memory() {
        let of = |exit, oom| reason(exit, Cause::Own, Wanted::Up, EndingDaemon::Stays, oom);
        assert_eq!(of(Exit::Signal(9), Oom::Certain), Reason::Oom);
        assert_eq!(of(Exit::Signal(9), Oom::No), Reason::Signal);
        assert_eq!(of(Exit::Signal(11), Oom::Certain), Reason::Signal);
        assert_eq!(of(Exit::Code(137), Oom::Certain), Reason::Exit);
        let words = |oom| sentence(Reason::Oom, Exit::Signal(9), oom, Duration::from_millis(1530));
        assert_eq!(words(Oom::Certain), "was killed by the kernel for lack of memory after 1.5 s");
        assert!(words(Oom::Likely).contains("most likely"));
    }

    #[test]
    fn how_long_it_lasted() {
        let words = |millis| duration_text(Duration::from_millis(millis));
        assert_eq!(
            [words(0), words(1530), words(75_000), words(720_000), words(10_800_000)],
            ["0 ms", "1.5 s", "75 s", "12 min", "3 h"]
        );
        assert_eq!(
            sentence(Reason::Exit, Exit::Code(3), Oom::No, Duration::from_millis(1530)),
            "exited with code 3 after 1.5 s"
        );
    }
}
