//! Visitors: where they are led, whose visit starts a server, and when a server without visitors is stopped.

use super::*;
use crate::model::machine::RunId;
use crate::model::proxy::{AccessKey, ProxyAccess};
use crate::store::server::{self, Kept};

const URL: &str = "http://web.localhost:18080";

/// A server of a daemon with the proxy, created and running.
fn visited(proxy: Value) -> Scene {
    let mut scene = not_started(Origin::Client, proxy);
    let created = scene.supervisor.create();
    scene.settle();
    assert!(is_done(&created));
    scene
}

fn not_started(origin: Origin, proxy: Value) -> Scene {
    let defaults = ProxyDefaults { access: ProxyAccess::Public, own_ports: vec![18080] };
    Scene::with(origin, json!({"proxy": proxy, "autostart": false}), Some(defaults))
}

/// Makes the server listen, and ready.
fn ready(scene: &mut Scene) {
    scene.world.listen(&[3000]);
    scene.settle();
    assert_eq!(scene.status().0, Status::Ready);
}

fn visit(scene: &mut Scene) {
    scene.supervisor.visit();
    scene.settle();
}

/// What is stored of the server.
fn stored(scene: &Scene) -> Kept {
    let files = Files::open(scene.scratch.0.join("servers")).unwrap();
    files.load(|_, members| server::parse(members).map(|(_, kept)| kept)).unwrap().remove(0)
}

#[test]
fn a_run_can_be_visited_from_its_port_on_to_its_end() {
    let mut scene = visited(json!({}));
    let traffic = Arc::clone(scene.supervisor.traffic());
    assert!(traffic.target(None).unwrap().is_none());
    assert_eq!(scene.view().url, None);
    ready(&mut scene);
    assert_eq!(scene.view().url.as_deref(), Some(URL));
    let target = traffic.target(None).unwrap().unwrap();
    assert_eq!((target.address.port(), target.end.run(), target.end.is_over()), (3000, RunId(1), false));
    scene.exit(Exit::Code(1));
    assert!(target.end.is_over() && traffic.target(None).unwrap().is_none());
    let view = scene.view();
    assert_eq!((view.status, view.is_listening, view.url.as_deref()), (Status::Failed, false, None));
}

#[test]
fn a_stop_ends_visits_when_the_process_has_ended_and_not_before() {
    let mut scene = Scene::with(
        Origin::Client,
        json!({"stop_timeout_ms": 1000}),
        Some(ProxyDefaults { access: ProxyAccess::Public, own_ports: Vec::new() }),
    );
    scene.world.at_stop(AtStop::Ignores);
    scene.obeys(Command::Start);
    ready(&mut scene);
    let target = scene.supervisor.traffic().target(None).unwrap().unwrap();
    let stopped = scene.send(Command::Stop);
    scene.pass(ms(999));
    assert!(!target.end.is_over(), "requests in flight may be answered");
    scene.pass(ms(1));
    assert!(is_done(&stopped) && target.end.is_over());
}

#[test]
fn a_server_without_visitors_is_stopped_in_its_time() {
    let mut scene = visited(json!({"idle_stop_ms": 60_000}));
    // It takes its time to start, which does not count.
    scene.pass(ms(120_000));
    ready(&mut scene);
    scene.pass(ms(59_999));
    assert_eq!(scene.status(), (Status::Ready, String::new()));
    scene.supervisor.traffic().client_sent(scene.world.now());
    scene.pass(ms(59_999));
    assert_eq!(scene.status().0, Status::Ready);
    scene.pass(ms(1));
    let why = "was stopped after its idle_stop_ms without visitors".to_owned();
    assert_eq!(scene.status(), (Status::Stopped, why));
    let run = scene.view().last_run.clone().unwrap();
    assert_eq!(run.reason.as_str(), "idle");
    assert!(run.sentence.contains("for lack of visitors"), "{}", run.sentence);
    assert_eq!(scene.alarm, Some(None), "nothing wakes it any more");
}

#[test]
fn a_request_in_flight_keeps_it_up_however_long_it_takes() {
    let mut scene = visited(json!({"idle_stop_ms": 1000}));
    ready(&mut scene);
    let request = scene.supervisor.traffic().begin();
    scene.pass(ms(3_600_000));
    assert_eq!(scene.status().0, Status::Ready);
    drop(request);
    scene.supervisor.traffic().client_sent(scene.world.now());
    scene.pass(ms(999));
    assert_eq!(scene.status().0, Status::Ready);
    scene.pass(ms(1));
    assert_eq!(scene.status().0, Status::Stopped);
}

#[test]
fn who_has_no_limit_and_who_has_no_proxy_are_not_woken_for_it() {
    let mut scene = visited(json!({}));
    ready(&mut scene);
    scene.pass(ms(20 * 60_000));
    assert_eq!(scene.alarm, Some(None));
    let mut scene = Scene::running(json!({"proxy": {"idle_stop_ms": 1000}}));
    ready(&mut scene);
    scene.pass(ms(20 * 60_000));
    assert_eq!((scene.alarm, scene.status().0), (Some(None), Status::Ready));
}

