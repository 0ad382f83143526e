//! What the daemon is begun with: its unix socket, its token, and where its secrets lie.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::limits::is_root;
use crate::support::{Daemon, Finish, Guarded, Scratch, log_with, wait_until};

/// A daemon on a unix socket in `scratch`.
struct OnSocket {
    process: Guarded,
    socket: PathBuf,
}

impl OnSocket {
    fn start(scratch: &Scratch, state: &str, options: &[&str]) -> OnSocket {
        let socket = scratch.0.join("api.sock");
        let mut command = Daemon::command();
        command.args(["serve", "--listen", &format!("unix:{}", socket.display()), "--root"]).arg(&scratch.0);
        command.arg("--state-dir").arg(scratch.0.join(state)).args(options).stdin(Stdio::null()).stderr(Stdio::piped());
        // The widest umask there is.
        // SAFETY: the call can't fail and touches nothing but the child's own mask.
        unsafe {
            command.pre_exec(|| {
                libc::umask(0);
                Ok(())
            })
        };
        let mut process = Guarded(command.spawn().unwrap());
        log_with(&mut process, "is listening on");
        OnSocket { process, socket }
    }

    fn end(mut self) {
        // SAFETY: plain numbers; the process is ours and not reaped.
        unsafe { libc::kill(self.process.id() as i32, libc::SIGTERM) };
        assert!(wait_until("the daemon ends", || self.process.try_wait().unwrap()).success());
    }
}

const REQUEST: &str = "GET /servers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn ask(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_unix_socket_is_closed_to_others_whatever_the_umask() {
    for options in [&["--no-auth"][..], &[]] {
        let scratch = Scratch::new();
        let daemon = OnSocket::start(&scratch, "state", options);
        let mode = fs::symlink_metadata(&daemon.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{options:?}");
        daemon.end();
    }
}

#[test]
fn without_auth_a_unix_socket_serves_its_own_user_and_root_only() {
    if !is_root() {
        panic!("only root can become another user to try this; run the tests as root");
    }
    let scratch = Scratch::new();
    let daemon = OnSocket::start(&scratch, "state", &["--no-auth"]);
    assert!(ask(&daemon.socket).starts_with("HTTP/1.1 200 "));
    // Opened to all by hand, and in a directory that all may enter.
    fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o666)).unwrap();
    // It is refused before it has sent anything.
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                  while (part := s.recv(4096)): sys.stdout.buffer.write(part)";
    let mut other = Command::new("python3");
    other.args(["-c", script]).arg(&daemon.socket).current_dir("/").stdin(Stdio::null());
    let output = other.uid(65_534).gid(65_534).finish();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("foreign_user"), "{output:?}");
    assert!(ask(&daemon.socket).starts_with("HTTP/1.1 200 "));
    daemon.end();
}

#[test]
fn at_its_end_the_daemon_removes_no_socket_but_its_own() {
    let scratch = Scratch::new();
    let first = OnSocket::start(&scratch, "first", &["--no-auth"]);
    let socket = first.socket.clone();
    // Removed by hand, the name is another daemon's by now.
    fs::remove_file(&socket).unwrap();
    let second = OnSocket::start(&scratch, "second", &["--no-auth"]);
    first.end();
    assert!(ask(&socket).starts_with("HTTP/1.1 200 "), "the other daemon's socket is still there");
    second.end();
    assert!(!socket.exists(), "its own is removed");
    // A file in its place is no socket.
    let third = OnSocket::start(&scratch, "first", &["--no-auth"]);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "notes").unwrap();
    third.end();
    assert_eq!(fs::read_to_string(&socket).unwrap(), "notes");
}

