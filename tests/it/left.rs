//! What can't be ended is said, and what can't be attributed too.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::limits::is_root;
use crate::support::{Control, Daemon, Scratch, testchild, wait_until};

/// A user without any rights.
const OTHER_USER: u32 = 65534;

/// A program in `scratch` that a server can run by this path, as any user.
fn copied(scratch: &Scratch, name: &str, from: &str, mode: u32) -> String {
    let path = scratch.0.join(name);
    fs::copy(from, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

/// A daemon that is no root, and the programs of its servers: testchild, and one that gives another user's rights.
fn unprivileged() -> (Daemon, String, String) {
    assert!(is_root(), "a program with another user's rights is needed: run this as root");
    let scratch = Scratch::new();
    let root = scratch.0.join("root");
    fs::create_dir_all(&root).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    for path in [&scratch.0, &root] {
        chown(path, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
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
    (Daemon::begun_by(scratch, command.stdin(std::process::Stdio::null())), child, raise)
}

fn kill(pid: u32) {
    // SAFETY: plain numbers; it has reported, and lives as long as it is not killed here.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

#[test]
fn a_refused_signal_is_said_and_as_long_as_it_lasts_no_port_of_others_is_its() {
    let (daemon, child, raise) = unprivileged();
    let control = Control::new();
    let raised = format!("{raise} --reuid 0 --regid 0 --clear-groups {child} ctl root");
    for (slug, start) in
        [("app", format!("{raised} stay & exec {child} ctl leader stay")), ("lone", format!("{raised} stay"))]
    {
        // Longer than the test waits: the answer comes when the refusal is known.
        let environment = json!({"CTL": control.address.to_string()});
        let spec = json!({"slug": slug, "stop_timeout_ms": 100_000, "environment": environment, "start": start});
        daemon.client.create(&spec).server(201);
        let mut children = vec![control.child()];
        if slug == "app" {
            children.push(control.child());
        }
        let refusing = children.iter().find(|child| child.name == "root").unwrap().pid;
        for path in ["stop", "stop", "restart"] {
            let asked = Instant::now();
            let answer = daemon.client.post(&format!("/servers/{slug}/{path}"));
            assert!(
                asked.elapsed() < Duration::from_secs(20),
                "{path} of {slug} was answered after {:?}",
                asked.elapsed()
            );
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            let reason = answer.server(202)["status_reason"].as_str().unwrap().to_owned();
            for part in
                ["stopping: ", &format!("process {refusing} (testchild) of user 0 refuses"), "Operation not permitted"]
            {
                assert!(reason.contains(part) && message.contains(part), "{message}, {reason}");
            }
        }
        let strangers: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let seen = Instant::now();
        while seen.elapsed() < Duration::from_secs(1) {
            let server = daemon.client.show(slug);
            assert!(server["ports"].as_array().is_none_or(Vec::is_empty), "{server:#}");
        }
        drop(strangers);
        wait_until("the log has one line, and those of the status", || {
            let log = daemon.log();
            let said = log.lines().filter(|line| line.contains(&format!("[{slug}]")) && line.contains("refuses"));
            (1..=3).contains(&said.count()).then_some(())
        });
        // The last command: nothing is started again when the process has ended.
        assert_eq!(daemon.client.post(&format!("/servers/{slug}/stop")).status, 202);
        kill(refusing);
        let stopped = daemon.client.wait_for_status(slug, "stopped");
        assert_eq!(stopped.get("status_reason"), None, "{stopped:#}");
    }
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
    wait_until("the log says it too", || daemon.log().contains(&format!("[second] {reason}")).then_some(()));
    kill(away.pid);
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
while len(sys.argv) > 2: os.read(device, 65536)
time.sleep(1000)
";

/// A process that keeps a file system on `folder` mounted. One that takes its requests leaves who has made them in a
/// wait that no signal ends.
struct Mute {
    process: std::process::Child,
    folder: std::path::PathBuf,
}

impl Mute {
    fn mount(folder: std::path::PathBuf, takes: &[&str]) -> Mute {
        use std::io::{BufRead, BufReader};
        fs::create_dir(&folder).unwrap();
        let mut mute = std::process::Command::new("python3");
        mute.args(["-c", MUTE_FILE_SYSTEM]).arg(&folder).args(takes).stdout(std::process::Stdio::piped());
        let mut process = mute.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "a file system of one's own is needed: run this as root, with /dev/fuse");
        Mute { process, folder }
    }

    /// A waiting client gets an error.
    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_process_that_not_even_sigkill_ends_is_named_by_the_answer() {
    let daemon = Daemon::start();
    let mut mute = Mute::mount(daemon.root.join("mute"), &["takes"]);
    let missing = mute.folder.join("missing").display().to_string();
    for (slug, start) in [("leader", format!("cat {missing}")), ("child", format!("cat {missing} & exec sleep 600"))] {
        daemon.client.create(&json!({"slug": slug, "start": start, "stop_timeout_ms": 100})).server(201);
    }
    for slug in ["leader", "child"] {
        wait_until("it is in the kernel", || daemon.log().contains(&format!("[{slug}] running")).then_some(()));
        let asked = Instant::now();
        let answer = daemon.client.post(&format!("/servers/{slug}/stop"));
        assert!(asked.elapsed() < Duration::from_secs(20), "{slug}: answered after {:?}", asked.elapsed());
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.server(202)["status_reason"].as_str(), Some(message.as_str()));
        let part = "(cat) of user 0 lives on after SIGKILL: it waits in the kernel for a device or a file system that does \
                    not answer (state D)";
        assert!(message.starts_with("stopping: process ") && message.ends_with(part), "{message}");
        wait_until("the log says it once", || {
            let said = daemon.log().lines().filter(|line| line.contains(slug) && line.ends_with(part)).count();
            (said == 1).then_some(())
        });
    }
    mute.end();
    for slug in ["leader", "child"] {
        assert_eq!(daemon.client.wait_for_status(slug, "stopped").get("status_reason"), None);
    }
}

/// Creates a server whose program is on `mute`, and returns when its child waits for it.
fn create_stuck(daemon: &Daemon, mute: &Mute) -> std::net::TcpStream {
    // It is asked for, and not waited for.
    let body = json!({"slug": "stuck", "start": format!("{}/program", mute.folder.display())}).to_string();
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
    client
}

#[test]
fn a_program_on_a_file_system_that_never_answers_delays_no_stop_and_hides_no_orphan() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut mute = Mute::mount(daemon.root.join("mute"), &[]);
    let environment = json!({"CTL": control.address.to_string()});
    let start = format!("{} daemonize-bare ctl away stay", testchild());
    let mut aways = Vec::new();
    for slug in ["one", "two"] {
        daemon.client.create(&json!({"slug": slug, "start": start, "environment": environment})).server(201);
        aways.push(control.child());
    }
    let _client = create_stuck(&daemon, &mute);
    for (slug, away) in ["one", "two"].iter().zip(&mut aways) {
        let asked = Instant::now();
        daemon.client.post(&format!("/servers/{slug}/stop")).server(200);
        assert!(asked.elapsed() < Duration::from_secs(5), "{slug} was stopped after {:?}", asked.elapsed());
        assert!(away.is_dead(), "what {slug} left lives");
    }
    mute.end();
}

#[test]
fn a_stop_ends_a_child_that_waits_for_its_program_or_says_why_not() {
    // Taken requests leave the child in a wait that no signal ends.
    for takes in [&[][..], &["takes"]] {
        let daemon = Daemon::start();
        let mut mute = Mute::mount(daemon.root.join("mute"), takes);
        let _client = create_stuck(&daemon, &mute);
        let asked = Instant::now();
        let answer = daemon.client.post("/servers/stuck/stop");
        assert!(asked.elapsed() < Duration::from_secs(20), "answered after {:?}", asked.elapsed());
        if takes.is_empty() {
            assert_eq!(answer.server(200)["status"], "stopped");
            assert_eq!(daemon.client.delete("/servers/stuck").status, 204);
        } else {
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert_eq!(answer.status, 202);
            assert!(message.starts_with("process ") && message.ends_with("does not answer (state D)"), "{message}");
            mute.end();
            daemon.client.wait_for_status("stuck", "stopped");
        }
        wait_until("the log says it", || daemon.log().contains("is killed: its program is on").then_some(()));
    }
}
