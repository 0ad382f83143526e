//! How runs ended: each reason caused on purpose.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Daemon, Stream, wait_until};

fn runs(daemon: &Daemon, slug: &str) -> Vec<Value> {
    let answer = daemon.client.get(&format!("/servers/{slug}/runs"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"]["runs"].as_array().unwrap().clone()
}

/// The newest run that is over, when it is.
fn ended(daemon: &Daemon, slug: &str, reason: &str) -> Value {
    wait_until(&format!("a run of {slug} has ended as {reason}"), || {
        runs(daemon, slug).into_iter().find(|run| run["ended_at"].is_string() && run["reason"] == reason)
    })
}

#[test]
fn an_end_by_itself_has_its_code_its_signal_and_its_last_words() {
    let daemon = Daemon::start();
    let start = "echo out; echo 'Error: Cannot find module' >&2; printf unfinished; exit 3";
    daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
    let run = ended(&daemon, "app", "exit");
    assert_eq!((&run["run"], &run["kind"], &run["exit_code"]), (&json!(1), &json!("start"), &json!(3)), "{run:#}");
    assert_eq!((&run["next"], &run["exit_signal"]), (&json!("none"), &Value::Null));
    assert!(run["sentence"].as_str().unwrap().starts_with("exited with code 3 after "), "{run:#}");
    let words: Vec<&str> = run["tail"].as_array().unwrap().iter().map(|line| line["line"].as_str().unwrap()).collect();
    assert_eq!(words, ["out", "Error: Cannot find module", "unfinished"]);
    assert!(run["max_rss_bytes"].as_u64().unwrap() > 100_000 && run["cpu_ms"].is_u64(), "{run:#}");
    let last = &daemon.client.show("app")["last_exit"];
    assert_eq!((&last["run"], last.get("tail")), (&json!(1), None));

    daemon.client.create(&json!({"slug": "shot", "start": "kill -9 $$"})).server(201);
    let run = ended(&daemon, "shot", "signal");
    assert_eq!((&run["exit_code"], &run["exit_signal"]), (&json!(137), &json!("SIGKILL")), "{run:#}");
}

#[test]
fn an_end_that_was_asked_for_says_by_what_and_keeps_no_words() {
    let mut daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "echo hi; exec sleep 600"})).server(201);
    daemon.client.post("/servers/app/restart").server(200);
    daemon.client.post("/servers/app/stop").server(200);
    let all = runs(&daemon, "app");
    let reported: Vec<_> = all.iter().map(|run| (&run["run"], &run["reason"], &run["next"], &run["tail"])).collect();
    assert_eq!(
        reported,
        [
            (&json!(2), &json!("stopped"), &json!("none"), &json!([])),
            (&json!(1), &json!("restarted"), &json!("restart"), &json!([])),
        ]
    );
    daemon.client.post("/servers/app/start").server(200);
    let mut events = Stream::open(&daemon.client, "/events?slug=app", &[]);
    events.read_until(|text| text.contains("event: snapshot"));
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    let text = events.read_until(|text| text.contains("event: deleted"));
    let (run, deleted) = (text.find(r#""reason":"deleted""#), text.find("event: deleted"));
    assert!(run.is_some() && run < deleted, "{text}");

    daemon.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    daemon.begin_anew(&[], &[]);
    assert_eq!(ended(&daemon, "web", "shutdown")["run"], 1);
    assert_eq!(runs(&daemon, "web")[0]["run"], 2, "the numbers continue");
}

#[test]
fn what_has_no_process_says_why() {
    let daemon = Daemon::start();
    let create = |spec: Value| daemon.client.create(&spec);
    create(json!({"slug": "env", "start": "exec sleep 600", "env_file": "missing.env"})).server(201);
    let run = ended(&daemon, "env", "env_file");
    assert!(run["sentence"].as_str().unwrap().contains("missing.env") && run["exit_code"].is_null(), "{run:#}");

    let directory = daemon.root.join("gone");
    fs::create_dir(&directory).unwrap();
    create(json!({"slug": "cwd", "path": "gone", "start": "exec sleep 600"})).server(201);
    fs::remove_dir(&directory).unwrap();
    daemon.client.post("/servers/cwd/restart");
    assert!(ended(&daemon, "cwd", "spawn_failed")["pid"].is_null());

    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    drop(held);
    create(json!({"slug": "port", "start": "exec sleep 600", "port": port, "strict_port": true})).server(201);
    daemon.client.post("/servers/port/stop").server(200);
    let _held = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    daemon.client.post("/servers/port/start");
    assert!(ended(&daemon, "port", "port_taken")["sentence"].as_str().unwrap().contains(&port.to_string()));

    let template = daemon.root.join("template");
    fs::create_dir_all(&template).unwrap();
    fs::write(template.join("file"), "x").unwrap();
    let overlay = json!({"source": template, "target": "/proc/no-place-for-an-app"});
    let answer = create(json!({"slug": "over", "start": "exec sleep 600", "overlay": overlay}));
    assert!(answer.status == 201, "{}", answer.text());
    let run = ended(&daemon, "over", "overlay_failed");
    assert_eq!((&run["kind"], &run["pid"]), (&json!("overlay"), &Value::Null), "{run:#}");
}

#[test]
fn a_server_that_is_ill_and_one_whose_daemon_was_killed() {
    let mut daemon = Daemon::start();
    let start = format!(
        "{} -c 'import http.server as s,os\nclass H(s.BaseHTTPRequestHandler):\n  n=0\n  def do_GET(self):\n    H.n+=1\n    self.send_response(200 if H.n<2 else 500)\n    self.end_headers()\ns.HTTPServer((\"127.0.0.1\",int(os.environ[\"PORT\"])),H).serve_forever()'",
        "python3"
    );
    let start = start.replace("\\n", "\n");
    let check = json!({"interval_ms": 50, "restart_after_failures": 3});
    let spec = json!({"slug": "ill", "start": start, "port": crate::support::free_port(), "health_check": check});
    daemon.client.create(&spec).server(201);
    let run = ended(&daemon, "ill", "unhealthy");
    assert_eq!(run["next"], "restart", "{run:#}");

    daemon.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    let file = daemon.state.join("runs/web.json");
    wait_until("the start is written", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("living")).then_some(())
    });
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    let run = ended(&daemon, "web", "lost");
    assert_eq!((&run["run"], &run["exit_code"]), (&json!(1), &Value::Null), "{run:#}");
    assert_eq!(runs(&daemon, "web")[0]["run"], 2);
    assert_eq!(fs::metadata(&file).map(|data| std::os::unix::fs::MetadataExt::mode(&data) & 0o777).unwrap(), 0o600);
}

