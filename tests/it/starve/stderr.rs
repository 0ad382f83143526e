//! The daemon's own log has no reader, or one that stalls. See `shutdown` for a reader that leaves.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::support::{Client, Daemon, Scratch, wait_until};

/// Many lines of the daemon's own log.
fn chatter(client: &Client) {
    let spec = json!({
        "slug": "app", "start": "exit 1", "restart_policy": "always", "restart_delay_ms": 0, "max_restarts": 600,
    });
    client.create(&spec).server(201);
    client.wait_for_status("app", "failed");
    assert_eq!(client.delete("/servers/app").status, 204);
}

#[test]
fn with_stderr_closed_from_the_start_it_works_all_the_same() {
    let scratch = Scratch::new();
    // There is no log to read the address from.
    let port = crate::support::quiet_port();
    let plain = Daemon::command();
    let mut process = std::process::Command::new("sh")
        .args(["-c", "exec \"$@\" 2>&-", "sh"])
        .arg(plain.get_program())
        .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--state-dir"])
        .arg(scratch.0.join("state"))
        .env("SERVISOR_ACCESS_TOKEN", "t")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let client = Client { address: ([127, 0, 0, 1], port).into(), token: Some("t".into()) };
    wait_until("it answers", || client.try_request("GET", "/health", &[], None));
    chatter(&client);
    // Nothing that is opened later may be written to in the place of stderr.
    let state = scratch.0.join("state/servers");
    client.create(&json!({"slug": "kept", "start": "exec sleep 600"})).server(201);
    let text = std::fs::read_to_string(state.join("kept.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    // SAFETY: plain numbers; the process is ours and not reaped.
    unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_full_stderr_loses_lines_which_are_counted_and_reported_later() {
    let scratch = Scratch::new();
    let mut process = Daemon::command()
        .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(scratch.0.join("state"))
        .env("SERVISOR_ACCESS_TOKEN", "t")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address = line.split_once("http://").unwrap().1.trim().parse().unwrap();
    let client = Client { address, token: Some("t".into()) };
    chatter(&client);
    let reader = std::thread::spawn(move || {
        let lines: Vec<String> = stderr.lines().map_while(Result::ok).collect();
        lines
    });
    wait_until("the loss is logged", || {
        chatter(&client);
        // SAFETY: plain numbers; the process is ours and not reaped.
        unsafe { libc::kill(process.id() as i32, libc::SIGHUP) };
        Some(())
    });
    // SAFETY: as above.
    unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
    assert!(process.wait().unwrap().success());
    let lines = reader.join().unwrap();
    let reported = lines.iter().filter(|line| line.contains("lines of this log were lost")).count();
    assert!(reported > 0, "{} lines, none of which reports the lost ones", lines.len());
    assert!(lines.last().is_some_and(|line| line.contains("all servers are stopped")), "{:?}", lines.last());
}
