//! Health checks: what is ready, and who is restarted.

use super::*;
use crate::model::health::HealthStatus;

fn checked() -> Value {
    json!({
        "health_check": {"interval_ms": 1000, "timeout_ms": 500, "restart_after_failures": 3}, "stop_timeout_ms": 500,
        "restart_delay_ms": 0, "max_restarts": 1,
    })
}

fn health(scene: &Scene) -> Option<HealthStatus> {
    scene.view().health.as_ref().map(|health| health.status)
}

#[test]
fn a_server_with_a_check_is_ready_when_it_passes() {
    let mut scene = Scene::new(checked());
    scene.world.answer(503);
    scene.obeys(Command::Start);
    scene.world.listen(&[3000]);
    scene.pass(ms(3500));
    assert_eq!((scene.status().0, health(&scene)), (Status::Running, Some(HealthStatus::Checking)));
    scene.world.answer(200);
    scene.pass(ms(1000));
    assert_eq!((scene.status().0, health(&scene)), (Status::Ready, Some(HealthStatus::Healthy)));
    let ready_at = scene.view().ready_at;
    scene.pass(ms(60_000));
    assert_eq!(scene.view().ready_at, ready_at);
}

#[test]
fn failed_checks_restart_a_healthy_server_until_the_limit() {
    let mut scene = Scene::running(checked());
    scene.world.listen(&[3000]);
    scene.pass(ms(100));
    assert_eq!(scene.status().0, Status::Ready);
    scene.world.answer(500);
    scene.world.at_stop(AtStop::Exits(Exit::Code(0)));
    scene.pass(ms(2500));
    assert_eq!((scene.status().0, scene.world.spawned().len()), (Status::Ready, 1), "two failures are none");
    // A moved server would be looked for first.
    scene.pass(ms(3000));
    assert_eq!((scene.view().restarts, scene.world.spawned().len()), (1, 2));
    assert_eq!(scene.view().last_run.as_ref().map(|run| run.reason.as_str()), Some("unhealthy"));
    scene.world.answer(200);
    scene.world.listen(&[3000]);
    scene.pass(ms(100));
    assert_eq!(scene.status().0, Status::Ready);
    scene.world.answer(500);
    scene.pass(ms(6000));
    let (status, reason) = scene.status();
    assert!(status == Status::Failed && reason.starts_with("gave up after 1 restart; "), "{reason}");
    assert_eq!((scene.world.spawned().len(), scene.world.count()), (2, 0));
}

#[test]
fn a_mark_by_hand_counts_until_the_run_is_over() {
    use crate::model::machine::StatusMark;
    let mut scene = Scene::running(checked());
    scene.obeys(Command::Mark(StatusMark::Ready));
    assert_eq!(scene.status().0, Status::Ready);
    scene.obeys(Command::Mark(StatusMark::Running));
    assert_eq!(scene.status().0, Status::Running);
    scene.obeys(Command::Mark(StatusMark::Ready));
    scene.obeys(Command::Restart);
    assert_eq!(scene.status().0, Status::Starting);
}
