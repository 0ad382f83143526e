//! Streams, servers that die in an answer, and what visitors take.

use std::fs;
use std::net::Shutdown;
use std::thread;

use super::*;
use crate::support::{Scratch, wait_until};

/// Resident anonymous memory of the daemon, in KiB.
pub fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn events_are_passed_on_one_by_one() {
    let proxied = Proxied::start(&[]);
    let mut reader = proxied.open("GET /events HTTP/1.1");
    let head = reader.read_to("\r\n\r\n");
    assert!(head.contains("text/event-stream") && head.contains("Transfer-Encoding: chunked"), "{head}");
    for number in 0..20 {
        assert_eq!(proxied.get(&format!("/event/{number}")).text(), "sent");
        reader.read_to(&format!("data: {number}\n\n"));
    }
    // A client that has left is noticed without an event.
    let threads = || fs::read_dir(format!("/proc/{}/task", proxied.daemon.pid())).unwrap().count();
    let readers: Vec<_> = (0..10).map(|_| proxied.open("GET /silent HTTP/1.1")).collect();
    wait_until("they are served", || proxied.daemon.client.logs("web", "").contains("silent").then_some(()));
    let before = threads();
    drop(readers);
    wait_until("their threads end", || (threads() + 5 < before).then_some(()));
    reader.stream.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn a_slow_client_delays_no_other() {
    let proxied = Proxied::start(&[]);
    let slow: Vec<_> = (0..20).map(|_| proxied.open("GET /big/100000000 HTTP/1.1")).collect();
    for _ in 0..20 {
        assert_eq!(proxied.get("/head").status, 200);
        assert_eq!(proxied.daemon.client.get("/health").status, 200);
    }
    drop(slow);
    let others: Vec<_> = (0..8)
        .map(|_| {
            let address = proxied.address();
            thread::spawn(move || {
                let mut visitor = Visitor::open(address, "GET /chunks/1000000 HTTP/1.1");
                for _ in 0..20 {
                    assert_eq!(visitor.answer().body.len(), 1_000_000);
                    visitor.ask("GET /chunks/1000000 HTTP/1.1");
                }
            })
        })
        .collect();
    others.into_iter().for_each(|other| other.join().unwrap());
}

#[test]
fn a_server_that_dies_in_the_middle_of_an_answer_ends_it_there() {
    const LENGTH: usize = 100_000_000;
    let proxied = Proxied::start(&[]);
    let halves = ["/half", "/half/chunks"].map(|path| {
        let mut half = proxied.open(&format!("GET {path} HTTP/1.1"));
        half.read_to("half");
        half
    });
    // One whose bytes are under way all the time.
    let mut large = proxied.open(&format!("GET /big/{LENGTH} HTTP/1.1"));
    large.read_to("\r\n\r\n");
    let mut silent = proxied.open("GET /silent HTTP/1.1");
    let mut tunnel = proxied.open("GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade");
    assert!(tunnel.read_to("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    wait_until("it is asked", || proxied.daemon.client.logs("web", "").contains("silent").then_some(()));
    let pid = proxied.daemon.client.show("web")["pid"].as_i64().unwrap();
    // SAFETY: plain numbers; it is the process of the test's own server.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    for (mut half, rest) in halves.into_iter().zip(["", "\r\n"]) {
        assert_eq!(half.rest(), rest, "no last chunk");
    }
    assert!(large.rest().len() < LENGTH);
    assert_eq!(tunnel.rest(), "");
    let answer = silent.answer();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (502, Some("no_answer")), "{}", answer.text());
    wait_until("no place is left occupied", || {
        proxied.daemon.client.get("/metrics").text().contains("\nservisor_proxy_connections 0\n").then_some(())
    });
}

#[test]
fn visitors_are_counted_apart_from_clients_of_the_api() {
    let proxied = Proxied::start(&[]);
    let mut tunnels: Vec<_> =
        (0..5).map(|_| proxied.open("GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade")).collect();
    tunnels.iter_mut().for_each(|tunnel| drop(tunnel.read_to("\r\n\r\n")));
    assert_eq!(proxied.get("/head").status, 200);
    let requests = |class: &str, count: u32| format!("_requests_total{{slug=\"web\",code=\"{class}\"}} {count}\n");
    // An answer is counted once it is on its way.
    let metrics = wait_until("each answer is counted", || {
        let metrics = proxied.daemon.client.get("/metrics").text();
        (metrics.contains(&requests("1xx", 5)) && metrics.contains(&requests("2xx", 1))).then_some(metrics)
    });
    let value = |name: &str| -> u32 {
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.trim().parse().unwrap()
    };
    assert_eq!(value("servisor_api_connections "), 1);
    for direction in ["in", "out"] {
        assert!(value(&format!("servisor_proxy_bytes_total{{slug=\"web\",direction=\"{direction}\"}} ")) > 6 * 50);
    }
    assert!(value("servisor_proxy_connections ") >= 5);
}

#[test]
fn visitors_leave_descriptors_for_the_api_and_the_servers() {
    // Each of them would take two.
    const VISITORS: usize = 200;
    let limited = ["prlimit", "--nofile=300:300", "env", "SERVISOR_PROXY=1"];
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("root")).unwrap();
    let daemon = Daemon::wrapped(scratch, &limited);
    let client = &daemon.client;
    let start = format!("exec {} web 127.0.0.1:PORT stay", testchild());
    client.create(&json!({"slug": "web", "port": quiet_port(), "start": start})).server(201);
    client.when_ready("web");
    let head = "GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade";
    let mut tunnels = Vec::new();
    for _ in 0..VISITORS {
        let mut visitor = Visitor::open(client.address, head);
        let answer = visitor.read_to("\r\n\r\n");
        if answer.contains(" 101 ") {
            tunnels.push(visitor);
        } else {
            assert!(answer.contains(" 503 "), "{answer}");
        }
    }
    assert_eq!(tunnels.len(), 50);
    client.create(&json!({"slug": "new", "start": "exec sleep 600"})).server(201);
    client.wait_for_status("new", "running");
    client.post("/servers/web/restart").server(200);
    client.when_ready("web");
}
