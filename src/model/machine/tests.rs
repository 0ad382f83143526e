//! The complete walk of the life-cycle: every state that can be reached, every edge out of it, every invariant.
//!
//! A *world* is a machine together with what is true of its processes (of which the machine only receives events). Time
//! is virtual; a state's key has every moment relative to the present, so that the walk is finite.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;

use super::super::spec::{RestartPolicy, RestartRules};
use super::*;

mod invariants;
mod stories;

use invariants::{check_effects, check_policy, check_refusal, check_state, check_unused};

/// What is true outside of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Process {
    None,
    /// The machine has ordered a spawn.
    Ordered,
    /// The leader lives.
    Lives,
    /// The leader is gone, something of its tree is not.
    Left,
}

#[derive(Debug, Clone)]
struct World {
    machine: Machine,
    process: Process,
    /// The tree was sent SIGKILL.
    killed: bool,
    seen: Seen,
    now: Instant,
}

/// What was seen and said of the living run of a start command.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    listens: bool,
    healthy: bool,
    mark: Option<StatusMark>,
}

impl Seen {
    fn ready(self, rules: &LifecycleRules) -> bool {
        let by_itself = self.listens && (rules.demand == Demand::Listening || self.healthy);
        self.mark.map_or(by_itself, |mark| mark == StatusMark::Ready)
    }
}

/// One edge of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Command(Command),
    Prepared,
    PrepareFails,
    Spawned,
    SpawnFailed,
    LeaderExits,
    TreeGone(Exit),
    Listens,
    FallsSilent,
    PassesCheck,
    FailsChecks,
    FailsForRestart,
    Unused,
    Timeout,
    /// Ten seconds go by with nothing happening (only where no deadline is due before).
    TenSeconds,
    /// News of the run before the present one, of every kind.
    Stale,
}

const COMMANDS: [Command; 7] = [
    Command::Start,
    Command::Stop,
    Command::Restart,
    Command::Delete,
    Command::Kill,
    Command::Mark(StatusMark::Ready),
    Command::Mark(StatusMark::Running),
];

fn rules(install: bool, policy: RestartPolicy, max: u32, delay_ms: u64, delay_max_ms: Option<u64>) -> LifecycleRules {
    LifecycleRules {
        prepare: false,
        install,
        demand: Demand::Listening,
        restart: RestartRules {
            policy,
            max: NonZeroU32::new(max),
            delay: Duration::from_millis(delay_ms),
            delay_max: delay_max_ms.map(Duration::from_millis),
        },
        stop_timeout: Duration::from_secs(3),
    }
}

fn all_rules() -> Vec<LifecycleRules> {
    let mut all = Vec::new();
    for install in [false, true] {
        for (_, policy) in RestartPolicy::ALL {
            for max in [0, 1, 2] {
                for (delay, delay_max) in [(0, None), (1000, None), (1000, Some(3000))] {
                    let rules = rules(install, policy, max, delay, delay_max);
                    all.push(LifecycleRules { demand: Demand::Health, ..rules.clone() });
                    all.push(LifecycleRules { prepare: true, ..rules.clone() });
                    all.push(rules);
                }
            }
        }
    }
    all
}

/// A fixed origin; only distances from it matter.
fn origin() -> Instant {
    thread_local!(static ORIGIN: Instant = Instant::now());
    ORIGIN.with(|origin| *origin)
}

fn new_world(rules: LifecycleRules) -> World {
    World {
        machine: Machine::new(rules, RunId(7)),
        process: Process::None,
        killed: false,
        seen: Seen::default(),
        now: origin(),
    }
}

