//! A stop is over when the whole tree is gone: not before, and not later.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Control, Daemon, Random, median_and_max, quiet_port, testchild, wait_until};

fn spec(slug: &str, control: &Control, start: &str) -> Value {
    json!({"slug": slug, "start": start, "environment": {"CTL": control.address.to_string()}})
}

#[test]
fn npm_is_gone_long_before_its_app_and_the_stop_waits_for_the_app() {
    const ROUNDS: usize = 50;
    let daemon = Daemon::start();
    let control = Control::new();
    let app = format!("{} drain 1500 listen ctl app stay", testchild());
    let package = json!({"name": "app", "version": "1.0.0", "scripts": {"dev": app}});
    std::fs::write(daemon.root.join("package.json"), package.to_string()).unwrap();
    // Ten servers at the same time, five rounds each.
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let rounds: Vec<_> = (0..10)
            .map(|number| {
                let (client, slug) = (daemon.client.clone(), format!("app{number}"));
                scope.spawn(move || {
                    let control = Control::new();
                    let mut took = Vec::new();
                    for round in 0..ROUNDS / 10 {
                        let port = quiet_port();
                        let mut spec = spec(&slug, &control, "npm run dev");
                        spec["port"] = json!(port);
                        spec["strict_port"] = json!(true);
                        client.create(&spec).server(201);
                        let mut app = control.child();
                        let begun = Instant::now();
                        let stopped = client.post(&format!("/servers/{slug}/stop")).server(200);
                        took.push(begun.elapsed());
                        assert_eq!(stopped["status"], "stopped");
                        assert!(app.is_dead(), "round {round}: the app lives");
                        TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| panic!("port {port}: {error}"));
                        assert!(client.logs(&slug, "").contains("drained"), "it had its time to end");
                    }
                    took
                })
            })
            .collect();
        rounds.into_iter().flat_map(|round| round.join().unwrap()).collect()
    });
    let (median, max) = median_and_max(&mut took);
    println!("stop of an app that drains for 1500 ms, {} times: median {median:?}, longest {max:?}", took.len());
    assert!(took.iter().all(|took| *took >= Duration::from_millis(1400)));
    drop(control);
}

#[test]
fn a_daemon_that_forked_away_is_found() {
    let daemon = Daemon::start();
    let control = Control::new();
    let testchild = testchild();
    for (slug, start) in [
        // The leader stays, its grandchild has left group, session and parent.
        ("left", format!("{testchild} daemonize ctl away stay")),
        // It ignores SIGTERM on top of that.
        ("deaf", format!("{testchild} daemonize ignore-term ctl away stay")),
        // It carries neither the marker nor the pipes.
        ("bare", format!("{testchild} daemonize-bare ctl away stay")),
        // A child in a group of its own.
        ("group", format!("{testchild} in-own-group ctl away stay")),
        ("shell", format!("{testchild} daemonize ctl away stay & {testchild} in-own-group ctl away stay & wait")),
    ] {
        let mut spec = spec(slug, &control, &start);
        spec["stop_timeout_ms"] = json!(500);
        daemon.client.create(&spec).server(201);
        let mut away = vec![control.child()];
        if slug == "shell" {
            away.push(control.child());
        }
        daemon.client.post(&format!("/servers/{slug}/stop")).server(200);
        assert!(away.iter_mut().all(|child| child.is_dead()), "{slug}");
    }
}

#[test]
fn what_a_run_leaves_behind_is_killed_before_the_next_begins() {
    let daemon = Daemon::start();
    let control = Control::new();
    let testchild = testchild();
    let start = format!(
        "{testchild} ignore-term ctl left stay & {testchild} daemonize ctl away stay & {testchild} nap 100 exit 1"
    );
    let mut spec = spec("app", &control, &start);
    spec["restart_policy"] = json!("on-failure");
    spec["max_restarts"] = json!(1);
    spec["restart_delay_ms"] = json!(0);
    daemon.client.create(&spec).server(201);
    let mut first = [control.child(), control.child()];
    let mut second = [control.child(), control.child()];
    first.iter_mut().for_each(|child| assert!(child.is_dead(), "{} of the first run lives in the second", child.name));
    second.iter_mut().for_each(|child| child.wait_dead());
    assert_eq!(daemon.client.wait_for_status("app", "failed")["restart_count"], 1);
}

