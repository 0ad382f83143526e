//! Requests whose outcome is still open.
//!
//! Owns: when each of them has its reply. Never: the work that they wait for.

use std::sync::Arc;

use super::super::system::System;
use super::super::{CommandReply, Replier};
use super::{Actor, Lifetime};
use crate::model::machine::{Machine, Phase, RunId};

/// The event that a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateGoal {
    /// A run after this one was spawned, or none will be.
    Spawned { after: RunId },
    /// The end of this run.
    Over { run: RunId },
    /// The removal of the server.
    Removed,
    /// None: the command was done at once.
    Done,
}

/// A request without a reply.
pub(super) struct Waiter {
    pub(super) goal: StateGoal,
    pub(super) reply: Replier,
}

impl<S: System> Actor<S> {
    /// Sends the replies that are due. A stop that can't be completed is replied to at once: how long a process
    /// lives that refuses its signals, or that SIGKILL does not end, is unknown.
    #[inline(never)]
    pub(super) fn answer_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let view = self.shared.view();
        let is_hindered = self.machine.is_ending() && self.run.as_ref().is_some_and(|run| run.obstacle().is_some());
        for waiter in std::mem::take(&mut self.waiters) {
            if !waiter.goal.is_reached(&self.machine) {
                if is_hindered {
                    waiter.reply.send(CommandReply::Late(Arc::clone(&view)));
                } else {
                    self.waiters.push(waiter);
                }
                continue;
            }
            waiter.reply.send(match (waiter.goal, self.lifetime) {
                // It was to run, and the end of the daemon came between.
                (StateGoal::Spawned { .. }, Lifetime::UntilIdle) => CommandReply::ShuttingDown,
                (StateGoal::Spawned { .. } | StateGoal::Over { .. } | StateGoal::Removed | StateGoal::Done, _) => {
                    CommandReply::Done(Arc::clone(&view))
                }
            });
        }
    }
}

impl StateGoal {
    fn is_reached(self, machine: &Machine) -> bool {
        match self {
            StateGoal::Done => true,
            StateGoal::Removed => *machine.phase() == Phase::Removed,
            StateGoal::Over { run } => !machine.active() || machine.run() > run,
            StateGoal::Spawned { after } => {
                !machine.active() || machine.run() > after && !matches!(machine.phase(), Phase::Spawning { .. })
            }
        }
    }
}
