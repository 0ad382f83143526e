//! Messages to the daemon's control thread, and whether the daemon accepts new work.
//!
//! Owns: these types. Never: their effect (see `daemon`). The channel is unbounded, so sending never blocks.

use crate::model::spec::Slug;

/// Whether new servers and overlays are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Open,
    /// The daemon is shutting down.
    Closed,
}

/// A message to the control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A termination signal has arrived.
    Terminate { signal: &'static str },
    /// A supervisor's thread has done its last work and is about to exit.
    SupervisorEnded(Slug),
}
