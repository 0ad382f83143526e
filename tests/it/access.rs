//! Access, and what stays hidden.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::limits::is_root;
use crate::support::{Client, Daemon, Finish, Scratch, exchange, wait_until};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"];
/// All that there is, on a server that exists and on one that doesn't, and something that there is not.
const PATHS: [&str; 18] = [
    "/info",
    "/servers",
    "/servers/app",
    "/servers/app/start",
    "/servers/app/stop",
    "/servers/app/restart",
    "/servers/app/status",
    "/servers/app/logs",
    "/servers/app/logs?follow=true",
    "/servers/none",
    "/servers/none/stop",
    "/filesystem/overlays",
    "/filesystem/overlays/ovl-1",
    "/nothing",
    "/",
    "/servers/",
    "/servers/%61pp",
    "/health/",
];

const MISSING: [&str; 4] = ["/nothing", "/", "/servers/", "/health/"];

#[test]
fn no_route_and_no_method_does_anything_without_the_token() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "exec sleep 600"})).server(201);
    let before = daemon.client.wait_for_status("app", "running");
    let token = daemon.client.token.clone().unwrap();
    let spec = json!({"slug": "evil", "start": "touch evil"}).to_string();
    let longer = format!("{token}x");
    let wrong = "x".repeat(token.len());
    let upper = token.to_uppercase();
    let mut headers: Vec<Option<String>> = vec![None];
    // Every prefix of it, and what is just not it.
    headers.extend((0..token.len()).map(|length| Some(format!("Bearer {}", &token[..length]))));
    headers.extend([&longer, &wrong, &upper].map(|token| Some(format!("Bearer {token}"))));
    headers.extend([
        Some(token.clone()),
        Some(format!("Basic {token}")),
        Some(format!("Bearer {token} {token}")),
        Some(format!("Bearer {token},x")),
        Some(format!("Bearer \"{token}\"")),
    ]);
    let mut asked = 0;
    for path in PATHS {
        for method in METHODS {
            for header in &headers {
                let stranger = Client { token: None, ..daemon.client.clone() };
                let mut all = vec![("Content-Type", "application/json")];
                all.extend(header.as_deref().map(|value| ("Authorization", value)));
                let Some(answer) = stranger.try_request(method, path, &all, Some(spec.as_bytes())) else {
                    panic!("no answer to {method} {path}");
                };
                // What is no request at all (CONNECT, a body where none may be) is refused by the front.
                // What stands for nothing is 404 for every client.
                let expected = if MISSING.contains(&path) { 404 } else { 401 };
                let is_refused =
                    answer.status == expected || [400, 405, 501].contains(&answer.status) && method == "CONNECT";
                assert!(is_refused, "{method} {path} with {header:?}: {} {}", answer.status, answer.text());
                assert!(!answer.text().contains(&token) && !answer.head.contains(&token));
                asked += 1;
            }
        }
    }
    println!("{asked} requests without the right token");
    let after = daemon.client.show("app");
    assert_eq!((&after["pid"], &after["updated_at"]), (&before["pid"], &before["updated_at"]));
    assert_eq!(daemon.client.get("/servers").json()["data"]["servers"].as_array().unwrap().len(), 1);
    assert!(!daemon.root.join("evil").exists());
}

/// What another user gets to see there.
fn as_other_user(script: &str, argument: &Path) -> std::process::Output {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(argument).current_dir("/").stdin(Stdio::null());
    command.uid(65_534).gid(65_534).finish()
}

