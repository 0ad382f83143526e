//! How the daemon ends, and how it does not even begin.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Control, Daemon, Finish, Scratch, testchild, wait_until};

#[test]
fn a_signal_stops_all_servers_in_parallel_with_their_grace() {
    // 37 is SIGRTMIN+3 to systemd and Docker, whatever the C library of this test or of the daemon calls it.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGPWR, 37] {
        let mut daemon = Daemon::start();
        let control = Control::new();
        let mut children: Vec<_> = (0..8)
            .map(|number| {
                let spec = json!({
                    "slug": format!("s{number}"), "start": format!("{} drain 700 ctl main stay", testchild()),
                    "environment": {"CTL": control.address.to_string()},
                });
                daemon.client.create(&spec).server(201);
                control.child()
            })
            .collect();
        let begun = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0));
        let took = begun.elapsed();
        println!("end of a daemon with 8 servers that drain for 700 ms each: {took:?}");
        assert!(took >= Duration::from_millis(700) && took < Duration::from_millis(8 * 700), "{took:?}");
        assert!(children.iter_mut().all(|child| child.is_dead()));
    }
}

#[test]
fn while_it_ends_it_takes_no_commands_but_answers_questions() {
    let mut daemon = Daemon::start();
    let control = Control::new();
    let spec = json!({
        "slug": "slow", "start": format!("{} ignore-term ctl main stay", testchild()), "stop_timeout_ms": 30_000,
        "environment": {"CTL": control.address.to_string()},
    });
    daemon.client.create(&spec).server(201);
    let child = control.child();
    daemon.signal(libc::SIGTERM);
    wait_until("it has begun to end", || daemon.log().contains("SIGTERM: stopping").then_some(()));
    let refused = daemon.client.create(&json!({"slug": "new", "start": "true"}));
    assert_eq!(refused.json()["code"], "shutting_down");
    refused.error(503);
    daemon.client.post("/servers/slow/restart").error(503);
    assert!(daemon.client.show("slow")["status_reason"].as_str().unwrap().starts_with("stopping"));
    // SAFETY: plain numbers; the child is alive.
    unsafe { libc::kill(child.pid as i32, libc::SIGKILL) };
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_second_signal_kills() {
    let mut daemon = Daemon::start();
    let control = Control::new();
    let spec = json!({
        "slug": "deaf", "start": format!("{} ignore-term ctl main stay", testchild()), "stop_timeout_ms": 3_600_000,
        "environment": {"CTL": control.address.to_string()},
    });
    daemon.client.create(&spec).server(201);
    let mut child = control.child();
    daemon.signal(libc::SIGTERM);
    wait_until("the first signal is handled", || daemon.log().contains("SIGTERM: stopping").then_some(()));
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(child.is_dead());
}

#[test]
fn what_no_run_can_be_proven_to_own_is_ended_with_the_daemon() {
    let mut daemon = Daemon::start();
    let control = Control::new();
    // Two servers, each with a descendant that has left everything behind that could show whose it is.
    for slug in ["a", "b"] {
        let spec = json!({
            "slug": slug, "start": format!("{} daemonize-bare ctl away stay", testchild()),
            "environment": {"CTL": control.address.to_string()},
        });
        daemon.client.create(&spec).server(201);
    }
    let mut away = [control.child(), control.child()];
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    away.iter_mut().for_each(|child| child.wait_dead());
}

#[test]
fn signals_that_mean_nothing_are_logged_and_change_nothing() {
    let daemon = Daemon::start();
    let before = daemon.client.create(&json!({"slug": "app", "start": "sleep 600"})).server(201);
    let ignored = [(libc::SIGUSR1, "SIGUSR1"), (libc::SIGUSR2, "SIGUSR2"), (libc::SIGALRM, "SIGALRM")];
    for (signal, name) in ignored {
        daemon.signal(signal);
        wait_until(name, || daemon.log().contains(&format!("{name} is ignored")).then_some(()));
    }
    assert_eq!(daemon.client.show("app")["pid"], before["pid"]);
}

#[test]
fn hang_up_and_a_lost_stderr_are_no_reasons_to_end() {
    let daemon = Daemon::start();
    daemon.signal(libc::SIGHUP);
    wait_until("it is ignored in words", || daemon.log().contains("SIGHUP is ignored").then_some(()));
    daemon.client.get("/servers").json();

    let scratch = Scratch::new();
    let mut process = Daemon::command()
        .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "debug", "--state-dir"])
        .arg(scratch.0.join("state"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = std::io::BufReader::new(process.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(stderr).map(Result::unwrap);
    let line = lines.find(|line| line.contains("http://")).unwrap();
    let address: std::net::SocketAddr = line.split_once("http://").unwrap().1.trim().parse().unwrap();
    drop(lines);
    let client = crate::support::Client { address, token: None };
    // SAFETY: plain numbers; the process is ours and not reaped.
    unsafe { libc::kill(process.id() as i32, libc::SIGHUP) };
    for _ in 0..10 {
        assert_eq!(client.get("/health").status, 200);
    }
    // SAFETY: as above.
    unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_stderr_without_a_reader_blocks_nothing() {
    let scratch = Scratch::new();
    let mut process = Daemon::command()
        .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(scratch.0.join("state"))
        .env("SERVISOR_ACCESS_TOKEN", "t")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    let address: std::net::SocketAddr = line.split_once("http://").unwrap().1.trim().parse().unwrap();
    let client = crate::support::Client { address, token: Some("t".into()) };
    // Each run writes some lines; the pipe holds 64 KiB.
    let spec = json!({"slug": "app", "start": "exit 1", "restart_policy": "always", "restart_delay_ms": 0, "max_restarts": 600});
    client.create(&spec).server(201);
    client.wait_for_status("app", "failed");
    // SAFETY: plain numbers; the process is ours and not reaped.
    unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
    assert!(process.wait().unwrap().success());
    drop(stderr);
}

fn run(arguments: &[&str]) -> Output {
    Daemon::command().args(arguments).finish()
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let last = text.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{last:?} does not have {word:?}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_in_one_line() {
    let daemon = Daemon::start();
    let scratch = Scratch::new();
    let state = daemon.state.display().to_string();
    let own = scratch.0.join("state").display().to_string();
    let address = daemon.client.address.to_string();
    let any = "127.0.0.1:0";
    assert_refused(&run(&["serve", "--listen", any, "--state-dir", &state]), 1, &["in use", &daemon.pid().to_string()]);
    assert_refused(&run(&["serve", "--listen", &address, "--state-dir", &own]), 1, &[&address, "--listen"]);
    assert_refused(&run(&["serve", "--listen", any, "--state-dir", &own, "--root", "/none"]), 1, &["/none", "--root"]);
    let file = scratch.0.join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.display().to_string();
    assert_refused(&run(&["serve", "--listen", any, "--state-dir", &file]), 1, &["state directory", &file]);
    let token = ["serve", "--listen", any, "--state-dir", &own, "--access-token-file"];
    assert_refused(&run(&[&token[..], &["/none"]].concat()), 1, &["access token file", "/none"]);
    assert_refused(&run(&[&token[..], &[&file]].concat()), 1, &["access token", &file]);
    assert_refused(&run(&["serve", "--colour"]), 2, &["--colour"]);
    assert_refused(&run(&["serve", "--listne", "x"]), 2, &["--listen"]);
    assert_refused(&run(&[]), 2, &["servisor serve"]);
    assert_refused(&run(&["serve", "--no-auth", "--listen", "0.0.0.0:0"]), 2, &["--no-auth"]);
}

#[test]
fn help_and_version() {
    for arguments in [&["serve", "--help"][..], &["help", "serve"]] {
        let help = run(arguments);
        assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--log-buffer-bytes"));
    }
    for arguments in [&["--version"][..], &["-V"], &["version"]] {
        let version = run(arguments);
        assert_eq!(String::from_utf8_lossy(&version.stdout), format!("servisor {}\n", env!("CARGO_PKG_VERSION")));
    }
}
