//! What another user may have put into the state directory, or under a path that a configuration names.
//!
//! Most of these need root, as which another user's files can be made; the daemon runs as root then.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Daemon, Finish, Scratch};

/// Another user: no account has to exist for it.
const STRANGER: u32 = 65_534;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn prepared() -> (Scratch, std::path::PathBuf) {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let state = scratch.0.join("state");
    for directory in [&state, &state.join("servers"), &state.join("overlays")] {
        fs::create_dir_all(directory).unwrap();
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    (scratch, state)
}

fn planted(start: &str) -> String {
    json!({"version": 1, "created_at_ms": 0, "prepared": true, "installed": true,
           "configuration": {"slug": "evil", "start": start}})
    .to_string()
}

fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(STRANGER), Some(STRANGER)).unwrap();
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn refused(scratch: &Scratch) -> Output {
    Daemon::command_on(scratch).finish()
}

#[test]
fn a_state_directory_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let (scratch, state) = prepared();
    fs::write(state.join("access-token"), "planted").unwrap();
    give_away(&state.join("access-token"));
    give_away(&state);
    let output = refused(&scratch);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("belongs to user {STRANGER}, and servisor runs as user 0")), "{said}");
    // Nothing in it was touched.
    assert_eq!(fs::read(state.join("access-token")).unwrap(), b"planted");
    assert!(!state.join("instance").exists() && !state.join("lock").exists());
    // A link of that user leads where that user wants.
    let (scratch, state) = prepared();
    fs::rename(&state, scratch.0.join("other")).unwrap();
    symlink(scratch.0.join("other"), &state).unwrap();
    give_away(&state);
    let said = String::from_utf8_lossy(&refused(&scratch).stderr).into_owned();
    assert!(said.contains("is a symlink that belongs to user"), "{said}");
}

