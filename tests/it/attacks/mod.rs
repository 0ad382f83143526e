//! Hostile clients against the whole daemon: it lives, a normal client is answered, a server notices nothing.
//!
//! Each row of the matrix of odd input is tested at the front itself (`src/http/tests`); these are the attacks that end
//! or wedge a bare tiny_http.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::TOKEN;
use crate::support::limits::open_descriptors;
use crate::support::{Control, Daemon, exchange, testchild, wait_until};

mod flood;
mod shortage;
mod strangers;
mod vanished;

/// Threads that clients can cost: 256 connections with a slot, at most 64 that were evicted and have not noticed yet
/// (see `src/http/slots.rs`), and those of four parsers, each of which begins with five.
const THREADS_MAX: usize = 256 + 64 + 4 * 5;

struct Target {
    daemon: Daemon,
    pid: u64,
}

impl Target {
    fn new() -> Target {
        let daemon = Daemon::start();
        let control = Control::new();
        let spec = json!({
            "slug": "web", "start": format!("{} ctl main stay", testchild()),
            "environment": {"CTL": control.address.to_string()},
        });
        daemon.client.create(&spec).server(201);
        let pid = daemon.client.wait_for_status("web", "running")["pid"].as_u64().unwrap();
        Target { daemon, pid }
    }

    fn address(&self) -> SocketAddr {
        self.daemon.client.address
    }

    fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        let _ = stream.write_all(bytes);
        stream
    }

    /// The daemon lives, answers, and its server has not noticed anything.
    #[track_caller]
    fn assert_unharmed(&self, attack: &str) -> Duration {
        let begun = Instant::now();
        let server = self.daemon.client.show("web");
        assert_eq!((&server["status"], server["pid"].as_u64()), (&json!("running"), Some(self.pid)), "{attack}");
        begun.elapsed()
    }
}

/// Sets a socket up to be closed by a reset.
pub fn reset(stream: TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: `linger` is valid for reads of its length through the call.
    unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length);
    }
}

#[test]
fn requests_that_end_a_bare_tiny_http() {
    let target = Target::new();
    let size = target.daemon.size();
    for attack in [
        "POST /servers HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000000\r\n\r\n",
        "POST /servers HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n",
        "POST /servers HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST /servers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "POST /servers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab",
        "POST /servers HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        "\0\0\0\0",
        "\r\n\r\n",
        "GET",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        for _ in 0..5 {
            exchange(target.address(), attack.as_bytes());
            reset(target.connect(attack.as_bytes()));
        }
        target.assert_unharmed(attack);
    }
    target.daemon.until_as_small_as(size);
}

#[test]
fn idle_and_trickling_clients_keep_no_owner_out() {
    let target = Target::new();
    let size = target.daemon.size();
    let mut longest = Duration::ZERO;
    {
        let mut trickling: Vec<TcpStream> = Vec::new();
        for number in 0..1500 {
            let begun: &[u8] =
                [&b""[..], b"GET /health HT", b"POST /servers HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
                    [number % 3];
            trickling.push(target.connect(begun));
            if number % 100 == 99 {
                longest = longest.max(target.assert_unharmed("trickling clients"));
                let threads = target.daemon.threads("");
                assert!(threads <= size.1 + THREADS_MAX, "{threads}");
            }
        }
        for _ in 0..5 {
            for stream in &mut trickling {
                let _ = stream.write_all(b"x");
            }
            longest = longest.max(target.assert_unharmed("trickling clients"));
        }
    }
    println!("1500 trickling clients: the longest call of a normal one took {longest:?}");
    target.daemon.until_as_small_as(size);
}

#[test]
fn clients_that_do_not_read_delay_no_other() {
    let target = Target::new();
    let flood = json!({"slug": "text", "start": format!("{} lines 100000", testchild())});
    target.daemon.client.create(&flood).server(201);
    target.daemon.client.wait_for_status("text", "stopped");
    let head = format!("Host: x\r\nAuthorization: Bearer {}\r\n\r\n", "test-token");
    let request = format!("GET /servers/text/logs HTTP/1.1\r\n{head}");
    let slow: Vec<TcpStream> = (0..40).map(|_| target.connect(request.as_bytes())).collect();
    for _ in 0..20 {
        target.assert_unharmed("clients that do not read");
    }
    drop(slow);
    target.assert_unharmed("clients that did not read");
}

#[test]
fn pipelined_requests_of_one_client_do_not_starve_another() {
    let target = Target::new();
    let request = "GET /servers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-token\r\n\r\n";
    let greedy: Vec<TcpStream> = (0..4).map(|_| target.connect(request.repeat(500).as_bytes())).collect();
    target.assert_unharmed("pipelined requests");
    drop(greedy);
    target.assert_unharmed("pipelined requests, cut");
}

#[test]
fn a_burst_of_clients_is_answered() {
    let target = Target::new();
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let client = target.daemon.client.clone();
            std::thread::spawn(move || client.get("/servers").status)
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    target.assert_unharmed("a burst");
}

#[test]
fn noise_from_many_connections() {
    let target = Target::new();
    let seeds = [
        "GET /servers HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST /servers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut roll = |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % sides as u64) as usize
    };
    for round in 0..1500 {
        let mut bytes = seeds[roll(2)].as_bytes().to_vec();
        for _ in 0..1 + roll(4) {
            let at = roll(bytes.len());
            match roll(3) {
                0 => bytes[at] = roll(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n :0,;\0\xff"[roll(9)]),
            }
        }
        let mut stream = target.connect(&bytes);
        match roll(3) {
            0 => reset(stream),
            1 => drop(stream),
            _ => {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
        if round % 300 == 0 {
            target.assert_unharmed("noise");
        }
    }
    target.assert_unharmed("noise");
    assert!(!target.daemon.log().contains("panicked"), "{}", target.daemon.log());
}

#[test]
fn a_moment_without_descriptors_passes() {
    let target = Target::new();
    let pid = target.daemon.pid();
    // Only the soft limit moves: to raise a hard one again takes a right that not every user has.
    let set = |soft: u64| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is valid for writes; the process is ours.
        assert_eq!(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit) }, 0);
        let before = std::mem::replace(&mut limit.rlim_cur, soft);
        // SAFETY: `limit` is valid for reads; the process is ours.
        assert_eq!(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) }, 0);
        before
    };
    let before = set(open_descriptors(pid).len() as u64);
    let waiting: Vec<TcpStream> = (0..10).map(|_| target.connect(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    wait_until("the trouble is reported", || target.daemon.log().contains("can't accept").then_some(()));
    set(before);
    target.assert_unharmed("a moment without descriptors");
    drop(waiting);
}
