//! Executes the effects of the life-cycle.
//!
//! Owns: the making of a run and of its observer, and the answer to the machine of what came of it. Never: a decision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::Message;
use super::super::command::{self, NotStarted};
use super::super::diagnosis;
use super::super::observer::RunObserver;
use super::super::preparation::{AwaitedOverlays, PreparationState};
use super::super::run::{Progress, Run};
use super::super::system::System;
use super::{Actor, RunUpdate};
use crate::log::Level;
use crate::logs::StreamId;
use crate::model::ending::Reason;
use crate::model::machine::{Cause, Effect, Event, Exit, Job, Phase, RunId, RunStage};
use crate::model::overlay::{CopyStatus, OverlayId};
use crate::overlay::Change;
use crate::ports::{Reservation, Strictness, Unavailable};

impl<S: System> Actor<S> {
    #[inline(never)]
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Prepare(id) => effects.extend(self.prepare(id)),
                Effect::Spawn(id, job) => {
                    self.begin_account(job);
                    self.unclaimed = None;
                    if job == Job::Start {
                        self.record.install_succeeded(&self.spec);
                    }
                    let event = match self.spawn(id, job) {
                        Ok(run) => {
                            self.report(
                                Level::Info,
                                format_args!("run {} of {} has pid {}", id.0, name(job), run.pid()),
                            );
                            self.note_spawned(&run);
                            self.run = Some(run);
                            (Event::Spawned(id), None)
                        }
                        Err(NotStarted { reason, why }) => {
                            self.report(
                                Level::Warn,
                                format_args!("run {} of {} can't be started: {why}", id.0, name(job)),
                            );
                            (Event::SpawnFailed(id, why.clone()), Some((reason, why)))
                        }
                    };
                    let (event, failure) = event;
                    effects.extend(self.machine.event(event, self.now()));
                    if let Some((reason, why)) = failure {
                        self.account_without_process(reason, why);
                    }
                }
                Effect::Terminate(_) => {
                    let rules = self.machine.phase().stop_rules(&self.spec);
                    let now = self.now();
                    if let Some(run) = &mut self.run {
                        run.terminate(rules, now);
                    }
                }
                Effect::Kill(_) => {
                    let now = self.now();
                    let progress = self.run.as_mut().map_or(Progress::Same, |run| run.kill(now));
                    effects.extend(self.progress(progress));
                }
                Effect::Remove => {
                    self.deregister();
                    self.report(Level::Info, format_args!("deleted"));
                }
            }
        }
        if !self.machine.active() {
            self.reservation = None;
        }
        if *self.machine.phase() != Phase::Preparing {
            self.preparation = None;
        }
    }

    /// Has the overlays made that are not there, and begins to wait for all.
    #[inline(never)]
    fn prepare(&mut self, id: RunId) -> Vec<Effect> {
        // Held while overlays are copied, which may take minutes: the first spawn looks again whether it is free.
        self.reservation = self.reserved.take();
        for number in 0..self.spec.overlays.len() {
            if let Err(why) = self.make_overlay(number) {
                self.report(Level::Warn, format_args!("{why}"));
                return self.prepare_failed(id, why);
            }
        }
        let ids = self.record.overlays().iter().chain(&self.spec.depends_on).cloned().collect();
        let inbox = self.own_inbox.clone();
        // The receiver is gone only when the actor is.
        let notify = Arc::new(move |_: &OverlayId, _: &Change| drop(inbox.send(Message::Run(id, RunUpdate::Overlay))));
        self.preparation = Some(AwaitedOverlays::begin(&self.context.overlays, ids, notify));
        self.check_preparation()
    }

    /// One that has failed before is made once more: a user has started the server again. The same one that is there
    /// already, of an earlier configuration or of another server, is not.
    fn make_overlay(&mut self, number: usize) -> Result<(), String> {
        let overlays = Arc::clone(&self.context.overlays);
        let present = self.record.overlays().get(number).and_then(|id| overlays.find(id));
        if present.is_some_and(|overlay| overlay.status() != CopyStatus::Failed) {
            return Ok(());
        }
        let made = overlays
            .obtain(self.spec.overlays[number].clone())
            .map_err(|why| format!("its overlay can't be made: {why}"))?;
        self.record.overlay_made(&self.spec, number, made.id.clone());
        Ok(())
    }

    pub(super) fn check_preparation(&mut self) -> Vec<Effect> {
        let run = self.machine.run();
        let Some(preparation) = &mut self.preparation else { return Vec::new() };
        let event = match preparation.check() {
            PreparationState::Waiting => return Vec::new(),
            PreparationState::Done => {
                self.record.prepared(&self.spec);
                Event::Prepared(run)
            }
            PreparationState::Failed(why) => return self.prepare_failed(run, why),
        };
        self.machine.event(event, self.now())
    }

    #[inline(never)]
    fn spawn(&mut self, id: RunId, job: Job) -> Result<Box<Run<S>>, NotStarted> {
        if let Some(wanted) = self.spec.port {
            let strictness = if self.spec.strict_port { Strictness::Strict } else { Strictness::NextFree };
            let reserved = match self.reserved.take() {
                Some(reserved) => Ok(reserved),
                // The port that the last run held counts as free to it.
                None => self.context.ports.reserve(&self.spec.slug, wanted, strictness),
            };
            let taken = |refusal: Unavailable| NotStarted { reason: Reason::PortTaken, why: refusal.to_string() };
            self.reservation = Some(reserved.map_err(taken)?);
        }
        self.fault = None;
        if job == Job::Install {
            self.install_left = None;
        }
        let port = self.reservation.as_ref().map(Reservation::port);
        let marker = command::marker(&self.context, &self.spec, id);
        let plan = command::plan(&self.context, &self.spec, job, port, &marker)?;
        // The receiver is gone only when the actor is, here and below.
        let inbox = self.own_inbox.clone();
        let ends = move |notice| drop(inbox.send(Message::Run(id, RunUpdate::Ends(notice))));
        let born = self.now();
        let run = Run::spawn(&self.context.system, &self.spec.slug, id, &plan, marker, &self.shared.log, ends)?;
        if job == Job::Start {
            let inbox = self.own_inbox.clone();
            let notify = Arc::new(move |observation| drop(inbox.send(Message::Run(id, RunUpdate::Seen(observation)))));
            self.observer = Some(RunObserver::open(&self.context, &self.spec, id, run.tree(), port, notify, born));
            self.started_at = Some(SystemTime::now());
            self.alive_since = Some(self.now());
            self.ready_at = None;
            self.ready_since = None;
        }
        Ok(run)
    }
}

