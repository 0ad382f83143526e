//! Many servers, idleness, and what it all costs.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Daemon, wait_until};

#[test]
fn two_hundred_servers_run_and_stop_in_parallel() {
    const SERVERS: usize = 200;
    let daemon = Daemon::start();
    let client = &daemon.client;
    let begun = Instant::now();
    for number in 0..SERVERS {
        client.create(&json!({"slug": format!("s{number:03}"), "start": "sleep 600"})).server(201);
    }
    let created = begun.elapsed();
    wait_until("all are running", || {
        let list = client.get("/servers").json();
        let servers = list["data"]["servers"].as_array().unwrap().clone();
        (servers.len() == SERVERS && servers.iter().all(|server| server["status"] == "running")).then_some(())
    });
    println!(
        "{SERVERS} servers created in {created:?}; the daemon has {} KiB of its own",
        daemon.memory_kib("Anonymous")
    );
    // One after the other to have the time of one, then all others at once.
    let begun = Instant::now();
    client.post("/servers/s000/stop").server(200);
    let one = begun.elapsed();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 1..SERVERS {
            let client = client.clone();
            scope.spawn(move || client.post(&format!("/servers/s{number:03}/stop")).server(200));
        }
    });
    println!("stop of one: {one:?}, of {} at once: {:?}", SERVERS - 1, begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(daemon.descendants(), []);
    assert_eq!(daemon.zombies(), 0);
}

#[test]
fn all_stop_with_the_daemon_in_the_time_of_one() {
    let mut daemon = Daemon::start();
    for number in 0..100 {
        let spec =
            json!({"slug": format!("s{number}"), "start": "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"});
        daemon.client.create(&spec).server(201);
    }
    let begun = Instant::now();
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    println!("end of a daemon with 100 servers that take a second each: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30), "one after the other it would be 100 s");
}

/// The context switches of all threads, by their names.
fn switches(pid: i32) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|entry| {
            let status = fs::read_to_string(entry.unwrap().path().join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_once(':').unwrap().1.trim().to_owned()
            };
            (field("Name"), field("voluntary_ctxt_switches").parse().unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn an_idle_daemon_with_running_servers_does_not_wake() {
    let daemon = Daemon::start();
    for number in 0..5 {
        daemon.client.create(&json!({"slug": format!("s{number}"), "start": "echo hello; sleep 600"})).server(201);
        daemon.client.wait_for_status(&format!("s{number}"), "running");
    }
    // What the last answer has begun ends, and so does the search for what these servers might listen on.
    let mut before = switches(daemon.pid());
    wait_until("it is idle", || {
        std::thread::sleep(Duration::from_secs(2));
        let now = switches(daemon.pid());
        let is_idle = now == before;
        before = now;
        is_idle.then_some(())
    });
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(switches(daemon.pid()), before, "a thread woke");
}

#[test]
fn the_api_answers_while_all_servers_crash() {
    let daemon = Daemon::start();
    for number in 0..20 {
        let spec = json!({"slug": format!("s{number}"), "start": "exit 1", "restart_policy": "always", "restart_delay_ms": 20});
        daemon.client.create(&spec).server(201);
    }
    let restarts = || {
        let list = daemon.client.get("/servers").json();
        let servers = list["data"]["servers"].as_array().unwrap().clone();
        servers.iter().map(|server| server["restart_count"].as_u64().unwrap()).min().unwrap()
    };
    let (mut longest, mut calls) = (Duration::ZERO, 0);
    // Each server crashes several times between the first and the last call.
    let until = restarts() + 5;
    wait_until("every server has crashed five times more", || {
        let begun = Instant::now();
        let is_done = restarts() >= until;
        (longest, calls) = (longest.max(begun.elapsed()), calls + 1);
        is_done.then_some(())
    });
    println!("20 servers that crash 50 times a second each: the longest of {calls} calls took {longest:?}");
    assert!(longest < Duration::from_secs(5), "a call took {longest:?}");
    assert!(daemon.zombies() <= 20, "a zombie waits for its supervisor only");
}
