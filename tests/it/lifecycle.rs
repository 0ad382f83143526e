//! From the first request to the last: statuses, fields, commands from every state.

use serde_json::{Value, json};

use crate::support::{Control, Daemon, free_port, testchild, wait_until};

#[test]
fn a_server_is_created_lives_and_is_deleted() {
    let daemon = Daemon::start();
    let control = Control::new();
    let client = &daemon.client;
    let start = format!("{} ctl main stay", testchild());
    let created =
        client.create(&json!({"slug": "web", "start": start, "environment": {"CTL": control.address.to_string()}}));
    let server = created.server(201);
    let mut child = control.child();
    assert_eq!(server["status"], "starting");
    assert_eq!(server["pid"], child.pid, "the pid is the server and not a shell");
    assert_eq!(server["exit_code"], Value::Null);
    let running = client.wait_for_status("web", "running");
    assert_eq!(running["pid"], child.pid);
    assert_eq!(running["started_at"], server["started_at"]);
    assert!(running["updated_at"].as_str() > server["updated_at"].as_str());
    let list = client.get("/servers").json();
    assert_eq!(list["data"]["servers"][0]["slug"], "web");
    let deleted = client.delete("/servers/web");
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert!(child.is_dead(), "an answer means that it is gone");
    assert_eq!(client.get("/servers/web").status, 404);
    assert_eq!(client.get("/servers").json()["data"]["servers"], json!([]));
}

#[test]
fn the_same_configuration_once_more_changes_nothing_if_so_requested() {
    let mut daemon = Daemon::start();
    let given = json!({"slug": "web", "start": "exec sleep 600", "autostart": false});
    let create = |daemon: &Daemon, body: &Value| {
        let body = body.to_string();
        let headers = [("Content-Type", "application/json")];
        daemon.client.request("POST", "/servers?if_changed=true", &headers, Some(body.as_bytes()))
    };
    let first = create(&daemon, &given).server(201);
    daemon.client.wait_for_status("web", "running");
    for _ in 0..3 {
        let again = create(&daemon, &given).server(200);
        assert_eq!((&again["pid"], &again["created_at"]), (&first["pid"], &first["created_at"]));
    }
    // Another one, and the same one without the flag, meet a server that is active.
    let other = json!({"slug": "web", "start": "exec sleep 601", "autostart": false});
    create(&daemon, &other).error(409);
    daemon.client.create(&given).error(409);
    daemon.client.post("/servers/web/stop").server(200);
    assert_eq!(create(&daemon, &given).server(200)["status"], "stopped");
    // What is answered is stored.
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    assert_eq!(create(&daemon, &given).server(200)["status"], "stopped");
    assert_eq!(create(&daemon, &other).server(201)["start"], "exec sleep 601");
}

#[test]
fn an_answer_has_every_field_as_it_is_in_effect() {
    let daemon = Daemon::start();
    let port = free_port();
    let server = daemon.client.create(&json!({
        "slug": "all", "start": "sleep 600", "install": "true", "path": ".", "port": port, "environment": {"A": "b"},
        "restart_policy": "on-failure", "max_restarts": 3, "restart_delay_ms": 250, "restart_delay_max_ms": 4000,
        "stop_timeout_ms": 1500, "autostart": false, "health_check": {"path": "/ok", "interval_ms": 100},
    }));
    let server = server.server(201);
    for (field, value) in [
        ("slug", json!("all")),
        ("install", json!("true")),
        ("original_path", json!(".")),
        ("path", json!(daemon.root.display().to_string())),
        ("requested_port", json!(port)),
        ("strict_port", json!(false)),
        ("environment", json!({"A": "b"})),
        ("restart_policy", json!("on-failure")),
        ("max_restarts", json!(3)),
        ("restart_count", json!(0)),
        ("restart_delay", json!(250_000_000_u64)),
        ("restart_delay_ms", json!(250)),
        ("restart_delay_max_ms", json!(4000)),
        ("stop_timeout", json!(1_500_000_000_u64)),
        ("stop_timeout_ms", json!(1500)),
        ("autostart", json!(false)),
        ("exit_code", Value::Null),
    ] {
        assert_eq!(server[field], value, "{field}");
    }
    assert_eq!(server["health_check"]["interval_ms"], 100);
    assert_eq!(server["health_check"]["timeout_ms"], 1500);
    wait_until("it is started with its port", || (daemon.client.show("all")["port"] == port).then_some(()));
}

#[test]
fn install_runs_once_before_the_first_start() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let gate = daemon.root.join("gate");
    let server = client.create(&json!({
        "slug": "app",
        "install": "echo installing; echo x >> installs; until [ -e gate ]; do sleep 0.01; done",
        "start": "echo started; exec sleep 600",
    }));
    assert_eq!(server.server(201)["status"], "installing");
    std::fs::write(gate, "").unwrap();
    client.wait_for_status("app", "running");
    client.post("/servers/app/restart").server(200);
    client.post("/servers/app/stop").server(200);
    client.post("/servers/app/start").server(200);
    let logs = client.logs("app", "");
    assert_eq!(logs.matches("installing").count(), 1, "{logs}");
    assert!(logs.find("installing") < logs.find("started"));
    // A new configuration installs anew, also when it is the same one.
    client.post("/servers/app/stop").server(200);
    client.create(&json!({"slug": "app", "install": "echo x >> installs", "start": "exec sleep 600"})).server(201);
    client.wait_for_status("app", "running");
    assert_eq!(std::fs::read_to_string(daemon.root.join("installs")).unwrap().lines().count(), 2);
}

