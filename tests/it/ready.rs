//! When a server counts as ready, and when everything does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Child, Control, Daemon, quiet_port, testchild, wait_until};

/// A server that listens on request, on its port.
fn obedient(daemon: &Daemon, control: &Control, slug: &str, more: Value) -> Child {
    let mut spec = json!({
        "slug": slug, "start": format!("{} obey {slug}", testchild()), "port": quiet_port(),
        "environment": {"CTL": control.address.to_string()},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    daemon.client.create(&spec).server(201);
    control.child()
}

fn close(app: &mut Child, server: &Value) {
    app.order(&format!("close {}", server["port"]));
}

#[test]
fn without_a_check_it_is_ready_as_long_as_it_listens() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut app = obedient(&daemon, &control, "web", json!({}));
    let running = daemon.client.wait_for_status("web", "running");
    assert!(running.get("url").is_none() && running.get("ready_at").is_none(), "{running:#}");
    assert_eq!(daemon.client.get("/servers/web?wait_for=ready&timeout_ms=300").server(200)["status"], "running");
    app.order("serve 127.0.0.1:PORT 500");
    let ready = daemon.client.when_ready("web");
    assert!(ready["ready_at"].as_str() >= ready["started_at"].as_str(), "{ready:#}");
    assert!(ready.get("healthy").is_none() && ready.get("health_status").is_none(), "only with a check: {ready:#}");
    close(&mut app, &ready);
    let lost = daemon.client.wait_for_status("web", "running");
    assert_eq!(lost["ready_at"], ready["ready_at"], "the time when the run could first be used");
    app.order("serve 127.0.0.1:PORT 500");
    daemon.client.when_ready("web");
    assert_eq!(daemon.statuses("web"), ["starting", "running", "ready", "running", "ready"]);
    // Another run has to show it anew.
    let restarted = daemon.client.post("/servers/web/restart").server(200);
    assert!(restarted.get("ready_at").is_none() && restarted.get("url").is_none(), "{restarted:#}");
    assert_eq!(restarted["status"], "starting");
}

#[test]
fn with_a_check_a_closed_port_is_lost_readiness_too() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut app = obedient(&daemon, &control, "web", json!({"health_check": {"interval_ms": 50}}));
    app.order("serve 127.0.0.1:PORT 200");
    let ready = daemon.client.when_ready("web");
    close(&mut app, &ready);
    // Without a request: the checks notice it, and by them the watcher.
    wait_until("it is seen without a question", || {
        (daemon.statuses("web").last().is_some_and(|status| status == "running")).then_some(())
    });
    wait_until("the port is known to be closed", || daemon.client.show("web").get("url").is_none().then_some(()));
    assert_eq!(daemon.client.show("web")["healthy"], false);
    app.order("serve [::1]:PORT 200");
    assert_eq!(daemon.client.when_ready("web")["healthy"], true);
}

#[test]
fn a_mark_by_hand_holds_until_the_run_ends() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut app = obedient(&daemon, &control, "web", json!({"health_check": {"interval_ms": 30}}));
    daemon.client.wait_for_status("web", "running");
    let marked = daemon.client.mark("web", "ready");
    assert_eq!((marked.status, &marked.json()["data"]), (200, &json!({"slug": "web", "status": "ready"})));
    // Neither failing checks nor a closed port take it back.
    app.order("serve 127.0.0.1:PORT 500");
    wait_until("checks fail", || {
        (daemon.client.show("web")["health"]["consecutive_failures"].as_u64() >= Some(4)).then_some(())
    });
    let server = daemon.client.show("web");
    assert_eq!(
        (&server["status"], &server["healthy"]),
        (&json!("ready"), &json!(false)),
        "health is as the check says"
    );
    close(&mut app, &server);
    wait_until("the closing is seen", || daemon.client.show("web").get("url").is_none().then_some(()));
    assert_eq!(daemon.client.show("web")["status"], "ready");
    assert_eq!(daemon.client.mark("web", "running").json()["data"]["status"], "running");
    // Held back where it would be ready by itself.
    app.order("serve 127.0.0.1:PORT 200");
    daemon.client.when_ready("web");
    assert_eq!(daemon.client.mark("web", "running").json()["data"]["status"], "running");
    wait_until("more checks pass", || (daemon.client.logs("web", "").matches("answer 200").count() > 4).then_some(()));
    assert_eq!(daemon.client.show("web")["status"], "running");
    daemon.client.post("/servers/web/restart").server(200);
    let mut app = control.child();
    app.order("serve 127.0.0.1:PORT 200");
    daemon.client.when_ready("web");
}

