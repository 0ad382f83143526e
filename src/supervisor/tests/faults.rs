//! Shortages, refusals and panics.

use super::*;
use crate::os::thread::Joined;
use crate::process::snapshot::Completeness;
use crate::testing::soon;

const LIMIT: &str = "the limit on processes is reached";

#[test]
fn a_spawn_that_fails_is_a_failed_run_and_never_a_busy_loop() {
    let mut scene = Scene::new(json!({"restart_policy": "on-failure", "restart_delay_ms": 0}));
    scene.world.fail_spawns(3, LIMIT);
    let begun = scene.world.now();
    scene.obeys(Command::Start);
    assert_eq!(scene.status().1, format!("could not be started: {LIMIT}; waiting for the restart delay"));
    scene.pass(ms(299));
    assert_eq!(scene.world.count(), 0);
    scene.pass(ms(1));
    assert_eq!((scene.world.count(), scene.view().restarts), (1, 3));
    assert_eq!(scene.world.spawned()[0].0 - begun, ms(300), "100 ms after each failure");
}

#[test]
fn a_spawn_that_fails_without_a_policy_is_said_with_its_reason() {
    let mut scene = Scene::new(json!({}));
    scene.world.fail_spawns(1, LIMIT);
    scene.obeys(Command::Start);
    assert_eq!(scene.status(), (Status::Failed, format!("could not be started: {LIMIT}")));
    assert_eq!(scene.view().last_run.as_ref().map(|run| run.reason.as_str()), Some("spawn_failed"));
    scene.obeys(Command::Start);
    assert_eq!(scene.status().0, Status::Starting);
}

#[test]
fn without_descriptors_no_run_is_taken_for_over() {
    let mut scene = Scene::running(json!({}));
    let left = scene.world.fork(Group::Own, AtStop::Ignores);
    // The death, and the SIGKILL that follows it, each look.
    scene.world.fail_looks(4);
    scene.exit(Exit::Code(0));
    assert_eq!(scene.status().1, "its process has ended; what it left behind is being killed");
    assert_eq!(scene.world.count(), 1, "{left} can't be seen");
    scene.pass(ms(2000));
    assert_eq!((scene.world.count(), scene.status().0), (0, Status::Stopped));
    assert_eq!(scene.world.take_sent().last(), Some(&(left, KILL)));
}

#[test]
fn an_incomplete_snapshot_without_members_counts_in_the_end() {
    let mut scene = Scene::running(json!({}));
    let left = scene.world.fork(Group::Own, AtStop::Exits(Exit::Code(0)));
    scene.world.completeness(Completeness::Incomplete);
    let stopped = scene.send(Command::Stop);
    scene.world.exit(left, Exit::Code(0));
    scene.pass(ms(9000));
    assert!(is_late(&stopped), "{:?}", scene.view());
    scene.pass(ms(3000));
    assert!(is_done(&stopped));
}

#[test]
fn who_refuses_signals_is_named_at_once_and_awaited() {
    let mut scene = Scene::running(json!({"stop_timeout_ms": 200}));
    let other = scene.world.fork(Group::Own, AtStop::Refuses);
    let stopped = scene.send(Command::Stop);
    scene.pass(ms(50));
    let CommandReply::Late(view) = stopped.wait(Instant::now() + ms(60_000)) else { panic!("{:?}", scene.view()) };
    let reason = view.reason.clone().unwrap_or_default();
    assert!(
        reason.starts_with(&format!("stopping: process {other}")) && reason.contains("refuses SIGTERM"),
        "{reason}"
    );
    scene.pass(ms(60_000));
    assert_eq!(scene.world.count(), 1);
    scene.world.exit(other, Exit::Code(0));
    scene.pass(ms(1000));
    assert_eq!(scene.status(), (Status::Stopped, String::new()));
}

