//! The words of a server's health: its states, what a check came to, and what that changed.
//!
//! Owns: the types, their public words, and the sentence of each failure. Never: a rule.

use std::fmt;
use std::time::{Duration, SystemTime};

/// The public state of a server's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// It has not passed a check in this run yet, and may still be on its way up.
    #[default]
    Checking,
    /// It has passed, and has not failed so often in a row since that it counts.
    Healthy,
    /// It has failed three times in a row, or for too long from the beginning.
    Unhealthy,
}

impl HealthStatus {
    /// All of them, by their public words.
    pub const ALL: [(&'static str, HealthStatus); 3] =
        [("checking", Self::Checking), ("healthy", Self::Healthy), ("unhealthy", Self::Unhealthy)];

    /// The public word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of a server's health at one moment. The default is that of a run in which nothing was checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// The state.
    pub status: HealthStatus,
    /// When the last check ended, or was found to take longer than it may.
    pub last_check: Option<SystemTime>,
    /// The HTTP status that the last check was answered with; `None` when it was not answered.
    pub last_status: Option<u16>,
    /// Why the last check failed; `None` when it passed.
    pub last_error: Option<Failure>,
    /// How many checks in a row have failed. Before the first success they are counted, but don't count.
    pub consecutive_failures: u32,
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has answered with this HTTP status.
    Answered(u16),
    /// It has not, or not with HTTP.
    Failed(Failure),
}

/// Why a check failed; displayed as a sentence about the server, without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing listens there any more.
    Refused,
    /// The system could not connect, for this reason.
    Unreachable(String),
    /// There was no whole head in this time.
    NoAnswer(Duration),
    /// The HTTP status is none of 200 to 399.
    Status(u16),
    /// The connection ended before the end of the head.
    Closed,
    /// The connection ended before the first byte, as a TLS server does that is asked in clear text.
    ClosedAtOnce,
    /// The answer was a TLS alert.
    TlsAlert,
    /// What came is no HTTP/1 answer.
    NotHttp,
    /// There were more interim answers than are read.
    HeadTooLong,
    /// Nothing was checked: another process listens on the port that the server was given. A sentence without its point.
    PortHeld(String),
    /// The daemon is at its own limit; the server may be well.
    NoDescriptor,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused => f.write_str("connection refused"),
            Failure::Unreachable(why) => write!(f, "could not be connected to: {why}"),
            Failure::NoAnswer(within) => write!(f, "no answer within {} ms", within.as_millis()),
            Failure::Status(status) => write!(f, "answered {status}"),
            Failure::Closed => f.write_str("closed the connection before the end of its answer's head"),
            Failure::ClosedAtOnce => {
                f.write_str("closed the connection before answering; checks are plain HTTP: does it speak TLS?")
            }
            Failure::TlsAlert => {
                f.write_str("answered a plain HTTP request with a TLS alert: does it speak TLS? Checks are plain HTTP")
            }
            Failure::NotHttp => f.write_str("answered with something that is not HTTP"),
            Failure::HeadTooLong => f.write_str("answered with interim responses and no final one within 16 KiB"),
            Failure::PortHeld(why) => f.write_str(why),
            Failure::NoDescriptor => f.write_str("not checked: servisor's limit on open files is reached"),
        }
    }
}

/// What a check, or the passing of time, has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The status is what it was.
    Same,
    /// It is `healthy` now and was not.
    BecameHealthy,
    /// It is `unhealthy` now and was not.
    BecameUnhealthy,
    /// As many checks have failed in a row as the spec has for a restart; said once a row. The status may have become
    /// `unhealthy` at the same time.
    RestartDue,
}
