//! Events: what a reader sees, also one that is cut off again and again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Daemon, Stream, wait_until};

/// What a reader knows.
#[derive(Default)]
struct Reader {
    last_id: Option<String>,
    servers: BTreeMap<String, Value>,
    /// Of each server: the runs that it saw, and those that were reported as missed.
    runs: BTreeMap<String, (Vec<u64>, u64)>,
    snapshots: usize,
}

impl Reader {
    /// Takes the whole events of `text`.
    fn take(&mut self, text: &str) {
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
        for event in whole.split("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let (name, id) = (field("event: "), field("id: "));
            if name.is_empty() {
                continue;
            }
            let data: Value = serde_json::from_str(field("data: ")).unwrap();
            let slug = |value: &Value| value["slug"].as_str().unwrap().to_owned();
            match name {
                "snapshot" => {
                    self.snapshots += 1;
                    let all = data["servers"].as_array().unwrap();
                    self.servers = all.iter().map(|server| (slug(server), server.clone())).collect();
                }
                "server" => drop(self.servers.insert(slug(&data["server"]), data["server"].clone())),
                "deleted" => drop(self.servers.remove(&slug(&data))),
                "run" => {
                    let (seen, missed) = self.runs.entry(slug(&data)).or_default();
                    let number = data["run"]["run"].as_u64().unwrap();
                    assert!(!seen.contains(&number), "run {number} twice: {event}");
                    seen.push(number);
                    *missed += data["missed"].as_u64().unwrap_or(0);
                }
                "shutdown" => {}
                other => panic!("{other}"),
            }
            if !id.is_empty() {
                self.last_id = Some(id.to_owned());
            }
        }
    }

    fn connect(&self, daemon: &Daemon) -> Stream {
        let headers: Vec<(&str, &str)> = self.last_id.iter().map(|id| ("Last-Event-ID", id.as_str())).collect();
        let stream = Stream::open(&daemon.client, "/events", &headers);
        assert_eq!(stream.status, 200, "{}", stream.head);
        stream
    }
}

/// What does not depend on when one looks.
fn picture(server: &Value) -> Value {
    json!([server["status"], server["pid"], server["restart_count"], server["updated_at"], server["last_exit"]["run"]])
}

#[test]
fn a_reader_that_is_cut_off_again_and_again_ends_with_the_same_picture() {
    let daemon = Daemon::start();
    for number in 0..20 {
        let spec = json!({
            "slug": format!("s{number}"), "start": format!("exec sleep 0.0{}", number % 10), "restart_policy": "always",
            "restart_delay_ms": 20 + number,
        });
        daemon.client.create(&spec).server(201);
    }
    let mut reader = Reader::default();
    let base: BTreeMap<String, u64> = {
        let mut stream = reader.connect(&daemon);
        reader.take(&stream.read_until(|text| text.contains("\n\n")));
        let number = |server: &Value| server["last_exit"]["run"].as_u64().unwrap_or(0);
        reader.servers.iter().map(|(slug, server)| (slug.clone(), number(server))).collect()
    };
    for cut in 0..100 {
        let mut stream = reader.connect(&daemon);
        let least = 1 + cut % 5;
        reader.take(&stream.read_until(|text| text.matches("\n\n").count() >= least));
        if cut % 25 == 0 {
            let slug = format!("s{}", cut / 25);
            daemon.client.delete(&format!("/servers/{slug}"));
        }
        if cut == 50 {
            let last = |slug: &str| daemon.client.show(slug)["last_exit"]["run"].as_u64().unwrap_or(0);
            let before = last("s10");
            wait_until("more runs have ended than an answer lists", || (last("s10") > before + 20).then_some(()));
        }
    }
    for server in daemon.client.get("/servers").json()["data"]["servers"].as_array().unwrap() {
        daemon.client.post(&format!("/servers/{}/stop", server["slug"].as_str().unwrap())).server(200);
    }
    let mut stream = reader.connect(&daemon);
    let all = daemon.client.get("/servers").json()["data"]["servers"].clone();
    let expected: BTreeMap<String, Value> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|server| (server["slug"].as_str().unwrap().to_owned(), picture(server)))
        .collect();
    wait_until("the reader has the same picture", || {
        reader.take(&stream.read_until(|text| text.ends_with("\n\n")));
        let own: BTreeMap<String, Value> =
            reader.servers.iter().map(|(slug, server)| (slug.clone(), picture(server))).collect();
        (own == expected).then_some(())
    });
    assert_eq!(reader.snapshots, 1, "a reader that comes back in time gets no snapshot");
    for (slug, server) in &reader.servers {
        let last = server["last_exit"]["run"].as_u64().unwrap();
        let (seen, missed) = &reader.runs[slug];
        // A run that ended while the snapshot was made may be in it and come as an event too.
        let later = seen.iter().filter(|number| **number > base[slug]).count() as u64;
        assert_eq!(later + missed, last - base[slug], "{slug}: {seen:?}, {missed} missed, since {}", base[slug]);
    }
}

