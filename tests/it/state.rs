//! What outlives the daemon, and what does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Control, Daemon, Scratch, testchild};

/// What must come back: everything that is not about a run.
fn lasting(server: &Value) -> Value {
    let mut server = server.clone();
    for passing in
        ["status", "status_reason", "pid", "updated_at", "started_at", "exit_code", "exit_signal", "last_exit"]
    {
        server.as_object_mut().unwrap().remove(passing);
    }
    server
}

#[test]
fn configurations_survive_a_clean_end_and_a_violent_one() {
    let mut daemon = Daemon::start();
    let full = json!({
        "slug": "Web.1_x-y", "start": "exec sleep 600", "install": "true", "path": ".", "environment": {"A": "ä\n\"=\u{1}"},
        "restart_policy": "on-failure", "max_restarts": 7, "restart_delay_ms": 11, "restart_delay_max_ms": 12_345,
        "stop_timeout_ms": 2_222, "health_check": {"path": "/h", "interval_ms": 100_000}, "stdin": "open",
        "stop_signal": "usr2", "stop_mode": "mixed",
    });
    daemon.client.create(&full).server(201);
    daemon.client.create(&json!({"slug": "web.1_x-y", "start": "exec sleep 600"})).server(201);
    daemon.client.create(&json!({"slug": "manual", "start": "exec sleep 600", "autostart": false})).server(201);
    daemon.client.create(&json!({"slug": "halted", "start": "exec sleep 600"})).server(201);
    daemon.client.post("/servers/halted/stop");
    daemon.client.create(&json!({"slug": "gone", "start": "exec sleep 600"})).server(201);
    assert_eq!(daemon.client.delete("/servers/gone").status, 204);
    let file = daemon.state.join("servers/Web.1_x-y.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap()["version"], 1);
    let slugs = ["Web.1_x-y", "halted", "manual", "web.1_x-y"];
    let before = slugs.map(|slug| lasting(&daemon.client.show(slug)));
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        daemon.signal(signal);
        daemon.wait();
        daemon.begin_anew(&[], &[]);
        let list = daemon.client.get("/servers").json();
        let listed = list["data"]["servers"].as_array().unwrap().iter().map(|server| server["slug"].clone());
        assert_eq!(listed.collect::<Vec<_>>(), slugs);
        assert_eq!(slugs.map(|slug| lasting(&daemon.client.show(slug))), before);
        // One that was stopped by hand is started by the next boot, unless it is marked otherwise.
        for slug in ["Web.1_x-y", "web.1_x-y", "halted"] {
            daemon.client.wait_for_status(slug, "running");
        }
        let manual = daemon.client.show("manual");
        assert_eq!((&manual["status"], &manual["pid"]), (&json!("stopped"), &Value::Null));
    }
}

#[test]
fn an_install_that_has_succeeded_is_not_repeated_and_one_that_has_not_is() {
    let mut daemon = Daemon::start();
    let count =
        |daemon: &Daemon, name: &str| fs::read_to_string(daemon.root.join(name)).unwrap_or_default().lines().count();
    let good = json!({"slug": "good", "install": "echo x >> good", "start": "exec sleep 600"});
    let bad = json!({"slug": "bad", "install": "echo x >> bad; exit 3", "start": "exec sleep 600"});
    daemon.client.create(&good).server(201);
    daemon.client.create(&bad).server(201);
    for boots in 1..=3 {
        daemon.client.wait_for_status("good", "running");
        daemon.client.wait_for_status("bad", "failed");
        assert_eq!((count(&daemon, "good"), count(&daemon, "bad")), (1, boots));
        daemon.kill();
        daemon.begin_anew(&[], &[]);
    }
    // The same once more is a new configuration all the same.
    daemon.client.wait_for_status("good", "running");
    daemon.client.post("/servers/good/stop");
    daemon.client.create(&good).server(201);
    daemon.client.wait_for_status("good", "running");
    assert_eq!(count(&daemon, "good"), 2);
}

#[test]
fn what_a_killed_daemon_has_left_is_ended_before_anything_starts() {
    let mut daemon = Daemon::start();
    let control = Control::new();
    let port = crate::support::free_port();
    // The first has a descendant that has left group, session and parent; the second ignores SIGTERM.
    let away = format!("({0} daemonize ctl away stay &); exec {0} ctl main listen stay", testchild());
    let deaf = format!("{} ignore-term ctl deaf stay", testchild());
    for (slug, start) in [("away", away), ("deaf", deaf)] {
        let mut spec = json!({
            "slug": slug, "start": start, "stop_timeout_ms": 200,
            "environment": {"CTL": control.address.to_string()},
        });
        if slug == "away" {
            spec["port"] = json!(port);
            spec["strict_port"] = json!(true);
        }
        daemon.client.create(&spec).server(201);
    }
    let mut old: Vec<_> = (0..3).map(|_| control.child()).collect();
    daemon.kill();
    // Nothing but the daemon's death has happened to them.
    assert!(old.iter_mut().all(|child| !child.is_dead()));
    daemon.begin_anew(&[], &[]);
    assert!(old.iter_mut().all(|child| child.is_dead()), "{}", daemon.log());
    let mut new: Vec<_> = (0..3).map(|_| control.child().name).collect();
    new.sort();
    assert_eq!(new, ["away", "deaf", "main"]);
    assert!(control.try_child().is_none());
    assert_eq!(daemon.client.wait_for_status("away", "ready")["port"], port);
}