#[test]
fn many_crashes_cost_no_memory_and_few_writes() {
    let crashes: u64 = std::env::var("IT_CRASHES").map_or(1000, |text| text.parse().unwrap());
    let daemon = Daemon::start();
    let spec = json!({
        "slug": "app", "start": "echo $$; exit 1", "restart_policy": "always", "restart_delay_ms": 0, "max_restarts": crashes,
    });
    daemon.client.create(&spec).server(201);
    let file = daemon.state.join("runs/app.json");
    let (begun, mut versions, mut before) = (Instant::now(), 0, 0);
    let mut memory = Vec::new();
    loop {
        let inode = fs::metadata(&file).map_or(0, |data| std::os::unix::fs::MetadataExt::ino(&data));
        versions += u64::from(inode != before);
        before = inode;
        let server = daemon.client.show("app");
        if server["status"] == "failed" {
            break;
        }
        // After the first ones, when the lists are full.
        if server["restart_count"].as_u64().is_some_and(|restarts| restarts > 100) {
            memory.push(daemon.memory_kib("Anonymous"));
        }
        assert!(begun.elapsed().as_millis() < 60_000 + 100 * u128::from(crashes), "{server:#}");
    }
    let seconds = begun.elapsed().as_secs();
    println!(
        "{crashes} crashes in {seconds} s, {versions} writes, memory {:?} to {:?} KiB",
        memory.iter().min(),
        memory.iter().max()
    );
    assert!((1..=seconds + 2).contains(&versions), "{versions} writes in {seconds} s");
    let all = runs(&daemon, "app");
    assert_eq!((all.len(), &all[0]["run"], &all[0]["next"]), (20, &json!(crashes + 1), &json!("gave_up")));
    wait_until("the last one is written", || {
        let last = format!("\"last\":{}", crashes + 1);
        fs::read_to_string(&file).is_ok_and(|text| text.contains(&last)).then_some(())
    });
    assert!(daemon.memory_kib("Anonymous") < 4096);
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    wait_until("its file is gone", || (!file.exists()).then_some(()));
}
