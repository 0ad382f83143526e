//! Messages to the daemon's control thread.
//!
//! Owns: their types. Never: their effect (see `daemon`). The channel is unbounded, so sending never blocks.

use crate::model::spec::Slug;

/// A message to the control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A termination signal has arrived.
    Terminate { signal: &'static str },
    /// A supervisor's thread has done its last work and is about to exit.
    SupervisorEnded(Slug),
}
