//! Which port a server is given, and which ones it is seen to have.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Child, Control, Daemon, Finish, Guarded, Scratch, free_helper, quiet_port, testchild, wait_until,
};

/// A server that listens where it is asked to.
fn obedient(daemon: &Daemon, control: &Control, spec: Value) -> (Value, Child) {
    let mut full = json!({
        "slug": "app", "start": format!("{} obey app", testchild()),
        "environment": {"CTL": control.address.to_string()},
    });
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let created = daemon.client.create(&full).server(201);
    (created, control.child())
}

const CAP_NET_BIND_SERVICE: &str = "10";
const CAP_SYS_PTRACE: &str = "19";

/// A daemon that lacks a right even when root runs it.
fn without(right: &str) -> Daemon {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("root")).unwrap();
    Daemon::wrapped(scratch, &[&testchild(), "without-right", right])
}

fn wait_for_ports(daemon: &Daemon, chosen: u16, all: &[u16]) {
    wait_until(&format!("{chosen} of {all:?} is shown"), || {
        let server = daemon.client.show("app");
        let url = format!("http://localhost:{chosen}");
        (server["port"] == chosen && server["ports"] == json!(all) && server["url"] == url).then_some(())
    });
}

#[test]
fn the_choice_among_several_follows_what_there_is() {
    let daemon = Daemon::start();
    let control = Control::new();
    let low = quiet_port();
    let (middle, requested) = (low + 1, low + 2);
    let (_, mut app) = obedient(&daemon, &control, json!({"port": requested}));
    app.order(&format!("serve 127.0.0.1:{middle} 200"));
    daemon.client.when_ready("app");
    wait_for_ports(&daemon, middle, &[middle]);
    // The present choice stays as long as nothing is better; the requested one is.
    app.order(&format!("serve 127.0.0.1:{low} 200"));
    wait_for_ports(&daemon, middle, &[low, middle]);
    app.order(&format!("serve [::1]:{requested} 200"));
    wait_for_ports(&daemon, requested, &[low, middle, requested]);
    app.order(&format!("close {requested}"));
    wait_for_ports(&daemon, low, &[low, middle]);
    app.order(&format!("close {low} close {middle}"));
    let silent = daemon.client.wait_for_status("app", "running");
    assert!(silent.get("url").is_none() && silent.get("ports").is_none(), "{silent:#}");
    assert_eq!(silent["port"], requested, "what it was given is all that is known again");
    app.order(&format!("serve 127.0.0.1:{low} 200"));
    assert_eq!(daemon.client.when_ready("app")["port"], low);
}

#[test]
fn what_listens_first_is_not_checked_for_ever() {
    let daemon = Daemon::start();
    let control = Control::new();
    let (first, requested) = (quiet_port(), quiet_port());
    let spec = json!({"port": requested, "health_check": {"interval_ms": 30}});
    for waits in [true, false] {
        let (_, mut app) = obedient(&daemon, &control, spec.clone());
        app.order(&format!("serve 127.0.0.1:{first} 404"));
        let asked = || daemon.client.logs("app", "").matches("answer 404").count() >= 3;
        wait_until("the first one is checked", || asked().then_some(()));
        app.order("serve 127.0.0.1:PORT 200");
        if waits {
            assert_eq!(daemon.client.when_ready("app")["port"], requested);
        } else {
            // Without a request for the server.
            let is_ready = || daemon.statuses("app").last().is_some_and(|status| status == "ready");
            wait_until("it is ready", || is_ready().then_some(()));
        }
        assert_eq!(daemon.client.delete("/servers/app").status, 204);
    }
}

