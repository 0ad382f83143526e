//! What servers, clients and the disk see of the proxy: URLs, keys, and stops for lack of visitors.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Client, Daemon, TOKEN, quiet_port, testchild, wait_until};

fn listener(slug: &str, port: u16, proxy: Value) -> Value {
    let start = format!("printenv SERVISOR_URL; exec {} listen stay", testchild());
    json!({"slug": slug, "start": start, "port": port, "proxy": proxy})
}

/// The first line of its output, which may take longer to arrive than it to be ready.
#[track_caller]
fn first_line(client: &Client, slug: &str) -> String {
    wait_until("its first line", || client.logs(slug, "").lines().next().map(str::to_owned))
}

/// The key at the end of a server's `access_url`.
#[track_caller]
fn key(server: &Value) -> String {
    let (url, access_url) = (server["url"].as_str().unwrap(), server["access_url"].as_str().unwrap());
    let key = access_url.strip_prefix(&format!("{url}/?servisor_key=")).unwrap_or_else(|| panic!("{access_url}"));
    assert!(key.len() == 32 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{key}");
    key.to_owned()
}

#[test]
fn a_url_is_known_to_the_server_before_it_listens_and_to_clients_as_long_as_it_does() {
    let daemon = Daemon::with(&["--proxy"], &[]);
    let (client, own) = (&daemon.client, daemon.client.address.port());
    let url = format!("http://web.localhost:{own}");
    client.create(&listener("Web", quiet_port(), json!({}))).server(201);
    let server = client.when_ready("Web");
    assert_eq!((&server["url"], server.get("access_url")), (&json!(url), None));
    assert_eq!(first_line(client, "Web"), url);
    // No host name has such a slug: it is reached by its port, which was allocated before the start.
    client.create(&listener("a_b", quiet_port(), json!({"start_on_visit": true}))).server(201);
    let server = client.when_ready("a_b");
    let by_port = format!("http://{}.localhost:{own}", server["port"]);
    assert_eq!((&server["url"], first_line(client, "a_b")), (&json!(by_port), by_port.clone()));
    for slug in ["Web", "a_b"] {
        client.post(&format!("/servers/{slug}/stop")).server(200);
        assert_eq!(client.show(slug).get("url"), None);
    }
    // A visit would start this one.
    let lazy = json!({"slug": "lazy", "start": "true", "proxy": {"start_on_visit": true}});
    client.create(&lazy).server(201);
    assert_eq!(client.wait_for_status("lazy", "stopped")["url"], format!("http://lazy.localhost:{own}"));
}

#[test]
fn a_template_decides_when_the_url_is_known() {
    let template = "https://abc-{port}.sandbox.example";
    let daemon = Daemon::with(&["--proxy", "--public-url", template], &[]);
    let client = &daemon.client;
    let (port, start) = (quiet_port(), format!("printenv SERVISOR_URL; {} listen stay", testchild()));
    client.create(&json!({"slug": "web", "start": start, "port": port})).server(201);
    let server = client.when_ready("web");
    let url = format!("https://abc-{}.sandbox.example", server["port"]);
    assert_eq!((&server["url"], first_line(client, "web")), (&json!(url), url.clone()));
    client.create(&json!({"slug": "any", "start": "printenv SERVISOR_URL || echo none; exec sleep 600"})).server(201);
    assert_eq!(first_line(client, "any"), "none");
    assert_eq!(client.show("any").get("url"), None);
    drop(daemon);
    // Without a proxy the URL is there as long as the server listens, and its variable from the start.
    let daemon = Daemon::with(&["--public-url", "https://{slug}.example"], &[]);
    let made = daemon.client.create(&listener("web", quiet_port(), json!({"access": "key"}))).server(201);
    assert_eq!(made.get("access_url"), None);
    let server = daemon.client.when_ready("web");
    assert_eq!((&server["url"], server.get("access_url")), (&json!("https://web.example"), None));
    assert_eq!(first_line(&daemon.client, "web"), "https://web.example");
}

#[test]
fn a_key_lasts_as_long_as_its_server_and_is_shown_with_the_token_alone() {
    let options = ["--proxy", "--proxy-access", "key"];
    let mut daemon = Daemon::with(&options, &[]);
    let client = daemon.client.clone();
    client.create(&listener("web", quiet_port(), json!({}))).server(201);
    client.create(&listener("open", quiet_port(), json!({"access": "public"}))).server(201);
    assert_eq!(client.when_ready("open").get("access_url"), None);
    let first = key(&client.when_ready("web"));
    let stranger = Client { token: None, ..client.clone() };
    let seen = stranger.get("/ready");
    assert!(seen.status == 200 && seen.text().contains("web.localhost"), "{}", seen.text());
    assert!(!seen.text().contains("access_url") && !seen.text().contains(&first), "{}", seen.text());
    let file = daemon.state.join("servers/web.json");
    assert!(fs::read_to_string(&file).unwrap().contains(&first));
    // Another life of the daemon, and another configuration.
    daemon.kill();
    daemon.begin_anew(&options, &[]);
    let client = daemon.client.clone();
    assert_eq!(key(&client.when_ready("web")), first);
    client.post("/servers/web/stop").server(200);
    client.create(&listener("web", quiet_port(), json!({"access": "key"}))).server(201);
    assert_eq!(key(&client.when_ready("web")), first);
    assert_eq!(client.delete("/servers/web").status, 204);
    assert!(!file.exists());
    client.create(&listener("web", quiet_port(), json!({}))).server(201);
    let second = key(&client.when_ready("web"));
    assert_ne!(second, first);
    for secret in [&first, &second, &TOKEN.to_owned()] {
        assert!(!daemon.log().contains(secret.as_str()), "{}", daemon.log());
    }
}

#[test]
fn a_server_without_visitors_is_stopped_and_its_restart_policy_does_not_count() {
    let mut daemon = Daemon::with(&["--proxy"], &[]);
    let client = daemon.client.clone();
    let mut body = listener("web", quiet_port(), json!({"idle_stop_ms": 300}));
    body["restart_policy"] = json!("always");
    client.create(&body).server(201);
    let server = client.wait_for_status("web", "stopped");
    assert_eq!(server["status_reason"], "was stopped after its idle_stop_ms without visitors");
    let run = client.get("/servers/web/runs").json()["data"]["runs"][0].clone();
    assert_eq!((&run["reason"], &run["next"]), (&json!("idle"), &json!("none")), "{run:#}");
    assert!(run["ready_at"].is_string() && run["duration_ms"].as_u64().unwrap() >= 300, "{run:#}");
    assert!(daemon.log().contains("stopped (was stopped after its idle_stop_ms without visitors)"), "{}", daemon.log());
    // It was not stopped by hand: the next daemon starts it, as `autostart` says.
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    daemon.begin_anew(&["--proxy"], &[]);
    wait_until("it was started and stopped once more", || {
        let runs = daemon.client.get("/servers/web/runs").json()["data"]["runs"].clone();
        (runs[1]["reason"] == "idle" && runs[0]["reason"] == "idle").then_some(())
    });
}

#[test]
fn a_server_without_the_limit_stays() {
    let daemon = Daemon::with(&["--proxy"], &[]);
    daemon.client.create(&listener("web", quiet_port(), json!({"start_on_visit": true}))).server(201);
    daemon.client.create(&listener("idle", quiet_port(), json!({"idle_stop_ms": 1}))).server(201);
    daemon.client.wait_for_status("idle", "stopped");
    assert!(daemon.client.when_ready("web")["pid"].is_u64());
}
