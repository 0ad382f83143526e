//! What is done to servers, and how they are shown.

use serde_json::json;

use super::super::support::Daemon;
use super::{line, run};

#[test]
fn a_server_from_its_start_to_its_end() {
    let daemon = Daemon::start();
    let said = run(&daemon, &["run", "clock", "--no-wait", "-e", "SECRET=hush", "--", "sleep", "600"]).done();
    assert!(said.starts_with("clock is "), "{said}");
    daemon.client.wait_for_status("clock", "running");
    let table = line(&daemon, "ps").done();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "UP", "RESTARTS", "PID", "PORT", "URL", "/", "WHY"]);
    let pid = daemon.client.show("clock")["pid"].to_string();
    assert_eq!((rows[1][0], rows[1][1], rows[1][3], rows[1][4]), ("clock", "running", "0", pid.as_str()));
    assert_eq!(rows[1][5..], ["-", "-"]);
    assert_eq!(line(&daemon, "ps -q").done(), "clock\n");

    let status = line(&daemon, "status clock").done();
    assert!(status.starts_with("clock is running"), "{status}");
    assert!(status.contains("\n  environment             SECRET\n"), "{status}");
    assert!(status.contains("\n  start                   sleep 600\n"), "{status}");
    assert!(!status.contains("hush"), "{status}");
    assert!(line(&daemon, "status clock --env").done().contains("{\"SECRET\":\"hush\"}"));

    assert_eq!(line(&daemon, "stop clock").done(), "");
    assert_eq!(daemon.client.show("clock")["status"], "stopped");
    assert_eq!(line(&daemon, "start clock").done(), "");
    let again = line(&daemon, "start clock");
    assert!(again.err.contains("clock already runs"), "{again:?}");
    again.done();
    assert_eq!(line(&daemon, "restart clock").done(), "");
    assert_eq!(line(&daemon, "rm clock").done(), "");
    assert!(line(&daemon, "status clock").failed(4).contains("clock"));
}

#[test]
fn each_option_of_run_is_a_field() {
    let daemon = Daemon::start();
    std::fs::create_dir(daemon.root.join("app")).unwrap();
    std::fs::write(daemon.root.join("app/.env"), "").unwrap();
    let options = "run web -p 14999 --strict-port --path app --install true --env-file .env -e A=1 -e B=x=y --restart always \
                   --max-restarts 3 --health /up --no-wait --json -- echo it's $A";
    let mut words: Vec<&str> = options.split(' ').filter(|word| !word.is_empty()).collect();
    words.push("a b");
    let printed = run(&daemon, &words).json();
    assert_eq!(printed[0].get("environment"), None);
    let server = daemon.client.show("web");
    let expected = json!({
        "slug": "web", "start": "echo 'it'\\''s' '$A' 'a b'", "requested_port": 14999, "strict_port": true, "original_path": "app",
        "install": "true", "env_file": ".env", "environment": {"A": "1", "B": "x=y"}, "restart_policy": "always",
        "max_restarts": 3,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(server[name], *value, "{name}");
    }
    assert_eq!(server["health_check"]["path"], "/up");
    let literal = run(&daemon, &["run", "literal", "--no-wait", "--", "echo", "$HOME"]);
    assert!(literal.err.contains("note: \"$HOME\" is passed as it is; give the command as one word"), "{literal:?}");
    let shell = run(&daemon, &["run", "sh", "--no-wait", "--", "sh", "-c", "echo $HOME; sleep 600"]);
    assert_eq!((shell.code, shell.err.as_str()), (Some(0), ""));
    let one_word = run(&daemon, &["run", "shell", "--no-wait", "--json", "--", "echo $HOME && sleep 600"]).json();
    assert_eq!(one_word[0]["start"], "echo $HOME && sleep 600");
    assert_eq!(one_word[0].get("environment"), None);
}

#[test]
fn a_whole_configuration_from_a_file_or_from_stdin() {
    let daemon = Daemon::start();
    let file = daemon.scratch().0.join("web.json");
    let spec = json!({"slug": "one", "start": "sleep 600", "environment": {"A": "1"}, "unknown_field": 1});
    std::fs::write(&file, spec.to_string()).unwrap();
    let file = file.display().to_string();
    let ran = run(&daemon, &["run", "-f", &file, "--no-wait", "-e", "B=2"]);
    assert!(ran.err.contains("servisor: warning: ") && ran.err.contains("unknown_field"), "{ran:?}");
    ran.done();
    assert_eq!(daemon.client.show("one")["environment"], json!({"A": "1", "B": "2"}));
    let mut child = super::command(&daemon, &["run", "two", "-f", "-", "--no-wait"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), spec.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(daemon.client.show("two")["start"], "sleep 600");
}

#[test]
fn replace_stops_the_present_one_first() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "web", "--no-wait", "--", "sleep 600"]).done();
    let before = daemon.client.show("web")["pid"].clone();
    let refused = run(&daemon, &["run", "web", "--no-wait", "--", "sleep 601"]).failed(1);
    assert!(refused.ends_with("\n--replace stops and replaces it\n"), "{refused}");
    assert_eq!(daemon.client.show("web")["pid"], before);
    run(&daemon, &["run", "web", "--no-wait", "--replace", "--", "sleep 601"]).done();
    assert_eq!(daemon.client.show("web")["start"], "sleep 601");
}

#[test]
fn all_of_them_at_once() {
    let daemon = Daemon::start();
    // A stop that takes its 2 s each: one after the other they would take 20.
    let start = "trap '' TERM; while :; do sleep 1; done";
    for number in 0..10 {
        let spec = json!({"slug": format!("s{number}"), "start": start, "stop_timeout_ms": 2000});
        daemon.client.create(&spec).server(201);
    }
    let begun = std::time::Instant::now();
    line(&daemon, "stop --all").done();
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(line(&daemon, "ps --json").json().iter().all(|server| server["status"] == "stopped"));
    line(&daemon, "rm --all").done();
    assert_eq!(line(&daemon, "ps -q").done(), "");
}

#[test]
fn the_url_is_printed_for_a_script() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "web", "--no-wait", "-p", "0", "--", "x"]).failed(1);
    daemon
        .client
        .create(&json!({"slug": "web", "start": "exec python3 -m http.server $PORT", "port": 14100}))
        .server(201);
    let server = daemon.client.when_ready("web");
    assert_eq!(line(&daemon, "open web").done(), format!("{}\n", server["url"].as_str().unwrap()));
    run(&daemon, &["run", "quiet", "--no-wait", "--", "sleep 600"]).done();
    assert!(line(&daemon, "open quiet").failed(1).contains("no URL"));
}
