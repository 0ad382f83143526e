//! Which of a server's listeners is the server: ranks, and checks that decide.

use serde_json::{Value, json};

use crate::support::{Child, Control, Daemon, free_helper, quiet_port, testchild, wait_until};

/// A server that listens where it is asked to.
fn obedient(daemon: &Daemon, control: &Control, spec: Value) -> Child {
    let mut full = json!({
        "slug": "app", "start": format!("{} obey app", testchild()),
        "environment": {"CTL": control.address.to_string()}, "restart_delay_ms": 0,
    });
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    daemon.client.create(&full).server(201);
    control.child()
}

fn wait_for_port(daemon: &Daemon, port: u16) -> Value {
    wait_until(&format!("its port is {port}"), || Some(daemon.client.show("app")).filter(|app| app["port"] == port))
}

fn wait_for_ports(daemon: &Daemon, count: usize) {
    let listens = || daemon.client.show("app")["ports"].as_array().is_some_and(|ports| ports.len() == count);
    wait_until(&format!("it listens on {count} ports"), || listens().then_some(()));
}

/// How often the listener at `port` was asked.
fn asked(daemon: &Daemon, port: u16) -> usize {
    daemon.client.logs("app", "").matches(&format!(" to 127.0.0.1:{port},")).count()
}

fn times_ready(daemon: &Daemon) -> usize {
    daemon.statuses("app").iter().filter(|status| *status == "ready").count()
}

#[test]
fn a_helper_s_listener_is_not_taken_for_the_server() {
    // A port that the system picks, Vite's update channel, an inspector, one that is named.
    for helper in ["127.0.0.1:0".to_owned(), at(24678..=24777), at(9231..=9329), at(7000..=7999)] {
        let daemon = Daemon::start();
        let control = Control::new();
        let port = quiet_port();
        let mut app =
            obedient(&daemon, &control, json!({"port": port, "ignore_ports": (7000..=7999).collect::<Vec<u16>>()}));
        app.order(&format!("serve {helper} 200"));
        wait_for_ports(&daemon, 1);
        let early = daemon.client.show("app");
        assert!(early.get("url").is_none() && early["status"] != "ready", "{helper}: {early:#}");
        app.order("nap 1500 serve 127.0.0.1:PORT 200");
        assert_eq!(daemon.client.when_ready("app")["port"], port, "{helper}");
        wait_until("it was ready", || (times_ready(&daemon) == 1).then_some(()));
    }
}

fn at(range: std::ops::RangeInclusive<u16>) -> String {
    format!("127.0.0.1:{}", free_helper(range))
}

#[test]
fn a_mute_helper_does_not_keep_a_server_with_a_check_from_being_ready() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut app = obedient(&daemon, &control, json!({"health_check": {}}));
    let (helper, port) = (free_helper(24678..=24777), quiet_port());
    app.order(&format!("serve 127.0.0.1:{helper} hang nap 1000 serve 127.0.0.1:{port} 200"));
    assert_eq!(daemon.client.when_ready("app")["port"], port);
    assert_eq!(asked(&daemon, helper), 0, "a helper is not asked early");
}

#[test]
fn an_ordinary_port_waits_for_the_requested_one_and_yields_to_it() {
    let daemon = Daemon::start();
    let control = Control::new();
    let low = quiet_port();
    let mut app = obedient(&daemon, &control, json!({"port": low + 1}));
    // Within a second: nothing but the requested one was ever shown.
    app.order(&format!("serve 127.0.0.1:{low} 200 nap 300 serve 127.0.0.1:PORT 200"));
    assert_eq!(daemon.client.when_ready("app")["port"], low + 1);
    wait_until("it is ready", || (times_ready(&daemon) == 1).then_some(()));
    assert!(!daemon.log().contains(&format!("listens on port {low}\n")), "{}", daemon.log());
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    let mut app = obedient(&daemon, &control, json!({"port": low + 1}));
    app.order(&format!("serve 127.0.0.1:{low} 200"));
    assert_eq!(daemon.client.when_ready("app")["port"], low, "it ignores what it was given");
    app.order("serve 127.0.0.1:PORT 200");
    wait_for_port(&daemon, low + 1);
}

#[test]
fn the_port_that_a_server_was_given_in_place_of_a_taken_one_is_the_requested_one() {
    let daemon = Daemon::start();
    let control = Control::new();
    let low = quiet_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", low + 1)).unwrap();
    let mut app = obedient(&daemon, &control, json!({"port": low + 1}));
    app.order(&format!("serve 127.0.0.1:{low} 200 serve 127.0.0.1:PORT 200"));
    assert_eq!(daemon.client.when_ready("app")["port"], low + 2);
    assert!(!daemon.log().contains(&format!("listens on port {low}\n")), "{}", daemon.log());
}

