//! New configurations.
//!
//! Owns: the order of things: a configuration is stored, then it counts, then it is started. Never: how it is stored.

use std::io;
use std::sync::Arc;

use super::super::{CommandReply, Replacement, Replier};
use super::{Actor, Stay};
use crate::log::Level;
use crate::model::machine::{Command, CommandRefusal, LifecycleRules, Machine};

impl Actor {
    /// A new server is stored before it is started; one that can't be stored is as if it had never been.
    pub(super) fn take_creation(&mut self, reply: Replier) {
        match self.record.keep(&self.spec) {
            Ok(()) => {
                reply.report(CommandReply::Stored);
                self.take_command(Command::Start, reply);
            }
            Err(error) => {
                self.vanish();
                self.refuse_unstored(reply, error);
            }
        }
    }

    /// Another configuration is another server in the old one's place: only its logs and the numbers of its runs go on.
    pub(super) fn take_replacement(&mut self, replacement: Replacement, reply: Replier) {
        if self.stay == Stay::UntilRest {
            reply.send(CommandReply::ShuttingDown);
            return;
        }
        if self.machine.active() {
            reply.send(CommandReply::Refused(CommandRefusal::Active));
            return;
        }
        if let Err(error) = self.record.keep(&replacement.spec) {
            self.refuse_unstored(reply, error);
            return;
        }
        reply.report(CommandReply::Stored);
        self.spec = replacement.spec;
        self.reservation = replacement.reservation;
        self.machine = Machine::new(LifecycleRules::from(&*self.spec), self.machine.run());
        self.started_at = None;
        self.ready_at = None;
        self.install_left = None;
        self.fault = None;
        self.take_command(Command::Start, reply);
    }

    /// What can't be stored has not happened.
    pub(super) fn refuse_unstored(&self, reply: Replier, error: io::Error) {
        self.tell(Level::Error, format_args!("a change of it was refused, it can't be stored: {error}"));
        reply.send(CommandReply::NotStored(Arc::new(error)));
    }

    /// Nobody finds the server any more, and the thread is not needed.
    pub(super) fn vanish(&mut self) {
        self.stay = Stay::NoLonger;
        if let Some(forget) = self.forget.take() {
            forget();
        }
    }
}
