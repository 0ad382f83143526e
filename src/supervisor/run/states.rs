//! The states of a run, and the result of a look at its processes.
//!
//! Owns: these states. Never: a process.

use crate::model::stop::StopSignal;
use crate::os::proc::Process;

/// How far a run has ended.
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
    /// The group got this signal; processes outside of it are not looked for yet.
    TerminatedGroup(StopSignal),
    Terminated,
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaderStatus {
    Alive,
    Exited,
}

/// The other processes of a tree, besides the leader.
pub(super) enum OtherProcesses {
    /// The living ones, and then those that may belong to the tree.
    Known(Vec<Process>, Vec<Process>),
    /// Not known: the system had nothing to look with, or processes started meanwhile. A retry is due.
    Unknown,
}
