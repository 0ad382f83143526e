//! Servers that can't be visited at the moment, and limits.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::support::{Control, wait_until};

const NAVIGATION: &str = "Accept: text/html\nSec-Fetch-Mode: navigate\nSec-Fetch-User: ?1";
const REFRESH: &str = "Accept: text/html\nSec-Fetch-Mode: navigate";

/// A daemon with the server `web`, which listens when it is ordered to.
fn obedient() -> (Proxied, Control) {
    let (proxied, control) = (Proxied { daemon: Daemon::with(&["--proxy"], &[]), port: quiet_port() }, Control::new());
    let start = format!("exec {} obey one", testchild());
    let spec = json!({
        "slug": "web", "port": proxied.port, "start": start, "environment": {"CTL": control.address.to_string()},
    });
    proxied.daemon.client.create(&spec).server(201);
    (proxied, control)
}

#[test]
fn a_visitor_is_held_while_a_server_starts() {
    let (proxied, control) = obedient();
    let mut child = control.child();
    let page = visit(proxied.address(), "web.localhost", "/", NAVIGATION);
    assert_eq!(
        (page.status, page.header("Retry-After"), page.header("Cache-Control")),
        (503, Some("1"), Some("no-store"))
    );
    let text = page.text();
    assert!(text.contains("<meta http-equiv=refresh content=0>") && text.contains("web is "), "{text}");
    let mut held = [
        proxied.open(&format!("GET /head HTTP/1.1\nConnection: close\n{REFRESH}")),
        proxied.open("POST /count HTTP/1.1\nConnection: close\nContent-Length: 3"),
        proxied.open("GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade"),
    ];
    held[1].send(b"abc");
    // One that leaves holds nothing.
    drop(proxied.open("GET /head HTTP/1.1"));
    let begun = Instant::now();
    child.order(&format!("web 127.0.0.1:{}", proxied.port));
    assert_eq!(held[0].answer().status, 200);
    assert_eq!(held[1].answer().text(), "3");
    assert!(held[2].read_to("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    assert!(begun.elapsed() < LIMIT / 4, "they are woken, and not looked after at their ends");
}

#[test]
fn what_is_down_is_said_with_its_reason() {
    let daemon = Daemon::with(&["--proxy"], &[]);
    let down = |slug: &str, start: &str| {
        let spec = json!({"slug": slug, "start": start, "port": quiet_port(), "restart_policy": "never"});
        daemon.client.create(&spec).server(201);
    };
    down("failed", "echo 'a <secret>'; exit 3");
    down("stopped", "sleep 1000");
    down("worker", "sleep 1000");
    assert_eq!(daemon.client.post("/servers/stopped/stop").status, 200);
    daemon.client.wait_for_status("failed", "failed");
    daemon.client.wait_for_status("stopped", "stopped");
    for (slug, status, code, words) in [
        ("failed", 502, "server_failed", "exited with code 3"),
        ("stopped", 503, "server_stopped", "stopped is stopped"),
    ] {
        let host = format!("{slug}.localhost");
        let answer = visit(daemon.client.address, &host, "/", "");
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.text());
        let page = visit(daemon.client.address, &host, "/", NAVIGATION);
        assert_eq!(page.status, status);
        assert!(page.text().contains(words) && !page.text().contains("refresh"), "{}", page.text());
        assert!(!page.text().contains("secret"), "{}", page.text());
        let bare = visit(daemon.client.address, &host, "/", "Upgrade: websocket\nConnection: upgrade");
        assert_eq!((bare.status, bare.body.len()), (status, 0));
    }
}

#[test]
fn the_last_lines_are_for_those_with_the_key() {
    let daemon = Daemon::with(&["--proxy", "--proxy-access", "key"], &[]);
    let start = "echo 'a <secret>'; exit 3";
    let spec = json!({"slug": "web", "start": start, "port": quiet_port(), "restart_policy": "never"});
    daemon.client.create(&spec).server(201);
    daemon.client.wait_for_status("web", "failed");
    let state = std::fs::read_dir(daemon.state.join("servers")).unwrap().flatten();
    let kept: String = state.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect();
    let key = kept
        .split("\"access_key\":")
        .nth(1)
        .and_then(|rest| rest.split('"').nth(1))
        .unwrap_or_else(|| panic!("{kept}"));
    let page = visit(daemon.client.address, "web.localhost", "/", NAVIGATION);
    assert!(page.status == 401 && !page.text().contains("secret"), "{}", page.text());
    let page = visit(daemon.client.address, "web.localhost", "/", &format!("{NAVIGATION}\nX-Servisor-Key: {key}"));
    assert!(page.status == 502 && page.text().contains("<pre>a &lt;secret&gt;</pre>"), "{}", page.text());
}

#[test]
fn a_visit_starts_what_was_not_stopped_by_hand() {
    let daemon = Daemon::with(&["--proxy"], &[]);
    let start = format!("exec {} web 127.0.0.1:PORT stay", testchild());
    let spec = json!({
        "slug": "web", "start": start, "port": quiet_port(), "proxy": {"start_on_visit": true, "idle_stop_ms": 1000},
    });
    daemon.client.create(&spec).server(201);
    daemon.client.when_ready("web");
    daemon.client.wait_for_status("web", "stopped");
    let address = daemon.client.address;
    // An open tab, and its WebSocket.
    for more in ["Referer: http://web.localhost/", "Origin: http://web.localhost", "Sec-Fetch-Mode: cors"] {
        assert_eq!(visit(address, "web.localhost", "/head", more).status, 503, "{more}");
    }
    assert_eq!(visit(address, "web.localhost", "/head", "Upgrade: websocket\nConnection: upgrade").status, 503);
    assert_eq!(visit(address, "web.localhost", "/head", REFRESH).status, 200);
    daemon.client.wait_for_status("web", "stopped");
    assert_eq!(visit(address, "web.localhost", "/head", "").status, 200);
    assert_eq!(daemon.client.post("/servers/web/stop").status, 200);
    assert_eq!(visit(address, "web.localhost", "/head", NAVIGATION).status, 503);
}

#[test]
fn a_server_that_is_full_says_so_and_the_api_answers() {
    const MOST: usize = 256;
    let proxied = Proxied::start(&[]);
    let tunnels: Vec<_> = (0..MOST)
        .map(|_| {
            let mut tunnel = proxied.open("GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade");
            assert!(tunnel.read_to("\r\n\r\n").starts_with("HTTP/1.1 101 "));
            tunnel
        })
        .collect();
    let answer = proxied.get("/head");
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")), "{}", answer.text());
    for _ in 0..20 {
        assert_eq!(proxied.daemon.client.get("/servers").status, 200);
    }
    drop(tunnels);
    wait_until("there is room", || (proxied.get("/head").status == 200).then_some(()));
}