#[test]
fn a_visit_starts_what_was_stopped_for_lack_of_visitors() {
    let mut scene = visited(json!({"idle_stop_ms": 1000, "start_on_visit": true}));
    ready(&mut scene);
    assert!(!scene.view().starts_on_visit);
    scene.pass(ms(1000));
    assert_eq!((scene.view().starts_on_visit, scene.view().url.as_deref()), (true, Some(URL)));
    visit(&mut scene);
    assert_eq!(scene.view().url, None);
    visit(&mut scene);
    assert_eq!((scene.status().0, scene.world.spawned().len()), (Status::Starting, 2));
    ready(&mut scene);
    // Its time begins anew.
    scene.pass(ms(999));
    assert_eq!(scene.status().0, Status::Ready);
}

#[test]
fn a_visit_during_such_a_stop_makes_it_a_restart() {
    let mut scene = not_started(Origin::Client, json!({"idle_stop_ms": 1000, "start_on_visit": true}));
    scene.world.at_stop(AtStop::Ignores);
    scene.obeys(Command::Start);
    ready(&mut scene);
    scene.pass(ms(1000));
    assert_eq!(scene.status(), (Status::Running, "stopping: it had no visitors for its idle_stop_ms".to_owned()));
    assert!(scene.view().starts_on_visit && scene.supervisor.traffic().target(None).unwrap().is_none());
    visit(&mut scene);
    assert_eq!(scene.status().0, Status::Restarting);
    assert!(!scene.view().starts_on_visit);
    scene.pass(ms(10_000));
    assert_eq!((scene.status().0, scene.world.spawned().len()), (Status::Starting, 2));
}

#[test]
fn what_a_command_has_stopped_stays_so_over_a_restart_of_the_daemon() {
    let rules = json!({"start_on_visit": true});
    let mut scene = visited(rules.clone());
    ready(&mut scene);
    scene.obeys(Command::Stop);
    visit(&mut scene);
    assert_eq!((scene.status().0, scene.view().starts_on_visit), (Status::Stopped, false));
    let kept = stored(&scene);
    assert!(kept.is_stopped_by_hand);
    let mut next = not_started(Origin::Stored(kept), rules.clone());
    visit(&mut next);
    assert_eq!((next.status().0, next.view().starts_on_visit), (Status::Stopped, false));
    scene.obeys(Command::Start);
    assert!(!stored(&scene).is_stopped_by_hand);
    let mut fresh = not_started(Origin::Stored(stored(&scene)), rules);
    fresh.settle();
    assert!(fresh.view().starts_on_visit);
    visit(&mut fresh);
    assert_eq!(fresh.status().0, Status::Starting);
}

#[test]
fn a_visit_starts_no_other_server() {
    let mut scene = not_started(Origin::Payload(None), json!({}));
    visit(&mut scene);
    assert_eq!(scene.status().0, Status::Stopped);
    let mut scene = visited(json!({"start_on_visit": true}));
    scene.exit(Exit::Code(3));
    visit(&mut scene);
    assert_eq!((scene.status().0, scene.view().starts_on_visit), (Status::Failed, false));
    // Without a proxy there is no visit.
    let mut scene = Scene::of(Origin::Payload(None), json!({"proxy": {"start_on_visit": true}, "autostart": false}));
    visit(&mut scene);
    assert_eq!(scene.status().0, Status::Stopped);
}

#[test]
fn a_key_is_made_when_it_is_needed_and_kept_until_the_server_is_deleted() {
    let scene = visited(json!({}));
    assert_eq!((scene.view().key.clone(), stored(&scene).key), (None, None));
    let mut scene = visited(json!({"access": "key"}));
    let key = scene.view().key.clone().unwrap();
    assert_eq!(stored(&scene).key.as_ref(), Some(&key));
    assert_eq!(scene.view().access_url(), None);
    ready(&mut scene);
    assert_eq!(scene.view().access_url(), Some(key.link(URL)));
    // Another configuration is the same server.
    scene.obeys(Command::Stop);
    let changed = spec(&scene.scratch, json!({"start": "other", "proxy": {"access": "key"}}));
    let replaced = scene.supervisor.replace(changed);
    scene.settle();
    assert!(is_done(&replaced));
    assert_eq!((scene.view().key.as_ref(), stored(&scene).key.as_ref()), (Some(&key), Some(&key)));
    scene.obeys(Command::Delete);
    assert!(!scene.is_stored());
    let other = visited(json!({"access": "key"})).view().key.clone().unwrap();
    assert!(!other.is(key.secret()));
}

#[test]
fn a_stored_server_has_its_key_before_it_can_be_visited() {
    let old = Kept { key: None, ..stored(&visited(json!({"access": "key"}))) };
    let mut scene = not_started(Origin::Stored(old.clone()), json!({"access": "key"}));
    let key = scene.view().key.clone().unwrap();
    let kept = scene.supervisor.keep_given();
    scene.settle();
    assert!(is_done(&kept));
    assert_eq!((scene.view().key.as_ref(), stored(&scene).key.as_ref()), (Some(&key), Some(&key)));
    let known = AccessKey::parse(key.secret());
    let scene = not_started(Origin::Stored(Kept { key: known, ..old }), json!({"access": "key"}));
    assert_eq!(scene.view().key, Some(key));
}
