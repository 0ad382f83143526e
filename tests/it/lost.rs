//! A state directory that is removed, replaced or copied while a daemon has it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::limits::is_root;
use crate::support::{Child, Client, Control, Daemon, Finish, Scratch, TOKEN, testchild};

/// A daemon with one server, which reports its death.
fn with_child(control: &Control) -> (Daemon, Child) {
    let daemon = Daemon::start();
    let child = begin_child(&daemon, control);
    (daemon, child)
}

fn begin_child(daemon: &Daemon, control: &Control) -> Child {
    let spec = json!({
        "slug": "web", "start": format!("exec {} ctl main stay", testchild()),
        "environment": {"CTL": control.address.to_string()},
    });
    daemon.client.create(&spec).server(201);
    control.child()
}

/// A daemon whose state directory is a file system of its own, prepared by `script`, in which the directory is `$0`;
/// and where the test sees it.
fn on_own_file_system(script: &str) -> (Daemon, PathBuf) {
    let scratch = Scratch::new();
    for name in ["root", "state"] {
        fs::create_dir(scratch.0.join(name)).unwrap();
    }
    let state = scratch.0.join("state").display().to_string();
    let script = format!("mount -t tmpfs -o mode=700 none $0; {script}\nexec \"$@\"");
    let daemon = Daemon::wrapped(scratch, &["unshare", "-m", "sh", "-ec", &script, &state]);
    let seen = PathBuf::from(format!("/proc/{}/root{state}", daemon.pid()));
    (daemon, seen)
}

/// Another daemon with the state directory of `first`.
fn command_beside(first: &Daemon, scratch: &Scratch) -> Command {
    let mut command = Daemon::command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(&first.root);
    command.arg("--state-dir").arg(&first.state);
    command.env("SERVISOR_ACCESS_TOKEN", TOKEN).env("IT_MARK", &scratch.0).stdin(Stdio::null());
    command
}

#[track_caller]
fn refuses_changes(client: &Client, what: &str) {
    for slug in ["new", "web2"] {
        let answer = client.create(&json!({"slug": slug, "start": "exec sleep 600"}));
        assert_eq!(answer.json()["code"], "state_lost", "{}", answer.text());
        let sentence = answer.error(500);
        assert!(sentence.contains(what) && sentence.contains("start servisor again"), "{sentence}");
        assert!(!sentence.contains("make room"), "{sentence}");
        client.get(&format!("/servers/{slug}")).error(404);
    }
}

#[test]
fn a_removed_state_directory_is_noticed_and_servers_can_still_be_stopped_and_deleted() {
    let control = Control::new();
    let (daemon, mut child) = with_child(&control);
    daemon.client.create(&json!({"slug": "other", "start": "exec sleep 600"})).server(201);
    fs::remove_dir_all(&daemon.state).unwrap();
    refuses_changes(&daemon.client, "was removed while servisor ran");
    // More requests at once than there are readers of heads by now: none of them needs the directory.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..20).for_each(|_| assert_eq!(daemon.client.get("/servers/web").status, 200)));
        }
    });
    daemon.client.post("/servers/other/restart").server(200);
    assert_eq!(daemon.client.post("/servers/other/stop").status, 200);
    assert_eq!(daemon.client.delete("/servers/other").status, 204);
    // A second daemon on a new directory of that name is another one.
    let scratch = Scratch::new();
    let mut command = command_beside(&daemon, &scratch);
    let second = Daemon::begun_by(scratch, &mut command);
    second.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    assert!(!child.is_dead(), "{}", second.log());
    refuses_changes(&daemon.client, "was replaced by another one while servisor ran");
    assert_eq!(daemon.client.delete("/servers/web").status, 204);
    child.wait_dead();
    // The first one has touched nothing of the second one's.
    second.client.wait_for_status("web", "running");
    assert!(daemon.state.join("servers/web.json").exists());
}

