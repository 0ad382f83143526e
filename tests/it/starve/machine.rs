//! Too little processor time, memory, or no time at all.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Control, Daemon, median_and_max, quiet_port, testchild, wait_until};

fn signal(pid: i64, signal: i32) {
    assert!(pid > 1);
    // SAFETY: plain numbers; the process is a server's that the test has seen alive.
    unsafe { libc::kill(pid as i32, signal) };
}

#[test]
fn a_server_at_its_limit_of_memory_dies_alone_and_is_restarted() {
    let daemon = Daemon::start();
    let spec = json!({
        "slug": "app", "start": format!("ulimit -c 0; ulimit -v 200000; exec {} eat", testchild()),
        "restart_policy": "on-failure", "restart_delay_ms": 0, "max_restarts": 3,
    });
    daemon.client.create(&spec).server(201);
    let server = daemon.client.wait_for_status("app", "failed");
    assert_eq!((&server["restart_count"], &server["exit_signal"]), (&json!(3), &json!("SIGABRT")), "{server:#}");
    assert!(daemon.client.logs("app", "").contains("memory allocation"));
}

/// A control group for the daemon and its servers, if this test may make one.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Group> {
        let name = format!("servisor-it-{}", std::process::id());
        for (root, limits) in
            [("/sys/fs/cgroup/memory", &["memory.limit_in_bytes"][..]), ("/sys/fs/cgroup", &["memory.max"][..])]
        {
            let path = PathBuf::from(root).join(&name);
            if fs::create_dir(&path).is_ok() {
                let group = Group(path);
                if limits.iter().all(|limit| fs::write(group.0.join(limit), bytes.to_string()).is_ok()) {
                    return Some(group);
                }
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn out_of_memory_the_kernel_takes_a_server_and_not_the_daemon() {
    let Some(group) = Group::new(64 * 1024 * 1024) else {
        println!("no control group can be made here: the kernel's choice is not tried");
        return;
    };
    let mut daemon = Daemon::start();
    fs::write(group.0.join("cgroup.procs"), daemon.pid().to_string()).unwrap();
    daemon.client.create(&json!({"slug": "calm", "start": "exec sleep 600"})).server(201);
    let calm = daemon.client.wait_for_status("calm", "running")["pid"].clone();
    let spec = json!({
        "slug": "app", "start": format!("{} eat", testchild()), "restart_policy": "on-failure", "restart_delay_ms": 0,
        "max_restarts": 5,
    });
    daemon.client.create(&spec).server(201);
    let server = daemon.client.wait_for_status("app", "failed");
    assert_eq!((&server["restart_count"], &server["exit_signal"]), (&json!(5), &json!("SIGKILL")), "{server:#}");
    let runs = daemon.client.get("/servers/app/runs").json()["data"]["runs"].clone();
    let reasons: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["oom"; 6], "{runs:#}");
    assert!(daemon.process.try_wait().unwrap().is_none());
    assert_eq!(daemon.client.show("calm")["pid"], calm);
    drop(daemon);
    drop(group);
}

#[test]
fn a_daemon_that_was_paused_takes_up_everything_that_has_happened() {
    let daemon = Daemon::start();
    let control = Control::new();
    let client = &daemon.client;
    let environment = json!({"CTL": control.address.to_string()});
    let app = json!({
        "slug": "app", "start": format!("{} ctl app stay", testchild()), "restart_policy": "always",
        "restart_delay_ms": 0, "environment": environment,
    });
    client.create(&app).server(201);
    client.create(&json!({"slug": "never", "start": "exec sleep 600"})).server(201);
    let checked = json!({
        "slug": "web", "start": format!("{} serve 127.0.0.1:PORT 200 stay", testchild()), "port": quiet_port(),
        "health_check": {"interval_ms": 20, "timeout_ms": 200, "restart_after_failures": 1},
    });
    client.create(&checked).server(201);
    let web = client.when_ready("web");
    let never = client.wait_for_status("never", "running")["pid"].as_i64().unwrap();
    let mut first = control.child();
    for round in 0..3 {
        daemon.signal(libc::SIGSTOP);
        signal(i64::from(first.pid), libc::SIGKILL);
        if round == 0 {
            signal(never, libc::SIGTERM);
        }
        first.wait_dead();
        // A client that asks meanwhile is answered afterwards; checks would be long overdue.
        let late = client.clone();
        let late = std::thread::spawn(move || late.get("/servers").status);
        std::thread::sleep(Duration::from_millis(300));
        assert!(!late.is_finished() && control.try_child().is_none());
        daemon.signal(libc::SIGCONT);
        assert_eq!(late.join().unwrap(), 200);
        first = control.child();
    }
    // The process reports itself before its supervisor has published it.
    wait_until("each restart is counted", || (client.show("app")["restart_count"] == 3).then_some(()));
    let ended = client.wait_for_status("never", "failed");
    assert_eq!((&ended["exit_signal"], &ended["exit_code"]), (&json!("SIGTERM"), &json!(143)));
    let after = client.show("web");
    assert_eq!((&after["pid"], &after["restart_count"]), (&web["pid"], &json!(0)), "{after:#}");
    assert_eq!(daemon.zombies(), 0);
}

/// A read that has a limit of time is interrupted by SIGCONT, whatever else the kernel restarts.
#[test]
fn a_pause_in_the_middle_of_a_request_loses_nothing() {
    const REQUESTS: usize = 2_000;
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "exec sleep 600"})).server(201);
    let client = daemon.client.clone();
    let asking = std::thread::spawn(move || (0..REQUESTS).for_each(|_| drop(client.show("app"))));
    let mut pauses = 0;
    while !asking.is_finished() {
        daemon.signal(libc::SIGSTOP);
        daemon.signal(libc::SIGCONT);
        pauses += 1;
        std::thread::sleep(Duration::from_micros(700));
    }
    asking.join().unwrap();
    println!("{REQUESTS} requests and {pauses} pauses");
}

