//! What a server writes, and how much of it is kept.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Daemon, testchild, wait_until};

#[test]
fn streams_tails_and_forms() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let start = "echo one; echo bad >&2; echo two; printf unfinished";
    client.create(&json!({"slug": "app", "start": start})).server(201);
    client.wait_for_status("app", "stopped");
    assert_eq!(client.logs("app", "?stream=stdout"), "one\ntwo\nunfinished");
    assert_eq!(client.logs("app", "?stream=stderr"), "bad\n");
    let combined = client.logs("app", "?stream=combined");
    assert_eq!(client.logs("app", ""), combined);
    assert!(combined.contains("bad\n") && combined.contains("one\n") && combined.ends_with("unfinished"), "{combined}");
    assert_eq!(client.logs("app", "?stream=stdout&tail=2"), "two\nunfinished");
    assert_eq!(client.logs("app", "?tail=0"), "");
    assert_eq!(client.logs("app", "?stream=stdout&tail=100"), "one\ntwo\nunfinished");
    let plain = client.request("GET", "/servers/app/logs?stream=stderr", &[("Accept", "text/plain")], None);
    assert_eq!(plain.body, b"bad\n");
    assert!(plain.header("Content-Type").unwrap().starts_with("text/plain"));
    let data = client.get("/servers/app/logs?stream=stderr").json()["data"].clone();
    assert_eq!(
        data,
        json!({"slug": "app", "stream": "stderr", "logs": "bad\n", "truncated": false, "dropped_bytes": 0})
    );
    let wrong = client.get("/servers/app/logs?stream=both&tail=-1");
    let fields = wrong.json()["fields"].clone();
    assert_eq!(wrong.status, 422);
    assert!(fields["stream"].is_string() && fields["tail"].is_string(), "{fields}");
}

#[test]
fn bytes_that_are_no_text_are_kept_and_shown_as_well_as_possible() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": format!("{} bytes 61ff62c3a90a00", testchild())})).server(201);
    daemon.client.wait_for_status("app", "stopped");
    let plain = daemon.client.request("GET", "/servers/app/logs", &[("Accept", "text/plain")], None);
    assert_eq!(plain.body, b"a\xffb\xc3\xa9\n\0");
    assert_eq!(daemon.client.logs("app", ""), "a\u{fffd}bé\n\0");
}

#[test]
fn logs_span_restarts_and_end_with_the_server() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let spec = json!({"slug": "app", "start": "echo run", "restart_policy": "always", "max_restarts": 2, "restart_delay_ms": 0});
    client.create(&spec).server(201);
    client.wait_for_status("app", "failed");
    assert_eq!(client.logs("app", ""), "run\nrun\nrun\n");
    client.delete("/servers/app");
    client.create(&json!({"slug": "app", "start": "sleep 600"})).server(201);
    assert_eq!(client.logs("app", ""), "");
}

#[test]
fn the_newest_lines_are_kept_and_the_rest_is_counted() {
    let daemon = Daemon::with(&["--log-buffer-bytes", "65536"], &[]);
    let client = &daemon.client;
    client.create(&json!({"slug": "app", "start": format!("{} lines 20000", testchild())})).server(201);
    client.wait_for_status("app", "stopped");
    let data = client.get("/servers/app/logs").json()["data"].clone();
    let logs = data["logs"].as_str().unwrap();
    assert_eq!(data["truncated"], true);
    let written: usize = (0..20_000).map(|line| format!("line {line}\n").len()).sum();
    assert_eq!(data["dropped_bytes"].as_u64().unwrap() as usize + logs.len(), written, "no byte is lost unreported");
    assert!(logs.starts_with("line ") && logs.ends_with("line 19999\n"));
    assert!(logs.len() > 60_000 && logs.len() <= 65_536, "{}", logs.len());
}

#[test]
fn a_flood_costs_no_more_than_the_buffer_and_delays_no_other() {
    const SECONDS: u64 = 5;
    // glibc, of which a debug build has its memory, would give every client's thread a heap of its own.
    let daemon = Daemon::with(&[], &[("MALLOC_ARENA_MAX", "1")]);
    let client = &daemon.client;
    client.create(&json!({"slug": "quiet", "start": "sleep 600"})).server(201);
    client.get("/servers/quiet/logs");
    let before = daemon.memory_kib("Anonymous");
    client.create(&json!({"slug": "flood", "start": format!("{} flood {SECONDS}", testchild())})).server(201);
    let (mut calls, mut longest, mut most) = (0, Duration::ZERO, 0);
    loop {
        let begun = Instant::now();
        let flooding = client.show("quiet")["status"] != "failed" && client.show("flood")["status"] != "stopped";
        longest = longest.max(begun.elapsed());
        calls += 2;
        most = most.max(daemon.memory_kib("Anonymous"));
        if !flooding {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let dropped = client.get("/servers/flood/logs?tail=1").json()["data"]["dropped_bytes"].as_u64().unwrap();
    println!(
        "a flood of {SECONDS} s: {} MB taken, memory {before} -> {most} KiB, {calls} calls meanwhile, the longest two {longest:?}",
        dropped / 1_000_000
    );
    assert!(dropped > 10_000_000, "it was no flood");
    // The buffer of 1 MiB, the reader's own, and what a debug build and an allocator need on top.
    assert!(most < before + 1024 + 1024, "{before} -> {most} KiB");
    assert!(longest < Duration::from_secs(5));
    wait_until("the flood is over", || (client.show("flood")["status"] == "stopped").then_some(()));
}

#[test]
fn the_logs_of_many_end_though_a_server_writes_faster_than_they_are_read() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    client.create(&json!({"slug": "flood", "start": format!("{} flood 600", testchild())})).server(201);
    wait_until("it writes", || (client.logs("flood", "?tail=1").len() > 1).then_some(()));
    for query in ["", "&tail=3"] {
        let mut answer = client.begin("GET", &format!("/logs?slug=flood{query}"));
        let (mut buffer, mut received) = ([0; 64 * 1024], 0);
        loop {
            match answer.read(&mut buffer).unwrap() {
                0 => break,
                count => received += count,
            }
            // The buffer has 1 MiB. An answer without an end has more than this at once.
            assert!(received < 4 << 20, "{query}: it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    client.post("/servers/flood/stop").server(200);
}
