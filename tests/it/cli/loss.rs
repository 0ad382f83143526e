//! A daemon that stops, dies or ends in the middle of a command.

use serde_json::json;

use super::super::support::{Daemon, wait_until};
use super::Ran;
use super::streams::Stream;

/// Waits until each of these processes has a connection to the daemon.
fn until_connected(daemon: &Daemon, pids: impl IntoIterator<Item = u32>) {
    let port = format!(":{:04X}", daemon.client.address.port());
    let is_connected = |pid: u32| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        // Established, seen from the command's side.
        let inodes: Vec<String> = rows
            .filter(|row| row.len() > 9 && row[2].ends_with(&port) && row[3] == "01")
            .map(|row| format!("socket:[{}]", row[9]))
            .collect();
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut links = links.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
    };
    for pid in pids {
        wait_until("the command is connected", || is_connected(pid).then_some(()));
    }
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
    until_connected(&daemon, streams.iter().map(|stream| stream.process.id()));
    wait_until("the server was created", || (daemon.client.get("/servers/mute2").status == 200).then_some(()));
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
fn each_command_notices_that_its_daemon_dies_before_it_answers() {
    let mut daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "web", "start": "sleep 600"})).server(201);
    daemon.client.wait_for_status("web", "running");
    daemon.signal(libc::SIGSTOP);
    // Of a daemon that does not run the kernel accepts connections all the same.
    let commands = super::start_each(&daemon, &[]);
    until_connected(&daemon, commands.iter().map(|(_, child)| child.id()));
    daemon.kill();
    for (words, child) in commands {
        let said = Ran::of(child.wait_with_output().unwrap()).failed(3);
        assert!(said.contains("has gone away"), "{words}: {said}");
    }
    daemon.begin_anew(&[], &[]);
    assert_eq!(super::line(&daemon, "ps -q").done(), "web\n");
}

#[test]
fn a_daemon_that_ends_is_0_for_a_stream_and_3_for_a_wait() {
    let mut daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "mute", "start": "echo begun; sleep 600", "port": 14620})).server(201);
    daemon.client.wait_for_status("mute", "running");
    let commands = [("wait mute", 3), ("logs -f", 0), ("events", 0)];
    let mut streams: Vec<Stream> = commands.iter().map(|(words, _)| Stream::open(&daemon, words)).collect();
    until_connected(&daemon, streams.iter().map(|stream| stream.process.id()));
    // These two have been answered when they have a line.
    streams[1..].iter_mut().for_each(|stream| assert!(stream.line().contains("mute")));
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    for ((words, code), stream) in commands.iter().zip(streams) {
        let ran = Ran::of(stream.process.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(*code), "{words}: {ran:?}");
    }
}
