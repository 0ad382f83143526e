//! The state directory can't be written to.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Control, Daemon, Scratch, testchild, wait_until};

/// A daemon with a file system of its own for its state, and the place where the test sees that. `more` is a script
/// that prepares the state directory, its `$0`, before the daemon begins.
fn on_small_disk(options: &str, more: &str) -> (Daemon, PathBuf) {
    let scratch = Scratch::new();
    for name in ["root", "state"] {
        fs::create_dir_all(scratch.0.join(name)).unwrap();
    }
    let state = scratch.0.join("state");
    let mount = format!("mount -t tmpfs -o {options} none $0 && {more} exec \"$@\"");
    // In a user namespace too where that is the only way to be allowed to mount.
    let flags = if crate::support::limits::is_root() { "-m" } else { "-rm" };
    let daemon = Daemon::wrapped(scratch, &["unshare", flags, "sh", "-ec", &mount, &state.display().to_string()]);
    let seen = PathBuf::from(format!("/proc/{}/root{}", daemon.pid(), state.display()));
    (daemon, seen)
}

/// Does something in the mount namespace of the daemon.
fn inside(daemon: &Daemon, script: &str) {
    let pid = daemon.pid().to_string();
    let user: &[&str] = if crate::support::limits::is_root() { &[] } else { &["-U", "--preserve-credentials"] };
    let arguments = [&["-t", &pid, "-m"], user, &["sh", "-ec", script, "sh"]].concat();
    let output = Command::new("nsenter").args(arguments).arg(&daemon.state).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Everything that does not change what is stored works, what does is refused and undone, and both servers are there.
fn all_but_changes_works(daemon: &Daemon, control: &Control, why: &str) {
    let client = &daemon.client;
    let pid = client.show("app")["pid"].as_i64().unwrap();
    let refused = client.create(&json!({"slug": "new", "start": "exec sleep 600"})).error(507);
    assert!(refused.contains(why) && refused.contains("nothing was changed"), "{refused}");
    client.get("/servers/new").error(404);
    // SAFETY: plain numbers; the process is a child of the daemon that has not been waited for.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    control.child();
    client.post("/servers/app/restart").server(200);
    control.child();
    client.post("/servers/rest/stop").server(200);
    client.post("/servers/rest/start").server(200);
    assert_eq!(client.wait_for_status("rest", "running")["restart_count"], 0);
    client.wait_for_status("app", "running");
    assert!(client.logs("app", "").contains("here"));
}

fn specs(control: &Control) -> [Value; 2] {
    let start = format!("{} say here ctl app stay", testchild());
    let environment = json!({"CTL": control.address.to_string()});
    let always = json!({
        "slug": "app", "start": start, "restart_policy": "always", "restart_delay_ms": 0, "environment": environment,
    });
    [always, json!({"slug": "rest", "start": "exec sleep 600"})]
}

#[test]
fn on_a_full_disk_servers_run_on_and_changes_follow_when_there_is_room() {
    let (daemon, seen) = on_small_disk("size=256k", "");
    let control = Control::new();
    specs(&control).iter().for_each(|spec| drop(daemon.client.create(spec).server(201)));
    control.child();
    let filler = seen.join("filler");
    let written = fs::write(&filler, vec![0; 1024 * 1024]);
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // What is left of the last page.
    let _ = fs::write(seen.join("rest"), [0; 4096]);
    all_but_changes_works(&daemon, &control, "No space left");
    fs::remove_file(&filler).unwrap();
    daemon.client.create(&json!({"slug": "new", "start": "exec sleep 600"})).server(201);
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    assert!(!seen.join("servers/app.json").exists() && seen.join("servers/new.json").exists());
}

#[test]
fn on_a_disk_that_has_become_read_only_servers_run_on_and_changes_follow_when_it_can_be_written() {
    // The rest of the state directory has a lock in it that is open for writing, so what becomes read-only is a file
    // system of its own. The daemon has it open: a mount over it later would be no obstacle.
    let (daemon, seen) = on_small_disk("size=1m", "mkdir -m 700 $0/servers && mount -t tmpfs none $0/servers &&");
    let control = Control::new();
    specs(&control).iter().for_each(|spec| drop(daemon.client.create(spec).server(201)));
    control.child();
    inside(&daemon, "mount -o remount,ro $1/servers");
    all_but_changes_works(&daemon, &control, "Read-only file system");
    let refused = daemon.client.delete("/servers/app").error(507);
    assert!(refused.contains("Read-only file system"), "{refused}");
    inside(&daemon, "mount -o remount,rw $1/servers");
    daemon.client.create(&json!({"slug": "new", "start": "exec sleep 600"})).server(201);
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    assert!(!seen.join("servers/app.json").exists() && seen.join("servers/new.json").exists());
}

/// Where log files go, the disk may be full too: they are behind then, and nothing else.
#[test]
fn a_full_disk_for_log_files_costs_no_server_its_time() {
    let scratch = Scratch::new();
    let logs = scratch.0.join("logs");
    for name in ["root", "logs"] {
        fs::create_dir_all(scratch.0.join(name)).unwrap();
    }
    let mount = format!("mount -t tmpfs -o size=64k none {0} && exec \"$@\" --log-dir {0}", logs.display());
    let flags = if crate::support::limits::is_root() { "-m" } else { "-rm" };
    let daemon = Daemon::wrapped(scratch, &["unshare", flags, "sh", "-c", &mount, "sh"]);
    let seen = PathBuf::from(format!("/proc/{}/root{}", daemon.pid(), logs.display()));
    let start = format!("{} lines 20000 say end stay", testchild());
    daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
    wait_until("it has written everything", || daemon.client.logs("app", "?tail=1").contains("end").then_some(()));
    wait_until("the full disk is logged", || daemon.log().contains("can't be written").then_some(()));
    assert!(fs::metadata(&seen).unwrap().is_dir());
    daemon.client.post("/servers/app/stop").server(200);
}