#[test]
fn the_port_that_passes_the_check_is_the_server_s() {
    let check = json!({"interval_ms": 50, "timeout_ms": 300});
    for (first, mute) in [("404", false), ("cut", false), ("hang", true)] {
        let daemon = Daemon::start();
        let control = Control::new();
        let low = quiet_port();
        let mut app = obedient(&daemon, &control, json!({"port": low + 2, "health_check": check}));
        app.order(&format!("serve 127.0.0.1:PORT {first}"));
        wait_for_port(&daemon, low + 2);
        app.order(&format!("serve 127.0.0.1:{low} 500 serve 127.0.0.1:{} 200", low + 1));
        let ready = daemon.client.when_ready("app");
        assert_eq!((&ready["port"], &ready["healthy"]), (&json!(low + 1), &json!(true)), "{first}: {ready:#}");
        assert_eq!(ready["url"], format!("http://localhost:{}", low + 1));
        assert!(asked(&daemon, low) >= 1, "the other one was tried first");
        if mute {
            assert_eq!(asked(&daemon, low + 2), 1, "one request a port");
        }
    }
}

#[test]
fn a_better_port_that_passes_early_takes_its_place_and_is_ready_throughout() {
    let daemon = Daemon::start();
    let control = Control::new();
    let low = quiet_port();
    let mut app = obedient(&daemon, &control, json!({"port": low + 1, "health_check": {"interval_ms": 50}}));
    app.order(&format!("serve 127.0.0.1:{low} 200"));
    assert_eq!(daemon.client.when_ready("app")["port"], low);
    app.order("serve 127.0.0.1:PORT 500,500,200");
    assert_eq!(wait_for_port(&daemon, low + 1)["status"], "ready");
    assert_eq!(times_ready(&daemon), 1, "{:?}", daemon.statuses("app"));
}

#[test]
fn a_server_that_has_moved_its_port_is_not_restarted() {
    let check = json!({"interval_ms": 50, "timeout_ms": 300, "restart_after_failures": 1});
    // The old port is closed, or stays and fails, or says nothing any more.
    for (script, close) in [("200", true), ("200,500", false), ("200,cut", false), ("200,hang", false)] {
        let daemon = Daemon::start();
        let control = Control::new();
        let low = quiet_port();
        let mut app = obedient(&daemon, &control, json!({"health_check": check}));
        let close = if close { format!("close {low}") } else { "nap 1".to_owned() };
        // The new one is there before the old one fails its second check.
        app.order(&format!("serve 127.0.0.1:{} 200 serve 127.0.0.1:{low} {script}", low + 1));
        wait_until("it is ready", || (times_ready(&daemon) >= 1).then_some(()));
        let first = daemon.client.show("app")["port"].as_u64().unwrap();
        app.order(&close);
        let moved = wait_for_port(&daemon, low + 1);
        assert_eq!((&moved["restart_count"], &moved["pid"]), (&json!(0), &json!(app.pid)), "{script} {first}");
        daemon.client.when_ready("app");
        assert_eq!(daemon.client.show("app")["restart_count"], 0, "{script}");
    }
}

#[test]
fn a_server_that_has_not_moved_is_restarted_all_the_same() {
    let check = json!({"interval_ms": 50, "timeout_ms": 300, "restart_after_failures": 1});
    for (script, other) in [("200,500", None), ("200,hang", None), ("200,500", Some("500")), ("200,500", Some("hang"))]
    {
        let daemon = Daemon::start();
        let control = Control::new();
        let low = quiet_port();
        let mut app = obedient(&daemon, &control, json!({"port": low + 1, "health_check": check}));
        let other = other.map(|other| format!("serve 127.0.0.1:{low} {other} ")).unwrap_or_default();
        app.order(&format!("{other}serve 127.0.0.1:PORT {script}"));
        // Another one in its place says that it lives.
        let again = control.child();
        assert_eq!(
            wait_until("it was restarted", || {
                Some(daemon.client.show("app")["restart_count"].clone()).filter(|count| *count != 0)
            }),
            1,
            "{script} {}",
            again.pid
        );
    }
}

#[test]
fn heads_of_any_length_are_judged_by_their_status_line() {
    let daemon = Daemon::start();
    let control = Control::new();
    let check = json!({"interval_ms": 50});
    let mut app = obedient(&daemon, &control, json!({"port": quiet_port(), "health_check": check}));
    app.order("serve 127.0.0.1:PORT 404x5000,200,200x201,200x5000,200x20000,200x5000");
    daemon.client.when_ready("app");
    wait_until("all were asked for", || (daemon.client.logs("app", "").matches("request ").count() > 9).then_some(()));
    assert_eq!(daemon.statuses("app").last().unwrap(), "ready");
    assert_eq!(daemon.client.show("app")["health"]["consecutive_failures"], 0);
}