/// All that can make a difference later, with moments relative to now and counters cut off where they stop mattering.
fn key(world: &World) -> String {
    let machine = &world.machine;
    let to_deadline = machine.deadline().map(|deadline| deadline.saturating_duration_since(world.now));
    let age = match machine.phase {
        Phase::Alive { since, .. }
        | Phase::Draining { since, cause: Cause::Unhealthy, .. }
        | Phase::Killing { since, cause: Cause::Own | Cause::Unhealthy, .. } => {
            Some(world.now.saturating_duration_since(since) >= LONG_RUN)
        }
        _ => None,
    };
    let phase = match &machine.phase {
        Phase::Idle(rest) => format!("{rest:?}"),
        Phase::Preparing => "preparing".into(),
        Phase::Spawning { job } => format!("spawning {job:?}"),
        Phase::Alive { stage, .. } => format!("alive {}", stage_key(*stage)),
        Phase::Draining { stage, cause, .. } => format!("draining {} {cause:?}", stage_key(*stage)),
        Phase::Killing { stage, cause, .. } => format!("killing {} {cause:?}", stage_key(*stage)),
        Phase::Waiting { last, .. } => format!("waiting {last:?}"),
        Phase::Removed => "removed".into(),
    };
    format!(
        "{:?} {phase} {to_deadline:?} {age:?} prepared={} installed={} restarts={} short={} {:?} killed={}",
        machine.wanted,
        machine.prepared,
        machine.installed,
        machine.restarts.min(3),
        machine.short_runs.min(3),
        world.process,
        world.killed,
    )
}

fn stage_key(stage: RunStage) -> String {
    match stage {
        RunStage::Installing => "installing".into(),
        RunStage::Starting { .. } => "starting".into(),
        RunStage::Up(observations) => format!("{observations:?}"),
    }
}

fn steps(world: &World) -> Vec<Step> {
    let mut steps: Vec<Step> = COMMANDS.into_iter().map(Step::Command).collect();
    steps.push(Step::Stale);
    match world.process {
        Process::None if world.machine.phase == Phase::Preparing => steps.extend([Step::Prepared, Step::PrepareFails]),
        Process::None => {}
        Process::Ordered => steps.extend([Step::Spawned, Step::SpawnFailed]),
        Process::Lives => steps.extend([
            Step::LeaderExits,
            Step::Listens,
            Step::FallsSilent,
            Step::PassesCheck,
            Step::FailsChecks,
            Step::FailsForRestart,
            Step::Unused,
        ]),
        Process::Left => {}
    }
    if matches!(world.process, Process::Lives | Process::Left) {
        steps.extend([Exit::Code(0), Exit::Code(3), Exit::Signal(9)].map(Step::TreeGone));
    }
    match world.machine.deadline() {
        Some(_) => steps.push(Step::Timeout),
        None if world.process == Process::Lives => steps.push(Step::TenSeconds),
        None => {}
    }
    steps
}

