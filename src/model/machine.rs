//! The life-cycle of one server as a pure state machine.
//!
//! Owns: every decision about when a process is spawned, ended and started again. Never: a process, a clock, a
//! thread. Commands, events and the passing of time go in, each with the present moment; effects come out, and
//! whoever holds the machine carries them out and feeds back what came of it.
//!
//! What is *wanted* is kept apart from what *is* (the phase), as s6 does: a restart is "end it while it stays
//! wanted", a stop is "no longer wanted", and the end of a run looks at nothing but the wish. There is at most one
//! run at a time; an event of another run changes nothing.
//!
//! The tests walk every state that can be reached and check the invariants at every edge.

use std::time::{Duration, Instant};

use super::spec::ServerSpec;

mod after;
mod signs;
#[cfg(test)]
mod tests;
mod words;

pub use signs::{Demand, Mark, Signs};
pub use words::{Cause, Command, Effect, End, Event, Exit, Job, Phase, Refusal, Rest, RunId, Stage, Wanted};

/// How long a process has to live to be called running, when nothing was seen to listen before.
pub const SETTLE: Duration = Duration::from_millis(500);
/// A run that lasted this long ends the doubling of the restart delay (Docker's figure).
pub const LONG_RUN: Duration = Duration::from_secs(10);
/// The least delay after a spawn that failed, whatever the spec says: such an attempt takes no time, and without a
/// pause the next one would follow at once, for ever.
pub const SPAWN_RETRY: Duration = Duration::from_millis(100);
/// SIGKILL is repeated at this distance, for processes that were born while the tree was being killed.
pub const KILL_REPEAT: Duration = Duration::from_millis(200);

/// The part of a spec that the life-cycle depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    prepare: bool,
    install: bool,
    demand: Demand,
    restart: super::spec::RestartRules,
    stop_timeout: Duration,
}