impl<S: System> Actor<S> {
    /// Diagnoses a run that ended by itself, before the machine proceeds.
    #[inline(never)]
    pub(super) fn diagnose(&mut self, left: &[String], exit: Exit) {
        let (Phase::Alive { stage, .. } | Phase::Killing { stage, cause: Cause::Own, .. }) = *self.machine.phase()
        else {
            return;
        };
        let job = match stage {
            RunStage::Installing => Job::Install,
            RunStage::Starting { .. } | RunStage::Up(_) => Job::Start,
        };
        if let (Job::Install, [first, more @ ..]) = (job, left) {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let text = format!(
                "install has ended and left process {first}{more} running, which was ended; what has to run beside the \
                 server belongs into start, or is a server of its own"
            );
            self.report(Level::Warn, format_args!("{text}"));
            self.shared.log.append(StreamId::Stderr, format!("servisor: {text}\n").as_bytes());
            self.install_left = Some(text);
        }
        if matches!(exit, Exit::Code(126 | 127)) {
            let command = match (job, &self.spec.install) {
                (Job::Install, Some(install)) => install,
                (Job::Install, None) | (Job::Start, _) => &self.spec.start,
            };
            let plan = command::plan(&self.context, &self.spec, job, None, "");
            self.fault = plan.ok().and_then(|plan| diagnosis::of(command.as_str(), &plan));
        }
    }
}

fn name(job: Job) -> &'static str {
    match job {
        Job::Install => "install",
        Job::Start => "start",
    }
}
