//! Which daemon is asked, and with which token.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use serde_json::json;

use super::super::support::{Daemon, Scratch, wait_until};
use super::{Ran, command, line};

fn address_of(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.state.join("address")).unwrap()
}

#[test]
fn the_address_is_in_the_state_directory_while_the_daemon_listens() {
    let mut daemon = Daemon::start();
    let file = daemon.state.join("address");
    assert_eq!(address_of(&daemon), format!("http://{}\n", daemon.client.address));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    line(&daemon, "ps").done();
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    assert!(!file.exists());
    // A link that exists already is replaced, and what it leads to stays as it is.
    let victim = daemon.scratch().0.join("victim");
    fs::write(&victim, "mine").unwrap();
    std::os::unix::fs::symlink(&victim, &file).unwrap();
    daemon.begin_anew(&[], &[]);
    assert_eq!(address_of(&daemon), format!("http://{}\n", daemon.client.address));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
}

#[test]
fn a_stale_address_is_no_daemon_and_the_next_one_replaces_it() {
    let mut daemon = Daemon::start();
    let before = address_of(&daemon);
    daemon.kill();
    assert_eq!(address_of(&daemon), before);
    assert!(line(&daemon, "ps").failed(3).contains("Connection refused"));
    daemon.begin_anew(&[], &[]);
    assert_ne!(address_of(&daemon), before);
    line(&daemon, "ps").done();
}

#[test]
fn a_wildcard_is_written_as_its_loopback() {
    for (wildcard, loopback) in [("0.0.0.0:0", "http://127.0.0.1:"), ("[::]:0", "http://[::1]:")] {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.0.join("root")).unwrap();
        let mut begun = Daemon::command();
        begun.args(["serve", "--listen", wildcard, "--root"]).arg(scratch.0.join("root"));
        begun.arg("--state-dir").arg(scratch.0.join("state")).env("SERVISOR_ACCESS_TOKEN", "test-token");
        let daemon = Daemon::begun_by(scratch, &mut begun);
        assert!(address_of(&daemon).starts_with(loopback), "{}", address_of(&daemon));
        line(&daemon, "ps").done();
    }
}

#[test]
fn a_unix_socket_is_found_from_any_directory() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let mut begun = Daemon::command();
    begun.args(["serve", "--listen", "unix:api sock", "--root", "root", "--state-dir", "state"]);
    let mut process = begun.current_dir(&scratch.0).stderr(std::process::Stdio::null()).spawn().unwrap();
    let state = scratch.0.join("state");
    let written = wait_until("the address is written", || fs::read_to_string(state.join("address")).ok());
    assert_eq!(written, format!("unix:{}\n", scratch.0.join("api sock").display()));
    // The kept token, and no address at all.
    let output = Daemon::command().args(["ps", "-q", "--state-dir"]).arg(&state).current_dir("/").output();
    assert_eq!(Ran::of(output.unwrap()).done(), "");
    // SAFETY: plain numbers; the process is ours and not reaped yet.
    unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
    assert!(process.wait().unwrap().success());
    assert!(!state.join("address").exists());
}

#[test]
fn options_come_before_variables_and_these_before_the_state_directory() {
    let (one, other) = (Daemon::start(), Daemon::start());
    one.client.create(&json!({"slug": "one", "start": "sleep 600"})).server(201);
    other.client.create(&json!({"slug": "other", "start": "sleep 600"})).server(201);
    let other_at = format!("http://{}", other.client.address);
    let names = |command: &mut Command| Ran::of(command.output().unwrap()).done();
    assert_eq!(names(&mut command(&one, &["ps", "-q"])), "one\n");
    assert_eq!(names(command(&one, &["ps", "-q"]).env("SERVISOR_ADDRESS", &other_at)), "other\n");
    let one_at = one.client.address.to_string();
    let args = ["--address", &one_at, "ps", "-q"];
    assert_eq!(names(command(&one, &args).env("SERVISOR_ADDRESS", &other_at)), "one\n");
    assert_eq!(names(command(&one, &["ps", "-q", "--state-dir"]).arg(&other.state)), "other\n");
    let file = one.scratch().0.join("token");
    fs::write(&file, "test-token\n").unwrap();
    for words in [&["ps", "-q", "--token-file"][..], &["ps", "-q"]] {
        let mut command = command(&one, words);
        command.env("SERVISOR_ACCESS_TOKEN", if words.len() == 3 { "wrong" } else { "" });
        if words.len() == 3 {
            command.arg(&file);
        } else {
            command.env("SERVISOR_ACCESS_TOKEN_FILE", &file);
        }
        assert_eq!(names(&mut command), "one\n");
    }
}

/// The head of the first request on `listener`.
fn request(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let body = r#"{"status":"success","data":{"servers":[]}}"#;
    let length = body.len();
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    String::from_utf8(head).unwrap()
}

#[test]
fn the_kept_token_never_leaves_this_machine() {
    // An address of this machine that is none of its loopback ones, if it has one.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let route = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let outside = route.map(|address| address.ip()).ok().filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    let scratch = Scratch::new();
    fs::write(scratch.0.join("access-token"), "kept-secret\n").unwrap();
    fs::set_permissions(scratch.0.join("access-token"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut places = vec![("127.0.0.1".parse().unwrap(), true)];
    match outside {
        Some(ip) => places.push((ip, false)),
        None => eprintln!("this machine has no address but loopback: only the rule itself is tested"),
    }
    for (ip, is_local) in places {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        for by_file in [false, true] {
            let mut ps = Daemon::command();
            ps.args(["ps", "--state-dir"]).arg(&scratch.0);
            if by_file {
                fs::write(scratch.0.join("address"), &address).unwrap();
            } else {
                ps.env("SERVISOR_ADDRESS", &address);
            }
            let child = ps.stdout(std::process::Stdio::null()).spawn().unwrap();
            let head = request(&listener);
            assert_eq!(head.contains("kept-secret"), is_local, "{address}: {head}");
            assert!(child.wait_with_output().unwrap().status.success());
            // One that is given is sent to its target.
            let mut ps = Daemon::command();
            ps.args(["ps", "--address", &address]).env("SERVISOR_ACCESS_TOKEN", "given");
            let child = ps.stdout(std::process::Stdio::null()).spawn().unwrap();
            assert!(request(&listener).contains("Bearer given"));
            assert!(child.wait_with_output().unwrap().status.success());
        }
        fs::remove_file(scratch.0.join("address")).unwrap();
    }
}

#[test]
fn what_is_no_plain_file_is_not_waited_for() {
    let daemon = Daemon::start();
    let fifo = daemon.scratch().0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(fs::metadata(&fifo).unwrap().nlink() == 1);
    let said = line(&daemon, &format!("ps --token-file {}", fifo.display())).failed(3);
    assert!(said.contains("not a regular file"), "{said}");
}
