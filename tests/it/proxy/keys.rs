//! Who may visit a server: what a key opens, for how long, and what it must not open.

use serde_json::json;

use super::*;
use crate::support::wait_until;

/// The key in the server's `access_url`.
#[track_caller]
fn key(daemon: &Daemon, slug: &str) -> String {
    let server = daemon.client.when_ready(slug);
    server["access_url"].as_str().unwrap().split_once("servisor_key=").unwrap().1.to_owned()
}

fn spec(slug: &str, proxy: &Value) -> Value {
    let start = format!("exec {} web 127.0.0.1:PORT stay", testchild());
    json!({"slug": slug, "start": start, "port": quiet_port(), "proxy": proxy})
}

#[test]
fn the_cookie_of_a_public_name_is_for_https_and_for_frames() {
    let proxied = Proxied::start(&["--public-url", "https://{slug}-abc.sandbox.example", "--proxy-access", "key"]);
    let (address, key) = (proxied.address(), key(&proxied.daemon, "web"));
    let enter = |host: &str| {
        let entered = visit(address, host, &format!("/?servisor_key={key}"), "Accept: text/html");
        assert_eq!((entered.status, entered.header("Location")), (303, Some("/")), "{}", entered.head);
        assert!(!entered.head.contains("Domain"), "{}", entered.head);
        entered.header("Set-Cookie").unwrap().to_owned()
    };
    let secure = enter("web-abc.sandbox.example");
    let (name, attributes) = secure.split_once(&format!("={key}; ")).unwrap();
    assert_eq!(name, "__Host-servisor_key");
    let mut attributes: Vec<&str> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Partitioned", "Path=/", "SameSite=None", "Secure"]);
    assert_eq!(enter("web.localhost:18080"), format!("servisor_key={key}; HttpOnly; SameSite=Lax; Path=/"));
    let cookie = format!("Cookie: a=b; __Host-servisor_key={key}; c=d");
    let seen = visit(address, "web-abc.sandbox.example", "/head", &cookie);
    assert!(seen.status == 200 && seen.text().contains("Cookie: a=b; c=d\r\n"), "{}", seen.text());
    assert!(!seen.text().contains(&key), "{}", seen.text());
}

#[test]
fn a_key_opens_its_own_server_by_every_name_and_no_other() {
    let daemon = Daemon::with(&["--proxy", "--proxy-access", "key"], &[]);
    for (slug, proxy) in
        [("one", json!({})), ("other", json!({"access": "key"})), ("open", json!({"access": "public"}))]
    {
        daemon.client.create(&spec(slug, &proxy)).server(201);
    }
    let (one, other) = (key(&daemon, "one"), key(&daemon, "other"));
    assert_ne!(one, other);
    let port = daemon.client.show("one")["port"].as_u64().unwrap();
    let status = |host: &str, more: &str| visit(daemon.client.address, host, "/head", more).status;
    let with = |key: &str| format!("X-Servisor-Key: {key}");
    for host in ["one.localhost".to_owned(), format!("{port}.localhost"), format!("any-{port}.localhost")] {
        assert_eq!((status(&host, &with(&one)), status(&host, &with(&other)), status(&host, "")), (200, 401, 401));
    }
    daemon.client.when_ready("open");
    assert_eq!((status("other.localhost", &with(&one)), status("open.localhost", "")), (401, 200));
    let wrong = [&one[1..], &one.to_ascii_uppercase(), &format!("{one}0"), &one.repeat(2), "", " "];
    for wrong in wrong {
        assert_eq!(status("one.localhost", &with(wrong)), 401, "{wrong:?}");
        let cookie = format!("Cookie: servisor_key={wrong}");
        assert_eq!(status("one.localhost", &cookie), 401, "{wrong:?}");
        let target = format!("/head?servisor_key={}", wrong.trim());
        let entered = visit(daemon.client.address, "one.localhost", &target, "");
        assert!(entered.status == 401 && entered.header("Set-Cookie").is_none(), "{wrong:?}: {}", entered.head);
    }
    // A sibling may have set one for the common domain; a form of another page can't enter.
    assert_eq!(status("one.localhost", &format!("Cookie: servisor_key={other}; servisor_key={one}")), 200);
    let posted = format!("POST /count?servisor_key={one} HTTP/1.1\nHost: one.localhost\nContent-Length: 0");
    assert_eq!(Visitor::open(daemon.client.address, &posted).answer().status, 401);
    let upgrade = "GET /ws HTTP/1.1\nHost: one.localhost\nUpgrade: websocket\nConnection: Upgrade";
    assert_eq!(Visitor::open(daemon.client.address, upgrade).answer().status, 401);
    let mut tunnel = Visitor::open(daemon.client.address, &format!("{upgrade}\n{}", with(&one)));
    assert!(tunnel.read_to("\r\n\r\n").starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_key_in_a_url_reaches_no_server() {
    let proxied = Proxied::start(&["--proxy-access", "key"]);
    let key = key(&proxied.daemon, "web");
    let query = format!("a=1&servisor_key={key}&b=2");
    let shown = [format!("Cookie: servisor_key={key}"), format!("X-Servisor-Key: {key}")];
    // The access_url, opened once more.
    for shown in &shown {
        let again = visit(proxied.address(), "web.localhost", &format!("/head?{query}"), shown);
        assert_eq!((again.status, again.header("Location")), (303, Some("/head?a=1&b=2")), "{}", again.head);
    }
    let head = format!("POST /head?{query} HTTP/1.1\nContent-Length: 0\n{}", shown[0]);
    let seen = proxied.open(&head).answer().text();
    assert!(seen.starts_with("POST /head?a=1&b=2 HTTP/1.1\r\n") && !seen.contains(&key), "{seen}");
    let upgrade = format!("GET /ws?{query} HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade\n{}", shown[1]);
    assert!(proxied.open(&upgrade).read_to("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    let logs = || Some(proxied.daemon.client.logs("web", "")).filter(|logs| logs.contains("GET_/ws?a=1&b=2_"));
    let logs = wait_until("the server logs the tunnel", logs);
    assert!(!logs.contains(&key), "{logs}");
}

#[test]
fn a_key_dies_with_its_server_and_outlives_the_daemon() {
    let options = ["--proxy", "--proxy-access", "key"];
    let mut daemon = Daemon::with(&options, &[]);
    daemon.client.create(&spec("web", &json!({}))).server(201);
    let first = key(&daemon, "web");
    daemon.kill();
    daemon.begin_anew(&options, &[]);
    assert_eq!(key(&daemon, "web"), first);
    let status = |daemon: &Daemon, key: &str| {
        visit(daemon.client.address, "web.localhost", "/head", &format!("X-Servisor-Key: {key}")).status
    };
    assert_eq!(status(&daemon, &first), 200);
    assert_eq!(daemon.client.delete("/servers/web").status, 204);
    assert_eq!(status(&daemon, &first), 404);
    daemon.client.create(&spec("web", &json!({}))).server(201);
    let second = key(&daemon, "web");
    assert_eq!((status(&daemon, &first), status(&daemon, &second)), (401, 200));
    let visited = daemon.log();
    assert!(!visited.contains(&first) && !visited.contains(&second), "{visited}");
}
