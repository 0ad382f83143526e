//! Clients without the token: each way in which one could take something from the token's owner.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::Target;
use crate::support::limits::{Limit, Starved, tasks_of};
use crate::support::{Stream, wait_until};

/// As many strangers as there are connections, and some more.
const STRANGERS: usize = 300;
/// Within this an owner has its answer.
const PROMPT: Duration = Duration::from_secs(1);

pub fn set_option(stream: &TcpStream, level: i32, option: i32, value: i32) -> bool {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is an int that lives through the call.
    unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const value).cast(), length) == 0 }
}

fn strangers(target: &Target, bytes: &[u8]) -> Vec<TcpStream> {
    (0..STRANGERS).map(|_| target.connect(bytes)).collect()
}

/// Requests of the token's owner, each on a connection of its own.
fn assert_owner_is_served(target: &Target, attack: &str) {
    for _ in 0..50 {
        let took = target.assert_unharmed(attack);
        assert!(took < PROMPT, "{attack}: {took:?}");
    }
    assert_eq!(target.daemon.client.mark("web", "running").status, 200, "{attack}");
}

#[test]
fn bodies_of_strangers_are_not_even_read() {
    let target = Target::new();
    let before = target.daemon.memory_kib("Anonymous");
    let head =
        b"POST /servers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n\r\n";
    let mut body = head.to_vec();
    body.resize(head.len() + 1_048_575, b' ');
    let mut most = before;
    let mut streams = Vec::new();
    for number in 0..STRANGERS {
        let mut stream = target.connect(head);
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        if number % 10 == 0 {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 401");
        }
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(&body[head.len()..]);
        streams.push(stream);
        most = most.max(target.daemon.memory_kib("Anonymous"));
    }
    println!("{STRANGERS} strangers with a MiB each: anonymous memory {before} KiB before, at most {most} KiB");
    // A debug build's thread costs some 40 KiB.
    assert!(most < before + 20 * 1024, "{most} KiB");
    assert_owner_is_served(&target, "bodies of strangers");
}

#[test]
fn a_refused_body_is_not_asked_for() {
    let target = Target::new();
    for (request, status) in [
        ("POST /servers", "401"),
        ("PATCH /servers/web/status", "401"),
        ("POST /filesystem/overlays", "401"),
        ("POST /nothing", "404"),
    ] {
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
        let mut stream = target.connect(head.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    // With the token a wrong type, path or method is seen from the head too.
    for (request, status) in
        [("POST /servers", "415"), ("POST /nothing", "404"), ("PUT /servers", "405"), ("POST /servers/%zz", "400")]
    {
        let head = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-token\r\nContent-Length: 10\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        let mut stream = target.connect(head.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}

#[test]
fn slow_readers_do_not_keep_the_owner_out() {
    let target = Target::new();
    let size = target.daemon.size();
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(400);
    let slow: Vec<TcpStream> = (0..STRANGERS)
        .map(|_| {
            let stream = TcpStream::connect(target.address()).unwrap();
            set_option(&stream, libc::SOL_SOCKET, libc::SO_RCVBUF, 2048);
            stream.set_nonblocking(true).unwrap();
            let _ = (&stream).write(&request);
            stream
        })
        .collect();
    assert_owner_is_served(&target, "slow readers");
    drop(slow);
    target.daemon.until_as_small_as(size);
}

#[test]
fn every_way_to_hold_a_connection_leaves_the_owner_room() {
    let target = Target::new();
    let size = target.daemon.size();
    // An owner that was there before, and one that waits all the time.
    let mut early = Stream::open(&target.daemon.client, "/servers/web/logs?follow=true", &[]);
    let waiting = target.daemon.client.begin("GET", "/servers/web?wait_for=stopped&timeout_ms=600000");
    for attack in [
        "",
        "GET /health HT",
        "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
        "POST /servers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
        "POST /servers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
        "GET /ready?wait=true&timeout_ms=3600000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let held = strangers(&target, attack.as_bytes());
        assert_owner_is_served(&target, attack);
        drop(held);
    }
    assert!(early.is_quiet_for(Duration::from_millis(10)), "a follower was cut off");
    waiting.set_nonblocking(true).unwrap();
    let error = (&waiting).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "a waiter was cut off");
    drop((early, waiting));
    target.daemon.until_as_small_as(size);
}

#[test]
fn descriptors_that_strangers_hold_are_an_owner_s_when_it_comes() {
    let target = Target::new();
    let starved = Starved::of_descriptors(&target.daemon, 20);
    let _held = strangers(&target, b"GET /health HT");
    for _ in 0..20 {
        target.assert_unharmed("strangers hold all descriptors");
    }
    drop(starved);
}

#[test]
fn threads_that_strangers_hold_are_an_owner_s_when_it_comes() {
    let (daemon, uid) = crate::starve::tasks::daemon();
    let held: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.client.address).unwrap();
            stream.write_all(b"GET /ready?x HTTP/1.1\r\nHost: loc").unwrap();
            stream
        })
        .collect();
    wait_until("they have their threads", || (daemon.threads("conn-") >= 60).then_some(()));
    // Past the time in which a newcomer's request is on its way.
    std::thread::sleep(Duration::from_millis(300));
    let starved = Starved::new(daemon.pid(), Limit::Tasks, tasks_of(uid));
    for _ in 0..10 {
        assert_eq!(daemon.client.get("/servers").status, 200);
    }
    drop((starved, held));
}
