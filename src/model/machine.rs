//! The life-cycle of one server as a pure state machine.
//!
//! Owns: every decision about when a process is spawned, ended and restarted. Never: a process, a clock, a thread.
//! Commands, events and timeouts go in, each with the current time; effects come out. The caller carries the effects
//! out and reports their results as events.
//!
//! The *wanted* state is separate from the actual one (the phase), as in s6: a restart ends a run that stays wanted, a
//! stop ends a run that is no longer wanted, and what follows an end depends on the wanted state alone. There is at
//! most one run at a time; events of other runs are ignored.
//!
//! The tests visit every reachable state and check the invariants at every transition.

use std::time::{Duration, Instant};

use super::spec::ServerSpec;

mod after;
mod readiness;
#[cfg(test)]
mod tests;
mod types;

pub use readiness::{Demand, RunObservations, StatusMark};
pub use types::{
    Cause, Command, CommandRefusal, Effect, Event, Exit, IdleReason, Job, Phase, RunEnd, RunId, RunStage, Wanted,
};

/// The age at which a process counts as running, if it does not listen before.
pub const SETTLE: Duration = Duration::from_millis(500);
/// The length of a run that resets the doubling of the restart delay (Docker's figure).
pub const LONG_RUN: Duration = Duration::from_secs(10);
/// The shortest delay after a failed spawn, under every spec: such an attempt takes no time, so without a pause it
/// would be repeated in a busy loop.
pub const SPAWN_RETRY: Duration = Duration::from_millis(100);
/// The interval at which SIGKILL is repeated, for processes that were forked while the tree was being killed.
pub const KILL_REPEAT: Duration = Duration::from_millis(200);

/// The part of a spec that the life-cycle depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRules {
    prepare: bool,
    install: bool,
    demand: Demand,
    restart: super::spec::RestartRules,
    stop_timeout: Duration,
}

impl From<&ServerSpec> for LifecycleRules {
    fn from(spec: &ServerSpec) -> Self {
        LifecycleRules {
            prepare: spec.waits_for_overlays(),
            install: spec.install.is_some(),
            demand: if spec.health_check.is_some() { Demand::Health } else { Demand::Listening },
            restart: spec.restart.clone(),
            stop_timeout: spec.stop_timeout,
        }
    }
}

/// The life-cycle of one server.
#[derive(Debug, Clone)]
pub struct Machine {
    rules: LifecycleRules,
    wanted: Wanted,
    phase: Phase,
    run: RunId,
    prepared: bool,
    installed: bool,
    restarts: u32,
    short_runs: u32,
    last_exit: Option<Exit>,
}

impl Machine {
    /// Creates the life-cycle of a server that has not been started. Runs are numbered from `last_run` + 1.
    pub fn new(rules: LifecycleRules, last_run: RunId) -> Self {
        Machine {
            rules,
            wanted: Wanted::Down,
            phase: Phase::Idle(IdleReason::Stopped),
            run: last_run,
            prepared: false,
            installed: false,
            restarts: 0,
            short_runs: 0,
            last_exit: None,
        }
    }

    /// Marks the preparation (overlays) as done by an earlier daemon.
    pub fn with_preparation_done(self) -> Self {
        Machine { prepared: true, ..self }
    }

    /// Marks the install command as done by an earlier daemon.
    pub fn with_install_done(self) -> Self {
        Machine { installed: true, ..self }
    }

    /// Creates the life-cycle of a server whose supervisor panicked: it has failed, and can be started again.
    pub fn lost(rules: LifecycleRules, last_run: RunId, why: String) -> Self {
        Machine { phase: Phase::Idle(IdleReason::Lost(why)), ..Machine::new(rules, last_run) }
    }

    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The current run, or the last one if there is none.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The number of automatic restarts since the last start command.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How the last run ended; `None` during a run.
    pub fn last_exit(&self) -> Option<Exit> {
        self.last_exit
    }

