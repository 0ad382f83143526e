//! From the first visit of a server to its stop for lack of visitors, and whose a port is in between.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::support::limits::Starved;
use crate::support::{Control, wait_until};

const UPGRADE: &str = "GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade";
/// The limit of the server `web` in these tests, in milliseconds.
const IDLE: u64 = 1500;

fn idling() -> Proxied {
    Proxied::with(&[], &json!({"proxy": {"idle_stop_ms": IDLE, "start_on_visit": true}}))
}

/// Waits until a server with the same limit, which has no visits and which has begun later than all visits so far, was
/// stopped for that, and once more: each longer than the limit, by the daemon's own reckoning. `meanwhile` is done ten
/// times in a second.
#[track_caller]
fn let_the_limit_pass(proxied: &Proxied, mut meanwhile: impl FnMut()) {
    let client = &proxied.daemon.client;
    let start = format!("exec {} web 127.0.0.1:PORT stay", testchild());
    let idle = json!({"slug": "idle", "port": quiet_port(), "start": start, "proxy": {"idle_stop_ms": IDLE}});
    client.create(&idle).server(201);
    for round in 0..2 {
        if round > 0 {
            client.post("/servers/idle/start").server(200);
        }
        wait_until("the server without visitors is stopped", || {
            meanwhile();
            let idle = client.get("/servers/idle?wait_for=stopped&timeout_ms=100").server(200);
            (idle["status"] == "stopped").then_some(())
        });
    }
}

/// How long its newest run lasted, once it was stopped for lack of visitors.
#[track_caller]
fn lasted(proxied: &Proxied) -> Duration {
    proxied.daemon.client.wait_for_status("web", "stopped");
    let run = proxied.daemon.client.get("/servers/web/runs").json()["data"]["runs"][0].clone();
    assert_eq!(run["reason"], "idle", "{run:#}");
    Duration::from_millis(run["duration_ms"].as_u64().unwrap())
}

#[test]
fn a_long_answer_is_a_visitor() {
    let proxied = idling();
    let begun = Instant::now();
    let mut reader = proxied.open("GET /events HTTP/1.1");
    reader.read_to("\r\n\r\n");
    // No byte comes.
    let_the_limit_pass(&proxied, || {});
    let kept = begun.elapsed();
    drop(reader);
    let lasted = lasted(&proxied);
    assert!(lasted >= kept, "{lasted:?} {kept:?}");
}

#[test]
fn a_tunnel_is_a_visitor_as_long_as_its_client_sends() {
    let proxied = idling();
    let begun = Instant::now();
    let mut tunnel = proxied.open(UPGRADE);
    assert!(tunnel.read_to("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    let_the_limit_pass(&proxied, || {
        tunnel.send(b"x");
        tunnel.read_to("x");
    });
    let kept = begun.elapsed();
    // It stays open, and is ended with the run.
    tunnel.rest();
    let lasted = lasted(&proxied);
    assert!(lasted >= kept, "{lasted:?} {kept:?}");
}

#[test]
fn who_has_no_key_is_no_visitor() {
    let proxied = Proxied::with(&[], &json!({"proxy": {"idle_stop_ms": IDLE, "access": "key"}}));
    wait_until("it is not kept up", || {
        assert_eq!(proxied.get("/head").status, 401);
        let web = proxied.daemon.client.get("/servers/web?wait_for=stopped&timeout_ms=50").server(200);
        (web["status"] == "stopped").then_some(())
    });
    lasted(&proxied);
}

/// Such a body is whole at the end of the connection, but not if that is the end of the run.
#[test]
fn an_answer_to_the_end_is_cut_with_its_run() {
    let proxied = Proxied::with(&[], &json!({"restart_policy": "always"}));
    for signal in [libc::SIGKILL, libc::SIGTERM].into_iter().cycle().take(6) {
        proxied.daemon.client.when_ready("web");
        let mut reader = proxied.open("GET /events HTTP/1.1");
        assert!(reader.read_to("\r\n\r\n").contains("Transfer-Encoding: chunked\r\n"));
        let pid = proxied.daemon.client.show("web")["pid"].as_i64().unwrap() as i32;
        // SAFETY: plain numbers. The process is this test's own.
        unsafe { libc::kill(pid, signal) };
        assert_eq!(reader.rest(), "", "signal {signal}: no last chunk");
        wait_until("the next run", || {
            let next = proxied.daemon.client.show("web");
            (next["status"] == "ready" && next["pid"] != pid).then_some(())
        });
    }
}

/// Without a descriptor the daemon can't look whether the process lives that has ended the connection.
#[test]
fn an_answer_to_the_end_is_cut_with_its_run_when_no_descriptor_is_left() {
    let proxied = Proxied::with(&[], &json!({"restart_policy": "always", "restart_delay_ms": 5}));
    for _ in 0..6 {
        let pid = proxied.daemon.client.when_ready("web")["pid"].as_i64().unwrap() as i32;
        let mut reader = proxied.open("GET /events HTTP/1.1");
        reader.read_to("\r\n\r\n");
        let starved = Starved::of_descriptors(&proxied.daemon, 0);
        // SAFETY: plain numbers. The process is this test's own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        assert_eq!(reader.rest(), "", "no last chunk");
        drop(starved);
        wait_until("the next run", || {
            let next = proxied.daemon.client.show("web");
            (next["status"] == "ready" && next["pid"] != pid).then_some(())
        });
    }
}