#[test]
fn a_debugger_is_not_the_server_and_neither_is_a_random_port() {
    let daemon = Daemon::start();
    let control = Control::new();
    let (_, mut app) = obedient(&daemon, &control, json!({}));
    let debugger = free_helper(9229..=9329);
    app.order(&format!("serve 127.0.0.1:{debugger} 200"));
    wait_until("the debugger is seen", || (daemon.client.show("app")["ports"] == json!([debugger])).then_some(()));
    assert!(daemon.client.show("app").get("url").is_none(), "it comes before what it debugs");
    // After five seconds it is all there is.
    assert_eq!(daemon.client.when_ready("app")["port"], debugger);
    // Another one of its kind is no better; an ordinary one is.
    app.order("serve 127.0.0.1:0 200");
    let random = wait_until("the random one is seen", || {
        daemon.client.show("app")["ports"]
            .as_array()?
            .iter()
            .filter_map(|port| port.as_u64())
            .find(|port| *port >= 32768)
    });
    assert_eq!(daemon.client.show("app")["port"], debugger);
    let ordinary = quiet_port();
    app.order(&format!("serve 127.0.0.1:{ordinary} 200"));
    wait_until("an ordinary one is preferred to both", || {
        (daemon.client.show("app")["port"] == ordinary).then_some(())
    });
    let mut all = [u64::from(debugger), u64::from(ordinary), random];
    all.sort_unstable();
    assert_eq!(daemon.client.show("app")["ports"], json!(all));
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    // `node --inspect`: a client that waits gets the server and not its debugger.
    let requested = quiet_port();
    let (_, mut app) = obedient(&daemon, &control, json!({"port": requested}));
    app.order(&format!("serve 127.0.0.1:{debugger} 200 nap 300 serve 127.0.0.1:PORT 200"));
    assert_eq!(daemon.client.when_ready("app")["port"], requested);
    // The log may be read a moment after the answer.
    let times = || daemon.statuses("app").iter().filter(|status| *status == "ready").count();
    wait_until("it was ready once for each run", || (times() >= 2).then_some(()));
    assert_eq!(times(), 2);
}

