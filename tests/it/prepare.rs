//! Servers that wait for overlays: inline, by id, and those of a setup payload.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Finish, Scratch, wait_until};

fn file(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A project of which `heavy` files in `node_modules` take a while.
fn template(scratch: &Scratch, heavy: usize) -> PathBuf {
    let top = scratch.0.join("template");
    file(&top.join("server.sh"), "cat greeting.txt node_modules/p0/last.txt; exec sleep 600\n");
    file(&top.join("greeting.txt"), "hello\n");
    for number in 0..heavy {
        file(&top.join(format!("node_modules/p{}/f{number}.js", number % 50)), "x".repeat(4000));
    }
    file(&top.join("node_modules/p0/last.txt"), "from the template\n");
    top
}

fn overlay(client: &Client, spec: &Value) -> Value {
    let body = serde_json::to_vec(spec).unwrap();
    let answer = client.request("POST", "/filesystem/overlays", &[("Content-Type", "application/json")], Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn links_below(directory: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        count += usize::from(kind.is_symlink());
        if kind.is_dir() {
            count += links_below(&entry.path());
        }
    }
    count
}

#[test]
fn an_inline_overlay_is_complete_before_install_and_start() {
    let scratch = Scratch::new();
    let source = template(&scratch, 3000);
    let daemon = Daemon::start();
    let client = &daemon.client;
    let spec = json!({
        "slug": "web", "path": "app", "install": "find . -type l | wc -l; touch node_modules/p0/added; cat greeting.txt",
        "start": "sh server.sh", "overlay": {"source": source, "target": "app", "strategy": "smart"},
    });
    let server = client.create(&spec).server(201);
    assert_eq!(server["status"], "installing", "{server}");
    assert_eq!(server["overlays"][0]["target"], "app");
    client.wait_for_status("web", "running");
    wait_until("it has written", || client.logs("web", "").contains("from the template").then_some(()));
    assert!(daemon.log().contains("run 1 of") && !daemon.log().contains("run 3 of"), "one for each command");
    // No link led out of the target when the install command ran, and what that added is not in the template.
    assert_eq!(client.logs("web", ""), "0\nhello\nhello\nfrom the template\n");
    assert!(daemon.root.join("app/node_modules/p0/added").exists() && !source.join("node_modules/p0/added").exists());
    assert_eq!(links_below(&daemon.root.join("app")), 0);
    let server = client.show("web");
    let id = server["depends_on"][0].as_str().unwrap();
    assert_eq!(client.get(&format!("/filesystem/overlays/{id}")).json()["copy_status"], "complete");
    let ready = client.get("/ready").json();
    assert_eq!(ready["overlays"][0], json!({"id": id, "source": source, "target": "app", "copy_status": "complete"}));
}

#[test]
fn a_restart_of_the_daemon_lays_nothing_out_again() {
    let scratch = Scratch::new();
    let source = template(&scratch, 10);
    let mut daemon = Daemon::start();
    let spec = json!({
        "slug": "web", "path": "app", "start": "sh server.sh", "install": "echo installed",
        "overlays": [{"source": source, "target": "app"}],
    });
    daemon.client.create(&spec).server(201);
    let before = daemon.client.wait_for_status("web", "running");
    file(&daemon.root.join("app/greeting.txt"), "edited\n");
    fs::remove_file(daemon.root.join("app/node_modules/p0/last.txt")).unwrap();
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    let after = daemon.client.wait_for_status("web", "running");
    assert_eq!(after["depends_on"], before["depends_on"]);
    wait_until("it has written", || daemon.client.logs("web", "").contains("edited").then_some(()));
    assert!(!daemon.root.join("app/node_modules/p0/last.txt").exists(), "what the user removed stays removed");
    let overlays = daemon.client.get("/filesystem/overlays").json();
    assert_eq!(overlays["overlays"].as_array().unwrap().len(), 1);
}

#[test]
fn a_failed_overlay_fails_its_servers_with_its_reason() {
    let scratch = Scratch::new();
    let source = template(&scratch, 10);
    let daemon = Daemon::start();
    let client = &daemon.client;
    // No directory can be made there.
    let target = "/proc/no-place-for-an-app";
    let inline =
        json!({"slug": "web", "path": target, "start": "true", "overlay": {"source": source, "target": target}});
    client.create(&inline).server(201);
    for _ in 0..2 {
        let failed = client.wait_for_status("web", "failed");
        let reason = failed["status_reason"].as_str().unwrap();
        assert!(reason.contains("failed: ") && reason.contains(target), "{reason}");
        assert_eq!(failed.get("started_at"), None, "start never ran");
        // By hand it is tried again, and not before.
        client.post("/servers/web/start").server(200);
    }
    let id = client.wait_for_status("web", "failed")["depends_on"][0].as_str().unwrap().to_owned();
    client.create(&json!({"slug": "other", "start": "sleep 600", "depends_on": [id]})).server(201);
    assert!(client.wait_for_status("other", "failed")["status_reason"].as_str().unwrap().contains(&id));
}

#[test]
fn an_overlay_of_a_server_that_was_deleted_is_made_again_at_its_next_start() {
    let scratch = Scratch::new();
    let source = template(&scratch, 20_000);
    let daemon = Daemon::start();
    let client = &daemon.client;
    let overlay = json!({"source": source, "target": "app", "strategy": "copy"});
    client.create(&json!({"slug": "web", "path": "app", "start": "sh server.sh", "overlay": overlay})).server(201);
    let id = client.post("/servers/web/stop").server(200)["depends_on"][0].as_str().unwrap().to_owned();
    assert_eq!(client.delete(&format!("/filesystem/overlays/{id}?delete_files=true")).status, 204);
    client.post("/servers/web/start").server(200);
    assert_ne!(client.wait_for_status("web", "running")["depends_on"][0], json!(id));
    wait_until("it has written", || client.logs("web", "").contains("from the template").then_some(()));
}

#[test]
fn an_overlay_that_a_server_waits_for_can_not_be_deleted_and_a_stop_takes_effect_at_once() {
    let scratch = Scratch::new();
    let source = template(&scratch, 40_000);
    let daemon = Daemon::start();
    let client = &daemon.client;
    let made = overlay(client, &json!({"source": source, "target": "app", "strategy": "copy"}));
    let id = made["id"].as_str().unwrap();
    let waiting = client.create(&json!({"slug": "web", "start": "sleep 600", "depends_on": [id]})).server(201);
    assert_eq!(
        (&waiting["status"], &waiting["status_reason"]),
        (&json!("installing"), &json!("waiting for its overlays"))
    );
    let refused = client.delete(&format!("/filesystem/overlays/{id}"));
    assert!(refused.error(409).contains("web"), "{}", refused.text());
    assert_eq!(client.post("/servers/web/stop").server(200)["status"], "stopped");
    let status = client.get(&format!("/filesystem/overlays/{id}")).json()["copy_status"].clone();
    assert_eq!(status, "in_progress", "the stop did not wait for the copy");
    // Started again it waits again; deleted, it is gone.
    assert_eq!(client.post("/servers/web/start").server(200)["status"], "installing");
    assert_eq!(client.post("/servers/web/restart").server(200)["status"], "installing");
    assert_eq!(client.delete("/servers/web").status, 204);
    assert_eq!(client.delete(&format!("/filesystem/overlays/{id}")).status, 204);
    client.create(&json!({"slug": "late", "start": "true", "depends_on": [id]})).error(422);
}

#[test]
fn what_can_not_be_is_refused_at_once_and_nothing_is_made() {
    let scratch = Scratch::new();
    let source = template(&scratch, 1);
    let daemon = Daemon::start();
    let client = &daemon.client;
    let with = |more: Value| {
        let mut spec = json!({"slug": "web", "start": "sleep 600"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    for (more, field) in [
        (json!({"overlay": {"source": "/no/such/template", "target": "app"}}), "overlays[0].source"),
        (
            json!({"overlays": [{"source": source, "target": "ok"}, {"source": source, "target": "../out"}]}),
            "overlays[1].target",
        ),
        (json!({"overlay": {"source": "relative", "target": "app"}}), "overlay.source"),
        (json!({"overlay": {"source": source, "target": "app", "strategy": "clever"}}), "overlay.strategy"),
        (json!({"depends_on": ["nosuchid"]}), "depends_on"),
        (json!({"depends_on": "x"}), "depends_on"),
        (json!({"path": "missing"}), "path"),
    ] {
        let answer = client.create(&with(more.clone()));
        let error = answer.error(422);
        let fields = answer.json()["fields"].clone();
        assert!(fields.get(field).is_some(), "{more}: {error}: {fields}");
    }
    assert_eq!(client.get("/servers").json()["data"]["servers"], json!([]));
    assert_eq!(client.get("/filesystem/overlays").json()["overlays"], json!([]));
    assert_eq!(fs::read_dir(&daemon.root).unwrap().count(), 0);
}

#[test]
fn the_servers_of_a_payload_wait_for_its_overlays_and_edits_survive_every_boot() {
    let scratch = Scratch::new();
    let source = template(&scratch, 2000);
    let setup = scratch.0.join("setup.json");
    let payload = json!({
        "overlays": [{"source": source, "target": "app", "strategy": "smart"}],
        "servers": [{"slug": "dev", "path": "app", "install": "echo installing", "start": "sh server.sh"}],
    });
    file(&setup, payload.to_string());
    let options = ["--setup", setup.to_str().unwrap()];
    let mut daemon = Daemon::with(&options, &[]);
    let first = daemon.client.wait_for_status("dev", "running");
    file(&daemon.root.join("app/greeting.txt"), "edited\n");
    for _ in 0..2 {
        daemon.kill();
        daemon.begin_anew(&options, &[]);
        let again = daemon.client.wait_for_status("dev", "running");
        assert_eq!((&again["created_at"], &again["depends_on"]), (&first["created_at"], &first["depends_on"]));
        assert_eq!(fs::read_to_string(daemon.root.join("app/greeting.txt")).unwrap(), "edited\n");
        assert!(!daemon.client.logs("dev", "").contains("installing"), "install ran once");
    }
    // One whose template is gone fails, its server too, and the daemon runs.
    let broken = json!({"overlays": [{"source": "/no/such/template", "target": "x"}], "servers": payload["servers"]});
    file(&setup, broken.to_string());
    daemon.kill();
    daemon.begin_anew(&options, &[]);
    let failed = daemon.client.wait_for_status("dev", "failed");
    assert!(failed["status_reason"].as_str().unwrap().contains("/no/such/template"), "{failed}");
}

fn overlay_count(client: &Client) -> usize {
    client.get("/filesystem/overlays").json()["overlays"].as_array().unwrap().len()
}

#[test]
fn the_same_inline_overlay_is_one_overlay_for_all_servers() {
    let scratch = Scratch::new();
    let source = template(&scratch, 3000);
    let mut daemon = Daemon::start();
    let inline = json!({"source": source, "target": "app", "ignore": ["*.log"], "strategy": "copy"});
    let spec = |slug: &str| json!({"slug": slug, "path": "app", "start": "sleep 600", "overlay": inline});
    // Two at the same moment: both wait for the one copy.
    std::thread::scope(|scope| {
        for slug in ["one", "two"] {
            let (client, spec) = (daemon.client.clone(), spec(slug));
            scope.spawn(move || client.create(&spec).server(201));
        }
    });
    let first = daemon.client.wait_for_status("one", "running")["depends_on"].clone();
    assert_eq!(daemon.client.wait_for_status("two", "running")["depends_on"], first);
    for _ in 0..3 {
        daemon.client.post("/servers/one/stop").server(200);
        daemon.client.create(&spec("one")).server(201);
        assert_eq!(daemon.client.wait_for_status("one", "running")["depends_on"], first);
        daemon.client.post("/servers/two/restart").server(200);
    }
    // The same place, written in another way.
    let other = json!({"source": source, "target": daemon.root.join("app"), "ignore": ["*.log"], "strategy": "copy"});
    daemon.client.create(&json!({"slug": "three", "start": "sleep 600", "overlay": other})).server(201);
    assert_eq!(daemon.client.wait_for_status("three", "running")["depends_on"], first);
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    daemon.client.wait_for_status("one", "running");
    daemon.client.post("/servers/one/stop").server(200);
    daemon.client.create(&spec("one")).server(201);
    assert_eq!(daemon.client.wait_for_status("one", "running")["depends_on"], first);
    assert_eq!(overlay_count(&daemon.client), 1);
    // One in a payload is the same as well, beside the server's own.
    let setup = scratch.0.join("setup.json");
    file(&setup, json!({"overlays": [inline], "servers": [spec("one")]}).to_string());
    daemon.kill();
    daemon.begin_anew(&["--setup", setup.to_str().unwrap()], &[]);
    daemon.client.wait_for_status("one", "running");
    assert_eq!(overlay_count(&daemon.client), 1);
    // What differs is another one; so is the same when its target was removed.
    for (name, value) in [("ignore", json!([])), ("strategy", json!("smart")), ("target", json!("app2"))] {
        let mut different = inline.clone();
        different[name] = value;
        daemon.client.create(&json!({"slug": name, "start": "sleep 600", "overlay": different})).server(201);
        assert_ne!(daemon.client.wait_for_status(name, "running")["depends_on"], first, "{name}");
    }
    assert_eq!(overlay_count(&daemon.client), 4);
    daemon.client.post("/servers/one/stop").server(200);
    fs::remove_dir_all(daemon.root.join("app")).unwrap();
    daemon.client.create(&spec("one")).server(201);
    daemon.client.wait_for_status("one", "running");
    assert!(daemon.root.join("app/greeting.txt").exists());
    assert_eq!(overlay_count(&daemon.client), 4, "it has taken the place of the one before");
}

#[test]
fn an_inline_overlay_that_fails_again_and_again_is_one_record() {
    let scratch = Scratch::new();
    let source = template(&scratch, 3);
    let daemon = Daemon::start();
    let target = "/proc/no-place-for-an-app";
    let spec = json!({"slug": "web", "start": "true", "overlay": {"source": source, "target": target}});
    for _ in 0..3 {
        daemon.client.create(&spec).server(201);
        daemon.client.wait_for_status("web", "failed");
        daemon.client.post("/servers/web/start").server(200);
        daemon.client.wait_for_status("web", "failed");
    }
    assert_eq!(overlay_count(&daemon.client), 1);
}

#[test]
fn an_environment_of_a_template_is_not_written_to_by_an_install() {
    let scratch = Scratch::new();
    let source = template(&scratch, 2000);
    let made = std::process::Command::new("python3").args(["-m", "venv"]).arg(source.join(".venv")).finish();
    assert!(made.status.success(), "{made:?}");
    let daemon = Daemon::start();
    for strategy in ["smart", "copy"] {
        let spec = json!({
            "slug": strategy, "path": strategy, "start": "sleep 600",
            "install": ". .venv/bin/activate && touch $VIRTUAL_ENV/written; .venv/bin/pip -V",
            "overlay": {"source": source, "target": strategy, "strategy": strategy},
        });
        daemon.client.create(&spec).server(201);
        daemon.client.wait_for_status(strategy, "running");
        assert!(daemon.root.join(strategy).join(".venv/written").exists());
        let from = format!(" from {}/.venv/lib/", daemon.root.join(strategy).display());
        let log = daemon.client.logs(strategy, "");
        assert!(log.contains(&from), "{log}");
    }
    assert!(!source.join(".venv/written").exists());
}

#[test]
fn install_may_make_the_directory_that_start_runs_in() {
    let scratch = Scratch::new();
    let repository = scratch.0.join("repository");
    let make = format!(
        "git init -q {0} && cd {0} && echo VALUE=cloned > .env && git add -f .env && git -c user.name=a -c user.email=a@b commit -qm x",
        repository.display()
    );
    let made = std::process::Command::new("sh").args(["-c", &make]).finish();
    assert!(made.status.success(), "{made:?}");
    let daemon = Daemon::start();
    let client = &daemon.client;
    fs::create_dir(daemon.root.join("there")).unwrap();
    for (slug, path, install, cwd) in [
        ("clone", "app", format!("pwd; git clone -q {} app", repository.display()), "."),
        ("deep", "a/b/c", format!("pwd; mkdir -p a/b && git clone -q {} a/b/c", repository.display()), "."),
        ("inner", "there/app", format!("pwd; git clone -q {} app", repository.display()), "there"),
        ("present", "there", format!("pwd; cp {}/.env .", repository.display()), "there"),
    ] {
        let start = "echo $VALUE in $PWD; exec sleep 600";
        let spec = json!({"slug": slug, "path": path, "install": install, "start": start, "env_file": ".env"});
        let created = client.create(&spec);
        if slug == "present" {
            // Where the directory is there, its files have to be too.
            created.server(201);
            let reason = client.wait_for_status(slug, "failed")["status_reason"].as_str().unwrap().to_owned();
            assert!(reason.contains(".env does not exist"), "{reason}");
            continue;
        }
        created.server(201);
        client.wait_for_status(slug, "running");
        let reported = [daemon.root.join(cwd).canonicalize().unwrap(), daemon.root.join(path)];
        let expected = format!("{}\ncloned in {}\n", reported[0].display(), reported[1].display());
        wait_until("both have written", || (client.logs(slug, "?stream=stdout") == expected).then_some(()));
    }
    for (slug, install) in [("nothing", "true"), ("elsewhere", "mkdir other")] {
        client.create(&json!({"slug": slug, "path": "missing/app", "install": install, "start": "true"})).server(201);
        let reason = client.wait_for_status(slug, "failed")["status_reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("missing/app does not exist: install has not made it"), "{reason}");
    }
}

#[test]
fn what_install_leaves_running_is_ended_and_said() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    for (slug, install, program) in [
        (
            "group",
            "sleep 7000 & sleep 7001 & until [ \"$(cat /proc/$!/comm)\" = sleep ]; do :; done; sleep 0.2",
            "sleep",
        ),
        ("session", "setsid sleep 7002 >/dev/null 2>&1 & sleep 0.2", "sleep"),
        ("perl", "perl -e 'use POSIX; exit if fork; setsid; sleep 7003'; echo done", "perl"),
    ] {
        client.create(&json!({"slug": slug, "install": install, "start": "sleep 600"})).server(201);
        let running = client.wait_for_status(slug, "running");
        let reason = running["status_reason"].as_str().unwrap();
        assert!(reason.starts_with("install has ended and left process ") && reason.contains(program), "{reason}");
        assert_eq!(reason.contains("and 1 more"), slug == "group", "{reason}");
        let line = format!("servisor: {reason}\n");
        assert!(client.logs(slug, "?stream=stderr").ends_with(&line), "{}", client.logs(slug, ""));
        assert!(daemon.log().contains("install has ended and left"));
        // It is no reason of what comes after a stop, but as long as the server lacks it.
        assert_eq!(client.post(&format!("/servers/{slug}/stop")).server(200).get("status_reason"), None);
        client.post(&format!("/servers/{slug}/start")).server(200);
        assert_eq!(client.wait_for_status(slug, "running")["status_reason"], *reason);
    }
    assert_eq!(daemon.descendants().len(), 3, "{:?}", daemon.descendants());
    client.create(&json!({"slug": "clean", "install": "sleep 0.01 & wait", "start": "sleep 600"})).server(201);
    assert_eq!(client.wait_for_status("clean", "running").get("status_reason"), None);
}
