//! Paths on a file system that never answers: FUSE, whose other end reads nothing.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Daemon, wait_until};

/// A mount; whoever waits for it fails when this is dropped.
struct Silent {
    device: Option<File>,
    at: PathBuf,
}

impl Silent {
    /// `None` where that is not allowed.
    fn mount(at: &Path) -> Option<Silent> {
        fs::create_dir_all(at).unwrap();
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let text = |bytes: &[u8]| CString::new(bytes).unwrap();
        let options = text(format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd()).as_bytes());
        let (source, target, kind) = (text(b"silent"), text(at.as_os_str().as_bytes()), text(b"fuse"));
        // SAFETY: texts that end in NUL and live through the call.
        let mounted =
            unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
        (mounted == 0).then(|| Silent { device: Some(device), at: at.to_owned() })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.device = None;
        let at = CString::new(self.at.as_os_str().as_bytes()).unwrap();
        // SAFETY: a text that ends in NUL and lives through the call.
        unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn a_path_that_never_answers_keeps_no_client_and_no_supervisor() {
    let daemon = Daemon::start();
    let Some(silent) = Silent::mount(&daemon.root.join("silent")) else {
        println!("no FUSE here: a silent file system is not tried");
        return;
    };
    let client = &daemon.client;
    client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    let before = daemon.size();
    let within = |limit: u64, what: &str, call: &dyn Fn()| {
        let begun = Instant::now();
        call();
        assert!(begun.elapsed() < Duration::from_secs(limit), "{what} took {:?}", begun.elapsed());
    };
    let refused = |spec: serde_json::Value, field: &str| {
        let answer = client.create(&spec);
        assert!(answer.json()["fields"][field].is_string(), "{}", answer.text());
        let sentence = answer.error(422);
        assert!(sentence.contains("its file system has not answered"), "{sentence}");
    };
    within(12, "a path", &|| refused(json!({"slug": "a", "start": "true", "path": "silent/x"}), "path"));
    // An install that could make the directory makes no difference; and nothing is tried again in vain.
    within(4, "the same path", &|| {
        refused(json!({"slug": "a", "start": "true", "install": "true", "path": "silent/x"}), "path");
    });
    let overlays = json!([{"source": daemon.root.join("silent/template"), "target": "app"}]);
    within(12, "an overlay", &|| {
        refused(json!({"slug": "a", "start": "true", "overlays": overlays}), "overlays[0].source");
    });
    within(12, "an env_file", &|| {
        client.create(&json!({"slug": "env", "start": "true", "env_file": "silent/env"}));
        let reason = client.wait_for_status("env", "failed")["status_reason"].to_string();
        assert!(reason.contains("env_file") && reason.contains("has not answered"), "{reason}");
        assert_eq!(client.delete("/servers/env").status, 204);
    });
    within(4, "another server", &|| {
        client.create(&json!({"slug": "other", "start": "exec sleep 600"})).server(201);
        assert_eq!(client.delete("/servers/other").status, 204);
    });
    // What hung ends with the file system.
    drop(silent);
    daemon.until_as_small_as(before);
}

/// The process whose number a server has written, when it waits for the file system of the program that it is to become.
fn stuck_in_exec(daemon: &Daemon, slug: &str) -> u32 {
    let exec = format!("{} ", libc::SYS_execve);
    wait_until("a program waits for its file system", || {
        let pid: u32 = fs::read_to_string(daemon.root.join(slug)).ok()?.trim().parse().ok()?;
        fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?.starts_with(&exec).then_some(pid)
    })
}

fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_program_that_waits_for_its_file_system_delays_no_other_stop_and_outlives_none_of_its_own() {
    let daemon = Daemon::start();
    let Some(silent) = Silent::mount(&daemon.root.join("silent")) else {
        println!("no FUSE here: a silent file system is not tried");
        return;
    };
    let client = &daemon.client;
    // As the first process, as one of its group, and as one that has left session, pipes and parent. Each has a name of its
    // own: whoever looks up the same one waits for the first of them, and no signal ends that.
    let stuck = |slug: &str| format!("echo $$ > {slug}; exec silent/{slug}");
    let starts = [
        ("leader", stuck("leader")),
        ("child", format!("({}) & exec sleep 600", stuck("child").replace("$$", "$(sh -c 'echo $PPID')"))),
        ("away", format!("setsid sh -c '{}' </dev/null >/dev/null 2>&1 & exec sleep 600", stuck("away"))),
    ];
    let mut stuck = Vec::new();
    for (slug, start) in &starts {
        client.create(&json!({"slug": slug, "start": start, "stop_timeout_ms": 300})).server(201);
        stuck.push(stuck_in_exec(&daemon, slug));
    }
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        // Its child has left the session: that it is gone is found by a look at all processes.
        let start = "setsid sleep 600 & exec sleep 600";
        client.create(&json!({"slug": "other", "start": start})).server(201);
        client.wait_for_status("other", "running");
        let begun = Instant::now();
        client.post("/servers/other/stop").server(200);
        longest = longest.max(begun.elapsed());
    }
    println!("the longest stop beside {} programs that wait for their file system took {longest:?}", stuck.len());
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    for ((slug, _), pid) in starts.iter().zip(stuck) {
        assert!(lives(pid), "{slug} waits no more");
        assert_eq!(client.post(&format!("/servers/{slug}/stop")).server(200)["status"], "stopped", "{slug}");
        assert!(!lives(pid), "{slug} lives after the stop");
    }
    drop(silent);
}