#[test]
fn a_paused_server_is_seen_to_hang_and_is_started_anew() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let spec = json!({
        "slug": "web", "start": format!("{} serve 127.0.0.1:PORT 200 stay", testchild()), "port": quiet_port(),
        "stop_timeout_ms": 5_000, "restart_delay_ms": 0,
        "health_check": {"interval_ms": 20, "timeout_ms": 200, "restart_after_failures": 4},
    });
    client.create(&spec).server(201);
    let before = client.when_ready("web")["pid"].as_i64().unwrap();
    signal(before, libc::SIGSTOP);
    wait_until("it is unhealthy", || daemon.log().contains("its health checks failed too often").then_some(()));
    let after = wait_until("another run is ready", || {
        let server = client.show("web");
        (server["status"] == "ready" && server["pid"] != before).then_some(server)
    });
    assert_eq!((&after["restart_count"], &after["healthy"]), (&json!(1), &json!(true)), "{after:#}");
    // The API does not wait for one that hangs either.
    signal(after["pid"].as_i64().unwrap(), libc::SIGSTOP);
    client.post("/servers/web/stop").server(200);
}

mod timed {
    use super::*;

    #[test]
    #[ignore = "it takes the processors from all others: `make test-rust` runs it alone"]
    fn with_four_times_the_load_that_the_processors_can_bear_it_answers() {
        let daemon = Daemon::start();
        let client = &daemon.client;
        let processors = std::thread::available_parallelism().unwrap().get();
        for number in 0..4 * processors {
            client
                .create(&json!({"slug": format!("spin{number}"), "start": format!("{} spin", testchild())}))
                .server(201);
        }
        for number in 0..10 {
            client
                .create(&json!({"slug": format!("flood{number}"), "start": format!("{} flood 600", testchild())}))
                .server(201);
        }
        client.create(&json!({"slug": "app", "start": "exec sleep 600"})).server(201);
        client.wait_for_status("app", "running");
        let (begun, mut times) = (Instant::now(), Vec::new());
        while times.len() < 300 && begun.elapsed() < Duration::from_secs(5) {
            let asked = Instant::now();
            assert_eq!(client.show("app")["status"], "running");
            times.push(asked.elapsed());
        }
        let (median, max) = median_and_max(&mut times);
        println!(
            "GET of a server, {} servers that never rest and 10 that flood on {processors} processors, {} times: median \
             {median:?}, p99 {:?}, longest {max:?}",
            4 * processors,
            times.len(),
            times[(times.len() * 99).div_ceil(100) - 1],
        );
        assert!(max < Duration::from_secs(5), "promised is an answer at any time");
        let begun = Instant::now();
        client.post("/servers/app/restart").server(200);
        client.post("/servers/app/stop").server(200);
        println!("restart and stop took {:?}", begun.elapsed());
    }
}
