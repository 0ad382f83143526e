//! The types of health checks: states, outcomes, failures, changes.
//!
//! Owns: the types, their API names, and the sentence of each failure. Never: a rule.

use std::fmt;
use std::time::{Duration, SystemTime};

/// The public health status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// No check has passed in this run, and the time for the first success is not over.
    #[default]
    Checking,
    /// A check has passed, with fewer than three consecutive failures since.
    Healthy,
    /// Three consecutive failures, or no success in time.
    Unhealthy,
}

impl HealthStatus {
    /// All variants with their API names.
    pub const ALL: [(&'static str, HealthStatus); 3] =
        [("checking", Self::Checking), ("healthy", Self::Healthy), ("unhealthy", Self::Unhealthy)];

    /// The API name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The health of a server. The default is that of a run before its first check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    pub status: HealthStatus,
    /// When the last check ended, or passed its timeout.
    pub last_check: Option<SystemTime>,
    /// How long the last check took, if it has ended.
    pub last_took: Option<Duration>,
    /// The HTTP status of the last check; `None` if it had no answer.
    pub last_status: Option<u16>,
    /// Why the last check failed; `None` if it passed.
    pub last_error: Option<CheckFailure>,
    /// The number of consecutive failures. Before the first success they have no effect.
    pub consecutive_failures: u32,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The server answered with this HTTP status.
    Answered(u16),
    /// No answer, or none in HTTP.
    Failed(CheckFailure),
}

/// Why a check failed. Displayed as a predicate: the server's name may stand before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckFailure {
    /// Nothing listens on the port.
    Refused,
    /// connect(2) failed, for this reason.
    Unreachable(String),
    /// No complete response head arrived in this time.
    NoAnswer(Duration),
    /// The HTTP status is not 200 to 399.
    Status(u16),
    /// The connection was closed within the head.
    Closed,
    /// The connection was closed before the first byte, as TLS servers do with plain HTTP.
    ClosedAtOnce,
    /// The answer was a TLS alert.
    TlsAlert,
    /// The answer is not HTTP/1.
    NotHttp,
    /// More interim (1xx) responses arrived than are read.
    HeadTooLong,
    /// Not checked: another process listens on the allocated port. A sentence without its full stop.
    PortHeld(String),
    /// Not checked: the daemon's limit on open files is reached.
    NoDescriptor,
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckFailure::Refused => f.write_str("connection refused"),
            CheckFailure::Unreachable(why) => write!(f, "could not be connected to: {why}"),
            CheckFailure::NoAnswer(within) => write!(f, "no answer within {} ms", within.as_millis()),
            CheckFailure::Status(status) => write!(f, "answered {status}"),
            CheckFailure::Closed => f.write_str("closed the connection before the end of its answer's head"),
            CheckFailure::ClosedAtOnce => {
                f.write_str("closed the connection before answering; checks are plain HTTP: does it speak TLS?")
            }
            CheckFailure::TlsAlert => {
                f.write_str("answered a plain HTTP request with a TLS alert: does it speak TLS? Checks are plain HTTP")
            }
            CheckFailure::NotHttp => f.write_str("answered with something that is not HTTP"),
            CheckFailure::HeadTooLong => f.write_str("answered with interim responses and no final one within 16 KiB"),
            CheckFailure::PortHeld(why) => f.write_str(why),
            CheckFailure::NoDescriptor => f.write_str("not checked: servisor's limit on open files is reached"),
        }
    }
}

/// How the health changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthChange {
    /// The status is the same.
    Same,
    /// The status became `healthy`.
    BecameHealthy,
    /// The status became `unhealthy`.
    BecameUnhealthy,
    /// The consecutive failures have reached the spec's number for a restart; reported once. The status may have become
    /// `unhealthy` at the same time.
    RestartDue,
}
