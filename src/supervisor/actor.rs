//! The loop of a supervisor's thread.
//!
//! Owns: the machine, the run, and who waits for what. Never: a decision about the life-cycle: it feeds the machine
//! with commands, news and time, and carries out what the machine says.
//!
//! There is a thread for each server, and a page of its stack that was touched once stays resident. With its callees
//! inlined the loop had a frame of 5.7 KiB, and a start needed 14 KiB. So the steps of the loop are not inlined, and a
//! start needs 6.5 KiB: two pages a server. `make budgets` holds that.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::observer::{Observation, RunObserver};
use super::preparation::AwaitedOverlays;
use super::record::Record;
use super::run::{Progress, Run};
use super::system::System;
use super::{CommandReply, Context, Message, Replier, Request, Shared, Unlaunched};
use crate::log::{self, Level};
use crate::model::ending::Reason;
use crate::model::machine::{Command, Effect, Event, LifecycleRules, Machine, RunId};
use crate::model::spec::ServerSpec;
use crate::os::RecvError;
use crate::os::inbox::{Inbox, Sender};
use crate::ports::Reservation;
use crate::process::reaper::Notice;
use crate::runs::books::Schedule;
use crate::store::server::{Install, Preparation};

mod account;
mod configure;
mod effects;
mod publish;
mod visits;
mod waiters;

use waiters::{StateGoal, Waiter};

/// A notification about a run.
pub enum RunUpdate {
    /// An exit of processes of the run.
    Ends(Notice),
    /// An observation of the living run.
    Seen(Observation),
    /// A change of an overlay that the run waits for.
    Overlay,
}

/// When the thread ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Serving,
    /// The daemon shuts down: ends when the server is idle.
    UntilIdle,
    /// The server was deleted.
    Over,
}

/// What follows a message.
pub enum Flow {
    /// The thread ends.
    Over,
    /// An alarm is due.
    Due,
    /// Wait for a message, or for the alarm.
    Wait(Option<Instant>),
}

pub struct Actor<S: System> {
    context: Arc<Context<S>>,
    shared: Arc<Shared>,
    inbox: Inbox<Message>,
    /// Cloned into callbacks.
    own_inbox: Sender<Message>,
    spec: Arc<ServerSpec>,
    machine: Machine,
    preparation: Option<AwaitedOverlays>,
    run: Option<Box<Run<S>>>,
    observer: Option<Box<RunObserver<S>>>,
    /// The strict port of a new configuration, until its first run takes it.
    reserved: Option<Reservation>,
    /// The port of the run.
    reservation: Option<Reservation>,
    waiters: Vec<Waiter>,
    lifetime: Lifetime,
    record: Record,
    /// Executed before anything is visible: a server that starts with the daemon must not appear as stopped.
    first: Option<Command>,
    started_at: Option<SystemTime>,
    ready_at: Option<SystemTime>,
    alive_since: Option<Instant>,
    /// When the present run was first ready.
    ready_since: Option<Instant>,
    /// How much each stream of the log had when the present run began.
    log_from: [u64; 2],
    /// When the book is written.
    schedule: Schedule,
    /// Which processes may be left of the last run, for the reason of the status.
    unclaimed: Option<String>,
    /// Which process install has left running, for the reason of the status as long as the server is active.
    install_left: Option<String>,
    /// Why the last command could not be run, if more is known than its exit code.
    fault: Option<String>,
    on_deleted: Option<Box<dyn FnOnce() + Send>>,
}

/// Marks in `machine` what was done for this configuration already.
fn as_recorded(machine: Machine, record: &Record) -> Machine {
    let machine = match record.preparation() {
        Preparation::Due => machine,
        Preparation::Done => machine.with_preparation_done(),
    };
    match record.install() {
        Install::Due => machine,
        Install::Succeeded => machine.with_install_done(),
    }
}

impl<S: System> Actor<S> {
    /// An idle server that waits for its first command.
    pub fn new(parts: Unlaunched<S>, on_deleted: Box<dyn FnOnce() + Send>) -> Actor<S> {
        let first = parts.origin.starts(&parts.spec).then_some(Command::Start);
        let record = Record::of(parts.origin, &parts.context.files, parts.key);
        let machine = Machine::new(LifecycleRules::from(&*parts.spec), RunId(0));
        let machine = as_recorded(machine, &record);
        Actor {
            machine,
            record,
            first,
            context: parts.context,
            shared: parts.shared,
            inbox: parts.inbox,
            own_inbox: parts.own_inbox,
            spec: parts.spec,
            preparation: None,
            run: None,
            observer: None,
            reserved: None,
            reservation: None,
            waiters: Vec::new(),
            lifetime: Lifetime::Serving,
            started_at: None,
            ready_at: None,
            alive_since: None,
            ready_since: None,
            log_from: [0; 2],
            schedule: Schedule::default(),
            unclaimed: None,
            install_left: None,
            fault: None,
            on_deleted: Some(on_deleted),
        }
    }

