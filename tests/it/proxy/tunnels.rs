//! WebSockets.

use std::fs;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::bodies::resident;
use super::*;
use crate::support::wait_until;

const UPGRADE: &str =
    "GET /ws HTTP/1.1\nUpgrade: WebSocket\nConnection: keep-alive, Upgrade\nOrigin: http://web.localhost";

#[test]
fn bytes_go_both_ways_and_a_half_close_too() {
    let proxied = Proxied::start(&[]);
    let mut tunnel = proxied.open(UPGRADE);
    // What was sent before the consent waits for it.
    tunnel.send(b"early");
    let head = tunnel.read_to("\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        "{head}"
    );
    tunnel.read_to("early");
    for number in 0..100 {
        tunnel.send(format!("frame {number}").as_bytes());
        tunnel.read_to(&format!("frame {number}"));
    }
    let large = "y".repeat(3_000_000);
    let mut sender = tunnel.stream.try_clone().unwrap();
    let sent = large.clone();
    let sending = std::thread::spawn(move || sender.write_all(sent.as_bytes()).unwrap());
    let mut got = 0;
    while got < large.len() {
        assert!(tunnel.read_more());
        got += std::mem::take(&mut tunnel.read).len();
    }
    sending.join().unwrap();
    tunnel.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(tunnel.rest(), "end");
}

#[test]
fn there_is_no_tunnel_without_consent() {
    let proxied = Proxied::start(&[]);
    // CVE-2026-2833 of Pingora: the bytes behind the upgrade went to the server before, or without, its consent.
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n";
    let mut visitor = proxied.open(&UPGRADE.replace("/ws", "/refuse"));
    visitor.send(smuggled);
    let answer = visitor.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "refused after 0 bytes"));
    assert_eq!(visitor.rest(), "");
    for answer in [
        "HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 X\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut visitor = proxied.open(&UPGRADE.replace("/ws", &raw(answer)));
        visitor.send(smuggled);
        let rest = visitor.rest();
        let expected = if answer.contains("200") { "HTTP/1.1 200 " } else { "HTTP/1.1 502 " };
        assert!(rest.starts_with(expected), "{answer:?}: {rest}");
        assert!(expected.contains("200") || rest.contains("Content-Length: 0\r\n"), "a bare status: {rest}");
    }
    // One with a body is an ordinary request.
    let mut visitor =
        proxied.open(&format!("{}\nContent-Length: {}", UPGRADE.replace("/ws", "/count"), smuggled.len()));
    visitor.send(smuggled);
    assert_eq!(visitor.answer().text(), smuggled.len().to_string());
    assert!(!proxied.daemon.client.logs("web", "").contains("smuggled"));
    let seen = proxied.open(&UPGRADE.replace("/ws", "/head")).answer().text();
    assert!(seen.contains(&format!("Origin: http://localhost:{}\r\n", proxied.port)), "{seen}");
}

/// An attack: a quiet tunnel kept the head of its request, 36 KiB of a long one.
#[test]
fn a_quiet_tunnel_keeps_nothing_of_a_long_head() {
    const TUNNELS: usize = 100;
    /// In KiB, of each: a fifth of what its head has.
    const MORE: u64 = 6;
    let proxied = Proxied::start(&[]);
    let threads = || fs::read_dir(format!("/proc/{}/task", proxied.daemon.pid())).unwrap().count();
    let at_first = threads();
    let open = |padding: usize| -> u64 {
        let head = format!("{UPGRADE}\nX: {}", "a".repeat(padding));
        wait_until("those before have ended", || (threads() < at_first + 5).then_some(()));
        let before = resident(proxied.daemon.pid());
        let tunnels: Vec<_> = (0..TUNNELS)
            .map(|_| {
                let mut tunnel = proxied.open(&head);
                tunnel.read_to("\r\n\r\n");
                tunnel.send(b"ping");
                tunnel.read_to("ping");
                tunnel
            })
            .collect();
        // The buffers of a tunnel are given back when it was quiet for 100 ms.
        let (mut last, mut since) = (0, Instant::now());
        let quiet = wait_until("the quiet tunnels give nothing back any more", || {
            let now = resident(proxied.daemon.pid());
            if now != last {
                (last, since) = (now, Instant::now());
            }
            (since.elapsed() > Duration::from_millis(400)).then_some(now)
        });
        let each = quiet.saturating_sub(before) / TUNNELS as u64;
        drop(tunnels);
        each
    };
    // The threads of the first round may leave something behind.
    open(1);
    let (short, long) = (open(1), open(31_000));
    assert!(long <= short + MORE, "{short} KiB with a short head, {long} KiB with a long one");
}
