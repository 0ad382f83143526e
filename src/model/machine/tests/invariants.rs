//! What has to hold at every edge of the walk.

use super::super::*;
use super::{Process, Step, World, key};
use crate::model::status::{Status, reason};

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
        assert!(reason(&world.machine).is_some(), "failed without a reason at {at}");
    }
}
