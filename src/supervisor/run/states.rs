//! The states of a run, and the result of a look at its processes.
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

/// Which signal was sent to end the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signalled {
    Nothing,
    /// This signal went to the group; those outside of it have yet to be found.
    TerminatedGroup(StopSignal),
    Terminated,
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaderStatus {
    Alive,
    Exited,
}

/// What a look at the processes has found.
pub(super) enum OtherProcesses {
    /// These of the tree live, besides the leader. The second ones live too, and may belong to it.
    Known(Vec<Process>, Vec<Process>),
    /// Not known: the system had nothing to look with, or processes started meanwhile. A retry is due.
    Unknown,
}
