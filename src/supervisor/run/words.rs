//! What a run can be, and what a look at its processes finds.
//!
//! Owns: these states. Never: a process.

use crate::model::stop::StopSignal;
use crate::os::proc::Process;

/// What has become of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing new.
    Same,
    /// The leader has ended, others of its tree have not.
    LeaderExited,
    /// No process is left; `Run::finish` is due.
    Gone,
}

/// How the tree was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    /// This signal went to the group; those outside of it have yet to be found.
    TerminatedGroup(StopSignal),
    Terminated,
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaderIs {
    Alive,
    Exited,
}

/// What a look at the processes has found.
pub(super) enum Others {
    /// These of the tree live, besides the leader. The second ones live too, and may belong to it.
    Seen(Vec<Process>, Vec<Process>),
    /// Nothing is known: there was nothing to look with, or too much happened. It has to be done again.
    Unseen,
}
