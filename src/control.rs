//! What may be said to the daemon's control thread, by anyone.
//!
//! Owns: the words. Never: what follows from them (see `daemon`). The channel has no bound, so that saying one of
//! these never blocks.

use crate::model::spec::Slug;

/// A message to the control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A signal asks the daemon to end.
    Terminate {
        /// Which.
        signal: &'static str,
    },
    /// A supervisor's thread is about to end; it will touch nothing any more.
    SupervisorEnded(Slug),
}
