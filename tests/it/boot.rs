//! The setup payload, and how long a start takes.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Daemon, Finish, Scratch, median_and_max, wait_until};

/// Base64 by a program that is not ours.
fn base64(text: &str) -> String {
    let scratch = Scratch::new();
    let file = scratch.0.join("plain");
    fs::write(&file, text).unwrap();
    let output = Command::new("base64").args(["-w", "0"]).arg(&file).finish();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn refused(options: &[&str], variables: &[(&str, &str)]) -> Output {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let mut command = Daemon::command_on(&scratch);
    command.args(options).envs(variables.iter().copied()).finish()
}

#[test]
fn a_payload_is_applied_and_its_text_is_hidden() {
    let payload = json!({"servers": [
        {"slug": "web", "start": "env; exec sleep 600", "environment": {"KEY": "hush-hush"}},
        {"slug": "lazy", "start": "exec sleep 600", "autostart": false},
        {"slug": "broken", "start": "exec sleep 600", "path": "not/there"},
    ]});
    let variable = base64(&payload.to_string());
    let mut daemon = Daemon::with(&[], &[("COMPUTESDK_SETUP_B64", &variable)]);
    daemon.client.wait_for_status("web", "running");
    assert_eq!(daemon.client.show("lazy")["status"], "stopped");
    let broken = daemon.client.wait_for_status("broken", "failed");
    assert!(broken["status_reason"].as_str().unwrap().contains("not/there"), "{broken}");
    let seen = daemon.client.logs("web", "");
    assert!(seen.contains("KEY=hush-hush") && !seen.contains("SETUP_B64"), "{seen}");
    assert!(!daemon.log().contains("hush-hush") && !daemon.log().contains(&variable[..20]), "{}", daemon.log());
    // Without it they are still there: they are stored as any other.
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    daemon.client.wait_for_status("web", "running");
}

#[test]
fn the_same_payload_changes_nothing_and_another_one_replaces() {
    let payload = |install: &str| {
        let server = json!({"slug": "web", "install": install, "start": "exec sleep 600"});
        base64(&json!({"servers": [server]}).to_string())
    };
    let (first, second) = (payload("echo 1 >> installs"), payload("echo 2 >> installs"));
    let mut daemon = Daemon::with(&[], &[("COMPUTESDK_SETUP_B64", &first)]);
    let created = daemon.client.wait_for_status("web", "running")["created_at"].clone();
    daemon.client.create(&json!({"slug": "own", "start": "exec sleep 600"})).server(201);
    for (variable, installs) in [(&first, "1\n"), (&first, "1\n"), (&second, "1\n2\n"), (&second, "1\n2\n")] {
        daemon.kill();
        daemon.begin_anew(&[], &[("COMPUTESDK_SETUP_B64", variable)]);
        let web = daemon.client.wait_for_status("web", "running");
        daemon.client.wait_for_status("own", "running");
        assert_eq!(fs::read_to_string(daemon.root.join("installs")).unwrap(), installs);
        assert_eq!(web["created_at"] == created, variable == &first);
    }
}

#[test]
fn a_setup_file_is_plain_json() {
    let scratch = Scratch::new();
    let file = scratch.0.join("setup.json");
    fs::write(&file, r#"{"servers": [{"slug": "web", "start": "exec sleep 600"}]}"#).unwrap();
    let file = file.display().to_string();
    let daemon = Daemon::with(&[], &[("SERVISOR_SETUP", &file), ("COMPUTESDK_SETUP_B64", "no base64!")]);
    daemon.client.wait_for_status("web", "running");
    assert!(daemon.log().contains("COMPUTESDK_SETUP_B64 is not used"), "{}", daemon.log());
}

#[test]
fn a_bad_payload_keeps_the_daemon_from_starting_and_names_the_place() {
    let good = r#"{"slug": "a", "start": "true"}"#;
    for (text, words) in [
        ("", "not valid JSON"),
        ("[]", "must be an object"),
        (
            &format!(r#"{{"servers": [{good}, {{"slug": "b", "start": "true", "port": 0}}]}}"#),
            "servers[1].port must be",
        ),
        (&format!(r#"{{"servers": [{good}, {good}]}}"#), "servers[1].slug \"a\" is given twice"),
    ] {
        let output = refused(&[], &[("COMPUTESDK_SETUP_B64", &format!("{}=", base64(text)))]);
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.lines().count() == 1 && log.contains(words) && log.contains("COMPUTESDK_SETUP_B64"), "{log}");
    }
    let output = refused(&[], &[("COMPUTESDK_SETUP_B64", "{not base64}")]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("not base64"));
    let output = refused(&["--setup", "/nowhere"], &[]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && log.contains("setup file /nowhere can't be read"), "{log}");
}

mod timed {
    use super::*;

    #[test]
    fn a_hundred_servers_start_with_the_daemon_at_once() {
        const SERVERS: usize = 100;
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.0.join("root")).unwrap();
        let servers: Vec<Value> = (0..SERVERS)
            .map(
                |number| json!({"slug": format!("s{number}"), "start": format!("echo x >> s{number}; exec sleep 600")}),
            )
            .collect();
        let file = scratch.0.join("setup.json");
        fs::write(&file, json!({"servers": servers}).to_string()).unwrap();
        let mut daemon = Daemon::on(scratch, &["--setup", &file.display().to_string()], &[]);
        let root = daemon.root.clone();
        let started = |lines: usize| {
            wait_until("all have started", || {
                let has = |number: usize| {
                    fs::read_to_string(root.join(format!("s{number}"))).is_ok_and(|text| text.lines().count() == lines)
                };
                (0..SERVERS).all(has).then_some(())
            });
        };
        started(1);
        let (mut boots, mut loops) = (Vec::new(), Vec::new());
        for round in 0..5 {
            daemon.signal(libc::SIGTERM);
            daemon.wait();
            let begun = Instant::now();
            daemon.begin_anew(&[], &[]);
            started(2 * round + 2);
            boots.push(begun.elapsed());
            let script = format!(
                "i=0; while [ $i -lt {SERVERS} ]; do /bin/sh -c \"echo x >> s$i; exec sleep 600\" & i=$((i+1)); done; wait"
            );
            let begun = Instant::now();
            let mut shell = Command::new("/bin/sh");
            std::os::unix::process::CommandExt::process_group(&mut shell, 0);
            let mut shell = shell.args(["-c", &script]).current_dir(&root).stdin(Stdio::null()).spawn().unwrap();
            started(2 * round + 3);
            loops.push(begun.elapsed());
            // SAFETY: plain numbers; the shell leads its group and is not reaped.
            unsafe { libc::kill(-(shell.id() as i32), libc::SIGKILL) };
            shell.wait().unwrap();
        }
        let ((boot, _), (by_loop, _)) = (median_and_max(&mut boots), median_and_max(&mut loops));
        let ratio = boot.as_secs_f64() / by_loop.as_secs_f64();
        println!("boot with {SERVERS} servers: {boot:?}, a shell loop: {by_loop:?}, ratio {ratio:.2}");
        assert!(ratio < 15.0, "about 3 is promised");
    }

    #[test]
    fn a_start_takes_a_moment() {
        let mut daemon = Daemon::start();
        daemon.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
        let mut times: Vec<Duration> = (0..20)
            .map(|_| {
                daemon.kill();
                wait_until("what was left is gone", || {
                    for (pid, _) in daemon.descendants() {
                        // SAFETY: plain numbers; it carries this test's mark.
                        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                    }
                    daemon.descendants().is_empty().then_some(())
                });
                let begun = Instant::now();
                daemon.begin_anew(&[], &[]);
                assert_eq!(daemon.client.get("/health").status, 200);
                begun.elapsed()
            })
            .collect();
        let (median, max) = median_and_max(&mut times);
        println!("from exec to the first answer, with one server: median {median:?}, max {max:?}");
        assert!(median < Duration::from_millis(500));
    }
}
