//! Clients that wait for a state.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Child, Client, Control, Daemon, LIMIT, quiet_port, testchild, wait_until};

const LONG: &str = "timeout_ms=50000";

fn obedient(daemon: &Daemon, control: &Control, slug: &str) -> Child {
    let spec = json!({
        "slug": slug, "start": format!("{} obey {slug}", testchild()), "port": quiet_port(),
        "environment": {"CTL": control.address.to_string()},
    });
    daemon.client.create(&spec).server(201);
    control.child()
}

/// A client that waits on a thread of its own, and how long it did.
fn waiter(client: &Client, target: String) -> thread::JoinHandle<(Value, Duration)> {
    let client = client.clone();
    thread::spawn(move || {
        let begun = Instant::now();
        let answer = client.get(&target);
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.json(), begun.elapsed())
    })
}

/// Until so many clients have a thread of the daemon's that serves them.
fn until_waiting(daemon: &Daemon, count: usize) {
    wait_until(&format!("{count} wait"), || (daemon.threads("conn-") >= count).then_some(()));
}

#[test]
fn who_waits_is_answered_when_it_comes_or_can_not_come_any_more() {
    type Deed = fn(&Daemon, &mut Child);
    let deeds: [(&str, Deed, &str); 5] = [
        ("listens", |_, app| app.send("serve 127.0.0.1:PORT 200"), "ready"),
        ("exits", |_, app| app.send("exit 3"), "failed"),
        ("ends", |_, app| app.send("exit 0"), "stopped"),
        ("is stopped", |daemon, _| drop(daemon.client.post("/servers/app/stop").server(200)), "stopped"),
        ("is deleted", |daemon, _| assert_eq!(daemon.client.delete("/servers/app").status, 204), "stopped"),
    ];
    for (what, deed, status) in deeds {
        let daemon = Daemon::start();
        let control = Control::new();
        let mut app = obedient(&daemon, &control, "app");
        let waits = waiter(&daemon.client, format!("/servers/app?wait_for=ready&{LONG}"));
        until_waiting(&daemon, 1);
        let begun = Instant::now();
        deed(&daemon, &mut app);
        let (answer, _) = waits.join().unwrap();
        println!("it {what}: answered after {:?}", begun.elapsed());
        assert_eq!(answer["data"]["server"]["status"], status, "it {what}");
        assert!(begun.elapsed() < Duration::from_secs(10), "it {what}: not when it happened, but at the end");
    }
}

#[test]
fn what_is_so_already_is_answered_at_once_and_what_is_not_in_time_too() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut app = obedient(&daemon, &control, "app");
    daemon.client.wait_for_status("app", "running");
    let timed = |query: &str| {
        let (answer, took) = waiter(&daemon.client, format!("/servers/app?{query}")).join().unwrap();
        (answer["data"]["server"]["status"].as_str().unwrap().to_owned(), took)
    };
    for query in ["wait_for=running&timeout_ms=50000", "wait_for=starting&timeout_ms=50000"] {
        let (status, took) = timed(query);
        assert!(status == "running" && took < Duration::from_secs(10), "{query}: {status} after {took:?}");
    }
    let (status, took) = timed("wait_for=ready&timeout_ms=700");
    assert!(status == "running" && took >= Duration::from_millis(700) && took < LIMIT / 2, "{status} after {took:?}");
    assert_eq!(timed("wait_for=ready&timeout_ms=0").0, "running");
    app.order("serve 127.0.0.1:PORT 200");
    daemon.client.when_ready("app");
    assert_eq!(timed(&format!("wait_for=running&{LONG}")).0, "ready", "who waits for less is content");
    daemon.client.post("/servers/app/stop").server(200);
    for goal in ["ready", "running", "stopped", "failed"] {
        let (status, took) = timed(&format!("wait_for={goal}&{LONG}"));
        assert!(status == "stopped" && took < Duration::from_secs(10), "{goal}: {status} after {took:?}");
    }
    for query in ["wait_for=up", "wait_for=", "wait_for=ready&timeout_ms=-1", "wait_for=ready&timeout_ms=soon"] {
        assert_eq!(daemon.client.get(&format!("/servers/app?{query}")).status, 422, "{query}");
    }
    assert_eq!(daemon.client.get("/ready?wait=perhaps").status, 422);
    daemon.client.get("/servers/none?wait_for=ready").error(404);
}

#[test]
fn a_restart_is_waited_through() {
    let daemon = Daemon::start();
    let port = quiet_port();
    // Its first two runs end soon; the third one listens.
    let start = format!(
        "echo x >> runs; [ $(wc -l < runs) -ge 3 ] || exit 1; exec {} serve 127.0.0.1:PORT 200 stay",
        testchild()
    );
    let spec = json!({
        "slug": "app", "start": start, "port": port, "restart_policy": "on-failure", "restart_delay_ms": 200,
    });
    daemon.client.create(&spec).server(201);
    let ready = daemon.client.when_ready("app");
    assert_eq!((&ready["restart_count"], &ready["port"]), (&json!(2), &json!(port)));
}

