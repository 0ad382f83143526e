//! No descriptor is left.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::limits::{Starved, without_gaps};
use crate::support::{Answer, Control, Daemon, quiet_port, testchild, wait_until};

/// An answer, sooner or later: the daemon takes one client after the other now.
fn ask(daemon: &Daemon, method: &str, target: &str, body: Option<&Value>) -> Answer {
    let body = body.map(|body| body.to_string().into_bytes());
    wait_until(&format!("{method} {target} is answered"), || {
        daemon.client.try_request(method, target, &[("Content-Type", "application/json")], body.as_deref())
    })
}

#[test]
fn without_descriptors_it_answers_says_so_and_recovers() {
    let daemon = without_gaps();
    let client = &daemon.client;
    let always = json!({"slug": "app", "start": "exec sleep 600", "restart_policy": "always", "restart_delay_ms": 20});
    client.create(&always).server(201);
    client.create(&json!({"slug": "rest", "start": "exec sleep 600"})).server(201);
    client.wait_for_status("rest", "running");
    let before = client.wait_for_status("app", "running")["pid"].as_i64().unwrap();
    let starved = Starved::of_descriptors(&daemon, 0);
    assert_eq!(ask(&daemon, "GET", "/health", None).status, 200);
    let refused = ask(&daemon, "POST", "/servers", Some(&json!({"slug": "new", "start": "exec sleep 600"})));
    let sentence = refused.error(507);
    // The two C libraries have different words for it.
    let why = sentence.contains("open files") || sentence.contains("file descriptors");
    assert!(why && sentence.contains("nothing was changed"), "{sentence}");
    assert_eq!(ask(&daemon, "GET", "/servers/new", None).status, 404);
    // SAFETY: plain numbers; the process is a child of the daemon that has not been waited for.
    unsafe { libc::kill(before as i32, libc::SIGKILL) };
    wait_until("the reason is logged", || {
        let server = ask(&daemon, "GET", "/servers/app", None).server(200);
        server["status_reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("the limit on open files is reached"))
            .then_some(())
    });
    // Others don't notice.
    assert_eq!(ask(&daemon, "GET", "/servers/rest", None).server(200)["status"], "running");
    drop(starved);
    let after = client.wait_for_status("app", "running");
    assert_ne!(after["pid"], before);
    client.create(&json!({"slug": "new", "start": "exec sleep 600"})).server(201);
    client.post("/servers/rest/stop").server(200);
}

#[test]
fn a_stop_without_descriptors_is_not_over_before_the_last_process_is_gone() {
    let daemon = without_gaps();
    let control = Control::new();
    // Its grandchild has left the group, and can only be found by a look at all processes.
    let spec = json!({
        "slug": "app", "start": format!("{0} daemonize ignore-term ctl away stay", testchild()), "stop_timeout_ms": 100,
        "environment": {"CTL": control.address.to_string()},
    });
    daemon.client.create(&spec).server(201);
    let mut away = control.child();
    let starved = Starved::of_descriptors(&daemon, 0);
    let client = daemon.client.clone();
    let stop = thread::spawn(move || client.post("/servers/app/stop").server(200));
    wait_until("it is logged that no process can be read", || {
        daemon.log().contains("the processes can't be looked at").then_some(())
    });
    // Past the stop timeout, and the time in which SIGKILL is repeated.
    thread::sleep(Duration::from_millis(500));
    assert!(!away.is_dead() && !stop.is_finished(), "the stop was over while a process lived");
    drop(starved);
    assert_eq!(stop.join().unwrap()["status"], "stopped");
    assert!(away.is_dead());
    assert_eq!(daemon.log().matches("the processes can't be looked at").count(), 1, "{}", daemon.log());
}

#[test]
fn at_whatever_step_of_a_start_descriptors_run_out_nothing_is_left_of_it() {
    let daemon = without_gaps();
    let client = &daemon.client;
    let spec = json!({
        "slug": "app", "start": format!("{} serve 127.0.0.1:PORT 200 stay", testchild()), "port": quiet_port(),
        "restart_policy": "always", "restart_delay_ms": 0, "health_check": {"interval_ms": 50},
    });
    client.create(&spec).server(201);
    client.when_ready("app");
    let size = daemon.size();
    for room in 0..16 {
        let starved = Starved::of_descriptors(&daemon, room);
        assert_eq!(ask(&daemon, "POST", "/servers/app/restart", None).status, 200);
        assert_eq!(ask(&daemon, "GET", "/servers", None).status, 200);
        drop(starved);
        client.when_ready("app");
    }
    let runs = daemon.descendants();
    assert_eq!(runs.len(), 1, "{runs:?}");
    daemon.until_as_small_as(size);
    assert_eq!(daemon.zombies(), 0);
}

#[test]
fn a_server_is_not_taken_for_unhealthy_because_the_daemon_can_not_look() {
    let daemon = without_gaps();
    let client = &daemon.client;
    let spec = json!({
        "slug": "app", "start": format!("{} serve 127.0.0.1:PORT 200 stay", testchild()), "port": quiet_port(),
        "health_check": {"interval_ms": 20, "restart_after_failures": 3},
    });
    client.create(&spec).server(201);
    let before = client.when_ready("app");
    let starved = Starved::of_descriptors(&daemon, 0);
    // The one free descriptor is a client's.
    let holder = client.begin("GET", "/servers/app?wait_for=stopped&timeout_ms=50000");
    wait_until("no check can be made", || {
        let error = ask(&daemon, "GET", "/servers/app", None).server(200)["health"]["last_error"].clone();
        error.as_str().is_some_and(|error| error.contains("not checked")).then_some(())
    });
    // Some more that can't be made either: three in a row would be a reason for a restart.
    for _ in 0..10 {
        let server = ask(&daemon, "GET", "/servers/app", None).server(200);
        assert_eq!((&server["status"], &server["pid"]), (&json!("ready"), &before["pid"]), "{server:#}");
        thread::sleep(Duration::from_millis(20));
    }
    drop((starved, holder));
    wait_until("checks are made again", || {
        client.show("app")["health"].get("last_error").is_none_or(Value::is_null).then_some(())
    });
    let after = client.show("app");
    assert_eq!((&after["pid"], &after["health"]["consecutive_failures"]), (&before["pid"], &json!(0)));
}