    /// Works until the thread is no longer needed.
    #[inline(never)]
    pub fn run(&mut self) {
        loop {
            let message = match self.turn() {
                Flow::Over => return,
                Flow::Due => None,
                Flow::Wait(alarm) => match self.inbox.recv_by(alarm) {
                    Ok(message) => Some(message),
                    Err(RecvError::Timeout) => None,
                    // Not as long as it can send to itself.
                    Err(RecvError::Disconnected) => return,
                },
            };
            self.take(message);
        }
    }

    /// Does what follows from the last message: shows the state, replies, and says what to wait for.
    #[inline(never)]
    pub(super) fn turn(&mut self) -> Flow {
        if let Some(command) = self.first.take() {
            self.execute(command);
        }
        self.publish();
        self.answer_waiters();
        let now = self.now();
        // What can't be signalled can't be looked into either: any new listener could be taken for its own.
        if self.run.as_ref().is_some_and(|run| run.refusal().is_some()) {
            self.observer = None;
        }
        if let Some(observer) = &mut self.observer {
            match self.machine.is_ending() {
                // Nothing is waited for any more but its end.
                true => observer.stop_polling(),
                false => observer.adjust(self.machine.ready(), self.shared.attention(), now),
            }
        }
        match self.lifetime {
            Lifetime::Serving => {}
            Lifetime::UntilIdle if self.machine.active() => {}
            Lifetime::UntilIdle => {
                self.finish_book();
                return Flow::Over;
            }
            Lifetime::Over => return Flow::Over,
        }
        self.write_book(now);
        let deadlines = [
            self.machine.deadline(),
            self.run.as_ref().and_then(|run| run.deadline()),
            self.observer.as_ref().and_then(|observer| observer.deadline(now)),
            self.schedule.deadline(),
            self.idle_deadline(now),
        ];
        match deadlines.into_iter().flatten().min() {
            // However many messages there are, an alarm is not kept waiting.
            Some(alarm) if alarm <= now => Flow::Due,
            alarm => Flow::Wait(alarm),
        }
    }

    /// Takes a message, or the alarm where there is none.
    pub(super) fn take(&mut self, message: Option<Message>) {
        match message {
            Some(Message::Requested(request)) => self.take_request(request),
            Some(Message::Run(run, update)) => self.take_update(run, update),
            None => self.take_alarm(),
        }
    }

    /// Returns a message that has arrived already.
    #[cfg(test)]
    pub(super) fn next_message(&self) -> Option<Message> {
        self.inbox.try_recv().ok()
    }

    fn now(&self) -> Instant {
        self.context.system.now()
    }

    /// After a panic: whatever was half done is ended, and the server is failed.
    #[inline(never)]
    pub fn recover(&mut self, fault: &str) {
        self.preparation = None;
        self.observer = None;
        self.run = None;
        self.reserved = None;
        self.reservation = None;
        self.waiters.clear();
        let machine = Machine::lost(LifecycleRules::from(&*self.spec), self.machine.run(), fault.to_owned());
        self.machine = as_recorded(machine, &self.record);
        self.account_without_process(Reason::Lost, format!("was lost in a fault of servisor: {fault}"));
    }

    #[inline(never)]
    fn take_request(&mut self, request: Request) {
        match request {
            Request::Command(command, reply) => self.take_command(command, reply),
            Request::Create(reply) => self.take_creation(reply),
            Request::Replace(spec, reply) => self.take_replacement(spec, reply),
            Request::Shutdown => self.begin_shutdown(Command::Stop),
            Request::Kill => self.begin_shutdown(Command::Kill),
            // The loop looks at it.
            Request::Attention => {}
            Request::Visit => self.take_visit(),
            Request::Settle(reply) => reply.send(CommandReply::Done(self.shared.view())),
            Request::KeepGiven(reply) => reply.send(match self.record.keep_given(&self.spec) {
                Ok(()) => CommandReply::Done(self.shared.view()),
                Err(error) => CommandReply::NotStored(Arc::new(error)),
            }),
        }
    }