/// An attack: to a client without chunks, such as another proxy that speaks HTTP/1.0, a cut body was a whole one.
#[test]
fn a_body_without_framing_is_cut_by_a_reset() {
    let proxied = Proxied::with(&[], &json!({"restart_policy": "always"}));
    for path in ["events", "half/chunks"] {
        proxied.daemon.client.when_ready("web");
        let mut reader = proxied.open(&format!("GET /{path} HTTP/1.0"));
        let head = reader.read_to("\r\n\r\n");
        assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
        let pid = proxied.daemon.client.show("web")["pid"].as_i64().unwrap() as i32;
        // SAFETY: plain numbers. The process is this test's own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        let end = loop {
            match reader.stream.read(&mut [0; 100]) {
                Ok(1..) => {}
                Ok(0) => break None,
                Err(error) => break Some(error.kind()),
            }
        };
        assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset), "{path}");
    }
    proxied.daemon.client.when_ready("web");
    let mut reader = proxied.open("GET /chunks/1000000 HTTP/1.0");
    assert_eq!(reader.answer().body.len(), 1_000_000);
}

#[test]
fn who_visits_during_the_stop_gets_the_next_run() {
    let proxied = Proxied::with(
        &[],
        &json!({
            "proxy": {"idle_stop_ms": 300, "start_on_visit": true}, "restart_policy": "always",
            "start": format!("exec {} drain 1500 web 127.0.0.1:PORT stay", testchild()),
        }),
    );
    let stopping = || {
        let server = proxied.daemon.client.show("web");
        server["status_reason"].as_str().is_some_and(|reason| reason.starts_with("stopping: ")).then_some(server)
    };
    let first = wait_until("it is being stopped", stopping)["pid"].clone();
    assert_eq!(proxied.get("/head").status, 200);
    assert_ne!(proxied.daemon.client.show("web")["pid"], first);
}

#[test]
fn what_was_stopped_by_hand_is_remembered_by_the_next_daemon() {
    let mut proxied = Proxied::with(&[], &json!({"autostart": false, "proxy": {"start_on_visit": true}}));
    let mut anew = |command: Option<&str>| {
        if let Some(command) = command {
            assert_eq!(proxied.daemon.client.post(&format!("/servers/web/{command}")).status, 200);
        }
        proxied.daemon.kill();
        proxied.daemon.begin_anew(&["--proxy"], &[]);
        assert_eq!(proxied.daemon.client.show("web")["status"], "stopped");
        let by_port = format!("{}.localhost", proxied.port);
        let first = visit(proxied.address(), &by_port, "/head", "").status;
        (first, proxied.get("/head").status)
    };
    assert_eq!(anew(None), (200, 200), "it ran when its daemon was killed");
    assert_eq!(anew(Some("stop")), (503, 503));
    assert_eq!(anew(None), (503, 503));
    assert_eq!(anew(Some("start")), (200, 200));
}

#[test]
fn a_port_leads_to_who_listens_on_it_now() {
    let (daemon, control) = (Daemon::with(&["--proxy"], &[]), Control::new());
    let (main, more) = (quiet_port(), quiet_port());
    let spec = json!({
        "slug": "web", "port": main, "start": format!("exec {} obey one", testchild()),
        "environment": {"CTL": control.address.to_string()},
    });
    daemon.client.create(&spec).server(201);
    let mut child = control.child();
    child.order(&format!("serve 127.0.0.1:{main} 201"));
    daemon.client.when_ready("web");
    let status = |host: &str| visit(daemon.client.address, host, "/", "").status;
    let by_port = |port: u16| format!("{port}.localhost");
    assert_eq!((status("web.localhost"), status(&by_port(main)), status(&by_port(more))), (201, 201, 404));
    // A ready server opens another port, which is not looked for.
    child.order(&format!("serve 127.0.0.1:{more} 202"));
    wait_until("its other port is found", || (status(&by_port(more)) == 202).then_some(()));
    // It leaves its port to another process, which takes connections.
    child.order(&format!("close {more}"));
    let stranger = TcpListener::bind(("127.0.0.1", more)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    // No visit relies on a look that is older than a second. Until then the stranger's end of a connection shows it,
    // and this one gets nothing.
    wait_until("it is not thought to listen there", || (status(&by_port(more)) == 404).then_some(()));
    while let Ok((mut client, _)) = stranger.accept() {
        client.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "a visitor has reached another process");
    }
    assert_eq!(status(&by_port(more)), 404);
    assert!(stranger.accept().is_err(), "it is not even tried");
}

#[test]
fn a_run_that_is_over_is_reached_by_none() {
    let proxied = Proxied::with(&[], &json!({"restart_policy": "never"}));
    let mut tunnel = proxied.open(UPGRADE);
    tunnel.read_to("\r\n\r\n");
    let pid = proxied.daemon.client.show("web")["pid"].as_i64().unwrap() as i32;
    // SAFETY: plain numbers. The process is this test's own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    tunnel.rest();
    proxied.daemon.client.wait_for_status("web", "failed");
    let stranger = TcpListener::bind(("127.0.0.1", proxied.port)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    for host in ["web.localhost".to_owned(), format!("{}.localhost", proxied.port)] {
        assert_eq!(visit(proxied.address(), &host, "/head", "").status, 502, "{host}");
    }
    assert!(stranger.accept().is_err(), "a visitor has reached another process");
}