#[test]
fn who_lives_on_after_sigkill_is_named_after_a_second() {
    let mut scene = Scene::new(json!({"stop_timeout_ms": 200}));
    scene.world.at_stop(AtStop::Hangs);
    scene.obeys(Command::Start);
    let leader = scene.world.leader();
    let stopped = scene.send(Command::Stop);
    scene.pass(ms(1100));
    assert!(scene.status().1.contains("SIGKILL was sent"), "{:?}", scene.status());
    scene.pass(ms(300));
    assert_eq!(scene.status().1, format!("stopping: process {leader} lives on after SIGKILL"));
    assert!(matches!(stopped.wait(Instant::now() + ms(60_000)), CommandReply::Late(_)));
    scene.exit(Exit::Signal(KILL));
    assert_eq!(scene.status(), (Status::Stopped, String::new()));
}

#[test]
fn what_can_not_be_stored_has_not_happened() {
    let mut scene = Scene::new(json!({}));
    std::fs::remove_dir_all(scene.scratch.0.join("servers")).unwrap();
    let created = scene.supervisor.create();
    scene.settle();
    let reply = created.wait_stored(Instant::now());
    assert!(matches!(reply, CommandReply::NotStored(_)), "{reply:?}");
    assert_eq!((scene.world.spawned().len(), scene.alarm), (0, None), "its thread is not needed");
}

#[test]
fn a_strict_port_is_reserved_before_anything_is_stored() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut scene = Scene::new(json!({"port": port, "strict_port": true}));
    let created = scene.supervisor.create();
    scene.settle();
    let reply = created.wait_stored(Instant::now());
    assert!(matches!(&reply, CommandReply::PortTaken(why) if why.to_string().contains("is held by")), "{reply:?}");
    assert!(!scene.is_stored() && scene.world.spawned().is_empty() && scene.alarm.is_none());
}

#[test]
fn a_panic_costs_the_run_and_the_server_can_be_started_again() {
    let (world, scratch) = (World::new(), Scratch::with_root());
    let (context, control) = context(&world, &scratch, None);
    let (supervisor, parts) = Supervisor::new(&context, spec(&scratch, json!({})), Origin::Client);
    let created = supervisor.create();
    supervisor.launch(parts, || {}).unwrap();
    assert!(matches!(created.wait(soon()), CommandReply::Done(_)));
    world.panic_once();
    let restarted = supervisor.command(Command::Restart);
    assert!(matches!(restarted.wait(soon()), CommandReply::Lost));
    assert_eq!(restarted.end_of_supervisor(), Joined::Late, "it lives, and is not taken for deleted");
    assert!(matches!(supervisor.settle().wait(soon()), CommandReply::Done(_)));
    let view = supervisor.view();
    let reason = view.reason.as_deref().unwrap_or_default();
    assert!(view.status == Status::Failed && reason.contains("please report it: on purpose"), "{reason}");
    assert_eq!(view.last_run.as_ref().map(|run| run.reason.as_str()), Some("lost"));
    assert!(matches!(supervisor.command(Command::Start).wait(soon()), CommandReply::Done(_)));
    assert_eq!(world.count(), 1);
    supervisor.shut_down();
    assert_eq!(supervisor.join_by(soon()), Joined::Ended);
    assert_eq!(control.recv_by(Some(soon())), Ok(Control::SupervisorEnded(supervisor.slug().clone())));
    assert_eq!(world.count(), 0);
}

#[test]
fn install_is_not_repeated_after_a_panic() {
    let mut scene = Scene::running(json!({"install": "make"}));
    scene.exit(Exit::Code(0));
    scene.actor.recover("on purpose");
    scene.settle();
    assert_eq!(scene.status().0, Status::Failed);
    scene.obeys(Command::Start);
    let scripts: Vec<String> = scene.world.spawned().into_iter().map(|(_, script)| script).collect();
    let installs: Vec<bool> = scripts.iter().map(|script| script.contains("make")).collect();
    assert_eq!(installs, [true, false, false], "{scripts:?}");
}
