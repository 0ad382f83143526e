//! No process and no thread can be made.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::support::limits::{Limit, Starved, is_root, tasks_of};
use crate::support::{Daemon, Scratch, wait_until};

/// A daemon whose user has nothing else, if this test may choose one; the limit is a user's, and root has none. No
/// other test has the same user at the same time, of another run of the tests neither.
pub fn daemon() -> (Daemon, u32) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let uid = 100_000 + std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    fs::create_dir_all(scratch.0.join("state")).unwrap();
    let mut command = Daemon::command_on(&scratch);
    if !is_root() {
        // SAFETY: a plain question.
        let own = unsafe { libc::geteuid() };
        return (Daemon::begun_by(scratch, &mut command), own);
    }
    // Another user may not get to where this one has its programs.
    let binary = scratch.0.join("servisor");
    fs::copy(command.get_program(), &binary).unwrap();
    for path in [&scratch.0, &scratch.0.join("root"), &scratch.0.join("state")] {
        chown(path, Some(uid), Some(uid)).unwrap();
    }
    let mut other = Command::new(&binary);
    other.args(command.get_args()).uid(uid).gid(uid).current_dir("/").stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    (Daemon::begun_by(scratch, &mut other), uid)
}

#[test]
fn without_threads_it_refuses_politely_and_recovers() {
    let (daemon, uid) = daemon();
    let client = &daemon.client;
    let always = json!({"slug": "app", "start": "exec sleep 600", "restart_policy": "always", "restart_delay_ms": 20});
    client.create(&always).server(201);
    client.create(&json!({"slug": "rest", "start": "exec sleep 600"})).server(201);
    let before = client.wait_for_status("app", "running")["pid"].as_i64().unwrap();
    // A client that was let in before.
    let mut early = crate::support::Stream::open(client, "/servers/rest/logs?follow=true", &[]);
    let stubborn =
        json!({"slug": "stubborn", "start": "trap '' TERM; echo up; sleep 600 & wait; wait", "stop_timeout_ms": 3000});
    client.create(&stubborn).server(201);
    wait_until("it ignores SIGTERM", || client.get("/servers/stubborn/logs").text().contains("up").then_some(()));
    let starved = Starved::new(daemon.pid(), Limit::Tasks, 1);
    // One client after the other has the thread in reserve, and streams have none.
    for _ in 0..20 {
        assert_eq!(client.get("/servers").status, 200);
    }
    let streamed = client.get("/servers/rest/logs?follow=true");
    streamed.error(503);
    let stopper = client.clone();
    let stop = std::thread::spawn(move || stopper.post("/servers/stubborn/stop").status);
    let refused = wait_until("the thread in reserve has a stop to wait for", || {
        let answer = client.get("/servers");
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(stop.join().unwrap(), 200);
    // SAFETY: plain numbers; the process is a child of the daemon that has not been waited for.
    unsafe { libc::kill(before as i32, libc::SIGKILL) };
    wait_until("the reason is logged", || daemon.log().contains("the limit on processes is reached").then_some(()));
    assert!(early.is_quiet_for(std::time::Duration::from_millis(10)), "a client that is served already still is");
    drop(starved);
    assert_ne!(client.wait_for_status("app", "running")["pid"], before);
    assert_eq!(client.show("rest")["status"], "running");
    // The end of the log is the end of the stream.
    assert_eq!(client.delete("/servers/rest").status, 204);
    early.read_to_end();
    assert!(early.is_whole);
    assert!(tasks_of(uid) > 0);
}

/// Forks in each of its processes as long as the limit on processes lets it, and tries again for ever.
const BOMB: &str = "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)\n";

/// Starts the fork bomb as server `bomb`, and waits until it has taken every task that the user may have.
pub fn explode(daemon: &Daemon, uid: u32) -> Starved {
    fs::write(daemon.root.join("bomb.py"), BOMB).unwrap();
    let limit = tasks_of(uid) + 40;
    let starved = Starved::new(daemon.pid(), Limit::Tasks, limit);
    let spec = json!({"slug": "bomb", "start": "exec python3 bomb.py", "restart_policy": "never"});
    daemon.client.create(&spec).server(201);
    wait_until("no task is left", || (tasks_of(uid) >= limit).then_some(()));
    starved
}

#[test]
fn a_fork_bomb_does_not_keep_a_stop_from_its_server() {
    let (daemon, uid) = daemon();
    let client = &daemon.client;
    let starved = explode(&daemon, uid);
    // A stranger that says nothing has the thread in reserve.
    let _silent = std::net::TcpStream::connect(client.address).unwrap();
    let _slow = std::net::TcpStream::connect(client.address).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.show("bomb");
    assert_eq!(client.post("/servers/bomb/stop").server(200)["status"], "stopped");
    drop(starved);
    assert_eq!(daemon.descendants(), []);
}

#[test]
fn at_whatever_step_of_a_start_threads_run_out_nothing_is_left_of_it() {
    let (daemon, uid) = daemon();
    let client = &daemon.client;
    let spec = json!({"slug": "app", "start": "exec sleep 600", "restart_policy": "always", "restart_delay_ms": 0});
    client.create(&spec).server(201);
    client.wait_for_status("app", "running");
    let runs = |daemon: &Daemon| daemon.descendants().len();
    for room in 1..6 {
        let before = client.show("app")["pid"].as_i64().unwrap();
        // The leader and its two readers leave; so many threads or processes may come.
        let starved = Starved::new(daemon.pid(), Limit::Tasks, tasks_of(uid).saturating_sub(3) + room);
        // SAFETY: plain numbers; the process is a child of the daemon that has not been waited for.
        unsafe { libc::kill(before as i32, libc::SIGKILL) };
        wait_until("it was tried again", || daemon.log().contains("run 2 ").then_some(()));
        drop(starved);
        wait_until("it runs again", || {
            let server = client.show("app");
            (server["status"] == "running" && server["pid"] != before).then_some(())
        });
        assert_eq!(runs(&daemon), 1);
    }
    wait_until("no zombie is left", || (daemon.zombies() == 0).then_some(()));
}