#[test]
fn another_user_sees_nothing_of_the_state_and_reaches_no_socket_of_it() {
    if !is_root() {
        panic!("only root can become another user to try this; run the tests as root");
    }
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "echo secret; exec sleep 600"})).server(201);
    let script =
        "ls \"$1\" || cat \"$1/servers/app.json\" || cat \"$1/access-token\" || cat \"$1/lock\" || echo > \"$1/x\"";
    let output = as_other_user(script, &daemon.state);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    // The same files are there.
    assert!(daemon.state.join("servers/app.json").exists());
    // The socket's name does not outlive the start; what listens on it can't be connected to by its name.
    let names = || fs::read_dir(&daemon.state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names().all(|name| !name.ends_with(".sock")), "{:?}", names().collect::<Vec<_>>());
    let unix = fs::read_to_string("/proc/net/unix").unwrap();
    let listed: Vec<&str> = unix.lines().filter(|line| line.contains(&*daemon.state.to_string_lossy())).collect();
    for line in &listed {
        let path = line.split_whitespace().last().unwrap();
        assert!(!Path::new(path).exists(), "{line}");
    }
    // Nor does what it has open or was given lead there.
    let proc = format!("/proc/{}", daemon.pid());
    let output = as_other_user("ls \"$1/fd/\" || cat \"$1/environ\" || ls \"$1/root/\"", Path::new(&proc));
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn no_secret_is_in_the_log_in_the_arguments_or_in_an_error() {
    const VALUE: &str = "s3cr3t-of-a-server";
    const PAYLOAD: &str = "s3cr3t-of-the-payload";
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let payload = json!({"overlays": [], "servers": [{
        "slug": "boot", "start": "exec sleep 600", "environment": {"KEY": PAYLOAD}, "healt_check": {},
    }]});
    let payload = base64(payload.to_string().as_bytes());
    let daemon = Daemon::on(scratch, &["--log-level", "debug"], &[("COMPUTESDK_SETUP_B64", &payload)]);
    let client = &daemon.client;
    let token = client.token.clone().unwrap();
    fs::write(daemon.root.join("env"), format!("FILE_KEY={VALUE}\n")).unwrap();
    let spec = json!({
        "slug": "app", "start": "exit 3", "environment": {"KEY": VALUE}, "env_file": "env", "restart_policy": "always",
        "restart_delay_ms": 0, "max_restarts": 2,
    });
    client.create(&spec).server(201);
    client.wait_for_status("app", "failed");
    client.wait_for_status("boot", "running");
    // Errors of all sorts, each with a secret in what was sent.
    let mut wrong = spec.clone();
    wrong["environment"]["KEY"] = json!([VALUE]);
    wrong["port"] = json!("x");
    let mut texts = vec![client.create(&wrong).error(422)];
    let torn = format!("{{\"environment\": {{\"KEY\": \"{VALUE}\"");
    let json = [("Content-Type", "application/json")];
    texts.push(client.request("POST", "/servers", &json, Some(torn.as_bytes())).error(400));
    let odd = format!("{{\"slug\": \"x\", \"start\": \"true\", \"environment\": {{\"A\": \"{VALUE}\\u0000\"}}}}");
    texts.push(client.request("POST", "/servers", &json, Some(odd.as_bytes())).error(422));
    let stranger = Client { token: Some(VALUE.into()), ..client.clone() };
    texts.push(stranger.get("/servers").error(401));
    client
        .create(&json!({"slug": "none", "start": "true", "env_file": "missing", "environment": {"KEY": VALUE}}))
        .server(201);
    texts.push(client.wait_for_status("none", "failed")["status_reason"].to_string());
    fs::rename(daemon.state.join("servers"), daemon.state.join("hidden")).unwrap();
    texts.push(client.create(&json!({"slug": "new", "start": "true", "environment": {"KEY": VALUE}})).error(500));
    fs::rename(daemon.state.join("hidden"), daemon.state.join("servers")).unwrap();
    texts.push(client.get("/info").text());
    texts.push(daemon.log());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let of_test = fs::read_to_string(process.path().join("environ")).is_ok_and(|text| text.contains("IT_MARK="));
        if of_test || process.file_name().to_string_lossy() == daemon.pid().to_string() {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            texts.push(String::from_utf8_lossy(&arguments).into_owned());
        }
    }
    for text in &texts {
        for secret in [VALUE, PAYLOAD, &token, &payload] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    // A client with the token may see what he has given; the servers see nothing of the daemon's.
    assert_eq!(client.show("app")["environment"]["KEY"], VALUE);
    let pid = client.show("boot")["pid"].as_u64().unwrap();
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.contains(PAYLOAD) && !environment.contains(&token) && !environment.contains(&payload));
    wait_until("the log is whole", || daemon.log().contains("[boot] running").then_some(()));
}

