//! Each exit code, by each command that can have it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::support::Daemon;
use super::{Ran, line, run};

#[test]
fn a_wrong_command_line_is_2_and_says_what_would_be_right() {
    let daemon = Daemon::start();
    for (words, says) in [
        ("pss", "did you mean \"ps\"?"),
        ("sotp web", "did you mean \"stop\"?"),
        ("frobnicate", "--help"),
        ("ps --jsno", "did you mean --json?"),
        ("--jsno ps", "did you mean --json?"),
        ("logs --folow", "did you mean --follow?"),
        ("stop", "name a server"),
        ("stop web --all", "not both"),
        ("status", "name a server"),
        ("open a b", "name one server"),
        ("runs", "name one server"),
        ("run web", "the command is missing"),
        ("run web npm start", "put -- before the command"),
        ("run web -p x -- true", "whole number"),
        ("run web -e =x -- true", "NAME=VALUE"),
        ("run -- true", "name the server"),
        ("wait --for rady", "ready"),
        ("wait --timeout -1", "number of seconds"),
        ("logs --stream stdin", "stdout or stderr"),
        ("completion tcsh", "bash|zsh|fish"),
        ("ps --address example.com:80", "--address"),
        ("ps --address", "needs a value"),
        ("up a b", "unexpected argument \"b\""),
        ("--json serve", "serve"),
    ] {
        let said = line(&daemon, words).failed(2);
        assert!(said.contains(says), "{words}: {said}");
    }
}

#[test]
fn no_daemon_is_3_and_none_is_started() {
    let mut daemon = Daemon::start();
    daemon.kill();
    for (words, child) in super::start_each(&daemon, &[]) {
        let said = Ran::of(child.wait_with_output().unwrap()).failed(3);
        let expected = format!("no daemon answers at {}: Connection refused\n", daemon.client.address);
        assert!(said.contains(&expected), "{words}: {said}");
        assert!(said.contains("'servisor serve'") && said.contains("--address"), "{words}: {said}");
    }
}

#[test]
fn a_wrong_token_is_3_and_says_so() {
    let daemon = Daemon::start();
    let mut command = super::command(&daemon, &["ps"]);
    let wrong = Ran::of(command.env("SERVISOR_ACCESS_TOKEN", "wrong").output().unwrap()).failed(3);
    assert!(wrong.contains("does not let you in: the access token is wrong"), "{wrong}");
    let mut command = super::command(&daemon, &["ps"]);
    let none = Ran::of(command.env_remove("SERVISOR_ACCESS_TOKEN").output().unwrap()).failed(3);
    assert!(none.contains("wants an access token") && none.contains("--token-file"), "{none}");
    let missing = run(&daemon, &["ps", "--token-file", "/none"]).failed(3);
    assert!(missing.contains("/none"), "{missing}");
}

#[test]
fn another_program_is_3() {
    let daemon = Daemon::start();
    std::fs::write(daemon.root.join("index.html"), "hello").unwrap();
    daemon
        .client
        .create(&json!({"slug": "web", "start": "exec python3 -m http.server $PORT", "port": 14200}))
        .server(201);
    let port = daemon.client.when_ready("web")["port"].to_string();
    let said = run(&daemon, &["ps", "--address", &format!("127.0.0.1:{port}")]).failed(3);
    assert!(said.contains("is no servisor") && said.contains("--address"), "{said}");
}

#[test]
fn no_such_server_is_4_and_the_others_are_done() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "web", "--no-wait", "--", "sleep 600"]).done();
    let lines = "status none|open none|logs none|stop none|start none|restart none|rm none|ps -q none|wait none";
    for words in lines.split('|') {
        let said = line(&daemon, words).failed(4);
        assert_eq!(said, "servisor: there is no server \"none\"; 'servisor ps' lists those there are\n", "{words}");
    }
    let listed = line(&daemon, "ps none web");
    assert_eq!((listed.code, listed.out.lines().count()), (Some(4), 2), "{listed:?}");
    let stopped = line(&daemon, "stop none web nothing");
    assert_eq!((stopped.code, stopped.err.lines().count()), (Some(4), 2), "{stopped:?}");
    assert_eq!(daemon.client.show("web")["status"], "stopped");
    let shown = line(&daemon, "status none web");
    assert!(shown.code == Some(4) && shown.out.starts_with("web is stopped"), "{shown:?}");
}

