//! Commands: stop, restart, delete, and the end of the daemon.

use super::*;
use crate::model::machine::CommandRefusal;

#[test]
fn a_stop_is_done_when_the_process_has_ended() {
    let mut scene = Scene::running(json!({}));
    let leader = scene.world.leader();
    scene.world.at_stop(AtStop::Ignores);
    scene.obeys(Command::Stop);
    assert_eq!(scene.world.take_sent(), [(leader, TERM)]);
    assert_eq!((scene.status(), scene.world.count()), ((Status::Stopped, String::new()), 0));
    assert_eq!(scene.view().last_run.as_ref().map(|run| run.reason.as_str()), Some("stopped"));
}

#[test]
fn who_ignores_the_signal_is_killed_at_the_stop_timeout_and_not_before() {
    let mut scene = Scene::new(json!({"stop_timeout_ms": 300}));
    scene.world.at_stop(AtStop::Ignores);
    scene.obeys(Command::Start);
    let leader = scene.world.leader();
    let stopped = scene.send(Command::Stop);
    assert_eq!(scene.world.take_sent(), [(leader, TERM), (leader, CONT)]);
    scene.pass(ms(299));
    assert!(is_late(&stopped) && scene.world.count() == 1);
    let stopping = "stopping: SIGTERM was sent, its processes are ending".to_owned();
    assert_eq!(scene.status(), (Status::Starting, stopping));
    scene.pass(ms(1));
    assert!(is_done(&stopped) && scene.world.count() == 0);
    assert_eq!(scene.world.take_sent(), [(leader, KILL)]);
    assert_eq!(scene.view().exit, Some(Exit::Signal(KILL)));
}

#[test]
fn the_rest_of_the_tree_has_the_same_time_and_the_stop_waits_for_it() {
    let mut scene = Scene::running(json!({"stop_timeout_ms": 3000}));
    let leader = scene.world.leader();
    let app = scene.world.fork(Group::Leaders, AtStop::Ignores);
    let away = scene.world.fork(Group::Own, AtStop::Exits(Exit::Code(0)));
    let stopped = scene.send(Command::Stop);
    // The leader has ended at once. Who has left its group is found a moment later.
    scene.pass(ms(10));
    assert_eq!(scene.world.take_sent()[..3], [(leader, TERM), (app, TERM), (app, CONT)]);
    assert!(is_late(&stopped) && scene.world.count() == 1, "{away} had its signal");
    scene.pass(ms(1000));
    scene.world.exit(app, Exit::Code(0));
    scene.settle();
    assert!(is_done(&stopped));
    assert_eq!(scene.view().exit, Some(Exit::Signal(TERM)));
    assert_eq!(scene.view().last_run.as_ref().map(|run| run.survivors_killed), Some(0));
}

#[test]
fn mixed_mode_signals_the_leader_alone() {
    let mut scene = Scene::running(json!({"stop_mode": "mixed", "stop_signal": "SIGINT", "stop_timeout_ms": 500}));
    let (leader, worker) = (scene.world.leader(), scene.world.fork(Group::Leaders, AtStop::Ignores));
    let stopped = scene.send(Command::Stop);
    assert_eq!(scene.world.take_sent(), [(leader, libc::SIGINT), (worker, CONT)]);
    scene.pass(ms(500));
    assert!(is_done(&stopped));
    assert_eq!(scene.world.take_sent(), [(worker, KILL)]);
}

#[test]
fn a_stop_during_the_restart_delay_takes_effect_at_once() {
    let mut scene = Scene::running(json!({"restart_policy": "always", "restart_delay_ms": 3_600_000}));
    scene.exit(Exit::Code(1));
    assert_eq!(scene.status().0, Status::Restarting);
    scene.obeys(Command::Stop);
    assert_eq!(scene.status(), (Status::Stopped, String::new()));
    scene.pass(ms(7_200_000));
    assert_eq!(scene.world.spawned().len(), 1);
}