#[test]
fn a_stopped_process_is_woken_to_end() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut spec = spec("app", &control, &format!("{} drain 1 ctl main stay", testchild()));
    spec["stop_timeout_ms"] = json!(30_000);
    daemon.client.create(&spec).server(201);
    let child = control.child();
    // SAFETY: plain numbers; the child is alive.
    unsafe { libc::kill(child.pid as i32, libc::SIGSTOP) };
    let stopped = daemon.client.post("/servers/app/stop").server(200);
    assert_eq!(stopped["exit_code"], 0, "it has handled SIGTERM and ended by itself");
}

#[test]
fn a_pipe_that_a_stranger_holds_open_delays_no_stop() {
    let daemon = Daemon::start();
    let control = Control::new();
    let start = format!("{} ctl main say ready stay", testchild());
    daemon.client.create(&spec("app", &control, &start)).server(201);
    let child = control.child();
    // The test itself is the stranger.
    let held = std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/fd/1", child.pid)).unwrap();
    assert_eq!(daemon.client.post("/servers/app/stop").server(200)["status"], "stopped");
    assert_eq!(daemon.client.logs("app", ""), "ready\n");
    drop(held);
}

#[test]
fn orphans_are_reaped_while_servers_run() {
    let daemon = Daemon::start();
    let control = Control::new();
    let start = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sh -c 'sleep 0.01' &) ; done; {} ctl main stay",
        testchild()
    );
    daemon.client.create(&spec("app", &control, &start)).server(201);
    let _main = control.child();
    crate::support::wait_until("no zombie is left", || {
        let of_leader = |command: &str| command.contains("for i in 1");
        let busy = daemon.descendants().iter().any(|(_, command)| command.contains("sleep") && !of_leader(command));
        (!busy && daemon.zombies() == 0).then_some(())
    });
}

#[test]
fn a_process_that_forks_while_the_leader_dies_is_found() {
    const ROUNDS: u64 = 150;
    let daemon = Daemon::start();
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (daemon, mut random) = (&daemon, Random::new(number));
            scope.spawn(move || {
                let slug = format!("app{number}");
                let start = format!("{} daemonize stay", testchild());
                for round in 0..ROUNDS {
                    let spec = json!({"slug": slug, "start": start, "environment": {"ROUND": round.to_string()}});
                    let pid = daemon.client.create(&spec).server(201)["pid"].as_i64().unwrap();
                    std::thread::sleep(Duration::from_micros(random.below(6_000)));
                    // SAFETY: plain numbers; the process is a child of the daemon that has not been waited for.
                    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                    daemon.client.wait_for_status(&slug, "failed");
                    let mark = format!("ROUND={round}\0");
                    let left: Vec<_> = daemon
                        .descendants()
                        .into_iter()
                        .filter(|(pid, _)| {
                            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                            let text = String::from_utf8_lossy(&environment).into_owned();
                            text.contains(&mark) && text.contains(&format!(".{slug}."))
                        })
                        .collect();
                    assert!(left.is_empty(), "round {round} of {slug} is over, and there are {left:?}");
                }
            });
        }
    });
}

/// Ends at once on SIGTERM, and on SIGQUIT when it has finished its work, as nginx and php-fpm do.
const DRAINS_ON_QUIT: &str = r#"
import signal, sys, time
def drain(*_):
    time.sleep(0.3)
    print("drained", flush=True)
    sys.exit(0)
signal.signal(signal.SIGQUIT, drain)
print("up", flush=True)
while True: signal.pause()
"#;

/// A master whose workers end at once on SIGTERM, in the middle of their job. It waits for them itself.
const MASTER: &str = r#"
import os, signal, sys, time
go_r, go_w = os.pipe()
for number in range(2):
    if os.fork() == 0:
        if number == 1: os.setsid()
        os.close(go_w)
        os.write(1, b"worker up\n")
        os.read(go_r, 1)
        os.write(1, b"job done\n")
        os._exit(0)
def drain(*_):
    time.sleep(0.3)
    os.close(go_w)
    for _ in range(2): os.wait()
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
os.write(1, b"master up\n")
while True: signal.pause()
"#;

fn python(daemon: &Daemon, slug: &str, program: &str) -> Value {
    std::fs::write(daemon.root.join(format!("{slug}.py")), program).unwrap();
    json!({"slug": slug, "start": format!("python3 {slug}.py"), "stop_timeout_ms": 20_000})
}

