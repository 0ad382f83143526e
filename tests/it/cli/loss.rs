//! A daemon that stops, dies or ends in the middle of a command.

use serde_json::json;

use super::super::support::{Daemon, wait_until};
use super::Ran;
use super::streams::Stream;

/// Waits until the daemon has taken the request of a command: it is on the other end of a connection.
fn until_asked(daemon: &Daemon, count: usize) {
    let port = format!(":{:04X} ", daemon.client.address.port());
    wait_until("the requests have come", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        // Established, seen from the daemon's side.
        let there = table
            .lines()
            .filter(|row| row.split_whitespace().nth(1).is_some_and(|local| format!("{local} ").ends_with(&port)));
        (there.filter(|row| row.split_whitespace().nth(3) == Some("01")).count() >= count).then_some(())
    });
}

fn with_servers() -> Daemon {
    let daemon = Daemon::start();
    // One that is never up, and one that does not stop by itself.
    daemon.client.create(&json!({"slug": "mute", "start": "sleep 600", "port": 14600})).server(201);
    let start = "trap '' TERM; while :; do sleep 1; done";
    daemon.client.create(&json!({"slug": "slow", "start": start, "stop_timeout_ms": 60_000})).server(201);
    daemon.client.wait_for_status("mute", "running");
    daemon.client.wait_for_status("slow", "running");
    daemon
}

const LONG: [&str; 5] = ["wait mute", "run mute2 -p 14610 -- sleep 600", "stop slow", "logs -f", "events"];

#[test]
fn a_daemon_that_is_killed_is_3_in_the_middle_of_each_command() {
    let mut daemon = with_servers();
    let streams: Vec<Stream> = LONG.iter().map(|words| Stream::open(&daemon, words)).collect();
    until_asked(&daemon, LONG.len());
    daemon.client.wait_for_status("mute2", "running");
    daemon.kill();
    for (words, stream) in LONG.iter().zip(streams) {
        let ran = Ran::of(stream.process.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(3), "{words}: {ran:?}");
        assert!(ran.err.contains("has gone away"), "{words}: {ran:?}");
    }
    // The next one finds the new address, and sees to what the old one has left.
    daemon.begin_anew(&[], &[]);
    super::line(&daemon, "ps").done();
    // At the second signal, which the end of this test sends, `slow` is killed.
    daemon.signal(libc::SIGTERM);
    wait_until("it ends", || daemon.log().contains("SIGTERM: stopping").then_some(()));
}

#[test]
fn a_daemon_that_ends_is_0_for_a_stream_and_3_for_a_wait() {
    let mut daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "mute", "start": "sleep 600", "port": 14620})).server(201);
    daemon.client.wait_for_status("mute", "running");
    let commands = [("wait mute", 3), ("logs -f", 0), ("events", 0)];
    let streams: Vec<Stream> = commands.iter().map(|(words, _)| Stream::open(&daemon, words)).collect();
    until_asked(&daemon, commands.len());
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    for ((words, code), stream) in commands.iter().zip(streams) {
        let ran = Ran::of(stream.process.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(*code), "{words}: {ran:?}");
    }
}
