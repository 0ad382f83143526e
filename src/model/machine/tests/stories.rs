//! Short stories of the life-cycle, each in the order in which a user sees it.

use super::super::*;
use super::{Step, World, new_world, rules, take};
use crate::model::spec::RestartPolicy;
use crate::model::status::Status;

/// Takes steps one after the other; the story tests below read like what a user sees.
fn story(rules: LifecycleRules, steps: &[Step]) -> World {
    steps.iter().fold(new_world(rules), |world, step| take(&world, *step))
}

const START: Step = Step::Command(Command::Start);
const FAILS: Step = Step::TreeGone(Exit::Code(1));

#[test]
fn a_budget_of_restarts_is_spent_and_then_it_gives_up() {
    let rules = rules(false, RestartPolicy::OnFailure, 2, 0, None);
    let world = story(rules, &[START, Step::Spawned, FAILS, Step::Spawned, Step::Timeout, FAILS, Step::Spawned]);
    assert_eq!(world.machine.restarts(), 2);
    let world = take(&world, FAILS);
    assert_eq!(
        *world.machine.phase(),
        Phase::Idle(IdleReason::GaveUp { restarts: 2, last: RunEnd::Exited(Exit::Code(1)) })
    );
}

#[test]
fn a_failed_spawn_counts_as_a_failed_run_and_is_never_tried_again_without_a_pause() {
    let rules = rules(false, RestartPolicy::OnFailure, 1, 0, None);
    let world = story(rules, &[START, Step::SpawnFailed]);
    assert_eq!(world.machine.deadline(), Some(world.now + SPAWN_RETRY));
    let world = [Step::Timeout, Step::SpawnFailed].iter().fold(world, |world, step| take(&world, *step));
    assert_eq!(Status::of(&world.machine), Status::Failed);
    assert_eq!(world.machine.restarts(), 1);
}

#[test]
fn a_failed_install_is_not_repeated_by_itself_but_by_hand() {
    let rules = rules(true, RestartPolicy::Always, 0, 0, None);
    let world = story(rules, &[START, Step::Spawned, FAILS]);
    assert_eq!(*world.machine.phase(), Phase::Idle(IdleReason::InstallFailed(RunEnd::Exited(Exit::Code(1)))));
    let world = take(&world, START);
    assert_eq!(*world.machine.phase(), Phase::Spawning { job: Job::Install });
    let world = [Step::Spawned, Step::TreeGone(Exit::Code(0))].iter().fold(world, |world, step| take(&world, *step));
    assert_eq!(*world.machine.phase(), Phase::Spawning { job: Job::Start });
    let world =
        [Step::Spawned, Step::Command(Command::Restart), FAILS].iter().fold(world, |world, step| take(&world, *step));
    assert_eq!(*world.machine.phase(), Phase::Spawning { job: Job::Start }, "an install that succeeded is done");
}

#[test]
fn the_leaders_end_during_a_stop_does_not_end_the_time_of_its_tree() {
    let world = story(
        rules(false, RestartPolicy::Never, 0, 0, None),
        &[START, Step::Spawned, Step::Command(Command::Stop), Step::LeaderExits],
    );
    assert!(!world.killed);
    assert!(matches!(world.machine.phase(), Phase::Draining { .. }));
}

#[test]
fn the_restart_delay_doubles_with_short_runs_only_and_only_when_asked() {
    let mut delays = Vec::new();
    let mut world = new_world(rules(false, RestartPolicy::Always, 0, 1000, Some(5000)));
    world = take(&world, START);
    for run in 0..7 {
        world = take(&world, Step::Spawned);
        if run == 4 {
            world = take(&take(&world, Step::Timeout), Step::TenSeconds);
        }
        world = take(&world, FAILS);
        delays.push(world.machine.deadline().unwrap().duration_since(world.now).as_millis());
        world = take(&world, Step::Timeout);
    }
    assert_eq!(delays, [1000, 2000, 4000, 5000, 1000, 2000, 4000]);
}

#[test]
fn exit_zero_is_no_failure() {
    let zero = Step::TreeGone(Exit::Code(0));
    let end = |policy| story(rules(false, policy, 0, 0, None), &[START, Step::Spawned, zero]);
    assert_eq!(*end(RestartPolicy::Never).machine.phase(), Phase::Idle(IdleReason::Completed));
    assert_eq!(*end(RestartPolicy::OnFailure).machine.phase(), Phase::Idle(IdleReason::Completed));
    assert!(matches!(end(RestartPolicy::Always).machine.phase(), Phase::Spawning { .. }));
}
