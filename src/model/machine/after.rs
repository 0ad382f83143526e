//! Decides what follows a run: restart policy, limit of restarts, delays.
//!
//! Owns: these decisions, and the end of a run without visitors. Never: how other runs end (see the parent).

use std::time::{Duration, Instant};

use super::super::spec::RestartPolicy;
use super::{
    Cause, Effect, Exit, IdleReason, Job, LONG_RUN, Machine, Phase, RunEnd, RunId, RunStage, SPAWN_RETRY, Wanted,
};

impl Machine {
    /// Decides what follows the last process of a run.
    pub(super) fn ended(&mut self, exit: Exit, now: Instant) -> Vec<Effect> {
        let (stage, cause, since) = match self.phase {
            Phase::Alive { stage, since } => (stage, Cause::Own, since),
            Phase::Draining { stage, cause, since, .. } | Phase::Killing { stage, cause, since, .. } => {
                (stage, cause, since)
            }
            Phase::Idle(_) | Phase::Preparing | Phase::Spawning { .. } | Phase::Waiting { .. } | Phase::Removed => {
                return Vec::new();
            }
        };
        self.last_exit = Some(exit);
        let job = match stage {
            RunStage::Installing => Job::Install,
            RunStage::Starting { .. } | RunStage::Up(_) => Job::Start,
        };
        match cause {
            Cause::Own => self.over(job, RunEnd::Exited(exit), now.saturating_duration_since(since), now),
            Cause::Unhealthy => self.over(job, RunEnd::Unhealthy(exit), now.saturating_duration_since(since), now),
            Cause::Asked => match self.wanted {
                Wanted::Up => self.spawn_next(),
                Wanted::Down | Wanted::Gone => self.become_idle(IdleReason::Stopped),
            },
            // A start by a command meanwhile has changed the cause to `Asked`.
            Cause::Unused => self.become_idle(IdleReason::Unused),
        }
    }

    /// Ends a run without visitors. A client's command, and a visit, count more than this.
    pub(super) fn unused(&mut self, now: Instant) -> Vec<Effect> {
        let is_up = matches!(self.phase, Phase::Alive { stage: RunStage::Starting { .. } | RunStage::Up(_), .. });
        if !is_up || self.wanted != Wanted::Up {
            return Vec::new();
        }
        self.wanted = Wanted::Down;
        self.drain(Cause::Unused, now)
    }

    /// Decides what follows a run, or a failed spawn, that no command ended.
    pub(super) fn over(&mut self, job: Job, end: RunEnd, lasted: Duration, now: Instant) -> Vec<Effect> {
        match (self.wanted, job) {
            (Wanted::Down | Wanted::Gone, _) => self.become_idle(IdleReason::Stopped),
            (Wanted::Up, Job::Install) if end.success() => {
                self.installed = true;
                self.spawn_next()
            }
            (Wanted::Up, Job::Install) => self.become_idle(IdleReason::InstallFailed(end)),
            (Wanted::Up, Job::Start) => self.decide_restart(end, lasted, now),
        }
    }

    fn decide_restart(&mut self, end: RunEnd, lasted: Duration, now: Instant) -> Vec<Effect> {
        let asked_for = match (self.rules.restart.policy, &end) {
            // `restart_after_failures` is a request of its own; the policy is about other ends.
            (_, RunEnd::Unhealthy(_)) | (RestartPolicy::Always, _) => true,
            (RestartPolicy::OnFailure, _) => !end.success(),
            (RestartPolicy::Never, _) => false,
        };
        if !asked_for {
            let rest = if end.success() { IdleReason::Completed } else { IdleReason::Failed(end) };
            return self.become_idle(rest);
        }
        if self.rules.restart.max.is_some_and(|max| self.restarts >= max.get()) {
            return self.become_idle(IdleReason::GaveUp { restarts: self.restarts, last: end });
        }
        self.restarts = self.restarts.saturating_add(1);
        let delay = match &end {
            RunEnd::Exited(_) | RunEnd::Unhealthy(_) => self.back_off(lasted),
            RunEnd::NotSpawned(_) => self.back_off(lasted).max(SPAWN_RETRY),
        };
        if delay.is_zero() {
            return self.spawn_next();
        }
        self.phase = Phase::Waiting { until: now + delay, last: end };
        Vec::new()
    }

    fn back_off(&mut self, lasted: Duration) -> Duration {
        let restart = &self.rules.restart;
        let Some(max) = restart.delay_max else { return restart.delay };
        if lasted >= LONG_RUN {
            self.short_runs = 0;
        }
        let factor = 1_u32.checked_shl(self.short_runs).unwrap_or(u32::MAX);
        self.short_runs = self.short_runs.saturating_add(1);
        restart.delay.saturating_mul(factor).min(max)
    }

    pub(super) fn spawn_next(&mut self) -> Vec<Effect> {
        self.run = RunId(self.run.0 + 1);
        self.last_exit = None;
        if self.rules.prepare && !self.prepared {
            self.phase = Phase::Preparing;
            return vec![Effect::Prepare(self.run)];
        }
        self.spawn()
    }

    /// Orders the spawn of the install or start command.
    pub(super) fn spawn(&mut self) -> Vec<Effect> {
        let job = if self.rules.install && !self.installed { Job::Install } else { Job::Start };
        self.phase = Phase::Spawning { job };
        vec![Effect::Spawn(self.run, job)]
    }

    pub(super) fn become_idle(&mut self, rest: IdleReason) -> Vec<Effect> {
        match self.wanted {
            Wanted::Gone => {
                self.phase = Phase::Removed;
                vec![Effect::Remove]
            }
            Wanted::Down | Wanted::Up => {
                self.wanted = Wanted::Down;
                self.phase = Phase::Idle(rest);
                Vec::new()
            }
        }
    }
}
