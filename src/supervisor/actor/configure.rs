//! New configurations.
//!
//! Owns: the order of things: a configuration is stored, then it counts, then it is started. Never: how it is stored.

use std::io;
use std::sync::Arc;

use super::super::{Answer, Promise, Replacement};
use super::{Actor, Stay};
use crate::log::Level;
use crate::model::machine::{Command, CommandRefusal, LifecycleRules, Machine};
use crate::os::oneshot;

impl Actor {
    /// A new server is stored before it is started; one that can't be stored is as if it had never been.
    pub(super) fn take_creation(&mut self, promise: Promise) {
        match self.record.keep(&self.spec) {
            Ok(()) => {
                promise.stored.send(());
                self.take_command(Command::Start, promise.reply);
            }
            Err(error) => {
                self.vanish();
                self.refuse_unstored(promise.reply, error);
            }
        }
    }

    /// Another configuration is another server in the old one's place: only its logs and the numbers of its runs go on.
    pub(super) fn take_replacement(&mut self, replacement: Replacement, promise: Promise) {
        if self.stay == Stay::UntilRest {
            promise.reply.send(Answer::ShuttingDown);
            return;
        }
        if self.machine.active() {
            promise.reply.send(Answer::Refused(CommandRefusal::Active));
            return;
        }
        if let Err(error) = self.record.keep(&replacement.spec) {
            self.refuse_unstored(promise.reply, error);
            return;
        }
        promise.stored.send(());
        self.spec = replacement.spec;
        self.reservation = replacement.reservation;
        self.machine = Machine::new(LifecycleRules::from(&*self.spec), self.machine.run());
        self.started_at = None;
        self.ready_at = None;
        self.install_left = None;
        self.fault = None;
        self.take_command(Command::Start, promise.reply);
    }

    /// What can't be stored has not happened.
    pub(super) fn refuse_unstored(&self, reply: oneshot::Sender<Answer>, error: io::Error) {
        self.tell(Level::Error, format_args!("a change of it was refused, it can't be stored: {error}"));
        reply.send(Answer::NotStored(Arc::new(error)));
    }

    /// Nobody finds the server any more, and the thread is not needed.
    pub(super) fn vanish(&mut self) {
        self.stay = Stay::NoLonger;
        if let Some(forget) = self.forget.take() {
            forget();
        }
    }
}