#[test]
fn what_another_user_has_planted_is_set_aside_and_neither_read_nor_run() {
    if !is_root() {
        return;
    }
    let (scratch, state) = prepared();
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    let ran = scratch.0.join("ran");
    let evil = planted(&format!("touch {}; exec sleep 600", ran.display()));
    fs::write(state.join("servers/evil.json"), &evil).unwrap();
    fs::write(state.join("access-token"), "known-to-the-stranger").unwrap();
    fs::write(state.join("instance"), "0123456789abcdef").unwrap();
    for member in ["servers/evil.json", "access-token", "instance"] {
        give_away(&state.join(member));
    }
    // A link to a file of ours whose content the stranger knows.
    let known = scratch.0.join("known");
    fs::write(&known, planted("exec sleep 600").replace("evil", "linked")).unwrap();
    fs::hard_link(&known, state.join("servers/linked.json")).unwrap();
    let mut command = Daemon::command_on(&scratch);
    command.env_remove("SERVISOR_ACCESS_TOKEN");
    let mut daemon = Daemon::begun_by(scratch, &mut command);
    daemon.client.token = Some(fs::read_to_string(state.join("access-token")).unwrap().trim().to_owned());
    assert_eq!(daemon.client.get("/servers").json()["data"]["servers"], json!([]));
    assert!(!ran.exists());
    assert_ne!(daemon.client.token.as_deref(), Some("known-to-the-stranger"));
    assert_ne!(fs::read_to_string(state.join("instance")).unwrap().trim(), "0123456789abcdef");
    for member in ["servers/evil.json", "access-token", "instance", "servers/linked.json"] {
        assert!(state.join(format!("{member}.unsafe-1")).exists(), "{member}: {}", daemon.log());
        assert!(daemon.log().contains(&format!("{} is not used: it ", state.join(member).display())));
    }
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(state.join("servers")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_planted_symlink_is_never_followed() {
    let (scratch, state) = prepared();
    let victim = |name: &str| {
        let path = scratch.0.join(format!("victim-{name}"));
        fs::write(&path, "precious").unwrap();
        path
    };
    let members = [
        "lock",
        "instance.new",
        "access-token.new",
        "instance",
        "access-token",
        "servers/web.json.tmp",
        "servers/a.json",
    ];
    let victims: Vec<_> = members.iter().map(|member| victim(&member.replace('/', "-"))).collect();
    for (member, victim) in members.iter().zip(&victims) {
        symlink(victim, state.join(member)).unwrap();
    }
    let elsewhere = scratch.0.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::remove_dir(state.join("overlays")).unwrap();
    symlink(&elsewhere, state.join("overlays")).unwrap();
    fs::create_dir(scratch.0.join("template")).unwrap();
    let template = scratch.0.join("template");
    let mut command = Daemon::command_on(&scratch);
    command.env_remove("SERVISOR_ACCESS_TOKEN");
    let mut daemon = Daemon::begun_by(scratch, &mut command);
    daemon.client.token = Some(fs::read_to_string(state.join("access-token")).unwrap().trim().to_owned());
    daemon.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    let overlay = json!({"source": template, "target": "app"});
    let answer = daemon.client.request(
        "POST",
        "/filesystem/overlays",
        &[("Content-Type", "application/json")],
        Some(overlay.to_string().as_bytes()),
    );
    assert_eq!(answer.status, 201);
    for victim in &victims {
        assert_eq!(fs::read(victim).unwrap(), b"precious", "{}", victim.display());
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{}", daemon.log());
    for member in ["lock", "instance", "access-token", "servers/web.json"] {
        assert!(fs::symlink_metadata(state.join(member)).unwrap().is_file(), "{member}");
    }
    assert!(fs::symlink_metadata(state.join("overlays")).unwrap().is_dir());
}

#[test]
fn a_pipe_a_directory_or_a_huge_file_in_the_place_of_a_state_file_holds_nothing_and_costs_nothing() {
    let (scratch, state) = prepared();
    fifo(&state.join("servers/a.json"));
    fifo(&state.join("access-token"));
    fifo(&state.join("access-token.new"));
    fifo(&state.join("servers/b.json.tmp"));
    fs::create_dir(state.join("servers/directory.json")).unwrap();
    fs::create_dir(state.join("instance")).unwrap();
    fs::create_dir(state.join("instance.new")).unwrap();
    // As long as 3 GiB, and nothing on the disk.
    File::create(state.join("servers/huge.json")).unwrap().set_len(3 << 30).unwrap();
    fs::write(state.join("servers/good.json"), planted("exec sleep 600").replace("evil", "good")).unwrap();
    fifo(&state.join("lock"));
    let mut command = Daemon::command_on(&scratch);
    command.env_remove("SERVISOR_ACCESS_TOKEN");
    let mut daemon = Daemon::begun_by(scratch, &mut command);
    daemon.client.token = Some(fs::read_to_string(state.join("access-token")).unwrap().trim().to_owned());
    daemon.client.wait_for_status("good", "running");
    let peak = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    let kib: u64 = peak.trim_end_matches("kB").trim().parse().unwrap();
    assert!(kib < 64 * 1024, "{peak}");
    for member in ["servers/a.json", "servers/directory.json", "servers/huge.json", "access-token", "instance", "lock"]
    {
        assert!(fs::symlink_metadata(state.join(format!("{member}.unsafe-1"))).is_ok(), "{member}: {}", daemon.log());
    }
    // A pipe that is put there while the daemon runs.
    let target = state.join("servers/good.json");
    fs::remove_file(&target).unwrap();
    fifo(&target);
    fifo(&state.join("servers/good.json.tmp"));
    daemon.client.post("/servers/good/stop");
    daemon.client.create(&json!({"slug": "good", "start": "exec sleep 601"})).server(201);
    assert!(fs::symlink_metadata(&target).unwrap().is_file());
}

#[test]
fn an_env_file_that_is_a_pipe_a_device_or_has_no_end_holds_no_supervisor() {
    let daemon = Daemon::start();
    fifo(&daemon.root.join("pipe"));
    fs::create_dir(daemon.root.join("directory")).unwrap();
    File::create(daemon.root.join("sparse")).unwrap().set_len(3 << 30).unwrap();
    fs::write(daemon.root.join("plain"), "A=1\n").unwrap();
    symlink("plain", daemon.root.join("link")).unwrap();
    symlink("pipe", daemon.root.join("link-to-pipe")).unwrap();
    let bad = ["pipe", "link-to-pipe", "directory", "sparse", "/dev/zero", "/dev/tty", "/proc/kmsg"];
    for (number, file) in bad.iter().enumerate() {
        let slug = format!("s{number}");
        let begun = Instant::now();
        daemon.client.create(&json!({"slug": slug, "start": "exec sleep 600", "env_file": file}));
        let server = daemon.client.show(&slug);
        // Root may read the kernel's log; for any user, the supervisor does not wait for more of it.
        if *file != "/proc/kmsg" || server["status"] != "running" {
            let server = daemon.client.wait_for_status(&slug, "failed");
            let reason = server["status_reason"].as_str().unwrap();
            assert!(reason.contains("env_file") && reason.contains(file), "{reason}");
        }
        assert_eq!(daemon.client.delete(&format!("/servers/{slug}")).status, 204);
        assert!(begun.elapsed() < Duration::from_secs(8), "{file} took {:?}", begun.elapsed());
    }
    daemon.client.create(&json!({"slug": "good", "start": "exec sleep 600", "env_file": "link"})).server(201);
    daemon.client.wait_for_status("good", "running");
}

#[test]
fn a_pipe_that_is_swapped_in_for_an_env_file_holds_no_supervisor() {
    let daemon = Daemon::start();
    let (file, pipe, plain) = (daemon.root.join("env"), daemon.root.join("pipe"), daemon.root.join("plain"));
    fifo(&pipe);
    fs::write(&plain, "A=1\n").unwrap();
    fs::hard_link(&plain, &file).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let next = daemon.root.join("next");
            while !over.load(Ordering::Relaxed) {
                for one in [&pipe, &plain] {
                    fs::hard_link(one, &next).unwrap();
                    fs::rename(&next, &file).unwrap();
                    // Two names of one file: the rename has done nothing.
                    let _ = fs::remove_file(&next);
                }
            }
        });
        let spec = json!({"slug": "web", "start": "exec sleep 600", "env_file": "env"});
        for _ in 0..100 {
            daemon.client.create(&spec);
            let answer = daemon.client.post("/servers/web/stop");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_token_file_or_a_payload_that_is_no_file_is_a_start_error() {
    let (scratch, _) = prepared();
    let pipe = scratch.0.join("pipe");
    fifo(&pipe);
    for path in [pipe.as_path(), Path::new("/dev/zero"), &scratch.0] {
        for option in ["--access-token-file", "--setup"] {
            let mut command = Daemon::command_on(&scratch);
            command.env_remove("SERVISOR_ACCESS_TOKEN").arg(option).arg(path);
            let output = command.finish();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{option} {}: {said}", path.display());
            assert!(said.contains("can't be read: it is a"), "{said}");
        }
    }
}
