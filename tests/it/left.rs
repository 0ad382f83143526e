//! What can't be ended is said, and what can't be attributed too.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::limits::is_root;
use crate::support::{Control, Daemon, Scratch, testchild, wait_until};

/// A user without any rights.
const NOBODY: u32 = 65534;

/// A program in `scratch` that a server can run by this path, whoever it is.
fn copied(scratch: &Scratch, name: &str, from: &str, mode: u32) -> String {
    let path = scratch.0.join(name);
    fs::copy(from, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn a_refused_signal_is_said_and_as_long_as_it_lasts_no_port_of_others_is_its() {
    assert!(is_root(), "a program with another user's rights is needed: run this as root");
    let scratch = Scratch::new();
    let root = scratch.0.join("root");
    fs::create_dir_all(&root).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&scratch.0, &root] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let child = copied(&scratch, "testchild", &testchild(), 0o755);
    let raise = copied(&scratch, "raise", "/usr/bin/setpriv", 0o4755);
    let binary = copied(&scratch, "servisor", env!("CARGO_BIN_EXE_servisor"), 0o755);
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(binary);
    let plain = Daemon::command_on(&scratch);
    command.args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let daemon = Daemon::begun_by(scratch, command.stdin(std::process::Stdio::null()));
    let control = Control::new();
    let spec = json!({
        "slug": "app", "stop_timeout_ms": 300, "environment": {"CTL": control.address.to_string()},
        "start": format!("{raise} --reuid 0 --regid 0 --clear-groups {child} ctl root stay & exec {child} ctl leader stay"),
    });
    daemon.client.create(&spec).server(201);
    let both = [control.child(), control.child()];
    let refusing = both.iter().find(|child| child.name == "root").unwrap().pid;
    let asked = Instant::now();
    let stopping = daemon.client.begin("POST", "/servers/app/stop");
    let said = wait_until("the refusal is said", || {
        let server = daemon.client.show("app");
        server["status_reason"].as_str().filter(|reason| reason.contains("refuses")).map(str::to_owned)
    });
    assert!(asked.elapsed() < Duration::from_secs(5), "it is said at once");
    for part in [format!("process {refusing} (testchild) of user 0"), "Operation not permitted".into()] {
        assert!(said.contains(&part), "{said}");
    }
    let strangers: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let seen = Instant::now();
    while seen.elapsed() < Duration::from_secs(3) {
        let server = daemon.client.show("app");
        assert!(server["ports"].as_array().is_none_or(Vec::is_empty), "{server:#}");
    }
    drop(strangers);
    let lines = daemon.log().lines().filter(|line| line.contains("refuses")).count();
    assert!((1..=3).contains(&lines), "one line, and the status: {}", daemon.log());
    assert_eq!(daemon.client.post("/servers/app/stop").status, 202);
    // SAFETY: plain numbers; it has reported, and lives as long as it is not killed here.
    unsafe { libc::kill(refusing as i32, libc::SIGKILL) };
    let stopped = daemon.client.wait_for_status("app", "stopped");
    assert_eq!(stopped.get("status_reason"), None, "{stopped:#}");
    drop(stopping);
}

#[test]
fn an_orphan_that_can_not_be_attributed_is_reported_by_the_stop() {
    let daemon = Daemon::start();
    let control = Control::new();
    let environment = json!({"CTL": control.address.to_string()});
    let start = format!("{} ctl first stay", testchild());
    daemon.client.create(&json!({"slug": "first", "start": start, "environment": environment})).server(201);
    let _first = control.child();
    let start = format!("prlimit --locks=5:5 {} daemonize-bare ctl away stay", testchild());
    daemon.client.create(&json!({"slug": "second", "start": start, "environment": environment})).server(201);
    let mut away = control.child();
    let stopped = daemon.client.post("/servers/second/stop").server(200);
    let reason = stopped["status_reason"].as_str().unwrap_or_default();
    assert!(!away.is_dead() && reason.contains(&format!("process {} (", away.pid)), "{stopped:#}");
    assert!(daemon.log().contains(&format!("[second] {reason}")), "{}", daemon.log());
    // SAFETY: plain numbers; it has reported and lives.
    unsafe { libc::kill(away.pid as i32, libc::SIGKILL) };
    away.wait_dead();
    wait_until("it is reaped", || (daemon.zombies() == 0).then_some(()));
    daemon.client.post("/servers/second/start").server(200);
    assert_eq!(daemon.client.show("second").get("status_reason"), None);
    let _away = control.child();
}

/// Answers that it is a file system, and never anything else.
const MUTE_FILE_SYSTEM: &str = "
import ctypes, os, struct, sys, time
device = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % device
if ctypes.CDLL(None, use_errno=True).mount(b'mute', sys.argv[1].encode(), b'fuse', 0, options): sys.exit(ctypes.get_errno())
request = os.read(device, 65536)
unique = struct.unpack_from('=Q', request, 8)[0]
body = struct.pack('=IIIIHHIIHH', 7, 31, 65536, 0, 16, 12, 4096, 1, 0, 0) + bytes(28)
os.write(device, struct.pack('=IiQ', 16 + len(body), 0, unique) + body)
print('mounted', flush=True)
time.sleep(1000)
";

#[test]
fn a_program_on_a_file_system_that_never_answers_delays_no_stop_and_hides_no_orphan() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let daemon = Daemon::start();
    let control = Control::new();
    let folder = daemon.root.join("mute");
    fs::create_dir(&folder).unwrap();
    let mut mute = Command::new("python3");
    mute.args(["-c", MUTE_FILE_SYSTEM]).arg(&folder).stdout(Stdio::piped());
    let mut mute = mute.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(mute.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "mounted\n", "a file system of one's own is needed: run this as root, with /dev/fuse");
    let environment = json!({"CTL": control.address.to_string()});
    let start = format!("{} daemonize-bare ctl away stay", testchild());
    let mut aways = Vec::new();
    for slug in ["one", "two"] {
        daemon.client.create(&json!({"slug": slug, "start": start, "environment": environment})).server(201);
        aways.push(control.child());
    }
    // It is asked for, and not waited for.
    let body = json!({"slug": "stuck", "start": format!("{}/program", folder.display())}).to_string();
    let head = format!(
        "POST /servers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-token\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = std::net::TcpStream::connect(daemon.client.address).unwrap();
    std::io::Write::write_all(&mut client, head.as_bytes()).unwrap();
    wait_until("its child waits for its program", || {
        let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
        let mut stuck = threads.filter(|thread| {
            fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == "sup:stuck\n")
                && fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") D "))
        });
        stuck.next().map(|_| ())
    });
    for (slug, away) in ["one", "two"].iter().zip(&mut aways) {
        let asked = Instant::now();
        daemon.client.post(&format!("/servers/{slug}/stop")).server(200);
        assert!(asked.elapsed() < Duration::from_secs(5), "{slug} was stopped after {:?}", asked.elapsed());
        assert!(away.is_dead(), "what {slug} left lives");
    }
    mute.kill().unwrap();
    mute.wait().unwrap();
    Command::new("umount").arg("-l").arg(&folder).status().unwrap();
}