/// It takes no token, and a body means nothing to it.
#[test]
fn a_body_is_not_kept_while_its_client_waits() {
    const WAITERS: usize = 40;
    const BODY: usize = 1024 * 1024;
    // Without it glibc's allocator keeps what was given back.
    let daemon = Daemon::with(&[], &[("MALLOC_MMAP_THRESHOLD_", "65536")]);
    let control = Control::new();
    let _app = obedient(&daemon, &control, "app");
    let before = daemon.memory_kib("Anonymous");
    let head = format!("GET /ready?wait=true&{LONG} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY}\r\n\r\n");
    let waiting: Vec<TcpStream> = (0..WAITERS)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.client.address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&vec![b'x'; BODY]).unwrap();
            stream
        })
        .collect();
    until_waiting(&daemon, WAITERS);
    let most = before + (WAITERS * BODY / 1024 / 4) as u64;
    wait_until("the bodies are freed", || (daemon.memory_kib("Anonymous") < most).then_some(()));
    drop(waiting);
}

#[test]
fn a_waiter_that_leaves_is_removed() {
    let daemon = Daemon::start();
    let control = Control::new();
    let _app = obedient(&daemon, &control, "app");
    let all_have_gone = || (daemon.threads("conn-") == 0).then_some(());
    for target in ["/servers/app?wait_for=ready&timeout_ms=3600000", "/ready?wait=true&timeout_ms=3600000"] {
        wait_until("all others have gone", all_have_gone);
        let leavers: Vec<TcpStream> = (0..20).map(|_| daemon.client.begin("GET", target)).collect();
        until_waiting(&daemon, 20);
        drop(leavers);
        wait_until("their threads are given back", all_have_gone);
    }
}

#[test]
fn the_end_of_the_daemon_ends_the_waiting() {
    let mut daemon = Daemon::start();
    let control = Control::new();
    let _app = obedient(&daemon, &control, "app");
    let waiting = [
        waiter(&daemon.client, format!("/servers/app?wait_for=ready&{LONG}")),
        waiter(&daemon.client, format!("/ready?wait=true&{LONG}")),
    ];
    until_waiting(&daemon, 2);
    let begun = Instant::now();
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    println!("a daemon with two waiters has ended after {:?}", begun.elapsed());
    for one in waiting {
        let (answer, _) = one.join().unwrap();
        assert!(answer["ready"] != true && answer["data"]["server"]["status"] != "ready", "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// Each kind of client has places of its own.
#[test]
fn clients_that_wait_without_the_token_take_no_place_of_those_that_have_it() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "slow", "start": "sleep 600", "port": quiet_port()})).server(201);
    let stranger = Client { token: None, ..daemon.client.clone() };
    let waiting: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.client.address).unwrap();
            stream.write_all(b"GET /ready?wait=true&timeout_ms=3600000 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let refused = wait_until("the places are taken", || {
        let answer = stranger.get("/ready?wait=true&timeout_ms=1");
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.error(503).contains("ask without wait"), "{}", refused.text());
    assert_eq!(stranger.get("/ready").json()["ready"], false);
    assert_eq!(daemon.client.get("/ready?wait=true&timeout_ms=1").status, 200);
    assert_eq!(daemon.client.get("/servers/slow?wait_for=starting").status, 200);
    drop(waiting);
    wait_until("the places are free", || (stranger.get("/ready?wait=true&timeout_ms=1").status == 200).then_some(()));
}

mod timed {
    use super::*;

    #[test]
    fn a_hundred_waiters_delay_no_other() {
        const WAITERS: usize = 100;
        let daemon = Daemon::start();
        let control = Control::new();
        let mut app = obedient(&daemon, &control, "app");
        let waiting: Vec<_> = (0..WAITERS)
            .map(|number| {
                let target = if number % 2 == 0 { "/servers/app?wait_for=ready&" } else { "/ready?wait=true&" };
                waiter(&daemon.client, format!("{target}{LONG}"))
            })
            .collect();
        until_waiting(&daemon, WAITERS);
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            let begun = Instant::now();
            assert_eq!(daemon.client.get("/servers").status, 200);
            longest = longest.max(begun.elapsed());
        }
        daemon.client.create(&json!({"slug": "other", "start": "sleep 600", "autostart": false})).server(201);
        daemon.client.post("/servers/other/stop").server(200);
        println!("with {WAITERS} waiters the longest of 50 other calls took {longest:?}");
        assert!(longest < Duration::from_secs(2), "{longest:?}");
        assert!(waiting.iter().all(|one| !one.is_finished()), "a wait was answered");
        let begun = Instant::now();
        app.order("serve 127.0.0.1:PORT 200");
        for one in waiting {
            let (answer, _) = one.join().unwrap();
            assert!(answer["data"]["server"]["status"] == "ready" || answer["ready"] == true, "{answer}");
        }
        println!("{WAITERS} waiters were answered within {:?}", begun.elapsed());
        wait_until("their threads are given back", || (daemon.threads("conn-") < 10).then_some(()));
    }
}