impl From<&ServerSpec> for Rules {
    fn from(spec: &ServerSpec) -> Self {
        Rules {
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
    rules: Rules,
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
    /// A server that has not been started. Its runs are numbered after `last_run`.
    pub fn new(rules: Rules, last_run: RunId) -> Self {
        Machine {
            rules,
            wanted: Wanted::Down,
            phase: Phase::Resting(Rest::Stopped),
            run: last_run,
            prepared: false,
            installed: false,
            restarts: 0,
            short_runs: 0,
            last_exit: None,
        }
    }

    /// The same server, if what it waits for before its first start was there before.
    pub fn with_preparation_done(self) -> Self {
        Machine { prepared: true, ..self }
    }

    /// The same server, if its install command has succeeded before.
    pub fn with_install_done(self) -> Self {
        Machine { installed: true, ..self }
    }

    /// A server whose life-cycle was lost in a fault of the daemon. It has failed, and can be started again.
    pub fn lost(rules: Rules, last_run: RunId, why: String) -> Self {
        Machine { phase: Phase::Resting(Rest::Failed(End::Lost(why))), ..Machine::new(rules, last_run) }
    }

    /// What is wanted.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// What is true.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The present run, or else the last one.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Automatic restarts since the last start by hand.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How the last run ended; nothing while one lives.
    pub fn last_exit(&self) -> Option<Exit> {
        self.last_exit
    }

    /// When [`Machine::timeout`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Alive { stage: Stage::Starting { settled_at }, .. } => Some(settled_at),
            Phase::Draining { deadline, .. } => Some(deadline),
            Phase::Killing { again_at, .. } => Some(again_at),
            Phase::Waiting { until, .. } => Some(until),
            Phase::Resting(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Alive { stage: Stage::Installing | Stage::Up(_), .. }
            | Phase::Removed => None,
        }
    }

    /// Takes a command.
    ///
    /// # Errors
    /// The command makes no sense now; nothing has changed.
    pub fn command(&mut self, command: Command, now: Instant) -> Result<Vec<Effect>, Refusal> {
        match (command, self.wanted) {
            (Command::Start | Command::Stop | Command::Restart | Command::Mark(_), Wanted::Gone) => {
                Err(Refusal::BeingDeleted)
            }
            (Command::Mark(mark), Wanted::Up | Wanted::Down) => self.mark(mark),
            (Command::Start, Wanted::Up) if self.active() => Err(Refusal::Active),
            (Command::Start | Command::Restart, Wanted::Up | Wanted::Down) => Ok(self.bring_up(now)),
            (Command::Stop, Wanted::Up | Wanted::Down) => Ok(self.bring_down(Wanted::Down, now)),
            (Command::Delete, Wanted::Up | Wanted::Down | Wanted::Gone) => Ok(self.bring_down(Wanted::Gone, now)),
            (Command::Kill, Wanted::Gone) => Ok(self.kill(Wanted::Gone, now)),
            (Command::Kill, Wanted::Up | Wanted::Down) => Ok(self.kill(Wanted::Down, now)),
        }
    }

    /// Takes the news of a run. News of another run than the present one changes nothing.
    pub fn event(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        match event {
            Event::Prepared(run) if run == self.run => self.prepared(),
            Event::PrepareFailed(run, why) if run == self.run => self.prepare_failed(why),
            Event::Spawned(run) if run == self.run => self.spawned(now),
            Event::SpawnFailed(run, why) if run == self.run => self.spawn_failed(why, now),
            Event::LeaderExited(run) if run == self.run => self.leader_exited(now),
            Event::Ended(run, exit) if run == self.run => self.ended(exit, now),
            Event::Listening(run) if run == self.run => self.sign(Signs::listening),
            Event::Silent(run) if run == self.run => self.sign(Signs::silent),
            Event::Healthy(run) if run == self.run => self.sign(Signs::healthy),
            Event::Unhealthy(run) if run == self.run => self.sign(Signs::unhealthy),
            Event::BeyondHope(run) if run == self.run => self.drain(Cause::Unhealthy, now),
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
            | Event::BeyondHope(_) => Vec::new(),
        }
    }

    /// Tells the machine that its [deadline](Machine::deadline) may have come.
    pub fn timeout(&mut self, now: Instant) -> Vec<Effect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match &mut self.phase {
            Phase::Alive { stage, .. } => {
                *stage = Stage::Up(Signs::default());
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
            Phase::Resting(_) | Phase::Preparing | Phase::Spawning { .. } | Phase::Removed => Vec::new(),
        }
    }

    /// Whether it can be used.
    pub fn ready(&self) -> bool {
        match self.phase {
            Phase::Alive { stage: Stage::Up(signs), .. } => signs.ready(self.rules.demand),
            Phase::Alive { stage: Stage::Installing | Stage::Starting { .. }, .. }
            | Phase::Resting(_)
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

    /// Whether a process lives or will by itself.
    pub fn active(&self) -> bool {
        match self.phase {
            Phase::Resting(_) | Phase::Removed => false,
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
            Phase::Resting(_) | Phase::Preparing | Phase::Waiting { .. } => self.spawn_next(),
            Phase::Alive { .. } => self.drain(Cause::Asked, now),
            // The end of the old run is awaited; what comes after it is decided by the wish.
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
            Phase::Resting(_) | Phase::Preparing | Phase::Waiting { .. } => self.rest(Rest::Stopped),
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
            Phase::Resting(_)
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

    /// Takes what was seen of a living start command. Whoever is seen to do something is up.
    fn sign(&mut self, change: fn(Signs) -> Signs) -> Vec<Effect> {
        if let Phase::Alive { stage, .. } = &mut self.phase
            && let Some(signs) = stage.signs()
        {
            let changed = change(signs);
            if changed != signs {
                *stage = Stage::Up(changed);
            }
        }
        Vec::new()
    }

    fn mark(&mut self, mark: Mark) -> Result<Vec<Effect>, Refusal> {
        if let Phase::Alive { stage, .. } = &mut self.phase
            && let Some(signs) = stage.signs()
        {
            *stage = Stage::Up(signs.marked(mark, self.rules.demand));
            return Ok(Vec::new());
        }
        Err(Refusal::NotLive)
    }

    fn start_killing(&mut self, stage: Stage, cause: Cause, since: Instant, now: Instant) -> Vec<Effect> {
        self.phase = Phase::Killing { stage, cause, since, again_at: now + KILL_REPEAT };
        vec![Effect::Kill(self.run)]
    }

    fn prepared(&mut self) -> Vec<Effect> {
        let Phase::Preparing = self.phase else { return Vec::new() };
        self.prepared = true;
        // The run that it was prepared for.
        self.spawn()
    }

    fn prepare_failed(&mut self, why: String) -> Vec<Effect> {
        let Phase::Preparing = self.phase else { return Vec::new() };
        self.rest(Rest::Unprepared(why))
    }

    fn spawned(&mut self, now: Instant) -> Vec<Effect> {
        let Phase::Spawning { job } = self.phase else { return Vec::new() };
        let stage = match job {
            Job::Install => Stage::Installing,
            Job::Start => Stage::Starting { settled_at: now + SETTLE },
        };
        self.phase = Phase::Alive { stage, since: now };
        match self.wanted {
            Wanted::Up => Vec::new(),
            Wanted::Down | Wanted::Gone => self.drain(Cause::Asked, now),
        }
    }

    fn spawn_failed(&mut self, why: String, now: Instant) -> Vec<Effect> {
        let Phase::Spawning { job } = self.phase else { return Vec::new() };
        self.over(job, End::NotSpawned(why), Duration::ZERO, now)
    }

    fn leader_exited(&mut self, now: Instant) -> Vec<Effect> {
        match self.phase {
            // Whatever the leader leaves behind belongs to a run that is over.
            Phase::Alive { stage, since } => self.start_killing(stage, Cause::Own, since, now),
            // In a stop the tree keeps the time it was given: npm is gone long before its app has drained.
            Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Resting(_)
            | Phase::Preparing
            | Phase::Spawning { .. }
            | Phase::Waiting { .. }
            | Phase::Removed => Vec::new(),
        }
    }

    fn ended(&mut self, exit: Exit, now: Instant) -> Vec<Effect> {
        let (stage, cause, since) = match self.phase {
            Phase::Alive { stage, since } => (stage, Cause::Own, since),
            Phase::Draining { stage, cause, since, .. } | Phase::Killing { stage, cause, since, .. } => {
                (stage, cause, since)
            }
            Phase::Resting(_) | Phase::Preparing | Phase::Spawning { .. } | Phase::Waiting { .. } | Phase::Removed => {
                return Vec::new();
            }
        };
        self.last_exit = Some(exit);
        let job = match stage {
            Stage::Installing => Job::Install,
            Stage::Starting { .. } | Stage::Up(_) => Job::Start,
        };
        match cause {
            Cause::Own => self.over(job, End::Exited(exit), now.saturating_duration_since(since), now),
            Cause::Unhealthy => self.over(job, End::Unhealthy(exit), now.saturating_duration_since(since), now),
            Cause::Asked => match self.wanted {
                Wanted::Up => self.spawn_next(),
                Wanted::Down | Wanted::Gone => self.rest(Rest::Stopped),
            },
        }
    }
}
