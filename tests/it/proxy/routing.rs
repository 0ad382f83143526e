//! Which host leads where.

use serde_json::json;

use super::*;
use crate::support::{TOKEN, free_port};

#[test]
fn a_name_leads_to_its_server_and_never_to_the_api() {
    let proxied = Proxied::start(&["--public-url", "https://{slug}-abc.sandbox.example"]);
    let (address, port) = (proxied.address(), proxied.port);
    for host in [
        "web.localhost".to_owned(),
        "WEB.localhost.:18080".to_owned(),
        format!("{port}.localhost"),
        format!("any-{port}.localhost:1"),
        "web-abc.sandbox.example".to_owned(),
        "Web-ABC.sandbox.example:443".to_owned(),
    ] {
        let answer = visit(address, &host, "/head", "");
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        assert!(answer.text().contains(&format!("\r\nHost: localhost:{port}\r\n")), "{host}: {}", answer.text());
        // The API has this path, the server hasn't.
        let answer = visit(address, &host, "/health", &format!("Authorization: Bearer {TOKEN}"));
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{host}: {}", answer.text());
    }
    // Names of servers that there are not, and ports on which none listens: another process's, and the daemon's own.
    let (own, other) = (address.port(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let other = other.local_addr().unwrap().port();
    for host in [
        "nope.localhost".to_owned(),
        "a_b.localhost".to_owned(),
        "a.b.localhost".to_owned(),
        "-.localhost".to_owned(),
        "0.localhost".to_owned(),
        "99999.localhost".to_owned(),
        "nope-abc.sandbox.example".to_owned(),
        format!("{own}.localhost"),
        format!("{other}.localhost"),
        format!("web-{other}.localhost"),
        format!("{}.localhost", free_port()),
    ] {
        let answer = visit(address, &host, "/health", &format!("Authorization: Bearer {TOKEN}"));
        assert_eq!(answer.status, 404, "{host}: {}", answer.text());
        assert_eq!(answer.json()["code"], "no_such_server", "{host}");
    }
    for host in ["a b", "web.localhost/x", "user@web.localhost", "web.localhost:x", "w\u{e9}b.localhost", "[::1"] {
        let answer = visit(address, host, "/health", "");
        assert_eq!(answer.status, 400, "{host}: {}", answer.text());
    }
    for host in ["localhost", "localhost.:1", "127.0.0.1:18080", "[::1]:18080", "sandbox.example", "other.example"] {
        let answer = visit(address, host, "/servers", &format!("Authorization: Bearer {TOKEN}"));
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        assert_eq!(answer.json()["data"]["servers"][0]["slug"], "web", "{host}");
    }
}

#[test]
fn the_listener_for_servers_never_serves_the_api() {
    let further = free_port();
    let proxied = Proxied::start(&["--proxy-listen", &format!("127.0.0.1:{further}")]);
    let address: SocketAddr = ([127, 0, 0, 1], further).into();
    let answer = visit(address, "web.localhost", "/head", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    for host in
        [format!("127.0.0.1:{further}"), "localhost".into(), "other.example".into(), format!("{further}.localhost")]
    {
        let answer = visit(address, &host, "/health", &format!("Authorization: Bearer {TOKEN}"));
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("no_such_server")), "{host}");
    }
    let mut old = Visitor { stream: TcpStream::connect(address).unwrap(), read: Vec::new() };
    old.send(b"GET /health HTTP/1.0\r\n\r\n");
    let rest = old.rest();
    assert!(rest.starts_with("HTTP/1.1 400 "), "{rest}");
    assert_eq!(proxied.daemon.client.get("/health").status, 200);
}

#[test]
fn without_the_option_no_name_is_a_servers() {
    let daemon = Daemon::start();
    let answer = visit(daemon.client.address, "web.localhost", "/health", "");
    assert_eq!(answer.status, 200);
}

/// Its owner reads why it has no `url`, and finds it by its port.
#[test]
fn a_slug_that_no_host_name_can_have_is_warned_of() {
    const WORDS: &str = "can't be part of a host name";
    let options = ["--proxy", "--gateway", "--public-url", "https://{slug}-abc.sandbox.example"];
    let mut daemon = Daemon::with(&options, &[]);
    let start = format!("exec {} web 127.0.0.1:PORT stay", testchild());
    let warnings = |answer: &Answer| answer.json()["warnings"].to_string();
    let spec = |slug: &str| json!({"slug": slug, "start": start, "port": quiet_port()});
    let named = daemon.client.create(&spec("web"));
    assert!(named.status == 201 && !warnings(&named).contains(WORDS), "{}", named.text());
    let port = quiet_port();
    let unnamed = json!({"slug": "a.b_c", "start": start, "port": port});
    for status in [201, 200] {
        let body = serde_json::to_vec(&unnamed).unwrap();
        let headers = [("Content-Type", "application/json")];
        let answer = daemon.client.request("POST", "/servers?if_changed=true", &headers, Some(&body));
        assert!(answer.status == status && warnings(&answer).contains(WORDS), "{}", answer.text());
    }
    let server = daemon.client.when_ready("a.b_c");
    assert_eq!((&server["ports"], &server["url"]), (&json!([port]), &json!(null)), "{server:#}");
    assert_eq!(visit(daemon.client.address, &format!("{port}.localhost"), "/head", "").status, 200);
    let logged = |daemon: &Daemon| {
        let lines: Vec<String> = daemon.log().lines().filter(|line| line.contains(WORDS)).map(str::to_owned).collect();
        assert!(lines.iter().all(|line| line.contains("[a.b_c]")), "{lines:?}");
        lines.len()
    };
    assert_eq!(logged(&daemon), 1);
    daemon.kill();
    daemon.begin_anew(&options, &[]);
    daemon.client.when_ready("a.b_c");
    assert_eq!(logged(&daemon), 2);
    let sandbox = serde_json::to_vec(&json!({"servers": [spec("a.b_c"), spec("web")]})).unwrap();
    let headers = [("Content-Type", "application/json"), ("X-ComputeSDK-API-Key", TOKEN)];
    let answer = daemon.client.request("POST", "/v1/sandboxes", &headers, Some(&sandbox));
    let given = answer.json()["data"]["warnings"].clone();
    assert!(given.as_array().unwrap().len() == 1 && given[0].as_str().unwrap().contains(WORDS), "{}", answer.text());
}

#[test]
fn one_connection_serves_a_page_and_the_api() {
    let proxied = Proxied::start(&[]);
    let mut visitor = proxied.open("GET /head HTTP/1.1");
    for _ in 0..3 {
        let answer = visitor.answer();
        assert!(answer.status == 200 && answer.header("Connection").is_none(), "{}", answer.head);
        visitor.ask(&format!("GET /servers HTTP/1.1\nHost: localhost\nAuthorization: Bearer {TOKEN}"));
        assert_eq!(visitor.answer().json()["data"]["servers"][0]["slug"], "web");
        visitor.ask("POST /count HTTP/1.1\nContent-Length: 3");
        visitor.send(b"abc");
        assert_eq!(visitor.answer().text(), "3");
        // What follows a body at once is the next request.
        visitor.send(
            b"POST /count HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        );
        visitor.ask("GET /head HTTP/1.1");
        assert_eq!(visitor.answer().text(), "2");
    }
    let text = visitor.answer().text();
    assert!(
        text.contains("\r\nX-Forwarded-For: 127.0.0.1\r\n") && text.contains("\r\nX-Servisor-Hops: 1\r\n"),
        "{text}"
    );
    assert!(!text.contains(TOKEN), "{text}");
}

#[test]
fn the_token_never_reaches_a_server_and_a_key_is_asked_for() {
    let proxied = Proxied::with(&["--proxy-access", "key"], &json!({}));
    let server = proxied.daemon.client.show("web");
    let access_url = server["access_url"].as_str().unwrap();
    let key = access_url.split_once("servisor_key=").unwrap().1;
    let address = proxied.address();
    for more in ["", "X-Servisor-Key: x", "Cookie: servisor_key=x", &format!("Authorization: Bearer {TOKEN}")] {
        let answer = visit(address, "web.localhost", "/head", more);
        assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("key_needed")), "{more}");
    }
    let page = visit(address, "web.localhost", "/", "Accept: text/html");
    assert!(page.status == 401 && page.text().contains("a key is needed"), "{}", page.text());
    let entered = visit(address, "web.localhost", &format!("/head?a=b&servisor_key={key}&c=d"), "Accept: text/html");
    assert_eq!((entered.status, entered.header("Location")), (303, Some("/head?a=b&c=d")), "{}", entered.head);
    let cookie = entered.header("Set-Cookie").unwrap();
    assert_eq!(cookie, format!("servisor_key={key}; HttpOnly; SameSite=Lax; Path=/"));
    for more in [format!("X-Servisor-Key: {key}"), format!("Cookie: x=y; servisor_key={key}")] {
        let more = format!("{more}\nAuthorization: Bearer {TOKEN}");
        let answer = visit(address, "web.localhost", "/head", &more);
        assert_eq!(answer.status, 200, "{more}");
        assert!(!answer.text().contains(key) && !answer.text().contains(TOKEN), "{}", answer.text());
    }
}

