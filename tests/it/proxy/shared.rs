//! Processes that listen beside a server, by `SO_REUSEPORT`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::*;
use crate::support::wait_until;

/// `reuse.py NAME ADDRESS PORT`: answers each request with its name; `/fork` makes another process with a listener of
/// its own.
const REUSE: &str = r#"
import os, socket, sys
def listen():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((sys.argv[2], int(sys.argv[3])))
    s.listen(64)
    return s
name, s = sys.argv[1], listen()
print("listens", flush=True)
while True:
    c, _ = s.accept()
    head = c.recv(65536)
    if head.startswith(b"GET /fork"):
        r, w = os.pipe()
        if os.fork() == 0:
            s.close(); c.close(); s = listen(); os.close(w)
            name = "fork"
            continue
        os.close(w); os.read(r, 1)
    if head:
        c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name.encode()))
    c.close()
"#;

/// A process that is none of a server's.
struct Stranger(Child);

impl Stranger {
    #[track_caller]
    fn listen(address: &str, port: u16) -> Stranger {
        let mut command = Command::new("python3");
        command.args(["-c", REUSE, "stranger", address, &port.to_string()]).stdout(Stdio::piped());
        let mut stranger = Stranger(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(stranger.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listens\n");
        stranger
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server `web` listens at `address`.
fn reusing(address: &str) -> Proxied {
    let proxied = Proxied { daemon: Daemon::with(&["--proxy"], &[]), port: quiet_port() };
    let start = format!("exec python3 -c '{REUSE}' own {address} $PORT");
    proxied.daemon.client.create(&json!({"slug": "web", "port": proxied.port, "start": start})).server(201);
    proxied.daemon.client.when_ready("web");
    assert_eq!(proxied.get("/").text(), "own");
    proxied
}

#[test]
fn no_visit_leads_to_a_stranger_that_shares_the_port() {
    for (own, strangers) in [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")] {
        let proxied = reusing(own);
        let stranger = Stranger::listen(strangers, proxied.port);
        for host in ["web.localhost".to_owned(), format!("{}.localhost", proxied.port)] {
            for _ in 0..4 {
                let answer = visit(proxied.address(), &host, "/", "");
                assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("port_shared")), "{}", answer.text());
                assert!(answer.text().contains("another process listens there"), "{}", answer.text());
            }
        }
        drop(stranger);
        wait_until("it is alone", || (proxied.get("/").text() == "own").then_some(()));
    }
}

#[test]
fn a_foreign_listener_at_another_address_blocks_no_visit() {
    for (own, strangers) in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.2")] {
        let proxied = reusing(own);
        let _stranger = Stranger::listen(strangers, proxied.port);
        for _ in 0..12 {
            assert_eq!(proxied.get("/").text(), "own", "{own} {strangers}");
        }
    }
}

#[test]
fn processes_of_one_server_share_its_port() {
    let proxied = reusing("127.0.0.1");
    assert_eq!(proxied.get("/fork").text(), "own");
    wait_until("both answer", || (proxied.get("/").text() == "fork").then_some(()));
    for _ in 0..24 {
        let answer = proxied.get("/");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