#[test]
fn a_failed_install_is_a_failed_server_until_the_next_try() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    client.create(&json!({
        "slug": "app", "install": "echo why >&2; [ -e fixed ] || exit 7", "start": "echo started; exec sleep 600", "restart_policy": "always",
    })).server(201);
    let failed = client.wait_for_status("app", "failed");
    assert_eq!(failed["exit_code"], 7);
    assert_eq!(failed["status_reason"], "install exited with code 7");
    assert_eq!(failed.get("started_at"), None);
    assert_eq!(client.logs("app", "?stream=stderr"), "why\n");
    std::fs::write(daemon.root.join("fixed"), "").unwrap();
    client.post("/servers/app/start").server(200);
    client.wait_for_status("app", "running");
    assert!(client.logs("app", "").contains("started"));
}

#[test]
fn a_stop_during_the_install_takes_effect_at_once() {
    let daemon = Daemon::start();
    let control = Control::new();
    let client = &daemon.client;
    client
        .create(&json!({
            "slug": "app", "install": format!("{} ctl install stay", testchild()), "start": "echo never",
            "environment": {"CTL": control.address.to_string()},
        }))
        .server(201);
    let mut install = control.child();
    assert_eq!(client.post("/servers/app/stop").server(200)["status"], "stopped");
    assert!(install.is_dead());
    assert_eq!(client.logs("app", ""), "");
}

#[test]
fn commands_from_every_resting_state() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    client.create(&json!({"slug": "done", "start": "exit 0"})).server(201);
    client.create(&json!({"slug": "bad", "start": "exit 3"})).server(201);
    let done = client.wait_for_status("done", "stopped");
    assert_eq!((done["exit_code"].as_i64(), done["status_reason"].as_str()), (Some(0), Some("exited with code 0")));
    let bad = client.wait_for_status("bad", "failed");
    assert_eq!((bad["exit_code"].as_i64(), bad["status_reason"].as_str()), (Some(3), Some("exited with code 3")));
    for slug in ["done", "bad"] {
        let path = format!("/servers/{slug}");
        // A stop of what does not run is no error, and a failed server that is stopped is stopped.
        assert_eq!(client.post(&format!("{path}/stop")).server(200)["status"], "stopped");
        client.post(&format!("{path}/start")).server(200);
        client.post(&format!("{path}/restart")).server(200);
        assert_eq!(client.delete(&path).status, 204);
        assert_eq!(client.delete(&path).status, 404);
    }
}

#[test]
fn an_active_server_is_not_started_or_replaced() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let spec = json!({"slug": "web", "start": "exec sleep 600"});
    let pid = client.create(&spec).server(201)["pid"].clone();
    let refused = client.create(&spec).error(409);
    assert!(refused.contains("web"), "{refused}");
    client.post("/servers/web/start").error(409);
    assert_eq!(client.show("web")["pid"], pid);
    client.post("/servers/web/stop").server(200);
    let again = client.create(&json!({"slug": "web", "start": "exec sleep 601"})).server(201);
    assert_eq!(again["start"], "exec sleep 601");
    assert_eq!(again["restart_count"], 0);
}

#[test]
fn restart_answers_with_the_new_process() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let first = client.create(&json!({"slug": "web", "start": "sleep 600"})).server(201);
    client.wait_for_status("web", "running");
    let second = client.post("/servers/web/restart").server(200);
    assert_eq!(second["status"], "starting");
    assert!(second["pid"].is_u64() && second["pid"] != first["pid"]);
    assert_eq!(second["restart_count"], 0, "only automatic restarts are counted");
}

#[test]
fn commands_for_one_server_come_one_after_the_other_and_all_are_answered() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    // Two runs at the same time would want the same file. The shell does all by itself: a child would get its signals
    // too.
    let start =
        "set -C; trap 'rm -f running; exit 0' TERM; true > running || echo >> overlap; while :; do sleep 0.05; done";
    client.create(&json!({"slug": "web", "start": start, "stop_timeout_ms": 60_000})).server(201);
    let askers: Vec<_> = (0..24)
        .map(|number| {
            let client = client.clone();
            let path = ["restart", "stop", "start"][number % 3];
            std::thread::spawn(move || client.post(&format!("/servers/web/{path}")).status)
        })
        .collect();
    let statuses: Vec<_> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| [200, 202, 409].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 200).count() > 1, "{statuses:?}");
    assert_eq!(client.post("/servers/web/stop").server(200)["status"], "stopped");
    assert!(!daemon.root.join("overlap").exists(), "two runs existed at the same time");
    assert!(!daemon.root.join("running").exists(), "the last run was stopped");
}

#[test]
fn a_slow_stop_delays_no_other_server() {
    let daemon = Daemon::start();
    let control = Control::new();
    let client = &daemon.client;
    let stubborn = format!("{} ignore-term ctl stubborn stay", testchild());
    client
        .create(&json!({
            "slug": "slow", "start": stubborn, "stop_timeout_ms": 20_000, "environment": {"CTL": control.address.to_string()},
        }))
        .server(201);
    let mut stubborn = control.child();
    let stopping = {
        let client = client.clone();
        std::thread::spawn(move || client.post("/servers/slow/stop").status)
    };
    wait_until("the stop has begun", || {
        client.show("slow")["status_reason"].as_str().is_some_and(|reason| reason.starts_with("stopping")).then_some(())
    });
    client.create(&json!({"slug": "quick", "start": "sleep 600"})).server(201);
    client.post("/servers/quick/restart").server(200);
    assert_eq!(client.delete("/servers/quick").status, 204);
    assert!(!stubborn.is_dead() && !stopping.is_finished(), "the slow one is still at it");
    // SAFETY: plain numbers; the child is the test's own and alive.
    unsafe { libc::kill(stubborn.pid as i32, libc::SIGKILL) };
    assert_eq!(stopping.join().unwrap(), 200);
}