#[test]
fn without_a_server_the_commands_for_all_are_done() {
    let daemon = Daemon::start();
    for (words, says) in [
        ("wait", "servisor: there are no servers; 'servisor run' starts one\n"),
        ("logs", "servisor: there are no servers; 'servisor run' starts one\n"),
        ("stop --all", ""),
        ("rm --all", ""),
    ] {
        let ran = line(&daemon, words);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", says), "{words}");
    }
    run(&daemon, &["run", "silent", "--no-wait", "--", "sleep 600"]).done();
    assert_eq!(line(&daemon, "logs").err, "");
}

#[test]
fn refused_is_1_with_the_apis_sentence() {
    let daemon = Daemon::start();
    let said = run(&daemon, &["run", "web", "--restart", "perhaps", "--no-wait", "--", "true"]).failed(1);
    assert!(said.contains("restart_policy") && said.contains("on-failure"), "{said}");
    let said = run(&daemon, &["run", "no/slug", "--no-wait", "--", "true"]).failed(1);
    assert!(said.contains("slug"), "{said}");
    let said = line(&daemon, "run web -f /none").failed(1);
    assert!(said.contains("/none can't be read"), "{said}");
}

#[test]
fn whatever_servers_do_ps_and_status_are_0() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "crash", "start": "echo lost >&2; exit 7"})).server(201);
    daemon.client.wait_for_status("crash", "failed");
    let table = line(&daemon, "ps").done();
    assert!(table.contains("exited with code 7"), "{table}");
    let status = line(&daemon, "status crash").done();
    assert!(status.starts_with("crash is failed: ") && status.ends_with("log:\n  lost\n"), "{status}");
}

#[test]
fn a_daemon_that_stands_still_is_5() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "web", "--no-wait", "--", "sleep 600"]).done();
    daemon.signal(libc::SIGSTOP);
    let begun = Instant::now();
    // All at the same time: each one waits for 15 s.
    for (words, child) in super::start_each(&daemon, &["--timeout", "1"]) {
        let said = Ran::of(child.wait_with_output().unwrap()).failed(5);
        assert!(said.contains("does not answer in time"), "{words}: {said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(40));
    daemon.signal(libc::SIGCONT);
}

#[test]
fn help_is_0_everywhere() {
    let daemon = Daemon::start();
    let overview = line(&daemon, "--help").done();
    for (words, says) in [
        ("help", "servisor COMMAND"),
        ("-h", "servisor COMMAND"),
        ("--help", "logs -f, events, top ignore it"),
        ("run -h", "servisor run [SLUG] -f FILE"),
        ("up -h", "A server whose configuration changed is stopped and replaced."),
        ("start -h", "'servisor wait' waits until they are up."),
        ("wait -h", "fails at once if a server can't reach the goal"),
        ("help serve", "--log-dir"),
        ("serve -h", "--log-dir"),
    ] {
        assert!(line(&daemon, words).done().contains(says), "{words}");
    }
    let names = overview
        .lines()
        .filter(|row| row.starts_with("  ") && !row.contains(" -"))
        .map(|row| row.split_whitespace().next());
    let names: Vec<&str> =
        names.flatten().filter(|name| !["serve", "help", "version", "completion"].contains(name)).collect();
    assert_eq!(names.len(), 14, "{names:?}");
    for name in names {
        let help = line(&daemon, &format!("{name} --help")).done();
        assert!(help.contains(&format!("Usage: servisor {name}")) && help.contains("Example: "), "{help}");
        assert_eq!(line(&daemon, &format!("help {name}")).done(), help);
    }
}
