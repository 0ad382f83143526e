//! New configurations.
//!
//! Owns: the order: the port is reserved, the configuration is stored, then it is in force, then it is started. Never:
//! how it is stored.

use std::io;
use std::sync::Arc;

use super::super::system::System;
use super::super::{CommandReply, Replier, visits};
use super::{Actor, Lifetime};
use crate::log::Level;
use crate::model::machine::{Command, CommandRefusal, LifecycleRules, Machine};
use crate::model::spec::ServerSpec;
use crate::ports::{Strictness, Unavailable};

impl<S: System> Actor<S> {
    /// A new server is accepted before it is started. A refused one is removed.
    #[inline(never)]
    pub(super) fn take_creation(&mut self, reply: Replier) {
        match self.accept(&Arc::clone(&self.spec)) {
            Ok(()) => {
                reply.report(CommandReply::Stored);
                self.take_command(Command::Start, reply);
            }
            Err(refusal) => {
                self.deregister();
                reply.send(refusal);
            }
        }
    }

    /// Another configuration makes another server in place of the old one; only the log and the numbers of runs
    /// continue.
    #[inline(never)]
    pub(super) fn take_replacement(&mut self, spec: Arc<ServerSpec>, reply: Replier) {
        if self.lifetime == Lifetime::UntilIdle {
            reply.send(CommandReply::ShuttingDown);
            return;
        }
        if self.machine.active() {
            reply.send(CommandReply::Refused(CommandRefusal::Active));
            return;
        }
        if let Err(refusal) = self.accept(&spec) {
            reply.send(refusal);
            return;
        }
        reply.report(CommandReply::Stored);
        self.spec = spec;
        self.machine = Machine::new(LifecycleRules::from(&*self.spec), self.machine.run());
        self.started_at = None;
        self.ready_at = None;
        self.install_left = None;
        self.fault = None;
        self.take_command(Command::Start, reply);
    }

    /// Reserves the port that the configuration insists on, and stores it.
    fn accept(&mut self, spec: &ServerSpec) -> Result<(), CommandReply> {
        let strict = spec.port.filter(|_| spec.strict_port);
        let reserved = strict.map(|port| self.context.ports.reserve(&spec.slug, port, Strictness::Strict));
        let taken = |refusal: Unavailable| CommandReply::PortTaken(Arc::new(refusal));
        let reserved = reserved.transpose().map_err(taken)?;
        let needs_key = visits::needs_key(self.context.proxy.as_ref(), spec);
        let key = needs_key.then(|| visits::key(self.record.key()));
        self.record.keep(spec, key).map_err(|error| self.unstored(error))?;
        self.reserved = reserved;
        Ok(())
    }

    /// Logs that a change could not be stored. Returns the reply.
    pub(super) fn unstored(&self, error: io::Error) -> CommandReply {
        self.report(Level::Error, format_args!("a change of it was refused, it can't be stored: {error}"));
        CommandReply::NotStored(Arc::new(error))
    }

    /// Removes the server from the registry; the thread is not needed any more.
    pub(super) fn deregister(&mut self) {
        self.lifetime = Lifetime::Over;
        // Before its name is free: the book of the next server of that name comes after it.
        self.context.books.remove(&self.spec.slug);
        if let Some(on_deleted) = self.on_deleted.take() {
            on_deleted();
        }
    }
}
