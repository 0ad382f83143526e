//! The account of each run in its server's book.
//!
//! Owns: what is entered when a run begins, has a process, and is over, and when the book is written. Never: a
//! decision: why a run ended is read off the machine (see `model::ending`).

use std::time::{Instant, SystemTime};

use super::super::run::{self, Run};
use super::super::system::System;
use super::{Actor, Lifetime};
use crate::log::Level;
use crate::model::ending::{self, AfterEnding, EndingDaemon, EndingKind, Oom, Reason};
use crate::model::machine::{Cause, Effect, Event, Exit, IdleReason, Job, Phase, RunId, Wanted};
use crate::ports::Reservation;
use crate::runs::tail::{self, Tail};
use crate::runs::{EndedRun, Living};

/// Of processes that may be left of a run, so many are named.
const UNCLAIMED_SHOWN: usize = 5;

/// What the machine says of a run just before it is over.
pub(super) struct Ending {
    cause: Cause,
    wanted: Wanted,
}

impl<S: System> Actor<S> {
    #[inline(never)]
    pub(super) fn begin_account(&mut self, job: Job) {
        let kind = match job {
            Job::Install => EndingKind::Install,
            Job::Start => EndingKind::Start,
        };
        self.log_from = self.shared.log.totals().written;
        self.context.oom.refresh();
        self.shared.book.begin(kind, (SystemTime::now(), self.now()));
        self.schedule.begun(self.now());
    }

    pub(super) fn note_spawned(&self, run: &Run<S>) {
        let port = self.reservation.as_ref().map(|reservation: &Reservation| reservation.port().get());
        self.shared.book.note(|living| (living.pid, living.port) = (Some(run.pid().number()), port));
    }

    /// Call it before the machine receives the end.
    pub(super) fn ending(&self) -> Ending {
        let cause = match self.machine.phase() {
            Phase::Draining { cause, .. } | Phase::Killing { cause, .. } => *cause,
            Phase::Alive { .. }
            | Phase::Idle(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => Cause::Own,
        };
        Ending { cause, wanted: self.machine.wanted() }
    }

    /// Call it after the machine has received the end.
    #[inline(never)]
    pub(super) fn account(&mut self, before: &Ending, ended: &run::RunOutcome) {
        let daemon = if self.lifetime == Lifetime::UntilIdle { EndingDaemon::Ends } else { EndingDaemon::Stays };
        let oom = match (before.cause, ended.exit) {
            (Cause::Own, Exit::Signal(9)) => self.context.oom.take_kill(),
            (Cause::Own | Cause::Asked | Cause::Unhealthy | Cause::Unused, _) => Oom::No,
        };
        let reason = ending::reason(ended.exit, before.cause, before.wanted, daemon, oom);
        let tail = if reason.was_asked_for() {
            Tail::default()
        } else {
            let lines = self.shared.log.last_lines(self.log_from, tail::LINES + 1);
            tail::tail_of(&lines.iter().map(|(stream, line)| (*stream, line.as_slice())).collect::<Vec<_>>())
        };
        let next = if reason == Reason::Restarted { AfterEnding::Restart } else { self.next() };
        let now = self.now();
        self.close_account(|run, begun| {
            let lasted = now.saturating_duration_since(begun);
            EndedRun {
                run,
                ended_at: SystemTime::now(),
                lasted: Some(lasted),
                reason,
                exit_code: Some(ended.exit.code()),
                exit_signal: ended.exit.signal_name(),
                sentence: ending::sentence(reason, ended.exit, oom, lasted),
                next,
                usage: ended.usage,
                survivors_killed: ended.survivors_killed,
                tail,
            }
        });
    }

    /// Keeps in words which processes may be left of a run that is over.
    pub(super) fn take_unclaimed(&mut self, unclaimed: &[String]) {
        if unclaimed.is_empty() {
            return;
        }
        let (shown, more) = unclaimed.split_at(unclaimed.len().min(UNCLAIMED_SHOWN));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        let text = format!("may be left of it, nothing says which server they belong to: {}{more}", shown.join(", "));
        self.report(Level::Warn, format_args!("{text}"));
        self.unclaimed = Some(text);
    }

    /// A run that never had a process. Call it after the machine has received its end.
    #[inline(never)]
    pub(super) fn account_without_process(&mut self, reason: Reason, why: String) {
        let (next, now) = (self.next(), self.now());
        self.close_account(|run, begun| EndedRun {
            run,
            ended_at: SystemTime::now(),
            lasted: Some(now.saturating_duration_since(begun)),
            reason,
            exit_code: None,
            exit_signal: None,
            sentence: why,
            next,
            usage: None,
            survivors_killed: 0,
            tail: Tail::default(),
        });
    }

    /// What was waited for before the first start can't come.
    pub(super) fn prepare_failed(&mut self, id: RunId, why: String) -> Vec<Effect> {
        self.shared.book.begin(EndingKind::Overlay, (SystemTime::now(), self.now()));
        let effects = self.machine.event(Event::PrepareFailed(id, why.clone()), self.now());
        self.account_without_process(Reason::OverlayFailed, why);
        effects
    }

    fn next(&self) -> AfterEnding {
        match self.machine.phase() {
            Phase::Waiting { .. } | Phase::Spawning { .. } | Phase::Preparing | Phase::Alive { .. } => {
                AfterEnding::Restart
            }
            Phase::Idle(IdleReason::GaveUp { .. }) => AfterEnding::GaveUp,
            Phase::Idle(_) | Phase::Draining { .. } | Phase::Killing { .. } | Phase::Removed => AfterEnding::None,
        }
    }

    fn close_account(&mut self, ended: impl FnOnce(Living, Instant) -> EndedRun) {
        let (changes, slug) = (&self.context.changes, &self.spec.slug);
        let Some(run) = self.shared.book.end(ended, || changes.mark(slug)) else { return };
        if run.next == AfterEnding::Restart && !run.reason.was_asked_for() {
            self.shared.book.count_restart();
        }
        self.schedule.ended(self.now());
    }

    /// Has the book written if it is time.
    #[inline(never)]
    pub(super) fn write_book(&mut self, now: Instant) {
        if self.schedule.is_due(now) {
            self.context.books.write(&self.spec.slug, &self.shared.book);
        }
    }

    /// Has written what is not written yet: for the end of the daemon.
    #[inline(never)]
    pub(super) fn finish_book(&mut self) {
        if self.schedule.is_pending() {
            self.context.books.write(&self.spec.slug, &self.shared.book);
        }
    }
}
