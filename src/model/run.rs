//! What is known of a run, and of its end.
//!
//! Owns: these records. Never: how they are made (see `supervisor`), their JSON (see `runs::form`).

use std::time::{Duration, SystemTime};

use super::ending::{AfterEnding, EndingKind, Reason};
use super::stream::StreamId;

/// The run that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// Its number.
    pub number: u64,
    /// What it is for.
    pub kind: EndingKind,
    /// When it was begun.
    pub started_at: SystemTime,
    /// When it could first be used.
    pub ready_at: Option<SystemTime>,
    /// How long after the spawn that was, by the clock for intervals; not kept over a restart of the daemon.
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
    /// How long it lasted, by the clock for intervals; `None` for a lost one.
    pub lasted: Option<Duration>,
    /// Why.
    pub reason: Reason,
    /// The exit code; 128 + n after signal n.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub exit_signal: Option<String>,
    /// The same for a person.
    pub sentence: String,
    /// What followed.
    pub next: AfterEnding,
    /// What its first process used, with what that waited for, as far as the kernel reports it.
    pub usage: Option<Usage>,
    /// How many processes were left of it and had to be killed.
    pub survivors_killed: u32,
    /// Its last lines.
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
    /// The number of the run.
    pub run: u64,
    /// Processor time of this run and those before it. It never decreases.
    pub cpu: Duration,
    /// Resident memory that is not shared.
    pub memory_bytes: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    pub processes: u32,
    /// When this was so.
    pub at: SystemTime,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it was written to.
    pub stream: StreamId,
    /// What was written; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The end of a run's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The kept lines, in the order of arrival.
    pub lines: Vec<Line>,
    /// Whether there was more.
    pub truncated: bool,
}