    /// When [`Machine::timeout`] must be called next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Alive { stage: RunStage::Starting { settled_at }, .. } => Some(settled_at),
            Phase::Draining { deadline, .. } => Some(deadline),
            Phase::Killing { again_at, .. } => Some(again_at),
            Phase::Waiting { until, .. } => Some(until),
            Phase::Idle(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Alive { stage: RunStage::Installing | RunStage::Up(_), .. }
            | Phase::Removed => None,
        }
    }

    /// Applies a command.
    ///
    /// # Errors
    /// The command is not possible in this state, which has not changed.
    pub fn command(&mut self, command: Command, now: Instant) -> Result<Vec<Effect>, CommandRefusal> {
        match (command, self.wanted) {
            (Command::Start | Command::Stop | Command::Restart | Command::Mark(_), Wanted::Gone) => {
                Err(CommandRefusal::BeingDeleted)
            }
            (Command::Mark(mark), Wanted::Up | Wanted::Down) => self.mark(mark),
            (Command::Start, Wanted::Up) if self.active() => Err(CommandRefusal::Active),
            (Command::Start | Command::Restart, Wanted::Up | Wanted::Down) => Ok(self.bring_up(now)),
            (Command::Stop, Wanted::Up | Wanted::Down) => Ok(self.bring_down(Wanted::Down, now)),
            (Command::Delete, Wanted::Up | Wanted::Down | Wanted::Gone) => Ok(self.bring_down(Wanted::Gone, now)),
            (Command::Kill, Wanted::Gone) => Ok(self.kill(Wanted::Gone, now)),
            (Command::Kill, Wanted::Up | Wanted::Down) => Ok(self.kill(Wanted::Down, now)),
        }
    }

    /// Applies an event of a run. Events of any run but the current one are ignored.
    pub fn event(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        match event {
            Event::Prepared(run) if run == self.run => self.prepared(),
            Event::PrepareFailed(run, why) if run == self.run => self.prepare_failed(why),
            Event::Spawned(run) if run == self.run => self.spawned(now),
            Event::SpawnFailed(run, why) if run == self.run => self.spawn_failed(why, now),
            Event::LeaderExited(run) if run == self.run => self.leader_exited(now),
            Event::Ended(run, exit) if run == self.run => self.ended(exit, now),
            Event::Listening(run) if run == self.run => self.observe(RunObservations::listening),
            Event::Silent(run) if run == self.run => self.observe(RunObservations::silent),
            Event::Healthy(run) if run == self.run => self.observe(RunObservations::healthy),
            Event::Unhealthy(run) if run == self.run => self.observe(RunObservations::unhealthy),
            Event::RestartDue(run) if run == self.run => self.drain(Cause::Unhealthy, now),
            Event::Unused(run) if run == self.run => self.unused(now),
            Event::Prepared(_)
            | Event::PrepareFailed(..)
            | Event::Spawned(_)
            | Event::SpawnFailed(..)
            | Event::LeaderExited(_)
            | Event::Ended(..)
            | Event::Listening(_)
            | Event::Silent(_)
            | Event::Healthy(_)
            | Event::Unhealthy(_)
            | Event::RestartDue(_)
            | Event::Unused(_) => Vec::new(),
        }
    }

    /// Acts on the [deadline](Machine::deadline) if it has passed.
    pub fn timeout(&mut self, now: Instant) -> Vec<Effect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match &mut self.phase {
            Phase::Alive { stage, .. } => {
                *stage = RunStage::Up(RunObservations::default());
                Vec::new()
            }
            Phase::Draining { stage, cause, since, .. } => {
                let (stage, cause, since) = (*stage, *cause, *since);
                self.start_killing(stage, cause, since, now)
            }
            Phase::Killing { again_at, .. } => {
                *again_at = now + KILL_REPEAT;
                vec![Effect::Kill(self.run)]
            }
            Phase::Waiting { .. } => self.spawn_next(),
            Phase::Idle(_) | Phase::Preparing | Phase::Spawning { .. } | Phase::Removed => Vec::new(),
        }
    }

    /// Whether the server is ready: it listens and is healthy as far as the spec asks, or a client has marked it.
    pub fn ready(&self) -> bool {
        match self.phase {
            Phase::Alive { stage: RunStage::Up(observations), .. } => observations.ready(self.rules.demand),
            Phase::Alive { stage: RunStage::Installing | RunStage::Starting { .. }, .. }
            | Phase::Idle(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => false,
        }
    }

    /// Whether the end of its processes is awaited.
    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Killing { .. })
    }

    /// Whether a process runs, or will without a further command.
    pub fn active(&self) -> bool {
        match self.phase {
            Phase::Idle(_) | Phase::Removed => false,
            Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Alive { .. }
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Waiting { .. } => true,
        }
    }

    fn bring_up(&mut self, now: Instant) -> Vec<Effect> {
        self.wanted = Wanted::Up;
        self.restarts = 0;
        self.short_runs = 0;
        match &mut self.phase {
            Phase::Idle(_) | Phase::Preparing | Phase::Waiting { .. } => self.spawn_next(),
            Phase::Alive { .. } => self.drain(Cause::Asked, now),
            // The old run is ending; the wanted state decides what follows.
            Phase::Draining { cause, .. } | Phase::Killing { cause, .. } => {
                *cause = Cause::Asked;
                Vec::new()
            }
            Phase::Spawning { .. } | Phase::Removed => Vec::new(),
        }
    }

    fn bring_down(&mut self, wish: Wanted, now: Instant) -> Vec<Effect> {
        self.wanted = wish;
        match &mut self.phase {
            Phase::Idle(_) | Phase::Preparing | Phase::Waiting { .. } => self.become_idle(IdleReason::Stopped),
            Phase::Alive { .. } => self.drain(Cause::Asked, now),
            Phase::Draining { cause, .. } | Phase::Killing { cause, .. } => {
                *cause = Cause::Asked;
                Vec::new()
            }
            Phase::Spawning { .. } | Phase::Removed => Vec::new(),
        }
    }

    fn kill(&mut self, wish: Wanted, now: Instant) -> Vec<Effect> {
        match self.phase {
            Phase::Alive { stage, since } => {
                self.wanted = wish;
                self.start_killing(stage, Cause::Asked, since, now)
            }
            Phase::Draining { stage, since, .. } => {
                self.wanted = wish;
                self.start_killing(stage, Cause::Asked, since, now)
            }
            Phase::Idle(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Killing { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => self.bring_down(wish, now),
        }
    }

    fn drain(&mut self, cause: Cause, now: Instant) -> Vec<Effect> {
        if let Phase::Alive { stage, since } = self.phase {
            self.phase = Phase::Draining { stage, cause, since, deadline: now + self.rules.stop_timeout };
            return vec![Effect::Terminate(self.run)];
        }
        Vec::new()
    }

    /// Applies an observation of the start command. Any observation ends the `Starting` stage.
    fn observe(&mut self, change: fn(RunObservations) -> RunObservations) -> Vec<Effect> {
        if let Phase::Alive { stage, .. } = &mut self.phase
            && let Some(observations) = stage.observations()
        {
            let changed = change(observations);
            if changed != observations {
                *stage = RunStage::Up(changed);
            }
        }
        Vec::new()
    }

    fn mark(&mut self, mark: StatusMark) -> Result<Vec<Effect>, CommandRefusal> {
        if let Phase::Alive { stage, .. } = &mut self.phase
            && let Some(observations) = stage.observations()
        {
            *stage = RunStage::Up(observations.marked(mark, self.rules.demand));
            return Ok(Vec::new());
        }
        Err(CommandRefusal::NotLive)
    }

    fn start_killing(&mut self, stage: RunStage, cause: Cause, since: Instant, now: Instant) -> Vec<Effect> {
        self.phase = Phase::Killing { stage, cause, since, again_at: now + KILL_REPEAT };
        vec![Effect::Kill(self.run)]
    }

    fn prepared(&mut self) -> Vec<Effect> {
        let Phase::Preparing = self.phase else { return Vec::new() };
        self.prepared = true;
        // The run number stays: it was taken for the preparation.
        self.spawn()
    }

    fn prepare_failed(&mut self, why: String) -> Vec<Effect> {
        let Phase::Preparing = self.phase else { return Vec::new() };
        self.become_idle(IdleReason::Unprepared(why))
    }

    fn spawned(&mut self, now: Instant) -> Vec<Effect> {
        let Phase::Spawning { job } = self.phase else { return Vec::new() };
        let stage = match job {
            Job::Install => RunStage::Installing,
            Job::Start => RunStage::Starting { settled_at: now + SETTLE },
        };
        self.phase = Phase::Alive { stage, since: now };
        match self.wanted {
            Wanted::Up => Vec::new(),
            Wanted::Down | Wanted::Gone => self.drain(Cause::Asked, now),
        }
    }

    fn spawn_failed(&mut self, why: String, now: Instant) -> Vec<Effect> {
        let Phase::Spawning { job } = self.phase else { return Vec::new() };
        self.over(job, RunEnd::NotSpawned(why), Duration::ZERO, now)
    }

    fn leader_exited(&mut self, now: Instant) -> Vec<Effect> {
        match self.phase {
            // Processes that outlive the leader belong to a run that has ended.
            Phase::Alive { stage, since } => self.start_killing(stage, Cause::Own, since, now),
            // During a stop the tree keeps its grace time: npm exits long before its app has drained.
            Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Idle(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => Vec::new(),
        }
    }
}