    #[inline(never)]
    fn take_command(&mut self, command: Command, reply: Replier) {
        if self.lifetime == Lifetime::UntilIdle {
            reply.send(CommandReply::ShuttingDown);
            return;
        }
        if command == Command::Delete
            && let Err(error) = self.record.remove(&self.spec.slug)
        {
            reply.send(self.unstored(error));
            return;
        }
        let run = self.machine.run();
        let goal = match command {
            Command::Start | Command::Restart => StateGoal::Spawned { after: run },
            Command::Stop | Command::Kill => StateGoal::Over { run },
            Command::Delete => StateGoal::Removed,
            Command::Mark(_) => StateGoal::Done,
        };
        match self.machine.command(command, self.now()) {
            Ok(effects) => {
                self.record_client_command(command);
                self.waiters.push(Waiter { goal, reply });
                self.carry_out(effects);
            }
            Err(refusal) => reply.send(CommandReply::Refused(refusal)),
        }
    }

    /// Ends the server with `command`, and the thread when the server is idle.
    fn begin_shutdown(&mut self, command: Command) {
        self.lifetime = match self.lifetime {
            Lifetime::Serving | Lifetime::UntilIdle => Lifetime::UntilIdle,
            Lifetime::Over => Lifetime::Over,
        };
        self.execute(command);
    }

    /// Carries out a command of the daemon itself.
    fn execute(&mut self, command: Command) {
        // One that is being deleted is on its way already.
        if let Ok(effects) = self.machine.command(command, self.now()) {
            self.carry_out(effects);
        }
    }

    #[inline(never)]
    fn take_update(&mut self, id: RunId, update: RunUpdate) {
        let now = self.now();
        match update {
            RunUpdate::Ends(notice) => {
                if let Some(run) = self.run.as_mut().filter(|run| run.id() == id) {
                    let progress = run.notice(notice, now);
                    let effects = self.progress(progress);
                    self.carry_out(effects);
                }
            }
            RunUpdate::Overlay => {
                if id == self.machine.run() {
                    let effects = self.check_preparation();
                    self.carry_out(effects);
                }
            }
            // The observer is that of the current run.
            RunUpdate::Seen(observation) => {
                if let Some(observer) = self.observer.as_mut().filter(|_| id == self.machine.run()) {
                    for event in observer.take(observation, now) {
                        let effects = self.machine.event(event, now);
                        self.carry_out(effects);
                    }
                }
            }
        }
    }

    #[inline(never)]
    fn take_alarm(&mut self) {
        let now = self.now();
        if let Some(run) = self.run.as_mut().filter(|run| run.deadline().is_some_and(|deadline| deadline <= now)) {
            let progress = run.look(now);
            let effects = self.progress(progress);
            self.carry_out(effects);
        }
        let events = self.observer.as_mut().map(|observer| observer.timeout(now)).unwrap_or_default();
        for event in events {
            let effects = self.machine.event(event, now);
            self.carry_out(effects);
        }
        let effects = self.machine.timeout(self.now());
        self.carry_out(effects);
        self.check_idle(now);
    }

    #[inline(never)]
    fn progress(&mut self, progress: Progress) -> Vec<Effect> {
        match progress {
            Progress::Same => Vec::new(),
            Progress::LeaderExited => {
                if !self.machine.is_ending() {
                    self.shared.traffic.end();
                }
                let run = self.machine.run();
                self.machine.event(Event::LeaderExited(run), self.now())
            }
            Progress::Gone => match self.run.take() {
                Some(run) => {
                    self.shared.traffic.end();
                    self.observer = None;
                    self.alive_since = None;
                    let id = run.id();
                    let left = run.left_behind().to_vec();
                    let ended = run.finish();
                    self.diagnose(&left, ended.exit);
                    self.report(Level::Info, format_args!("run {} is over: it {}", id.0, ended.exit));
                    self.take_unclaimed(&ended.unclaimed);
                    let before = self.ending();
                    let effects = self.machine.event(Event::Ended(id, ended.exit), self.now());
                    self.account(&before, &ended);
                    effects
                }
                None => Vec::new(),
            },
        }
    }

    fn report(&self, level: Level, text: std::fmt::Arguments<'_>) {
        log::server(level, &self.spec.slug, text);
    }
}