#[test]
fn a_removed_lock_is_noticed_and_lets_no_second_daemon_in() {
    let control = Control::new();
    let (mut daemon, mut child) = with_child(&control);
    fs::remove_file(daemon.state.join("lock")).unwrap();
    refuses_changes(&daemon.client, "\"lock\" was removed from the state directory");
    let scratch = Scratch::new();
    let output = command_beside(&daemon, &scratch).finish();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("is in use by another servisor"), "{said}");
    assert!(!child.is_dead());
    fs::write(daemon.state.join("lock"), "").unwrap();
    refuses_changes(&daemon.client, "\"lock\" in the state directory");
    // What a daemon has left that was killed is found by the next one all the same.
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    assert!(child.is_dead(), "{}", daemon.log());
    let mut next = control.child();
    assert_eq!(daemon.client.delete("/servers/web").status, 204);
    next.wait_dead();
}

#[test]
fn a_member_that_was_moved_is_noticed_and_can_come_back() {
    let daemon = Daemon::start();
    let servers = daemon.state.join("servers");
    fs::rename(&servers, daemon.state.join("hidden")).unwrap();
    refuses_changes(&daemon.client, "\"servers\" in the state directory");
    fs::create_dir(&servers).unwrap();
    refuses_changes(&daemon.client, "\"servers\" in the state directory");
    fs::remove_dir(&servers).unwrap();
    fs::rename(daemon.state.join("hidden"), &servers).unwrap();
    daemon.client.create(&json!({"slug": "new", "start": "exec sleep 600"})).server(201);
}

#[test]
fn a_daemon_on_a_copy_leaves_the_first_ones_servers_alone() {
    let control = Control::new();
    let (daemon, mut child) = with_child(&control);
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("root")).unwrap();
    let copied = Command::new("cp").arg("-a").arg(&daemon.state).arg(scratch.0.join("state")).status().unwrap();
    assert!(copied.success());
    let second = Daemon::on(scratch, &[], &[]);
    let mut copy = control.child();
    assert!(!child.is_dead(), "{}", second.log());
    assert_eq!(second.client.delete("/servers/web").status, 204);
    copy.wait_dead();
    assert!(!child.is_dead());
}

/// As of a snapshot or a cloned disk: the file with the name of the instance has the same inode number on another
/// device.
#[test]
fn a_daemon_on_a_copy_with_the_same_inodes_leaves_the_first_ones_servers_alone() {
    if !is_root() {
        println!("to mount a file system for a state directory takes root");
        return;
    }
    let control = Control::new();
    let (first, seen) = on_own_file_system("");
    let mut child = begin_child(&first, &control);
    let copies = Scratch::new();
    let copy = copies.0.join("copy");
    assert!(Command::new("cp").arg("-a").arg(&seen).arg(&copy).status().unwrap().success());
    let number = |state: &Path| fs::metadata(state.join("instance")).unwrap().ino();
    // tmpfs numbers its inodes one after the other.
    let (second, copied) = on_own_file_system(&format!(
        "for n in $(seq 100); do\n\
           cp {copy}/instance $0/f$n; test $(stat -c %i $0/f$n) -lt {inode} || break\n\
         done\n\
         mv $0/f$n $0/instance; rm -f $0/f* {copy}/instance; cp -a {copy}/. $0",
        copy = copy.display(),
        inode = number(&seen),
    ));
    assert_eq!(number(&copied), number(&seen));
    let mut again = control.child();
    assert!(!child.is_dead(), "{}", second.log());
    assert_eq!(second.client.delete("/servers/web").status, 204);
    again.wait_dead();
    assert!(!child.is_dead());
}

#[test]
fn a_spoiled_instance_is_replaced_and_logged() {
    for spoiled in ["", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\n", "0123456789ABCDEF\n", "a.b.c\n", "0123456789abcdef0\n"] {
        let mut daemon = Daemon::start();
        daemon.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
        daemon.signal(libc::SIGTERM);
        daemon.wait();
        let instance = daemon.state.join("instance");
        fs::write(&instance, spoiled).unwrap();
        daemon.begin_anew(&[], &[]);
        let now = fs::read_to_string(&instance).unwrap();
        assert!(now.len() == 17 && now.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{now:?}");
        assert!(daemon.log().contains("instance is not used: "), "{}", daemon.log());
        assert_eq!(fs::read_to_string(daemon.state.join("instance.corrupt-1")).unwrap(), spoiled);
        let server: Value = daemon.client.wait_for_status("web", "running");
        assert_eq!(server["slug"], "web");
    }
}