#[test]
fn a_stop_signal_of_its_own_lets_a_server_drain() {
    let daemon = Daemon::start();
    let rounds = [("quit", "SIGQUIT", true), ("SIGTERM", "SIGTERM", false), ("3", "SIGQUIT", true)];
    let mut drained = 0;
    for (round, (signal, shown, drains)) in rounds.into_iter().enumerate() {
        let mut spec = python(&daemon, "web", DRAINS_ON_QUIT);
        spec["stop_signal"] = json!(signal);
        assert_eq!(daemon.client.create(&spec).server(201)["stop_signal"], shown);
        let count = |what: &str| daemon.client.logs("web", "").matches(what).count();
        wait_until("it is up", || (count("up") == round + 1).then_some(()));
        let reason = std::thread::scope(|scope| {
            let stop = scope.spawn(|| daemon.client.post("/servers/web/stop").server(200));
            let reason = wait_until("the reason names the signal", || {
                let server = daemon.client.show("web");
                let reason = server["status_reason"].as_str().unwrap_or_default().to_owned();
                (server["status"] == "stopped" || reason.starts_with("stopping")).then_some(reason)
            });
            let stopped = stop.join().unwrap();
            assert_eq!(stopped["exit_code"], if drains { 0 } else { 143 }, "{signal}: {stopped}");
            reason
        });
        if drains {
            assert_eq!(reason, format!("stopping: {shown} was sent, its processes are ending"));
        }
        drained += usize::from(drains);
        assert_eq!(count("drained"), drained, "{signal}");
    }
}

#[test]
fn a_master_drains_its_workers_under_mixed_and_loses_their_jobs_under_tree() {
    let daemon = Daemon::start();
    for (mode, done) in [("mixed", 2), ("tree", 0)] {
        let mut spec = python(&daemon, mode, MASTER);
        spec["stop_mode"] = json!(mode);
        assert_eq!(daemon.client.create(&spec).server(201)["stop_mode"], mode);
        wait_until("all are up", || (daemon.client.logs(mode, "").matches("up\n").count() == 3).then_some(()));
        let begun = Instant::now();
        let stopped = daemon.client.post(&format!("/servers/{mode}/stop")).server(200);
        assert_eq!((&stopped["status"], &stopped["exit_code"]), (&json!("stopped"), &json!(0)), "{mode}");
        assert!(begun.elapsed() < Duration::from_secs(15), "nothing was left for the deadline");
        assert_eq!(daemon.client.logs(mode, "").matches("job done").count(), done, "{mode}");
    }
}

#[test]
fn what_a_master_leaves_behind_is_killed_at_the_deadline() {
    let daemon = Daemon::start();
    let control = Control::new();
    let start = format!("sh -c '{0} ctl worker stay & {0} ctl main stay; :'", testchild());
    let mut spec = spec("app", &control, &start);
    spec["stop_mode"] = json!("mixed");
    spec["stop_timeout_ms"] = json!(500);
    daemon.client.create(&spec).server(201);
    let (mut first, mut second) = (control.child(), control.child());
    let begun = Instant::now();
    let stopped = daemon.client.post("/servers/app/stop").server(200);
    assert!(begun.elapsed() >= Duration::from_millis(500), "they had their time");
    assert_eq!(stopped["exit_signal"], "SIGTERM", "the shell alone got the signal");
    assert!(first.is_dead() && second.is_dead());
}

mod timed {
    use super::*;

    #[test]
    fn a_process_that_ignores_sigterm_is_dead_at_the_stop_timeout() {
        let daemon = Daemon::start();
        let mut late: Vec<Duration> = (0..10)
            .map(|number| {
                let control = Control::new();
                let slug = format!("s{number}");
                let mut spec = spec(&slug, &control, &format!("{} ignore-term ctl main stay", testchild()));
                spec["stop_timeout_ms"] = json!(300);
                daemon.client.create(&spec).server(201);
                let mut child = control.child();
                let begun = Instant::now();
                let stopped = daemon.client.post(&format!("/servers/{slug}/stop")).server(200);
                let took = begun.elapsed();
                assert!(child.is_dead());
                assert_eq!(stopped["exit_signal"], "SIGKILL");
                assert_eq!(stopped["exit_code"], 137);
                assert!(took >= Duration::from_millis(300), "it had {took:?} only");
                took - Duration::from_millis(300)
            })
            .collect();
        let (median, max) = median_and_max(&mut late);
        println!("dead after the stop timeout of 300 ms: median {median:?}, latest {max:?}");
        assert!(max < Duration::from_secs(1), "promised are 200 ms");
    }
}