/// The status of the answer to a request with exactly these headers.
fn ask(daemon: &Daemon, request: &str, headers: &str) -> u16 {
    let port = daemon.client.address.port().to_string();
    let text = format!("{request} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").replace("PORT", &port);
    let answer = String::from_utf8(exchange(daemon.client.address, text.as_bytes())).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_page_of_a_server_does_not_stop_another_one_without_auth() {
    let daemon = Daemon::with(&["--no-auth", "--allow-origin", "https://app.example.com"], &[]);
    daemon.client.create(&json!({"slug": "victim", "start": "exec sleep 600"})).server(201);
    let before = daemon.client.wait_for_status("victim", "running");
    let calls = [
        "POST /servers/victim/stop",
        "POST /servers/victim/restart",
        "DELETE /servers/victim",
        "PATCH /servers/victim/status",
        "POST /servers",
    ];
    // As browsers send them from a page on `http://web.localhost:21853`, from another port, from a name of its own.
    for headers in [
        "Host: localhost:PORT\r\nOrigin: http://web.localhost:21853\r\nSec-Fetch-Site: same-site\r\n",
        "Host: localhost:PORT\r\nOrigin: http://web.localhost:21853\r\n",
        "Host: localhost:PORT\r\nOrigin: http://localhost:21853\r\nSec-Fetch-Site: same-site\r\n",
        "Host: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:21853\r\n",
        "Host: 127.0.0.1:PORT\r\nOrigin: https://127.0.0.1:PORT\r\n",
        "Host: localhost:PORT\r\nOrigin: http://web.localhost:PORT\r\n",
        "Host: localhost:PORT\r\nOrigin: null\r\n",
        "Host: localhost:PORT\r\nSec-Fetch-Site: cross-site\r\n",
        "Host: localhost:PORT\r\nSec-Fetch-Site: same-site\r\n",
        "Host: web.localhost:PORT\r\nOrigin: http://web.localhost:PORT\r\nSec-Fetch-Site: same-origin\r\n",
        "Host: evil.example:PORT\r\nOrigin: http://evil.example:PORT\r\nSec-Fetch-Site: same-origin\r\n",
        "Host: localhost\r\n",
        "Host: localhost:21853\r\n",
    ] {
        for call in calls {
            assert_eq!(ask(&daemon, call, headers), 403, "{call} {headers}");
        }
    }
    let after = daemon.client.show("victim");
    assert_eq!((&after["pid"], &after["updated_at"]), (&before["pid"], &before["updated_at"]));
    // A program, a page of the API's own origin and an allowed page may.
    for headers in [
        "Host: localhost:PORT\r\n",
        "Host: localhost:PORT\r\nOrigin: http://localhost:PORT\r\nSec-Fetch-Site: same-origin\r\n",
        "Host: [::1]:PORT\r\nOrigin: http://[::1]:PORT\r\nSec-Fetch-Site: same-origin\r\n",
        "Host: 127.0.0.1:PORT\r\nOrigin: https://app.example.com\r\nSec-Fetch-Site: cross-site\r\n",
        "Host: localhost:PORT\r\nSec-Fetch-Site: none\r\n",
    ] {
        assert_eq!(ask(&daemon, "POST /servers/victim/restart", headers), 200, "{headers}");
    }
    for site in ["cross-site", "same-site"] {
        let headers = format!("Host: localhost:PORT\r\nSec-Fetch-Site: {site}\r\n");
        assert_eq!(ask(&daemon, "GET /servers/victim", &headers), 200, "a link may be followed");
        assert_eq!(ask(&daemon, "HEAD /servers/victim", &headers), 200, "a link may be followed");
    }
}

#[test]
fn without_the_token_servers_are_shown_under_own_names_only() {
    let daemon = Daemon::with(&["--public-url", "https://{port}-abc.sandbox.example"], &[]);
    daemon.client.create(&json!({"slug": "secret", "start": "exec sleep 600"})).server(201);
    let headers = |host: &str| if host.is_empty() { String::new() } else { format!("Host: {host}\r\n") };
    for target in ["/ready", "/ready?wait=true&timeout_ms=1", "/auth/status"] {
        for host in
            ["evil.example", "evil.example:PORT", "10.1.2.3:PORT", "web.localhost", "1-abc.sandbox.example.evil.com"]
        {
            for request in [format!("GET {target}"), format!("HEAD {target}")] {
                assert_eq!(ask(&daemon, &request, &headers(host)), 403, "{request} {host}");
            }
            let with_token = format!("{}Authorization: Bearer test-token\r\n", headers(host));
            assert_eq!(ask(&daemon, &format!("GET {target}"), &with_token), 200, "{target} {host} with the token");
        }
        for host in ["localhost", "localhost:PORT", "127.0.0.1:8080", "[::1]:PORT", "18080-abc.sandbox.example"] {
            assert_eq!(ask(&daemon, &format!("GET {target}"), &headers(host)), 200, "{target} {host}");
        }
    }
    // These reveal nothing of this daemon.
    for target in ["/health", "/openapi.json"] {
        assert_eq!(ask(&daemon, &format!("GET {target}"), "Host: evil.example\r\n"), 200, "{target}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sextets = |piece: &[u8]| {
        let word = piece.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        let letter = |place: usize| LETTERS[(word >> (18 - 6 * place)) as usize & 63] as char;
        (0..4).map(|place| if place <= piece.len() { letter(place) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(sextets).collect()
}