/// Takes one step and checks every invariant of the edge.
fn take(before: &World, step: Step) -> World {
    let mut world = before.clone();
    let old_run = world.machine.run;
    let effects = match step {
        Step::Command(command) => {
            let answer = world.machine.command(command, world.now);
            check_refusal(before, &world, command, &answer);
            if let (Command::Mark(mark), Ok(_)) = (command, &answer) {
                let unmarked = Seen { mark: None, ..world.seen };
                let means_something = mark == StatusMark::Ready || unmarked.ready(&world.machine.rules);
                world.seen.mark = means_something.then_some(mark);
            }
            answer.unwrap_or_default()
        }
        Step::Prepared => world.machine.event(Event::Prepared(old_run), world.now),
        Step::PrepareFails => {
            world.machine.event(Event::PrepareFailed(old_run, "a file can't be copied".into()), world.now)
        }
        Step::Spawned => {
            world.process = Process::Lives;
            world.killed = false;
            world.seen = Seen::default();
            world.machine.event(Event::Spawned(old_run), world.now)
        }
        Step::SpawnFailed => {
            world.process = Process::None;
            world.machine.event(Event::SpawnFailed(old_run, "no such directory".into()), world.now)
        }
        Step::LeaderExits => {
            world.process = Process::Left;
            world.machine.event(Event::LeaderExited(old_run), world.now)
        }
        Step::TreeGone(exit) => {
            world.process = Process::None;
            world.machine.event(Event::Ended(old_run, exit), world.now)
        }
        Step::Listens => {
            world.seen.listens = true;
            world.machine.event(Event::Listening(old_run), world.now)
        }
        Step::FallsSilent => {
            (world.seen.listens, world.seen.healthy) = (false, false);
            world.machine.event(Event::Silent(old_run), world.now)
        }
        Step::PassesCheck => {
            (world.seen.listens, world.seen.healthy) = (true, true);
            world.machine.event(Event::Healthy(old_run), world.now)
        }
        Step::FailsChecks => {
            world.seen.healthy = false;
            world.machine.event(Event::Unhealthy(old_run), world.now)
        }
        Step::FailsForRestart => world.machine.event(Event::RestartDue(old_run), world.now),
        Step::Unused => world.machine.event(Event::Unused(old_run), world.now),
        Step::Timeout => {
            world.now = world.machine.deadline().unwrap();
            world.machine.timeout(world.now)
        }
        Step::TenSeconds => {
            world.now += LONG_RUN;
            Vec::new()
        }
        Step::Stale => {
            let stale = RunId(old_run.0 - 1);
            let mut effects = Vec::new();
            for event in [
                Event::Prepared(stale),
                Event::PrepareFailed(stale, String::new()),
                Event::Spawned(stale),
                Event::SpawnFailed(stale, String::new()),
                Event::LeaderExited(stale),
                Event::Ended(stale, Exit::Code(1)),
                Event::Listening(stale),
                Event::Silent(stale),
                Event::Healthy(stale),
                Event::Unhealthy(stale),
                Event::RestartDue(stale),
                Event::Unused(stale),
            ] {
                effects.extend(world.machine.event(event, world.now));
            }
            assert_eq!(key(before), key(&world), "news of an old run changed something");
            assert_eq!(effects, [], "news of an old run had effects");
            effects
        }
    };
    check_effects(before, &mut world, step, &effects);
    check_state(before, &world, step);
    check_policy(before, &world, step);
    check_unused(before, &world, step);
    world
}

/// From here, a stop in a fair world (spawns are answered, killed trees vanish) must end.
fn check_stop_ends(from: &World) {
    if from.machine.wanted == Wanted::Gone {
        return check_ends(from.clone(), from);
    }
    check_ends(take(from, Step::Command(Command::Stop)), from);
}

fn check_ends(mut world: World, from: &World) {
    for _ in 0..8 {
        if matches!(world.machine.phase, Phase::Idle(IdleReason::Stopped) | Phase::Removed) {
            return;
        }
        let step = match world.process {
            Process::Ordered => Step::Spawned,
            Process::Lives | Process::Left if world.killed => Step::TreeGone(Exit::Signal(9)),
            _ => Step::Timeout,
        };
        world = take(&world, step);
    }
    panic!("a stop does not end from {from:?}; it ended with {world:?}");
}

#[test]
fn every_reachable_state_keeps_every_promise() {
    let (mut states, mut edges) = (0_usize, 0_usize);
    let all = all_rules();
    for rules in &all {
        let mut seen = HashMap::new();
        let mut queue = VecDeque::from([new_world(rules.clone())]);
        while let Some(world) = queue.pop_front() {
            if seen.insert(key(&world), ()).is_some() {
                continue;
            }
            check_stop_ends(&world);
            for step in steps(&world) {
                edges += 1;
                let next = take(&world, step);
                if !seen.contains_key(&key(&next)) {
                    queue.push_back(next);
                }
            }
        }
        assert!(seen.len() > 15, "the walk went nowhere: {} states", seen.len());
        states += seen.len();
    }
    println!("walked {states} states and {edges} edges of {} configurations", all.len());
    // A walk that shrinks by half has lost something: a step, an event, a configuration.
    assert!(states > 1_000 && edges > 10_000, "only {states} states and {edges} edges");
}
