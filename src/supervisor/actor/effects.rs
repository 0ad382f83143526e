//! Carrying out what the life-cycle says.
//!
//! Owns: the making of a run and of its senses, and the answer to the machine of what came of it. Never: a decision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::super::command;
use super::super::run::{Progress, Run};
use super::super::senses::Senses;
use super::{Actor, News};
use crate::log::Level;
use crate::model::machine::{Effect, Event, Job, RunId};
use crate::ports::{Reservation, Strictness};

impl Actor {
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Spawn(id, job) => {
                    if job == Job::Start {
                        self.record.install_succeeded(&self.spec);
                    }
                    let event = match self.spawn(id, job) {
                        Ok(run) => {
                            self.tell(Level::Info, format_args!("run {} of {} has pid {}", id.0, name(job), run.pid()));
                            self.run = Some(run);
                            Event::Spawned(id)
                        }
                        Err(why) => {
                            self.tell(
                                Level::Warn,
                                format_args!("run {} of {} can't be started: {why}", id.0, name(job)),
                            );
                            Event::SpawnFailed(id, why)
                        }
                    };
                    effects.extend(self.machine.event(event, Instant::now()));
                }
                Effect::Terminate(_) => {
                    if let Some(run) = &mut self.run {
                        run.terminate(Instant::now());
                    }
                }
                Effect::Kill(_) => {
                    let progress = self.run.as_mut().map_or(Progress::Same, |run| run.kill(Instant::now()));
                    effects.extend(self.progress(progress));
                }
                Effect::Remove => {
                    self.vanish();
                    self.tell(Level::Info, format_args!("deleted"));
                }
            }
        }
        if !self.machine.active() {
            self.reservation = None;
        }
    }

    fn spawn(&mut self, id: RunId, job: Job) -> Result<Run, String> {
        if let Some(wanted) = self.spec.port {
            let strictness = if self.spec.strict_port { Strictness::Strict } else { Strictness::NextFree };
            // The one that is held counts as free to its holder, and is let go after.
            let reserved = self.context.ports.reserve(&self.spec.slug, wanted, strictness);
            self.reservation = Some(reserved.map_err(|refusal| refusal.to_string())?);
        }
        let port = self.reservation.as_ref().map(Reservation::port);
        let marker = command::marker(&self.context, &self.spec, id);
        let plan = command::plan(&self.context, &self.spec, job, port, &marker)?;
        // The receiver is gone only when the actor is, here and below.
        let news = self.news_tx.clone();
        let ends = move |notice| drop(news.send((id, News::Ends(notice))));
        let run = Run::spawn(&self.context, &self.spec.slug, id, &plan, marker, &self.shared.log, ends)?;
        if job == Job::Start {
            let (news, now) = (self.news_tx.clone(), Instant::now());
            let tell = Arc::new(move |sight| drop(news.send((id, News::Seen(sight)))));
            self.senses = Some(Senses::open(&self.context, &self.spec, id, run.tree(), tell, now));
            self.started_at = Some(SystemTime::now());
            self.alive_since = Some(now);
            self.ready_at = None;
        }
        Ok(run)
    }
}

fn name(job: Job) -> &'static str {
    match job {
        Job::Install => "install",
        Job::Start => "start",
    }
}
