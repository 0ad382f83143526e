//! Servers that lead to each other.

use std::thread;

use serde_json::json;

use super::*;
use crate::support::wait_until;

#[test]
fn a_request_passes_four_proxies_and_no_fifth() {
    let proxied = Proxied::start(&[]);
    for hops in 0..=4 {
        let answer = visit(proxied.address(), "web.localhost", "/head", &format!("X-Servisor-Hops: {hops}"));
        assert!(answer.text().contains(&format!("X-Servisor-Hops: {}\r\n", hops + 1)), "{}", answer.text());
    }
    // Also where no server is.
    for host in ["web.localhost", "nope.localhost"] {
        let at_last = |more: &str| visit(proxied.address(), host, "/head", &format!("X-Servisor-Hops: 5\n{more}"));
        let answer = at_last("");
        assert_eq!((answer.status, &answer.json()["code"]), (508, &json!("loop")));
        let page = at_last("Accept: text/html");
        assert!(page.status == 508 && page.text().starts_with("<!doctype html>"), "{}", page.text());
        let bare = at_last("Upgrade: websocket\nConnection: upgrade");
        assert_eq!((bare.status, bare.body.len()), (508, 0));
    }
}

#[test]
fn daemons_whose_servers_lead_to_each_other_end_a_request_and_keep_nothing_of_it() {
    const CLIENTS: usize = 20;
    /// A visit takes three places at the first server and two at the other one, which have 256 each.
    const EACH: usize = 10;
    let daemons = [Daemon::with(&["--proxy"], &[]), Daemon::with(&["--proxy"], &[])];
    for (daemon, other) in [(&daemons[0], &daemons[1]), (&daemons[1], &daemons[0])] {
        let target = other.client.address;
        let start = format!("exec {} lead 127.0.0.1:PORT {target} web.localhost stay", testchild());
        daemon.client.create(&json!({"slug": "web", "port": quiet_port(), "start": start})).server(201);
    }
    daemons.iter().for_each(|daemon| drop(daemon.client.when_ready("web")));
    let address = daemons[0].client.address;
    let asked = |head: &str, body: &[u8]| {
        let mut visitor = Visitor::open(address, head);
        visitor.send(body);
        let answer = visitor.answer();
        assert_eq!(answer.status, 508, "{head}: {} {}", answer.head, answer.text());
        answer
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let answer = asked("GET / HTTP/1.1\nConnection: close", b"");
                    assert_eq!(answer.json()["code"], "loop", "{}", answer.text());
                }
                asked("POST / HTTP/1.1\nContent-Length: 4", b"body");
                asked("POST / HTTP/1.1\nTransfer-Encoding: chunked", b"4\r\nbody\r\n0\r\n\r\n");
                let bare = asked("GET / HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade", b"");
                assert_eq!(bare.text(), "");
            });
        }
    });
    for daemon in &daemons {
        wait_until("no visitor is left", || {
            daemon.client.get("/metrics").text().contains("\nservisor_proxy_connections 0\n").then_some(())
        });
    }
    // A place that was left occupied would be missing now.
    for _ in 0..EACH {
        asked("GET / HTTP/1.1", b"");
    }
}
