//! Routes, access, and the form of every answer.

use serde_json::json;

use crate::support::{Client, Daemon, exchange};

#[test]
fn what_is_open_and_what_is_not() {
    let daemon = Daemon::start();
    let stranger = Client { token: None, ..daemon.client.clone() };
    assert_eq!(stranger.get("/health").json()["status"], "ok");
    let status = stranger.get("/auth/status").json();
    assert_eq!(status["data"], json!({"authenticated": false}));
    assert_eq!(daemon.client.get("/auth/status").json()["data"]["authenticated"], true);
    for (method, path) in [
        ("GET", "/info"),
        ("GET", "/servers"),
        ("POST", "/servers"),
        ("GET", "/servers/x"),
        ("DELETE", "/servers/x"),
        ("POST", "/servers/x/start"),
        ("POST", "/servers/x/stop"),
        ("POST", "/servers/x/restart"),
        ("GET", "/servers/x/logs"),
    ] {
        for token in [None, Some(""), Some("test-toke"), Some("test-token2"), Some("x")] {
            let caller = Client { token: token.map(str::to_owned), ..daemon.client.clone() };
            let refused = caller.request(method, path, &[], None);
            refused.error(401);
            assert!(refused.header("WWW-Authenticate").is_some());
        }
    }
    // Clients try optional paths, and take 401 for a wrong token.
    for path in ["/ws", "/terminal", "/nothing", "/servers/", "/health/"] {
        for client in [&stranger, &daemon.client] {
            let missing = client.get(path);
            assert_eq!(missing.json()["code"], "not_found", "{path}");
            missing.error(404);
        }
    }
    let info = daemon.client.get("/info").json();
    assert_eq!(info["data"]["auth_enabled"], true);
    assert_eq!(info["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["data"]["sandbox_url"], format!("http://{}", daemon.client.address));
}

#[test]
fn a_token_is_made_kept_and_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::with(&[], &[("SERVISOR_ACCESS_TOKEN_FILE", "")]);
    let path = daemon.state.join("access-token");
    assert!(!path.exists(), "none is made when one is given");
    drop(daemon);
    let scratch = crate::support::Scratch::new();
    let file = scratch.0.join("token");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let daemon = Daemon::with(&["--access-token-file", &file.display().to_string()], &[]);
    let client = Client { token: Some("from-a-file".into()), ..daemon.client.clone() };
    client.get("/servers").json();
    daemon.client.get("/servers").error(401);
    let state = std::fs::metadata(&daemon.state).unwrap().permissions().mode() & 0o777;
    assert_eq!(state, 0o700);
}

#[test]
fn without_a_token_only_neighbours_may_ask() {
    let daemon = Daemon::with(&["--no-auth", "--allow-origin", "https://app.example.com"], &[]);
    let address = daemon.client.address;
    let port = address.port();
    let ask = |host: &str, origin: &str| {
        let host = host.replace("PORT", &port.to_string());
        let origin = origin.replace("PORT", &port.to_string());
        let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        let request = format!("GET /servers HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: close\r\n\r\n");
        let answer = String::from_utf8(exchange(address, request.as_bytes())).unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    for host in ["localhost:PORT", "LOCALHOST:PORT", "127.0.0.1:PORT", "[::1]:PORT"] {
        assert_eq!(ask(host, ""), 200, "{host}");
    }
    for host in [
        "localhost",
        "localhost:1",
        "web.localhost:PORT",
        "127.0.0.1",
        "[::1]:80",
        "evil.example.com",
        "localhost.evil.com",
        "127.0.0.1.evil.com",
        "10.0.0.1",
        "",
    ] {
        assert_eq!(ask(host, ""), 403, "{host}");
    }
    for (origin, status) in [
        ("http://localhost:PORT", 200),
        ("http://[::1]:PORT", 200),
        ("https://localhost:PORT", 403),
        ("http://localhost:3000", 403),
        ("http://web.localhost:PORT", 403),
        ("https://app.example.com", 200),
        ("https://evil.example.com", 403),
        ("null", 403),
        ("https://app.example.com.evil.com", 403),
    ] {
        assert_eq!(ask("localhost:PORT", origin), status, "{origin}");
    }
}

#[test]
fn browsers_may_ask_when_their_page_is_allowed() {
    let daemon = Daemon::with(&["--allow-origin", "https://app.example.com"], &[]);
    let preflight = |origin: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        let anonymous = Client { token: None, ..daemon.client.clone() };
        anonymous.request("OPTIONS", "/servers", &headers, None)
    };
    let yes = preflight("https://app.example.com");
    assert_eq!(yes.status, 204);
    assert_eq!(yes.header("Access-Control-Allow-Origin"), Some("https://app.example.com"));
    assert!(yes.header("Access-Control-Allow-Headers").unwrap().contains("Authorization"));
    assert_eq!(preflight("https://evil.example.com").header("Access-Control-Allow-Origin"), None);
    let refused = daemon.client.request("GET", "/servers/none", &[("Origin", "https://app.example.com")], None);
    assert_eq!(refused.status, 404);
    assert_eq!(
        refused.header("Access-Control-Allow-Origin"),
        Some("https://app.example.com"),
        "errors can be read too"
    );
}

#[test]
fn every_answer_is_json_with_its_length() {
    let daemon = Daemon::start();
    for (method, path, status) in [
        ("GET", "/health", 200),
        ("GET", "/info", 200),
        ("GET", "/servers", 200),
        ("GET", "/", 404),
        ("GET", "/server", 404),
        ("GET", "/servers/", 404),
        ("GET", "/servers/none", 404),
        ("GET", "/servers/none/logs", 404),
        ("GET", "/servers/%zz", 400),
        ("GET", "/servers/%00", 400),
        ("GET", "/servers/../x", 400),
        ("POST", "/servers/none/stop", 404),
        ("POST", "/servers/none/start", 404),
        ("POST", "/servers/none/restart", 404),
        ("DELETE", "/servers/none", 404),
        ("PUT", "/servers", 405),
        ("POST", "/health", 405),
        ("PATCH", "/servers/none", 405),
        ("TRACE", "/servers", 405),
        ("BREW", "/servers", 405),
        ("GET", "/servers/none/stop", 405),
    ] {
        let answer = daemon.client.request(method, path, &[], None);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("Content-Type"), Some("application/json"), "{method} {path}");
        assert_eq!(answer.header("Content-Length").unwrap(), answer.body.len().to_string());
        if status >= 400 {
            answer.error(status);
        }
        if status == 405 {
            assert!(answer.header("Allow").is_some(), "{method} {path}");
        }
    }
    let head = daemon.client.request("HEAD", "/health", &[], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn slugs_are_decoded_and_sorted() {
    let daemon = Daemon::start();
    for slug in ["b", "a.1", "A_2", "c-3"] {
        daemon.client.create(&json!({"slug": slug, "start": "sleep 600"})).server(201);
    }
    let list = daemon.client.get("/servers").json();
    let slugs: Vec<_> =
        list["data"]["servers"].as_array().unwrap().iter().map(|server| server["slug"].clone()).collect();
    assert_eq!(slugs, ["A_2", "a.1", "b", "c-3"]);
    assert_eq!(daemon.client.show("a%2E1")["slug"], "a.1");
}

#[test]
fn a_unix_socket_serves_too() {
    use std::io::{Read, Write};
    let scratch = crate::support::Scratch::new();
    let socket = scratch.0.join("api.sock");
    let mut process = Daemon::command()
        .args(["serve", "--no-auth", "--listen", &format!("unix:{}", socket.display()), "--state-dir"])
        .arg(scratch.0.join("state"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut stream =
        crate::support::wait_until("the socket is there", || std::os::unix::net::UnixStream::connect(&socket).ok());
    stream.write_all(b"GET /servers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // SAFETY: plain numbers; the process is ours and not reaped.
    unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
    assert!(process.wait().unwrap().success());
    assert!(!socket.exists());
}

/// Of a head that is the same as the one before it on its connection, the parse is used again, and nothing else.
#[test]
fn the_same_head_again_gets_an_answer_of_its_own() {
    let daemon = Daemon::start();
    let authorization = format!("Authorization: Bearer {}\r\n", daemon.client.token.as_deref().unwrap());
    let get = |slug: &str, header: &str| format!("GET /servers/{slug} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
    let body = json!({"slug": "a", "start": "exec sleep 100"}).to_string();
    let post = format!(
        "POST /servers HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (a, b) = (get("a", &authorization), get("b", &authorization));
    // The token with another last letter, and without one: as long, and a byte less.
    let wrong = [0, 1].map(|less| format!("{}{}\r\n", &authorization[..authorization.len() - 3], &"?"[less..]));
    let pieces = [&a, &a, &post, &a, &a, &b, &a, &post, &post, &get("a", &wrong[0]), &get("a", &wrong[1]), &a, &a];
    let all: String = pieces.into_iter().map(String::as_str).collect();
    let answers = String::from_utf8(exchange(daemon.client.address, all.as_bytes())).unwrap();
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    let expected = "404 404 201 200 200 404 200 409 409 401 401 200 200";
    assert_eq!(statuses.join(" "), expected, "{answers}");
}