#[test]
fn strangers_are_left_alone_whatever_a_file_says() {
    let mut daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    daemon.kill();
    let instance = fs::read_to_string(daemon.state.join("instance")).unwrap().trim().to_owned();
    // One that a doctored file names, one of another state directory, and one whose marker only looks like ours.
    let mut strangers: Vec<_> = ["", "cafe.old.web.1", &format!("{instance}x.old.web.1")]
        .map(|marker| {
            let mut command = Command::new("sleep");
            command.arg("600").stdin(Stdio::null()).env("SERVISOR_RUN", marker);
            command.spawn().unwrap()
        })
        .into();
    let file = daemon.state.join("servers/web.json");
    let mut contents: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for name in ["pid", "pgid", "leader"] {
        contents[name] = json!(strangers[0].id());
        contents["configuration"][name] = json!(strangers[0].id());
    }
    fs::write(&file, contents.to_string()).unwrap();
    daemon.begin_anew(&[], &[]);
    daemon.client.wait_for_status("web", "running");
    for stranger in &mut strangers {
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger was ended");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

#[test]
fn a_file_that_can_not_be_used_keeps_nothing_else_from_starting() {
    let mut daemon = Daemon::start();
    for slug in ["good", "torn", "newer"] {
        daemon.client.create(&json!({"slug": slug, "start": "exec sleep 600"})).server(201);
    }
    daemon.kill();
    let servers = daemon.state.join("servers");
    let torn = fs::read(servers.join("torn.json")).unwrap();
    fs::write(servers.join("torn.json"), &torn[..torn.len() / 2]).unwrap();
    fs::write(servers.join("newer.json"), r#"{"version": 2}"#).unwrap();
    fs::copy(servers.join("good.json"), servers.join("alias.json")).unwrap();
    fs::write(servers.join("good.json.tmp"), "half").unwrap();
    daemon.begin_anew(&[], &[]);
    daemon.client.wait_for_status("good", "running");
    for lost in ["torn", "newer", "alias"] {
        daemon.client.get(&format!("/servers/{lost}")).error(404);
        assert!(daemon.log().contains(&format!("{lost}.json is not used")), "{}", daemon.log());
    }
    assert_eq!(fs::read(servers.join("torn.json.corrupt-1")).unwrap(), &torn[..torn.len() / 2]);
    assert!(servers.join("newer.json.newer-1").exists() && servers.join("alias.json.corrupt-1").exists());
    assert!(!servers.join("good.json.tmp").exists());
}

#[test]
fn what_can_not_be_stored_is_refused_and_undone() {
    let daemon = Daemon::start();
    let resting = json!({"slug": "resting", "start": "exec sleep 600", "stop_timeout_ms": 1_234});
    daemon.client.create(&resting).server(201);
    daemon.client.post("/servers/resting/stop");
    daemon.client.create(&json!({"slug": "running", "start": "exec sleep 600"})).server(201);
    // A directory in the place of the unfinished file, as a disk that takes nothing.
    let servers = daemon.state.join("servers");
    let blocked = ["new", "resting", "running"].map(|slug| servers.join(format!("{slug}.json.tmp")));
    blocked.iter().for_each(|path| fs::create_dir_all(path.join("x")).unwrap());
    let refused = |answer: crate::support::Answer| {
        assert_eq!(answer.json()["code"], "storage");
        let sentence = answer.error(507);
        assert!(sentence.contains("nothing was changed"), "{sentence}");
    };
    refused(daemon.client.create(&json!({"slug": "new", "start": "exec sleep 600"})));
    daemon.client.get("/servers/new").error(404);
    refused(daemon.client.create(&json!({"slug": "resting", "start": "exec sleep 601"})));
    let server = daemon.client.show("resting");
    assert_eq!((&server["status"], &server["stop_timeout_ms"]), (&json!("stopped"), &json!(1_234)));
    let pid = daemon.client.show("running")["pid"].clone();
    refused(daemon.client.delete("/servers/running"));
    assert_eq!(daemon.client.show("running")["pid"], pid);
    // Commands that change nothing that lasts are not refused.
    daemon.client.post("/servers/running/restart").server(200);
    daemon.client.post("/servers/resting/start").server(200);
    blocked.iter().for_each(|path| fs::remove_dir_all(path).unwrap());
    daemon.client.create(&json!({"slug": "new", "start": "exec sleep 600"})).server(201);
    assert_eq!(daemon.client.delete("/servers/running").status, 204);
}

#[test]
fn a_full_disk_is_refused_and_undone() {
    let scratch = Scratch::new();
    let state = scratch.0.join("state");
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    fs::create_dir_all(&state).unwrap();
    // A disk of its own that no other process sees. Where that is not allowed the test above has to do.
    let mount = format!("mount -t tmpfs -o size=64k none {} && exec \"$@\"", state.display());
    let allowed = Command::new("unshare").args(["-rm", "sh", "-c", &mount, "sh", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("no mount namespace here: a full disk is not tried");
        return;
    }
    let mut daemon = Daemon::wrapped(scratch, &["unshare", "-rm", "sh", "-c", &mount, "sh"]);
    let large = |slug: &str| json!({"slug": slug, "start": "exec sleep 600", "environment": {"A": "x".repeat(90_000)}});
    daemon.client.create(&json!({"slug": "small", "start": "exec sleep 600"})).server(201);
    daemon.client.create(&large("large")).error(507);
    daemon.client.get("/servers/large").error(404);
    daemon.client.post("/servers/small/stop");
    daemon.client.create(&large("small")).error(507);
    assert_eq!(daemon.client.show("small")["environment"], json!({}));
    // The attempts have left nothing that fills the disk.
    daemon.client.create(&json!({"slug": "other", "start": "exec sleep 600"})).server(201);
    assert_eq!(daemon.client.delete("/servers/small").status, 204);
    daemon.signal(libc::SIGTERM);
    daemon.wait();
}
