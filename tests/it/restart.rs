//! Ends of real processes, and restarts. Policies, limits and delays are tested in `supervisor::tests`, without
//! processes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Control, Daemon, median_and_max, testchild, wait_until};

#[test]
fn every_signal_and_exit_code_is_reported() {
    let daemon = Daemon::start();
    for (slug, end, code, signal) in [
        ("s1", "exit 255", 255, None),
        ("s2", "kill -KILL $$", 137, Some("SIGKILL")),
        ("s3", "kill -SEGV $$", 139, Some("SIGSEGV")),
        ("s4", "kill -HUP $$", 129, Some("SIGHUP")),
    ] {
        daemon.client.create(&json!({"slug": slug, "start": end})).server(201);
        let server = daemon.client.wait_for_status(slug, "failed");
        assert_eq!(server["exit_code"], code);
        assert_eq!(server.get("exit_signal").and_then(|signal| signal.as_str()), signal);
    }
}

#[test]
fn a_spawn_that_fails_is_a_failed_run_with_a_reason() {
    let daemon = Daemon::start();
    let directory = daemon.root.join("app");
    std::fs::create_dir(&directory).unwrap();
    let spec = json!({
        "slug": "app", "start": "exit 1", "path": "app", "restart_policy": "on-failure", "restart_delay_ms": 300,
        "max_restarts": 1,
    });
    daemon.client.create(&spec).server(201);
    daemon.client.wait_for_status("app", "restarting");
    std::fs::remove_dir(&directory).unwrap();
    let failed = daemon.client.wait_for_status("app", "failed");
    let reason = failed["status_reason"].as_str().unwrap();
    assert!(reason.contains("gave up") && reason.contains("does not exist"), "{reason}");
}

/// As `Control::child`, without the pause between two looks, which would be measured too.
fn wait_fast(control: &Control) -> crate::support::Child {
    let limit = Instant::now() + crate::support::LIMIT;
    loop {
        if let Some(child) = control.try_child() {
            return child;
        }
        assert!(Instant::now() < limit, "no new process");
        std::thread::yield_now();
    }
}

mod timed {
    use super::*;

    #[test]
    fn from_a_crash_to_the_new_process() {
        const CRASHES: usize = 200;
        let daemon = Daemon::start();
        let control = Control::new();
        let spec = json!({
            "slug": "app", "start": format!("{} ctl main stay", testchild()), "restart_policy": "always", "restart_delay_ms": 0,
            "environment": {"CTL": control.address.to_string()},
        });
        daemon.client.create(&spec).server(201);
        let mut child = control.child();
        let mut took = Vec::new();
        for _ in 0..CRASHES {
            let begun = Instant::now();
            // SAFETY: plain numbers; the child is alive.
            unsafe { libc::kill(child.pid as i32, libc::SIGKILL) };
            let next = wait_fast(&control);
            took.push(begun.elapsed());
            assert_ne!(next.pid, child.pid);
            child.wait_dead();
            child = next;
        }
        let (median, max) = median_and_max(&mut took);
        println!("from a crash to the new process at work, {CRASHES} times: median {median:?}, longest {max:?}");
        assert!(median < Duration::from_millis(50), "promised are 5 ms");
        // The new process may be quicker than the report of it.
        wait_until("each one is counted", || (daemon.client.show("app")["restart_count"] == CRASHES).then_some(()));
    }
}
