//! The complete walk of the life-cycle: every state that can be reached, every edge out of it, every invariant.
//!
//! A *world* is a machine together with what is true of its processes (which the machine only hears about). Time is
//! virtual; a state's key has every moment relative to the present, so that the walk is finite.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;

use super::super::spec::RestartRules;
use super::super::status::Status;
use super::*;

mod stories;

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
    now: Instant,
}

/// One edge of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Command(Command),
    Spawned,
    SpawnFailed,
    LeaderExits,
    TreeGone(Exit),
    Listens,
    Timeout,
    /// Ten seconds go by with nothing happening (only where no deadline is due before).
    TenSeconds,
    /// News of the run before the present one, of every kind.
    Stale,
}

const COMMANDS: [Command; 5] = [Command::Start, Command::Stop, Command::Restart, Command::Delete, Command::Kill];

fn rules(install: bool, policy: RestartPolicy, max: u32, delay_ms: u64, delay_max_ms: Option<u64>) -> Rules {
    Rules {
        install,
        restart: RestartRules {
            policy,
            max: NonZeroU32::new(max),
            delay: Duration::from_millis(delay_ms),
            delay_max: delay_max_ms.map(Duration::from_millis),
        },
        stop_timeout: Duration::from_secs(3),
    }
}

fn all_rules() -> Vec<Rules> {
    let mut all = Vec::new();
    for install in [false, true] {
        for (_, policy) in RestartPolicy::ALL {
            for max in [0, 1, 2] {
                for (delay, delay_max) in [(0, None), (1000, None), (1000, Some(3000))] {
                    all.push(rules(install, policy, max, delay, delay_max));
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

fn new_world(rules: Rules) -> World {
    World { machine: Machine::new(rules, RunId(7)), process: Process::None, killed: false, now: origin() }
}

/// All that can make a difference later, with moments relative to now and counters cut off where they stop mattering.
fn key(world: &World) -> String {
    let machine = &world.machine;
    let to_deadline = machine.deadline().map(|deadline| deadline.saturating_duration_since(world.now));
    let age = match machine.phase {
        Phase::Alive { since, .. } | Phase::Killing { since, cause: Cause::Own, .. } => {
            Some(world.now.saturating_duration_since(since) >= LONG_RUN)
        }
        _ => None,
    };
    let phase = match &machine.phase {
        Phase::Resting(rest) => format!("{rest:?}"),
        Phase::Spawning { job } => format!("spawning {job:?}"),
        Phase::Alive { stage, .. } => format!("alive {}", stage_key(*stage)),
        Phase::Draining { stage, .. } => format!("draining {}", stage_key(*stage)),
        Phase::Killing { stage, cause, .. } => format!("killing {} {cause:?}", stage_key(*stage)),
        Phase::Waiting { last, .. } => format!("waiting {last:?}"),
        Phase::Removed => "removed".into(),
    };
    format!(
        "{:?} {phase} {to_deadline:?} {age:?} installed={} restarts={} short={} {:?} killed={}",
        machine.wanted,
        machine.installed,
        machine.restarts.min(3),
        machine.short_runs.min(3),
        world.process,
        world.killed,
    )
}

fn stage_key(stage: Stage) -> &'static str {
    match stage {
        Stage::Installing => "installing",
        Stage::Starting { .. } => "starting",
        Stage::Up => "up",
    }
}

fn steps(world: &World) -> Vec<Step> {
    let mut steps: Vec<Step> = COMMANDS.into_iter().map(Step::Command).collect();
    steps.push(Step::Stale);
    match world.process {
        Process::None => {}
        Process::Ordered => steps.extend([Step::Spawned, Step::SpawnFailed]),
        Process::Lives => steps.extend([Step::LeaderExits, Step::Listens]),
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
            answer.unwrap_or_default()
        }
        Step::Spawned => {
            world.process = Process::Lives;
            world.killed = false;
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
        Step::Listens => world.machine.event(Event::Listening(old_run), world.now),
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
                Event::Spawned(stale),
                Event::SpawnFailed(stale, String::new()),
                Event::LeaderExited(stale),
                Event::Ended(stale, Exit::Code(1)),
                Event::Listening(stale),
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
    world
}

fn check_refusal(before: &World, after: &World, command: Command, answer: &Result<Vec<Effect>, Refusal>) {
    let Err(refusal) = answer else { return };
    assert_eq!(key(before), key(after), "a refused command changed something");
    match refusal {
        Refusal::Active => {
            assert_eq!(command, Command::Start);
            assert!(before.machine.active());
        }
        Refusal::BeingDeleted => assert_eq!(before.machine.wanted, Wanted::Gone),
    }
    assert!(
        !matches!(command, Command::Delete | Command::Kill),
        "{command:?} must be possible in every state, it is not in {before:?}"
    );
}

fn check_effects(before: &World, world: &mut World, step: Step, effects: &[Effect]) {
    let at = || format!("{step:?} from {before:?}");
    assert!(effects.len() <= 1, "more than one effect at {}", at());
    for effect in effects {
        match effect {
            Effect::Spawn(run, job) => {
                assert_eq!(world.process, Process::None, "spawn while a run lives at {}", at());
                assert_eq!(world.machine.wanted, Wanted::Up, "spawn of what is not wanted at {}", at());
                assert!(run.0 == before.machine.run.0 + 1, "run numbers go up by one at {}", at());
                assert_eq!(world.machine.phase, Phase::Spawning { job: *job });
                if *job == Job::Install {
                    assert!(world.machine.rules.install && !world.machine.installed);
                } else {
                    assert!(!world.machine.rules.install || world.machine.installed, "start without install");
                }
                world.process = Process::Ordered;
            }
            Effect::Terminate(run) => {
                assert_eq!(*run, world.machine.run, "a signal for another run at {}", at());
                assert_eq!(world.process, Process::Lives, "SIGTERM without a living leader at {}", at());
                assert!(!world.killed);
            }
            Effect::Kill(run) => {
                assert_eq!(*run, world.machine.run, "a signal for another run at {}", at());
                assert!(matches!(world.process, Process::Lives | Process::Left), "SIGKILL for nothing at {}", at());
                world.killed = true;
            }
            Effect::Remove => {
                assert_eq!(world.machine.wanted, Wanted::Gone);
                assert_eq!(world.process, Process::None, "forgotten while it lives at {}", at());
            }
        }
    }
}

fn check_state(before: &World, world: &World, step: Step) {
    let at = || format!("{step:?} from {before:?}");
    let machine = &world.machine;
    match world.process {
        Process::None => assert!(
            matches!(machine.phase, Phase::Resting(_) | Phase::Waiting { .. } | Phase::Removed),
            "the machine thinks that something lives at {}: {machine:?}",
            at()
        ),
        Process::Ordered => assert!(matches!(machine.phase, Phase::Spawning { .. }), "{}", at()),
        Process::Lives | Process::Left => assert!(
            matches!(machine.phase, Phase::Alive { .. } | Phase::Draining { .. } | Phase::Killing { .. }),
            "a run was forgotten at {}: {machine:?}",
            at()
        ),
    }
    if matches!(world.process, Process::Lives | Process::Left) && machine.wanted != Wanted::Up {
        assert!(world.killed || machine.deadline().is_some(), "an unwanted run may live for ever at {}", at());
    }
    if world.process == Process::Left && !world.killed {
        assert!(
            matches!(machine.phase, Phase::Draining { .. }),
            "a tree without leader outside of a stop must be killed at {}",
            at()
        );
    }
    if let Some(max) = machine.rules.restart.max {
        assert!(machine.restarts <= max.get(), "over the budget of restarts at {}", at());
    }
    if before.machine.wanted == Wanted::Gone {
        assert_eq!(machine.wanted, Wanted::Gone, "a delete was taken back at {}", at());
    }
    if let (Step::Command(Command::Stop | Command::Delete | Command::Kill), true) =
        (step, before.process == Process::None)
    {
        assert!(!machine.active(), "nothing lived, so nothing remains to be done at {}", at());
    }
    check_status(world, &at());
}

fn check_status(world: &World, at: &str) {
    let status = Status::of(&world.machine);
    let lives = matches!(world.process, Process::Lives | Process::Left);
    match status {
        Status::Stopped | Status::Failed => assert!(!lives, "{} while processes live at {at}", status.word()),
        Status::Installing => assert!(world.machine.rules.install, "{at}"),
        Status::Starting | Status::Running | Status::Restarting => assert!(world.machine.active(), "{at}"),
        Status::Ready => {}
    }
    if status == Status::Failed {
        assert!(super::super::status::reason(&world.machine).is_some(), "failed without a reason at {at}");
    }
}

/// From here, a stop in a fair world (spawns are answered, killed trees vanish) must come to its end.
fn check_stop_ends(from: &World) {
    if from.machine.wanted == Wanted::Gone {
        return check_ends(from.clone(), from);
    }
    check_ends(take(from, Step::Command(Command::Stop)), from);
}

fn check_ends(mut world: World, from: &World) {
    for _ in 0..8 {
        if matches!(world.machine.phase, Phase::Resting(Rest::Stopped) | Phase::Removed) {
            return;
        }
        let step = match world.process {
            Process::Ordered => Step::Spawned,
            Process::Lives | Process::Left if world.killed => Step::TreeGone(Exit::Signal(9)),
            _ => Step::Timeout,
        };
        world = take(&world, step);
    }
    panic!("a stop does not end from {from:?}; it came to {world:?}");
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