#[test]
fn a_restart_ends_the_old_run_first_and_is_done_with_the_new_one() {
    let mut scene = Scene::new(json!({"stop_timeout_ms": 1000}));
    scene.world.at_stop(AtStop::Ignores);
    scene.obeys(Command::Start);
    let old = scene.world.leader();
    let restarted = scene.send(Command::Restart);
    scene.pass(ms(999));
    assert!(is_late(&restarted) && scene.world.spawned().len() == 1);
    assert_eq!(scene.status().0, Status::Restarting);
    scene.pass(ms(1));
    let CommandReply::Done(view) = restarted.wait(Instant::now()) else { panic!("{:?}", scene.view()) };
    assert_eq!((view.status, view.restarts), (Status::Starting, 0));
    assert!(view.pid.is_some_and(|pid| pid != old.number()));
}

#[test]
fn a_start_of_what_runs_is_refused_and_a_stop_of_what_rests_is_done() {
    let mut scene = Scene::running(json!({}));
    let refused = scene.send(Command::Start).wait(Instant::now());
    assert!(matches!(refused, CommandReply::Refused(CommandRefusal::Active)), "{refused:?}");
    let replaced = scene.supervisor.replace(spec(&scene.scratch, json!({"start": "other"})));
    scene.settle();
    assert!(matches!(replaced.wait(Instant::now()), CommandReply::Refused(CommandRefusal::Active)));
    scene.obeys(Command::Stop);
    scene.obeys(Command::Stop);
    let replaced = scene.supervisor.replace(spec(&scene.scratch, json!({"start": "other"})));
    scene.settle();
    assert!(is_done(&replaced));
    assert!(scene.world.spawned().last().is_some_and(|(_, script)| script.contains("other")));
}

#[test]
fn a_deleted_server_is_gone_with_its_record_and_its_thread() {
    let mut scene = Scene::running(json!({}));
    assert!(scene.is_stored());
    scene.obeys(Command::Delete);
    assert!(!scene.is_stored());
    assert_eq!((scene.alarm, scene.world.count()), (None, 0));
    // Nothing is counted of it after its deletion.
    let (since, _) = scene.changes.since(ChangeCount::NONE).unwrap();
    assert_eq!((since.marks, since.deletions.len()), (vec![], 1));
}

#[test]
fn the_end_of_the_daemon_ends_the_run_with_grace_and_then_without() {
    let mut scene = Scene::new(json!({"restart_policy": "always", "stop_timeout_ms": 60_000}));
    scene.world.at_stop(AtStop::Ignores);
    let created = scene.supervisor.create();
    scene.settle();
    assert!(is_done(&created));
    let leader = scene.world.leader();
    scene.supervisor.shut_down();
    scene.settle();
    assert_eq!(scene.world.take_sent(), [(leader, TERM), (leader, CONT)]);
    let late = scene.send(Command::Restart).wait(Instant::now());
    assert!(matches!(late, CommandReply::ShuttingDown), "{late:?}");
    scene.pass(ms(1000));
    assert!(scene.alarm.is_some() && scene.world.count() == 1);
    scene.supervisor.kill();
    scene.settle();
    assert_eq!((scene.alarm, scene.world.count(), scene.world.spawned().len()), (None, 0, 1));
    assert!(scene.is_stored(), "the next daemon starts it again");
}

#[test]
fn a_restart_that_the_end_of_the_daemon_overtakes_is_answered() {
    let mut scene = Scene::new(json!({"stop_timeout_ms": 1000}));
    scene.world.at_stop(AtStop::Ignores);
    scene.obeys(Command::Start);
    let restarted = scene.send(Command::Restart);
    scene.supervisor.shut_down();
    scene.pass(ms(1000));
    let reply = restarted.wait(Instant::now());
    assert!(matches!(reply, CommandReply::ShuttingDown), "{reply:?}");
    assert_eq!(scene.world.spawned().len(), 1);
}
