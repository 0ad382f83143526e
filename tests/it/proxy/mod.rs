//! Public URLs of managed servers, on a real daemon with real servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::support::{Answer, Daemon, LIMIT, quiet_port, testchild};

mod bodies;
mod bulk;
mod busy;
mod keys;
mod lifetimes;
mod loops;
mod routing;
mod shared;
mod states;
mod tunnels;
mod wire;

/// A daemon with the server `web`, which does what paths say.
struct Proxied {
    daemon: Daemon,
    port: u16,
}

impl Proxied {
    #[track_caller]
    fn start(options: &[&str]) -> Proxied {
        Proxied::with(options, &json!({}))
    }

    /// With more fields in the spec of `web`.
    #[track_caller]
    fn with(options: &[&str], more: &Value) -> Proxied {
        let options: Vec<&str> = ["--proxy"].iter().chain(options).copied().collect();
        let proxied = Proxied { daemon: Daemon::with(&options, &[]), port: quiet_port() };
        let mut spec = json!({
            "slug": "web", "port": proxied.port, "start": format!("exec {} web 127.0.0.1:PORT stay", testchild()),
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        proxied.daemon.client.create(&spec).server(201);
        proxied.daemon.client.when_ready("web");
        proxied
    }

    fn address(&self) -> SocketAddr {
        self.daemon.client.address
    }

    /// Asks for `path` of `web`.
    #[track_caller]
    fn get(&self, path: &str) -> Answer {
        visit(self.address(), "web.localhost", path, "")
    }

    /// An open connection on which `head` was sent, a line each, with the host of `web`.
    #[track_caller]
    fn open(&self, head: &str) -> Visitor {
        Visitor::open(self.address(), head)
    }
}

/// Asks `host` for `path`, with more header lines.
#[track_caller]
pub fn visit(address: SocketAddr, host: &str, path: &str, more: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\nHost: {host}\nConnection: close\n{more}");
    Visitor::open(address, &head).answer()
}

/// A client of a server.
pub struct Visitor {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Visitor {
    #[track_caller]
    pub fn open(address: SocketAddr, head: &str) -> Visitor {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let mut visitor = Visitor { stream, read: Vec::new() };
        visitor.ask(head);
        visitor
    }

    /// Sends a head; the host is that of `web` if none is named.
    #[track_caller]
    fn ask(&mut self, head: &str) {
        let host = if head.contains("\nHost:") { "" } else { "\nHost: web.localhost" };
        let head = format!("{}{host}\n\n", head.trim_end()).replace('\n', "\r\n");
        self.send(head.as_bytes());
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads once more; `false` at the end.
    #[track_caller]
    fn read_more(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.read)),
        }
    }

    /// Reads until `text` has arrived. Returns everything through `text`.
    #[track_caller]
    pub fn read_to(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(text.len()).position(|part| part == text.as_bytes()) {
                let taken: Vec<u8> = self.read.drain(..at + text.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            assert!(self.read_more(), "{text:?} is not in {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads to the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        while self.read_more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// The next answer, by its framing.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let head = self.read_to("\r\n\r\n");
        let status = head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_else(|_| panic!("{head}"));
        let mut answer = Answer { status, head: head.trim_end().to_owned(), body: Vec::new() };
        if let Some(length) = answer.header("Content-Length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                assert!(self.read_more(), "{head}{:?}", String::from_utf8_lossy(&self.read));
            }
            answer.body = self.read.drain(..length).collect();
        } else if answer.header("Transfer-Encoding").is_some() {
            loop {
                let size = self.read_to("\r\n");
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                while self.read.len() < size + 2 {
                    assert!(self.read_more());
                }
                answer.body.extend(self.read.drain(..size));
                assert_eq!(self.read.drain(..2).collect::<Vec<_>>(), b"\r\n");
                if size == 0 {
                    break;
                }
            }
        } else {
            while self.read_more() {}
            answer.body = std::mem::take(&mut self.read);
        }
        answer
    }
}

/// The path under which `web` answers with exactly these bytes.
fn raw(answer: &str) -> String {
    let digits: String = answer.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("/raw/{digits}")
}
