//! Runs that end by themselves, and what follows.

use super::*;

#[test]
fn an_end_by_code_or_signal_is_shown_and_not_followed_without_a_policy() {
    for (exit, status, reason, code) in [
        (Exit::Code(0), Status::Stopped, "exited with code 0", 0),
        (Exit::Code(3), Status::Failed, "exited with code 3", 3),
        (Exit::Code(127), Status::Failed, "exited with code 127 (command not found)", 127),
        (Exit::Signal(9), Status::Failed, "was ended by SIGKILL", 137),
        (Exit::Signal(11), Status::Failed, "was ended by SIGSEGV", 139),
    ] {
        let mut scene = Scene::running(json!({}));
        assert_eq!(scene.status().0, Status::Starting);
        scene.pass(ms(500));
        assert_eq!(scene.status().0, Status::Running);
        scene.exit(exit);
        assert_eq!(scene.status(), (status, reason.to_owned()));
        assert_eq!(scene.view().exit.map(Exit::code), Some(code));
        scene.pass(ms(3_600_000));
        assert_eq!((scene.world.spawned().len(), scene.view().restarts), (1, 0));
        let last = scene.view().last_run.clone().unwrap();
        assert_eq!((last.exit_code, last.lasted), (Some(code), Some(ms(500))));
    }
}

#[test]
fn each_policy_after_each_end() {
    for (policy, exit, is_restarted) in [
        ("never", Exit::Code(1), false),
        ("on-failure", Exit::Code(0), false),
        ("on-failure", Exit::Code(1), true),
        ("on-failure", Exit::Signal(15), true),
        ("always", Exit::Code(0), true),
        ("always", Exit::Signal(9), true),
    ] {
        let mut scene = Scene::running(json!({"restart_policy": policy, "restart_delay_ms": 0}));
        scene.exit(exit);
        assert_eq!(scene.world.spawned().len(), 1 + usize::from(is_restarted), "{policy} {exit:?}");
        assert_eq!(scene.view().restarts, u32::from(is_restarted));
    }
}

#[test]
fn the_restart_delay_is_exact_and_doubles_only_when_asked() {
    for (max, gaps) in [(Value::Null, [200, 200, 200, 200]), (json!(500), [200, 400, 500, 500])] {
        let fields = json!({"restart_policy": "always", "restart_delay_ms": 200, "restart_delay_max_ms": max});
        let mut scene = Scene::running(fields);
        for gap in gaps {
            scene.exit(Exit::Code(1));
            let waiting = "exited with code 1; waiting for the restart delay".to_owned();
            assert_eq!(scene.status(), (Status::Restarting, waiting));
            scene.pass(ms(gap) - ms(1));
            assert_eq!(scene.world.count(), 0);
            scene.pass(ms(1));
            assert_eq!(scene.world.count(), 1);
        }
        assert_eq!(scene.gaps(), gaps.map(u128::from));
        // A run of ten seconds is a good one.
        scene.pass(ms(10_000));
        scene.exit(Exit::Code(1));
        scene.pass(ms(200));
        assert_eq!(scene.world.spawned().len(), 6);
    }
}

#[test]
fn after_its_last_restart_it_gives_up_until_a_start_by_hand() {
    let mut scene = Scene::running(json!({"restart_policy": "on-failure", "restart_delay_ms": 50, "max_restarts": 2}));
    for round in 1..=2 {
        for _ in 0..3 {
            scene.exit(Exit::Code(1));
            scene.pass(ms(50));
        }
        let gave_up = "gave up after 2 restarts; the last run exited with code 1".to_owned();
        assert_eq!(scene.status(), (Status::Failed, gave_up));
        assert_eq!((scene.view().restarts, scene.world.spawned().len()), (2, 3 * round));
        scene.obeys(Command::Start);
        assert_eq!(scene.view().restarts, 0);
    }
}

#[test]
fn what_the_leader_leaves_is_killed_before_the_next_run() {
    let mut scene = Scene::running(json!({"restart_policy": "always", "restart_delay_ms": 0}));
    let (first, left) = (scene.world.leader(), scene.world.fork(Group::Leaders, AtStop::Ignores));
    let away = scene.world.fork(Group::Own, AtStop::Ignores);
    scene.exit(Exit::Code(0));
    assert_eq!(scene.world.take_sent(), [(left, KILL), (away, KILL)]);
    assert_ne!(scene.world.leader(), first);
    assert_eq!((scene.world.count(), scene.world.spawned().len()), (1, 2));
    assert_eq!(scene.view().last_run.as_ref().map(|run| run.survivors_killed), Some(2));
}

#[test]
fn install_precedes_the_first_start_alone_and_its_failure_is_one_of_the_server() {
    let mut scene = Scene::running(json!({"install": "make", "restart_policy": "always", "restart_delay_ms": 0}));
    assert_eq!(scene.status().0, Status::Installing);
    scene.exit(Exit::Code(7));
    assert_eq!(scene.status(), (Status::Failed, "install exited with code 7".to_owned()));
    scene.obeys(Command::Start);
    scene.exit(Exit::Code(0));
    scene.exit(Exit::Code(0));
    let scripts: Vec<String> = scene.world.spawned().into_iter().map(|(_, script)| script).collect();
    let diagnosed: Vec<bool> = scripts.iter().map(|script| script.contains("make")).collect();
    assert_eq!(diagnosed, [true, true, false, false], "{scripts:?}");
}

#[test]
fn a_process_that_install_leaves_is_ended_and_named() {
    let mut scene = Scene::running(json!({"install": "make"}));
    let left = scene.world.fork(Group::Own, AtStop::Ignores);
    scene.exit(Exit::Code(0));
    let (status, reason) = scene.status();
    assert_eq!(status, Status::Starting);
    assert!(reason.contains(&format!("left process {left}")), "{reason}");
    assert_eq!(scene.world.count(), 1);
}

#[test]
fn a_listening_server_is_ready_until_it_is_silent() {
    let mut scene = Scene::running(json!({}));
    scene.world.listen(&[3000]);
    scene.settle();
    let view = scene.view();
    assert_eq!((view.status, view.port.map(u16::from)), (Status::Ready, Some(3000)));
    assert!(view.url.is_some() && view.ready_at.is_some());
    scene.world.listen(&[]);
    scene.pass(ms(5000));
    assert_eq!((scene.status().0, scene.view().url.clone()), (Status::Running, None));
}

#[test]
fn a_stored_server_starts_by_itself_if_it_is_marked_so() {
    for (autostart, spawned) in [(true, 1), (false, 0)] {
        let mut scene = Scene::of(Origin::Payload(None), json!({"autostart": autostart}));
        scene.settle();
        assert_eq!(scene.world.spawned().len(), spawned);
        let kept = scene.supervisor.keep_given();
        scene.settle();
        assert!(is_done(&kept) && scene.is_stored());
    }
}
