//! The daemon's own document of its API is true: whatever it answers has the documented form.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Daemon, Document, quiet_port, testchild};

struct Witness<'a> {
    client: &'a Client,
    document: Document,
}

impl Witness<'_> {
    /// Asks, and holds the answer against the document. `path` is as the document writes it.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, target: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let text = body.map(Value::to_string);
        let json = body.map(|_| ("Content-Type", "application/json"));
        let headers: Vec<_> = headers.iter().copied().chain(json).collect();
        let answer = self.client.request(method, target, &headers, text.as_deref().map(str::as_bytes));
        let content_type = answer.header("Content-Type").unwrap_or_default();
        if let Err(fault) = self.document.fault(method, path, answer.status, content_type, &answer.body) {
            panic!("{method} {target}: {fault}\n{}", answer.text());
        }
        answer
    }

    #[track_caller]
    fn expect(&self, status: u16, method: &str, path: &str, target: &str, body: Option<&Value>) -> Value {
        let answer = self.ask(method, path, target, &[], body);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }
}

#[test]
fn every_answer_is_as_the_document_says() {
    let daemon = Daemon::start();
    let stranger = Client { token: None, ..daemon.client.clone() };
    let served = stranger.get("/openapi.json");
    assert_eq!((served.status, served.header("Content-Type")), (200, Some("application/json")));
    let reported = served.text();
    assert!(
        !reported.contains("127.0.0.1") && !reported.contains(&*daemon.root.to_string_lossy()),
        "it describes this daemon"
    );
    let witness = Witness { client: &daemon.client, document: Document(served.json()) };
    for path in ["/openapi.json", "/health", "/ready", "/info", "/auth/status", "/servers", "/filesystem/overlays"] {
        witness.expect(200, "GET", path, path, None);
    }

    let (template, config) = (daemon.scratch().0.join("template"), "/servers/{slug}");
    std::fs::create_dir_all(template.join(".git")).unwrap();
    let spec = json!({
        "slug": "web", "start": format!("{} listen stay", testchild()), "install": "true", "path": ".", "port": quiet_port(),
        "environment": {"A": "b"}, "restart_policy": "on-failure", "restart_delay_max_ms": 5000, "tpyo": 1,
        "health_check": {"path": "/x", "restart_after_failures": 0}, "env_file": null,
        "overlay": {"source": template, "target": "app", "ignore": ["*.log"]},
    });
    let created = witness.expect(201, "POST", "/servers", "/servers", Some(&spec));
    assert!(created["warnings"].is_array());
    witness.expect(200, "GET", config, "/servers/web?wait_for=running&timeout_ms=20000", None);
    witness.expect(409, "POST", "/servers", "/servers", Some(&spec));
    witness.expect(200, "GET", "/ready", "/ready?wait=true&timeout_ms=0", None);
    witness.expect(200, "GET", "/servers", "/servers?odd=1", None);
    for (accept, kind) in [("application/json", "application/json"), ("text/plain", "text/plain")] {
        let logs = witness.ask("GET", "/servers/{slug}/logs", "/servers/web/logs?tail=1", &[("Accept", accept)], None);
        assert!(logs.header("Content-Type").unwrap().starts_with(kind));
    }
    let mark = |status: &str| json!({"status": status});
    witness.expect(200, "PATCH", "/servers/{slug}/status", "/servers/web/status", Some(&mark("ready")));
    witness.expect(409, "PATCH", "/servers/{slug}/status", "/servers/web/status", Some(&mark("failed")));
    witness.expect(422, "PATCH", "/servers/{slug}/status", "/servers/web/status", Some(&mark("gone")));
    witness.expect(200, "POST", "/servers/{slug}/restart", "/servers/web/restart", None);
    witness.expect(409, "POST", "/servers/{slug}/start", "/servers/web/start", None);
    witness.expect(200, "POST", "/servers/{slug}/stop", "/servers/web/stop", None);
    witness.expect(200, "POST", "/servers/{slug}/start", "/servers/web/start", None);
    witness.expect(204, "DELETE", config, "/servers/web", None);

    let (all, one) = ("/filesystem/overlays", "/filesystem/overlays/{id}");
    witness.expect(200, "GET", all, all, None);
    let wanted = json!({"source": template, "target": "other", "strategy": "copy"});
    let overlay = witness.expect(201, "POST", all, all, Some(&wanted));
    let target = format!("{all}/{}", overlay["id"].as_str().unwrap());
    witness.expect(200, "GET", one, &target, None);
    witness.expect(204, "DELETE", one, &format!("{target}?delete_files=true"), None);
    witness.expect(404, "GET", one, &target, None);
    witness.expect(404, "GET", config, "/servers/none", None);
    witness.expect(422, "GET", config, "/servers/none?wait_for=x", None);
    witness.expect(422, "POST", "/servers", "/servers", Some(&json!({"slug": "", "port": 0})));
    witness.expect(422, "POST", all, all, Some(&json!({})));
    assert_eq!(witness.ask("POST", "/servers", "/servers", &[], None).status, 415);
    let anonymous = Witness { client: &stranger, document: Document(served.json()) };
    anonymous.expect(401, "GET", "/servers", "/servers", None);
    anonymous.expect(401, "GET", "/info", "/info", None);
}

#[test]
fn a_false_answer_is_noticed() {
    let daemon = Daemon::start();
    let document = Document(daemon.client.get("/openapi.json").json());
    let health = |body: &[u8]| document.fault("GET", "/health", 200, "application/json", body);
    assert_eq!(health(br#"{"status":"ok","timestamp":"2026-11-24T10:09:13.042Z"}"#), Ok(()));
    for wrong in [
        r#"{"status":"no","timestamp":"2026-11-24T10:09:13.042Z"}"#,
        r#"{"status":"ok","timestamp":"today"}"#,
        r#"{"status":"ok"}"#,
        r#"{"status":"ok","timestamp":"2026-11-24T10:09:13.042Z","more":1}"#,
        "[]",
    ] {
        assert!(health(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(document.fault("GET", "/health", 201, "application/json", b"{}").is_err());
    assert!(document.fault("GET", "/health", 200, "text/plain", b"").is_err());
    assert!(document.fault("DELETE", "/servers/{slug}", 204, "", b"x").is_err());
}