#[test]
fn at_its_start_the_daemon_replaces_only_a_dead_socket_of_its_own() {
    let scratch = Scratch::new();
    let socket = scratch.0.join("api.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let dead = fs::symlink_metadata(&socket).unwrap().ino();
    let refusal = || {
        let mut command = Daemon::command();
        command.args(["serve", "--no-auth", "--listen", &format!("unix:{}", socket.display()), "--state-dir"]);
        let output = command.arg(scratch.0.join("other")).finish();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    if is_root() {
        std::os::unix::fs::lchown(&socket, Some(65_534), Some(65_534)).unwrap();
        assert!(refusal().contains("not a socket of this user"));
        assert_eq!(fs::symlink_metadata(&socket).unwrap().ino(), dead);
        std::os::unix::fs::lchown(&socket, Some(0), Some(0)).unwrap();
    }
    let daemon = OnSocket::start(&scratch, "state", &["--no-auth"]);
    assert!(refusal().contains("another program listens there"));
    assert!(ask(&socket).starts_with("HTTP/1.1 200 "));
    daemon.end();
}

#[test]
fn the_token_is_not_in_the_daemons_own_environment_block() {
    const SECRET: &str = "s3cr3t-of-the-environment";
    const PAYLOAD: &str = "eyJvdmVybGF5cyI6W10sInNlcnZlcnMiOltdfQ==";
    for name in ["SERVISOR_ACCESS_TOKEN", "COMPUTESDK_ACCESS_TOKEN"] {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.0.join("root")).unwrap();
        let mut command = Daemon::command_on(&scratch);
        command.env_remove("SERVISOR_ACCESS_TOKEN").env(name, SECRET).env("COMPUTESDK_SETUP_B64", PAYLOAD);
        let mut daemon = Daemon::begun_by(scratch, &mut command);
        daemon.client.token = Some(SECRET.into());
        daemon.client.create(&json!({"slug": "app", "start": "exec sleep 600"})).server(201);
        let server = daemon.client.wait_for_status("app", "running");
        let environment = |pid: &str| {
            let block = fs::read(format!("/proc/{pid}/environ")).unwrap();
            String::from_utf8_lossy(&block).into_owned()
        };
        let own = environment(&daemon.pid().to_string());
        assert!(!own.contains(SECRET) && !own.contains(PAYLOAD), "{name}");
        assert!(own.contains("IT_MARK=") && own.contains("PATH="), "the rest is as it was");
        let servers = environment(&server["pid"].to_string());
        assert!(!servers.contains(SECRET) && !servers.contains(name) && servers.contains("IT_MARK="), "{name}");
        // A server can read the daemon's block and finds nothing there.
        daemon
            .client
            .create(&json!({"slug": "spy", "start": "tr '\\0' '\\n' < /proc/$PPID/environ; exec sleep 600"}))
            .server(201);
        let logs = wait_until("the spy has looked", || {
            let text = daemon.client.get("/servers/spy/logs").text();
            text.contains("IT_MARK=").then_some(text)
        });
        assert!(!logs.contains(SECRET), "{logs}");
    }
}

#[test]
fn secrets_below_the_root_are_warned_of() {
    let scratch = Scratch::new();
    let (root, outside) = (scratch.0.join("root"), scratch.0.join("outside"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(root.join("real")).unwrap();
    std::os::unix::fs::symlink(root.join("real"), outside.join("link")).unwrap();
    fs::write(root.join("token"), "test-token").unwrap();
    let warning = |state: &Path, token: Option<&Path>| {
        let mut command = Daemon::command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(&root).arg("--state-dir").arg(state);
        command.args(token.map(|path| format!("--access-token-file={}", path.display())));
        let mut process = Guarded(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let log = log_with(&mut process, "is listening on");
        // SAFETY: plain numbers; the process is ours and not reaped.
        unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
        assert!(wait_until("it ends", || process.try_wait().unwrap()).success());
        let log = log.lock().unwrap();
        log.clone()
    };
    const STATE: &str = "lies under the root";
    assert!(!warning(&scratch.0.join("state"), None).contains(STATE));
    assert!(!warning(&scratch.0.join("root-of-another"), None).contains(STATE));
    assert!(warning(&root.join(".servisor"), None).contains("the state directory"));
    assert!(warning(&outside.join("link/state"), None).contains(STATE), "links are resolved");
    assert!(warning(&scratch.0.join("state"), Some(&root.join("token"))).contains("the access token file"));
}

#[test]
fn what_the_http_library_reports_is_in_the_log() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("root")).unwrap();
    let daemon = Daemon::on(scratch, &["--log-level", "debug"], &[]);
    assert_eq!(daemon.client.get("/health").status, 200);
    wait_until("its record is a line", || {
        daemon.log().contains("debug tiny_http: Running accept thread\n").then_some(())
    });
}