#[test]
fn an_answer_about_ports_is_never_older_than_a_second() {
    let daemon = Daemon::start();
    let control = Control::new();
    let first = quiet_port();
    let (_, mut app) = obedient(&daemon, &control, json!({}));
    app.order(&format!("serve 127.0.0.1:{first} 200"));
    daemon.client.when_ready("app");
    for (order, ports) in [
        (format!("serve 127.0.0.1:{} 200", first + 1), json!([first, first + 1])),
        (format!("close {first}"), json!([first + 1])),
    ] {
        app.order(&order);
        // The promise itself: after this the next answer has it, whatever was asked before.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(daemon.client.show("app")["ports"], ports);
        assert_eq!(daemon.client.get("/servers").json()["data"]["servers"][0]["ports"], ports);
    }
    app.order(&format!("close {}", first + 1));
    std::thread::sleep(Duration::from_secs(1));
    // Who waits for readiness must not get the one that was.
    let answer = daemon.client.get("/servers/app?wait_for=ready&timeout_ms=200").server(200);
    assert_eq!(answer["status"], "running", "{answer:#}");
    app.order(&format!("serve 127.0.0.1:{first} 200"));
    daemon.client.when_ready("app");
    app.order(&format!("close {first}"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(daemon.client.get("/ready?wait=true&timeout_ms=200").json()["ready"], false);
}

#[test]
fn a_taken_port_gives_the_next_one_or_a_refusal_that_names_the_holder() {
    let daemon = Daemon::start();
    let control = Control::new();
    let port = quiet_port();
    for address in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
        // A stranger's process, which has nothing to do with the daemon.
        let mut stranger = Command::new(testchild());
        stranger
            .args(["ctl", "stranger", "serve", &format!("{address}:{port}"), "200", "ctl", "listening", "stay"])
            .env("CTL", control.address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let stranger = Guarded(stranger.spawn().unwrap());
        let _connections = [control.child(), control.child()];
        let spec = json!({"slug": "strict", "start": "sleep 600", "port": port, "strict_port": true});
        let sentence = daemon.client.create(&spec).error(409);
        let holder = format!("port {port} is held by pid {} (testchild)", stranger.id());
        assert!(sentence.contains(&holder), "{address}: {sentence}");
        let (created, mut app) = obedient(&daemon, &control, json!({"port": port}));
        let next = created["port"].as_u64().unwrap();
        assert!(next > u64::from(port) && created["requested_port"] == port, "{created:#}");
        app.order("serve 127.0.0.1:PORT 200");
        assert_eq!(daemon.client.when_ready("app")["port"], next);
        assert_eq!(daemon.client.delete("/servers/app").status, 204);
        drop(stranger);
    }
    assert_eq!(daemon.client.get("/servers").json()["data"]["servers"], json!([]), "nothing is kept of a refused one");
}

#[test]
fn what_a_process_that_can_not_be_looked_into_listens_on_is_guessed_and_the_log_says_so() {
    let daemon = without(CAP_SYS_PTRACE);
    let control = Control::new();
    let port = quiet_port();
    let (_, mut app) = obedient(&daemon, &control, json!({"port": port}));
    app.order("hide");
    app.order(&format!("serve 127.0.0.1:{port} 200"));
    // Whatever else is new on this machine may be taken for its own too; the requested port is the best guess.
    wait_until("the requested port is guessed", || {
        let server = daemon.client.show("app");
        let is_seen = server["ports"].as_array().is_some_and(|ports| ports.contains(&json!(port)));
        (is_seen && server["url"] == format!("http://localhost:{port}")).then_some(())
    });
    assert!(daemon.log().contains("can't be looked into"), "{}", daemon.log());
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    // It ignores what it was given: what is new is taken for its own, since no other server waits.
    let (_, mut app) = obedient(&daemon, &control, json!({"port": port}));
    app.order("hide");
    // What is open before the first look for the server is not new, so there is a second one.
    let guessed = [1, 2].into_iter().find_map(|offset| {
        app.order(&format!("serve 127.0.0.1:{} 200", port + offset));
        let server = daemon.client.get("/servers/app?wait_for=ready&timeout_ms=20000").server(200);
        (server["status"] == "ready").then_some(server)
    });
    let guessed = guessed.unwrap_or_else(|| panic!("nothing is guessed: {}", daemon.log()));
    assert!(guessed["port"].is_u64() && guessed["url"].is_string(), "{guessed:#}");
}

#[test]
fn two_servers_never_get_the_same_port() {
    let daemon = Daemon::start();
    let port = quiet_port();
    // None of them ever listens: the reservation alone keeps them apart.
    let mut given: Vec<u64> = std::thread::scope(|scope| {
        let create = |number| {
            let spec = json!({"slug": format!("s{number}"), "start": "sleep 600", "port": port});
            daemon.client.create(&spec).server(201)["port"].as_u64().unwrap()
        };
        let all: Vec<_> = (0..20).map(|number| scope.spawn(move || create(number))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    given.sort_unstable();
    given.dedup();
    assert_eq!((given.len(), given[0]), (20, u64::from(port)), "{given:?}");
    let strict = json!({"slug": "strict", "start": "sleep 600", "port": port, "strict_port": true});
    let sentence = daemon.client.create(&strict).error(409);
    assert!(sentence.contains(&format!("port {port} is held by server s")), "{sentence}");
}

#[test]
fn a_port_is_looked_at_anew_at_every_start() {
    let daemon = Daemon::start();
    let port = quiet_port();
    let start = format!("{} serve 127.0.0.1:PORT 200 stay", testchild());
    for (slug, strict, wanted) in [("loose", false, port), ("strict", true, port + 2)] {
        let spec = json!({"slug": slug, "start": start, "port": wanted, "strict_port": strict});
        daemon.client.create(&spec).server(201);
        assert_eq!(daemon.client.when_ready(slug)["port"], wanted);
        assert_eq!(daemon.client.post(&format!("/servers/{slug}/stop")).server(200)["status"], "stopped");
    }
    let taken = [port, port + 2].map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap());
    daemon.client.post("/servers/loose/start").server(200);
    assert_eq!(daemon.client.when_ready("loose")["port"], port + 1);
    daemon.client.post("/servers/strict/start");
    let failed = daemon.client.wait_for_status("strict", "failed");
    let holder = format!("port {} is held by pid {} (", port + 2, std::process::id());
    assert!(failed["status_reason"].as_str().unwrap().contains(&holder), "{failed:#}");
    drop(taken);
    daemon.client.post("/servers/loose/restart").server(200);
    assert_eq!(daemon.client.when_ready("loose")["port"], port, "what was asked for, now that it is free");
    daemon.client.post("/servers/strict/start").server(200);
    assert_eq!(daemon.client.when_ready("strict")["port"], port + 2);
}

#[test]
fn a_port_below_1024_needs_a_right() {
    let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .map_or(1024, |text| text.trim().parse().unwrap());
    let Some(port) = first.checked_sub(1).filter(|port| *port > 0) else {
        println!("skipped: this system gives every port to every process");
        return;
    };
    let daemon = without(CAP_NET_BIND_SERVICE);
    let mut spec = json!({"slug": "web", "start": "sleep 600", "port": port, "strict_port": true});
    let sentence = daemon.client.create(&spec).error(409);
    let why = format!("port {port} can't be used: ports below 1024 need a right");
    assert!(sentence.contains(&why), "{sentence}");
    // Nor is another one silently taken instead.
    spec["strict_port"] = json!(false);
    daemon.client.create(&spec);
    let failed = daemon.client.wait_for_status("web", "failed");
    assert!(failed["status_reason"].as_str().unwrap().contains(&why), "{failed:#}");
}

#[test]
fn the_public_url_is_a_template() {
    let daemon = Daemon::with(&["--public-url", "https://{slug}-{port}.sandbox.example/"], &[]);
    let port = quiet_port();
    let spec = json!({
        "slug": "web", "start": format!("{} serve 127.0.0.1:PORT 200 stay", testchild()), "port": port,
    });
    let created = daemon.client.create(&spec).server(201);
    assert_eq!((&created["port"], created.get("url")), (&json!(port), None), "not before it is reached there");
    let url = format!("https://web-{port}.sandbox.example/");
    assert_eq!(daemon.client.when_ready("web")["url"], url);
    assert_eq!(daemon.client.get("/servers").json()["data"]["servers"][0]["url"], url);
    assert_eq!(daemon.client.get("/ready").json()["servers"][0]["url"], url);
    let by_name = Daemon::with(&["--public-url", "https://{slug}.sandbox.example"], &[]);
    by_name.client.create(&spec).server(201);
    assert_eq!(by_name.client.when_ready("web")["url"], "https://web.sandbox.example");
    let by_variable = Daemon::with(&[], &[("SERVISOR_PUBLIC_URL", "http://10.0.0.1:{port}")]);
    by_variable.client.create(&spec).server(201);
    let server = by_variable.client.when_ready("web");
    assert_eq!(server["url"], format!("http://10.0.0.1:{}", server["port"]));
}

#[test]
fn a_bad_template_is_a_start_up_error() {
    for (template, word) in [
        ("http://sandbox.example", "{port}"),
        ("sandbox.example:{port}", "http://"),
        ("http://{host}:{port}", "{host}"),
        ("http://sandbox.example:{port", "}"),
        ("", "empty"),
    ] {
        let output = Daemon::command()
            .args(["serve", "--no-auth", "--listen", "127.0.0.1:0", "--public-url", template])
            .finish();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{template:?}: {text}");
        assert!(text.contains("--public-url") && text.contains(word), "{template:?}: {text}");
        assert!(text.lines().count() <= 2, "{text}");
    }
}

#[test]
fn bad_ports_and_checks_are_refused_by_name() {
    let daemon = Daemon::start();
    for (field, value) in [
        ("port", json!(0)),
        ("port", json!(70000)),
        ("port", json!("3000")),
        ("ignore_ports[1]", json!([9000, 0])),
        ("health_check.interval_ms", json!({"interval_ms": -1})),
        ("health_check.timeout_ms", json!({"timeout_ms": -1})),
        ("health_check.timeout_ms", json!({"timeout_ms": 0})),
        ("health_check.delay_ms", json!({"delay_ms": -1})),
        ("health_check.path", json!({"path": "health"})),
        ("health_check.restart_after_failures", json!({"restart_after_failures": -1})),
    ] {
        let mut spec = json!({"slug": "web", "start": "sleep 600"});
        spec[field.split(['.', '[']).next().unwrap()] = value.clone();
        let refused = daemon.client.create(&spec);
        let sentence = refused.error(422);
        assert!(sentence.contains(field), "{field} = {value}: {sentence}");
        assert!(refused.json()["fields"][field].is_string(), "{field} = {value}: {}", refused.text());
    }
    assert_eq!(daemon.client.get("/servers").json()["data"]["servers"], json!([]));
}
