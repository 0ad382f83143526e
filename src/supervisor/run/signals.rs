//! Signals to the processes of a run, and which of them can't be ended.
//!
//! Owns: which processes are signalled beside the group, and what is known of one that refuses signals or outlives
//! SIGKILL. Never: when a run is to end.

use std::io;
use std::time::{Duration, Instant};

use super::super::system::System;
use super::Run;
use super::states::{LeaderStatus, Signalled};
use crate::os::pidfd::Signal;
use crate::os::proc::Process;
use crate::process;

/// A process that lives so long after SIGKILL is named.
const UNDYING_AFTER: Duration = Duration::from_secs(1);

impl<S: System> Run<S> {
    /// Which of its processes refuses to be signalled, if one does.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_ref().map(|(_, text)| text.as_str())
    }

    /// Which of its processes can't be ended, and why, if that is known of one.
    pub fn obstacle(&self) -> Option<&str> {
        self.refusal().or(self.undying.as_ref().map(|(_, text)| text.as_str()))
    }

    pub(super) fn terminate_outsiders(&mut self, left: &[Process], signal: Signal) {
        for process in left {
            if process.group != self.tree.leader.raw() {
                self.signal(process, signal);
                // A process that refuses it has refused the first one too.
                let _ = self.system.signal(process, Signal::Continue);
            } else if let Some(error) = self.system.refuses(process) {
                self.note_refusal(process, signal, &error);
            }
        }
        self.note_leader(signal);
        self.signalled = Signalled::Terminated;
    }

    /// Notes that the leader refuses the signal, which is hidden as it goes to the whole group.
    pub(super) fn note_leader(&mut self, signal: Signal) {
        if self.leader_status == LeaderStatus::Alive
            && let Some(leader) = self.system.living(self.tree.leader)
            && let Some(error) = self.system.refuses(&leader)
        {
            self.note_refusal(&leader, signal, &error);
        }
    }

    pub(super) fn kill_one(&mut self, process: &Process) {
        self.killed.insert(process.pid);
        self.signal(process, Signal::Kill);
    }

    pub(super) fn signal(&mut self, process: &Process, signal: Signal) {
        if let Err(error) = self.system.signal(process, signal) {
            self.note_refusal(process, signal, &error);
        }
    }

    fn note_refusal(&mut self, process: &Process, signal: Signal, error: &io::Error) {
        let text = process::refusal(process, signal, error);
        if self.refused.insert(process.pid) {
            self.warn(format_args!("{text}"));
        }
        self.refusal = Some((process.pid, text));
    }

    /// Names one that lives on after SIGKILL, the leader first, as long as it does.
    pub(super) fn note_undying(&mut self, left: &[Process], now: Instant) {
        self.undying = None;
        if self.refusal.is_some() || self.killed_at.is_none_or(|at| now < at + UNDYING_AFTER) {
            return;
        }
        let leader = match self.leader_status {
            LeaderStatus::Alive => Some(self.tree.leader),
            LeaderStatus::Exited => None,
        };
        let mut living = leader.into_iter().chain(left.iter().map(|process| process.pid));
        self.undying = living.find_map(|pid| Some((pid, self.system.undying(pid)?)));
        if let Some((pid, text)) = &self.undying
            && self.refused.insert(*pid)
        {
            self.warn(format_args!("{text}"));
        }
    }

    /// When one that lives on after SIGKILL is to be named, if none is yet.
    pub(super) fn undying_at(&self) -> Option<Instant> {
        self.killed_at.filter(|_| self.undying.is_none()).map(|at| at + UNDYING_AFTER)
    }
}
