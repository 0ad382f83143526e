//! What has to hold at every edge of the walk.

use super::super::super::spec::RestartPolicy;
use super::super::*;
use super::{Process, Step, World, key};
use crate::model::status::{Status, reason};
use crate::model::stop::StopSignal;

pub fn check_refusal(before: &World, after: &World, command: Command, answer: &Result<Vec<Effect>, CommandRefusal>) {
    let Err(refusal) = answer else { return };
    assert_eq!(key(before), key(after), "a refused command changed something");
    match refusal {
        CommandRefusal::Active => {
            assert_eq!(command, Command::Start);
            assert!(before.machine.active());
        }
        CommandRefusal::BeingDeleted => assert_eq!(before.machine.wanted, Wanted::Gone),
        CommandRefusal::NotLive => {
            assert!(matches!(command, Command::Mark(_)));
            let is_up =
                matches!(before.machine.phase, Phase::Alive { stage: RunStage::Starting { .. } | RunStage::Up(_), .. });
            assert!(!is_up, "{before:?}");
        }
    }
    assert!(
        !matches!(command, Command::Delete | Command::Kill),
        "{command:?} must be possible in every state, it is not in {before:?}"
    );
}

pub fn check_effects(before: &World, world: &mut World, step: Step, effects: &[Effect]) {
    let at = || format!("{step:?} from {before:?}");
    assert!(effects.len() <= 1, "more than one effect at {}", at());
    for effect in effects {
        match effect {
            Effect::Spawn(run, job) => {
                assert_eq!(world.process, Process::None, "spawn while a run lives at {}", at());
                assert_eq!(world.machine.wanted, Wanted::Up, "spawn of what is not wanted at {}", at());
                // What was prepared for a run is that run's.
                let is_prepared = step == Step::Prepared;
                assert!(
                    run.0 == before.machine.run.0 + u64::from(!is_prepared),
                    "run numbers go up by one at {}",
                    at()
                );
                assert_eq!(world.machine.phase, Phase::Spawning { job: *job });
                if *job == Job::Install {
                    assert!(world.machine.rules.install && !world.machine.installed);
                } else {
                    assert!(!world.machine.rules.install || world.machine.installed, "start without install");
                }
                assert!(!world.machine.rules.prepare || world.machine.prepared, "a process before what it needs");
                world.process = Process::Ordered;
            }
            Effect::Prepare(run) => {
                assert_eq!(world.process, Process::None, "preparation while a run lives at {}", at());
                assert_eq!(world.machine.wanted, Wanted::Up, "preparation of what is not wanted at {}", at());
                assert!(run.0 == before.machine.run.0 + 1, "run numbers go up by one at {}", at());
                assert_eq!(world.machine.phase, Phase::Preparing);
                assert!(world.machine.rules.prepare && !world.machine.prepared, "prepared twice at {}", at());
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

pub fn check_state(before: &World, world: &World, step: Step) {
    let at = || format!("{step:?} from {before:?}");
    let machine = &world.machine;
    match world.process {
        Process::None => assert!(
            matches!(machine.phase, Phase::Idle(_) | Phase::Preparing | Phase::Waiting { .. } | Phase::Removed),
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

/// After an end that no command asked for, the start command runs again exactly if the policy, or a rule of the health
/// check, says so and the limit of restarts is not reached. Nothing else counts as a restart.
pub fn check_policy(before: &World, world: &World, step: Step) {
    let at = || format!("{step:?} from {before:?}");
    let (is_end, cause, stage, success) = match (&before.machine.phase, step) {
        (Phase::Spawning { job: Job::Start }, Step::SpawnFailed) => (true, Cause::Own, None, false),
        (Phase::Alive { stage, .. }, Step::TreeGone(exit)) => (true, Cause::Own, Some(*stage), exit == Exit::Code(0)),
        (Phase::Draining { stage, cause, .. } | Phase::Killing { stage, cause, .. }, Step::TreeGone(exit)) => {
            (true, *cause, Some(*stage), exit == Exit::Code(0))
        }
        _ => (false, Cause::Asked, None, false),
    };
    let (old, new) = (before.machine.restarts, world.machine.restarts);
    let is_reset = matches!(step, Step::Command(Command::Start | Command::Restart)) && new == 0;
    if !is_end || cause == Cause::Asked || before.machine.wanted != Wanted::Up || stage == Some(RunStage::Installing) {
        assert!(new == old || is_reset, "a restart was counted without an end at {}", at());
        return;
    }
    let rules = &before.machine.rules.restart;
    let is_due = match (cause, rules.policy) {
        (Cause::Unhealthy, _) | (_, RestartPolicy::Always) => true,
        (_, RestartPolicy::OnFailure) => !success,
        (_, RestartPolicy::Never) => false,
    };
    let is_spent = rules.max.is_some_and(|max| old >= max.get());
    let expected = match (is_due, is_spent) {
        (true, false) => {
            assert_eq!(new, old + 1, "an uncounted restart at {}", at());
            let is_next = matches!(world.machine.phase, Phase::Waiting { .. } | Phase::Spawning { job: Job::Start });
            assert!(is_next, "no restart, against the policy, at {}", at());
            return;
        }
        (true, true) => matches!(world.machine.phase, Phase::Idle(IdleReason::GaveUp { .. })),
        (false, _) if success => world.machine.phase == Phase::Idle(IdleReason::Completed),
        (false, _) => matches!(world.machine.phase, Phase::Idle(IdleReason::Failed(_))),
    };
    assert!(expected && new == old, "a restart against the policy at {}", at());
}

/// A stop for lack of visitors ends a start command that is wanted, and nothing else; any command in between wins.
pub fn check_unused(before: &World, world: &World, step: Step) {
    let at = || format!("{step:?} from {before:?}");
    let unused = |world: &World| {
        let phase = &world.machine.phase;
        matches!(phase, Phase::Draining { cause: Cause::Unused, .. } | Phase::Killing { cause: Cause::Unused, .. })
    };
    let is_up = matches!(before.machine.phase, Phase::Alive { stage: RunStage::Starting { .. } | RunStage::Up(_), .. });
    if step == Step::Unused {
        let ends = is_up && before.machine.wanted == Wanted::Up;
        assert!(if ends { unused(world) } else { key(before) == key(world) }, "{}", at());
    }
    assert!(!unused(world) || world.machine.wanted == Wanted::Down, "{}", at());
    let is_stopped = |world: &World| world.machine.phase == Phase::Idle(IdleReason::Unused);
    if is_stopped(world) && !is_stopped(before) {
        assert!(unused(before) && matches!(step, Step::TreeGone(_)), "{}", at());
    }
    if matches!(step, Step::Command(Command::Start | Command::Restart)) && (unused(before) || is_stopped(before)) {
        assert!(world.machine.wanted == Wanted::Up && !unused(world), "{}", at());
    }
}

fn check_status(world: &World, at: &str) {
    let status = Status::of(&world.machine);
    let lives = matches!(world.process, Process::Lives | Process::Left);
    match status {
        Status::Stopped | Status::Failed => assert!(!lives, "{} while processes live at {at}", status.as_str()),
        Status::Installing => assert!(world.machine.rules.install || world.machine.rules.prepare, "{at}"),
        Status::Starting | Status::Running | Status::Restarting => assert!(world.machine.active(), "{at}"),
        Status::Ready => assert_eq!(world.process, Process::Lives, "ready without a living leader at {at}"),
    }
    let is_up = matches!(world.machine.phase, Phase::Alive { stage: RunStage::Starting { .. } | RunStage::Up(_), .. });
    let ready = is_up && world.seen.ready(&world.machine.rules);
    assert_eq!(status == Status::Ready, ready, "at {at}: {:?}", world.seen);
    if status == Status::Failed {
        assert!(reason(&world.machine, StopSignal::TERM).is_some(), "failed without a reason at {at}");
    }
}
