//! `up`: whole files.

use std::fs;

use serde_json::{Value, json};

use super::super::support::Daemon;
use super::{Ran, command, run};

fn up(daemon: &Daemon, arguments: &[&str]) -> Ran {
    let arguments = [&["up", "--no-wait"], arguments].concat();
    Ran::of(command(daemon, &arguments).current_dir(&daemon.root).output().unwrap())
}

fn pids(daemon: &Daemon, slugs: &[&str]) -> Vec<Value> {
    let pid = |slug: &&str| daemon.client.wait_for_status(slug, "running")["pid"].clone();
    slugs.iter().map(pid).collect()
}

#[test]
fn a_setup_file_again_restarts_what_has_changed_and_nothing_else() {
    let daemon = Daemon::start();
    let file = daemon.root.join("servisor.json");
    let setup = |api: &str| {
        json!({"servers": [
            {"slug": "web", "start": "sleep 600", "environment": {"B": "2", "A": "1"}, "restart_policy": "always"},
            {"slug": "api", "start": api},
            {"slug": "job", "start": "sleep 600", "port": 14400, "health_check": {"path": "/up"}},
        ]})
    };
    fs::write(&file, setup("sleep 601").to_string()).unwrap();
    let table = up(&daemon, &[]).done();
    assert!(["web", "api", "job"].iter().all(|slug| table.contains(slug)), "{table}");
    let slugs = ["web", "api", "job"];
    let first = pids(&daemon, &slugs);
    assert_eq!(up(&daemon, &["--json"]).json().len(), 3);
    assert_eq!(pids(&daemon, &slugs), first);

    fs::write(&file, setup("sleep 602").to_string()).unwrap();
    let changed = up(&daemon, &["servisor.json"]);
    assert_eq!(changed.err, "servisor: api: its configuration changed, it was replaced\n");
    changed.done();
    let second = pids(&daemon, &slugs);
    assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
    assert_ne!(second[1], first[1]);
    assert_eq!(daemon.client.show("api")["start"], "sleep 602");

    // What was stopped is brought back, with its configuration and its install as they are.
    run(&daemon, &["stop", "web"]).done();
    up(&daemon, &[]).done();
    let third = pids(&daemon, &slugs);
    assert_ne!(third[0], second[0]);
    assert_eq!(third[1..], second[1..]);
}

#[test]
fn the_daemons_next_life_knows_the_file_too() {
    let mut daemon = Daemon::start();
    fs::write(
        daemon.root.join("servisor.json"),
        json!({"servers": [{"slug": "web", "start": "sleep 600"}]}).to_string(),
    )
    .unwrap();
    up(&daemon, &[]).done();
    daemon.signal(libc::SIGTERM);
    daemon.wait();
    daemon.begin_anew(&[], &[]);
    let pid = pids(&daemon, &["web"]);
    up(&daemon, &[]).done();
    assert_eq!(pids(&daemon, &["web"]), pid);
}

#[test]
fn servers_wait_for_the_overlays_of_the_file() {
    let daemon = Daemon::start();
    let template = daemon.scratch().0.join("template");
    fs::create_dir(&template).unwrap();
    fs::write(template.join("a.txt"), "a").unwrap();
    let setup = json!({
        "overlays": [{"source": template, "target": "app"}],
        "servers": [{"slug": "web", "start": "cat a.txt; sleep 600", "path": "app"}],
    });
    fs::write(daemon.root.join("servisor.json"), setup.to_string()).unwrap();
    up(&daemon, &[]).done();
    let pid = pids(&daemon, &["web"]);
    let overlays = || daemon.client.get("/filesystem/overlays").json()["overlays"].as_array().unwrap().len();
    assert_eq!(overlays(), 1);
    up(&daemon, &[]).done();
    assert_eq!((pids(&daemon, &["web"]), overlays()), (pid, 1));
}

#[test]
fn a_procfile() {
    let daemon = Daemon::start();
    let app = daemon.scratch().0.join("my app");
    fs::create_dir(&app).unwrap();
    fs::write(app.join(".env"), "SECRET=hush\n").unwrap();
    fs::write(app.join("Procfile"), "# two\nweb: echo $SECRET $PORT; sleep 600\nworker: sleep 600\n").unwrap();
    let output = |words: &[&str]| Ran::of(command(&daemon, words).current_dir(&app).output().unwrap());
    output(&["up", "--no-wait"]).done();
    let pid = pids(&daemon, &["web", "worker"]);
    let web = daemon.client.show("web");
    assert_eq!(
        (&web["requested_port"], &web["env_file"], web["path"].as_str()),
        (&json!(5000), &json!(".env"), app.to_str())
    );
    assert!(daemon.client.show("worker").get("requested_port").is_none());
    output(&["up", "Procfile", "--no-wait"]).done();
    assert_eq!(pids(&daemon, &["web", "worker"]), pid);
}

#[test]
fn what_is_wrong_with_a_file_is_said_before_anything_is_done() {
    let daemon = Daemon::start();
    assert!(up(&daemon, &[]).failed(2).contains("neither servisor.json nor Procfile"));
    assert!(up(&daemon, &["none.json"]).failed(1).contains("none.json can't be read"));
    for (name, text, says) in [
        ("x.json", "{", "not valid JSON"),
        ("x.json", "[]", "must be an object"),
        ("x.json", "{\"slug\": \"k\"}", "x.json has no \"servers\" and no \"overlays\"; write {\"servers\": [{…}]}"),
        ("dev.procfile", "web: sleep 600\n", "(a Procfile's name begins with \"Procfile\")"),
        ("x.json", "{\"servers\": {}}", "servers must be a list"),
        ("Procfile", "web\n", "line 1: must be NAME: COMMAND"),
        ("Procfile", "", "no line"),
    ] {
        fs::write(daemon.root.join(name), text).unwrap();
        let said = up(&daemon, &[name]).failed(2);
        assert!(said.contains(says) && said.contains(name), "{said}");
    }
    assert_eq!(run(&daemon, &["ps", "-q"]).done(), "");
}