#[test]
fn a_mark_that_can_not_be_given() {
    let daemon = Daemon::start();
    daemon.client.mark("none", "ready").error(404);
    daemon.client.create(&json!({"slug": "web", "start": "sleep 600"})).server(201);
    for known in ["installing", "starting", "restarting", "stopped", "failed"] {
        let sentence = daemon.client.mark("web", known).error(409);
        assert!(sentence.contains(known), "{sentence}");
    }
    for unknown in ["Ready", "up", "", "healthy"] {
        let refused = daemon.client.mark("web", unknown);
        refused.error(422);
        assert!(refused.json()["fields"]["status"].is_string());
    }
    let headers = [("Content-Type", "application/json")];
    for body in ["{}", "{\"status\": 1}", "[]"] {
        daemon.client.request("PATCH", "/servers/web/status", &headers, Some(body.as_bytes())).error(422);
    }
    daemon.client.request("PATCH", "/servers/web/status", &[], Some(b"{\"status\": \"ready\"}")).error(415);
    assert_ne!(daemon.client.show("web")["status"], "ready");
    daemon.client.post("/servers/web/stop").server(200);
    let sentence = daemon.client.mark("web", "ready").error(409);
    assert!(sentence.contains("stopped"), "{sentence}");
    daemon.client.create(&json!({"slug": "prepares", "start": "sleep 600", "install": "sleep 600"})).server(201);
    assert!(daemon.client.mark("prepares", "ready").error(409).contains("installing"));
}

/// `ready` and `healthy` of everything.
fn all(daemon: &Daemon) -> (bool, bool) {
    let body = daemon.client.get("/ready").json();
    (body["ready"].as_bool().unwrap(), body["healthy"].as_bool().unwrap())
}

#[test]
fn what_counts_when_everything_is_asked_for() {
    let daemon = Daemon::start();
    let control = Control::new();
    assert_eq!(
        daemon.client.get("/ready").json(),
        json!({"ready": true, "healthy": true, "servers": [], "overlays": []})
    );
    let mut web = obedient(&daemon, &control, "web", json!({"health_check": {"interval_ms": 30}}));
    assert_eq!(all(&daemon), (false, false));
    web.order("serve 127.0.0.1:PORT 500,500,200");
    let server = daemon.client.when_ready("web");
    assert_eq!(all(&daemon), (true, true));
    let anonymous = crate::support::Client { token: None, ..daemon.client.clone() };
    let body = anonymous.get("/ready").json();
    let brief = body["servers"][0].as_object().unwrap().clone();
    for (field, value) in [("slug", json!("web")), ("status", json!("ready")), ("healthy", json!(true))] {
        assert_eq!(brief[field], value, "{body:#}");
    }
    assert_eq!((&brief["port"], &brief["url"]), (&server["port"], &server["url"]));
    assert_eq!(brief["health_check"]["last_status"], 200);
    assert!(!body.to_string().contains("testchild"), "without a token no configuration is shown: {body}");

    // One that failed never has its port; one that was stopped by hand is not missed.
    daemon.client.create(&json!({"slug": "broken", "start": "exit 1", "port": quiet_port()})).server(201);
    daemon.client.wait_for_status("broken", "failed");
    assert_eq!(all(&daemon), (false, true));
    daemon.client.post("/servers/broken/stop").server(200);
    assert_eq!(all(&daemon), (true, true));
    daemon.client.create(&json!({"slug": "done", "start": "true"})).server(201);
    daemon.client.wait_for_status("done", "stopped");
    assert!(!all(&daemon).0, "it has ended by itself");
    assert_eq!(daemon.client.delete("/servers/done").status, 204);

    // One that is not started at boot does not count.
    let _quiet = obedient(&daemon, &control, "quiet", json!({"autostart": false}));
    assert_eq!(all(&daemon), (true, true));
    // One with a port or a check has to listen, however long it takes; a worker only for its first ten seconds.
    daemon.client.create(&json!({"slug": "worker", "start": "sleep 600"})).server(201);
    let begun = Instant::now();
    assert!(!all(&daemon).0);
    let body = daemon.client.get("/ready?wait=true&timeout_ms=50000").json();
    println!("a worker is known as such after {:?}", begun.elapsed());
    assert_eq!((&body["ready"], &body["healthy"]), (&json!(true), &json!(true)));
    assert!(begun.elapsed() >= Duration::from_millis(9500), "{:?}", begun.elapsed());
    assert_eq!(all(&daemon), (true, true));
    let _late = obedient(&daemon, &control, "late", json!({}));
    assert!(!all(&daemon).0);
}