/// Events that come at once, because the reader does not read: a server with runs is deleted, and made anew twice.
#[test]
fn a_server_that_was_made_anew_begins_with_its_first_run() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let (path, made) = ("/servers/web", json!({"slug": "web", "start": "exec sleep 600"}));
    client.create(&made).server(201);
    for _ in 0..5 {
        client.post(&format!("{path}/restart")).server(200);
    }
    let mut stream = Stream::open(client, "/events", &[]);
    client.post(&format!("{path}/restart")).server(200);
    // It has sent that run, so it knows that there were as many as that.
    stream.read_until(|text| text.contains("\"run\":6,"));
    // Each change of this one is an event as large as that: together more than the sockets hold.
    let large = json!({"slug": "large", "start": "exec sleep 600", "environment": {"LARGE": "x".repeat(120_000)}});
    client.create(&large).server(201);
    for mark in ["ready", "running"].into_iter().cycle().take(200) {
        assert_eq!(client.mark("large", mark).status, 200);
    }
    for _ in 0..2 {
        assert_eq!(client.delete(path).status, 204);
        client.create(&made).server(201);
        client.post(&format!("{path}/restart")).server(200);
    }
    client.post(&format!("{path}/stop")).server(200);
    let text = stream.read_until(|text| text.contains("\"reason\":\"stopped\""));
    let events = text.split("\n\n").filter(|event| event.contains("\"slug\":\"web\""));
    let seen: Vec<String> = events
        .filter_map(|event| {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let data: Value = serde_json::from_str(field("data: ")).unwrap();
            match field("event: ") {
                "run" => Some(format!("{} {}", data["run"]["run"], data["missed"].as_u64().unwrap_or(0))),
                "deleted" => Some("deleted".to_owned()),
                _ => None,
            }
        })
        .collect();
    assert_eq!(seen, ["7 0", "deleted", "2 1", "deleted", "1 0", "2 0"], "{seen:?}");
}

#[test]
fn ids_of_another_life_and_nonsense_get_a_snapshot() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    for id in ["", "x", "deadbeef-1", "-1", "00000000-99999999999999999999"] {
        let mut stream = Stream::open(&daemon.client, "/events?slug=web", &[("Last-Event-ID", id)]);
        let text = stream.read_until(|text| text.contains("\n\n"));
        assert!(text.contains("event: snapshot") && text.contains("\"web\""), "{id:?}: {text}");
    }
}

#[test]
fn readers_that_never_read_slow_nothing_and_leave_their_places() {
    let daemon = Daemon::start();
    let readers: Vec<Stream> = (0..16).map(|_| Stream::open(&daemon.client, "/events", &[])).collect();
    let refused = Stream::open(&daemon.client, "/events", &[]);
    assert_eq!(refused.status, 503, "{}", refused.head);
    let spec = json!({"slug": "app", "start": "exit 1", "restart_policy": "always", "restart_delay_ms": 0, "max_restarts": 200});
    daemon.client.create(&spec).server(201);
    daemon.client.wait_for_status("app", "failed");
    drop(readers);
    wait_until("a place is free", || (Stream::open(&daemon.client, "/events", &[]).status == 200).then_some(()));
}

#[test]
fn the_end_of_the_daemon_is_an_event() {
    let mut daemon = Daemon::start();
    let mut stream = Stream::open(&daemon.client, "/events", &[]);
    stream.read_until(|text| text.contains("snapshot"));
    daemon.signal(libc::SIGTERM);
    assert!(String::from_utf8(stream.read_to_end()).unwrap().ends_with("event: shutdown\ndata: {}\n\n"));
    assert!(stream.is_whole);
    assert!(daemon.wait().success());
}

#[test]
fn the_logs_of_many_servers_come_in_one_stream() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "a", "start": "echo one; echo bad >&2; exec sleep 600"})).server(201);
    wait_until("it has spoken", || (daemon.client.logs("a", "").lines().count() == 2).then_some(()));
    let mut stream = Stream::open(&daemon.client, "/logs?follow=true&tail=1", &[]);
    let first = stream.read_until(|text| text.contains("\n\n"));
    assert!(first.starts_with("event: line\ndata: {\"slug\":\"a\","), "{first}");
    daemon.client.create(&json!({"slug": "later", "start": "echo two; printf half; exec sleep 600"})).server(201);
    let rest = stream.read_until(|text| text.contains("half"));
    assert!(rest.contains(r#"{"slug":"later","stream":"stdout","line":"two"}"#), "{rest}");
    let mut answer = Stream::open(&daemon.client, "/logs?slug=a&slug=missing&stream=stderr", &[]);
    let body: Value = serde_json::from_slice(&answer.read_to_end()).unwrap();
    assert_eq!(body["data"]["lines"], json!([{"slug": "a", "stream": "stderr", "line": "bad"}]));
    assert_eq!(daemon.client.get("/logs?slug=.x").status, 422);
    // "half" has no end, and is a line all the same.
    for (tail, expected) in [(0, vec![]), (1, vec!["half"]), (2, vec!["two", "half"]), (3, vec!["two", "half"])] {
        let of_one = daemon.client.logs("later", &format!("?tail={tail}"));
        assert_eq!(of_one.lines().collect::<Vec<_>>(), expected, "tail={tail}");
        let mut of_many = Stream::open(&daemon.client, &format!("/logs?slug=later&tail={tail}"), &[]);
        let of_many: Value = serde_json::from_slice(&of_many.read_to_end()).unwrap();
        let lines = of_many["data"]["lines"].as_array().unwrap().iter().map(|line| line["line"].as_str().unwrap());
        assert_eq!(lines.collect::<Vec<_>>(), expected, "tail={tail}");
        for path in ["/logs?follow=true&slug=later&", "/servers/later/logs?follow=true&"] {
            let mut stream = Stream::open(&daemon.client, &format!("{path}tail={tail}"), &[]);
            let text = stream.read_until(|text| text.contains("half"));
            assert_eq!(text.contains("two"), expected.contains(&"two"), "{path}tail={tail}: {text}");
        }
    }
}
