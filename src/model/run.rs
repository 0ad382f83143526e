//! What is known of a run, and of its end.
//!
//! Owns: these records. Never: how they are made (see `supervisor`), their JSON (see `runs::form`).

use std::time::{Duration, SystemTime};

use super::ending::{AfterEnding, EndingKind, Reason};
use super::stream::StreamId;

/// The run that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    pub number: u64,
    pub kind: EndingKind,
    /// When the run was begun.
    pub started_at: SystemTime,
    /// When the server was first ready.
    pub ready_at: Option<SystemTime>,
    /// How long after the spawn that was, by the monotonic clock; not kept over a restart of the daemon.
    pub ready_after: Option<Duration>,
    /// Its first process; `None` before it is spawned.
    pub pid: Option<u32>,
    /// The port that it was given or was seen to listen on.
    pub port: Option<u16>,
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    /// What was known while it lived.
    pub run: Living,
    /// When it was over; for a lost one, when that was found out.
    pub ended_at: SystemTime,
    /// How long it lasted, by the monotonic clock; `None` for a lost one.
    pub lasted: Option<Duration>,
    pub reason: Reason,
    /// The exit code; 128 + n after signal n.
    pub exit_code: Option<i32>,
    pub exit_signal: Option<String>,
    /// A sentence about the end, for a person.
    pub sentence: String,
    /// What followed.
    pub next: AfterEnding,
    /// What its first process used, with what that waited for, as far as the kernel reports it.
    pub usage: Option<Usage>,
    /// How many processes were left of it and had to be killed.
    pub survivors_killed: u32,
    pub tail: Tail,
}

/// What a child and the children that it has waited for used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user and kernel mode.
    pub cpu: Duration,
    /// The largest resident size of one of them, in bytes.
    pub max_rss_bytes: u64,
}

/// What a living run uses, and what its server has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStats {
    pub run: u64,
    /// Processor time of this run and those before it. It never decreases.
    pub cpu: Duration,
    /// Resident memory that is not shared.
    pub memory_bytes: u64,
    pub rss_bytes: u64,
    pub processes: u32,
    /// When this was measured.
    pub at: SystemTime,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub stream: StreamId,
    /// The line; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The end of a run's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The kept lines, in the order of arrival.
    pub lines: Vec<Line>,
    /// Whether earlier output was left out.
    pub truncated: bool,
}