/// What answers on a port that a server has left.
fn stranger_on(port: u16) -> std::sync::Arc<std::sync::atomic::AtomicU32> {
    let listener =
        crate::support::wait_until("the port is free", || std::net::TcpListener::bind(("127.0.0.1", port)).ok());
    let visited = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&visited);
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut buffer = [0; 1024];
            // A connection that brings nothing is the proxy's way to find out; a request is not.
            if client.read(&mut buffer).is_ok_and(|length| length > 0) {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger");
            }
        }
    });
    visited
}

#[test]
fn a_stranger_who_takes_the_port_of_a_living_run_gets_no_request() {
    let control = crate::support::Control::new();
    let proxied = Proxied { daemon: Daemon::with(&["--proxy"], &[]), port: quiet_port() };
    let spec = json!({
        "slug": "web", "port": proxied.port, "start": format!("exec {} obey one", testchild()),
        "environment": {"CTL": control.address.to_string()},
    });
    proxied.daemon.client.create(&spec).server(201);
    let mut child = control.child();
    child.order(&format!("serve 127.0.0.1:{} 200", proxied.port));
    proxied.daemon.client.when_ready("web");
    assert_eq!(proxied.get("/").status, 200);
    // It lives on, and nothing has looked since: it is thought to listen.
    child.order(&format!("close {}", proxied.port));
    let strangers = stranger_on(proxied.port);
    let mut navigation = proxied.open("GET / HTTP/1.1\nSec-Fetch-Mode: navigate\nSec-Fetch-User: ?1");
    let answer = navigation.answer();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(strangers.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_stranger_who_takes_the_port_of_a_dead_run_gets_no_request() {
    let proxied = Proxied::start(&[]);
    assert_eq!(proxied.get("/head").status, 200);
    let pid = proxied.daemon.client.show("web")["pid"].as_i64().unwrap();
    let address = proxied.address();
    let visiting: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                (0..200)
                    .filter(|_| visit(address, "web.localhost", "/head", "Accept: text/html").text() == "stranger")
                    .count()
            })
        })
        .collect();
    // SAFETY: plain numbers; it is the process of the test's own server.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    let strangers = stranger_on(proxied.port);
    let misled: usize = visiting.into_iter().map(|visits| visits.join().unwrap()).sum();
    assert_eq!((misled, strangers.load(std::sync::atomic::Ordering::SeqCst)), (0, 0));
}
