//! A reader of the events, who leaves now and then and comes back with the id of what it saw last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Soak;
use crate::support::{Client, LIMIT, Stream, wait_until};

/// What it knows.
#[derive(Default)]
pub struct Watcher {
    stream: Option<Stream>,
    last_id: Option<String>,
    /// The daemon that gave the id is alive.
    is_known: bool,
    servers: BTreeMap<String, Value>,
    /// Of each server: the newest run of which it knows that it has ended.
    runs: BTreeMap<String, u64>,
}

impl Watcher {
    /// Leaves.
    pub fn leave(&mut self) {
        self.stream = None;
    }

    /// The daemon was killed: the next one begins with all there is.
    pub fn lose_daemon(&mut self) {
        (self.stream, self.is_known) = (None, false);
    }

    /// Reads what has come, until it is quiet for a moment.
    fn read(&mut self, client: &Client) {
        let headers: Vec<(&str, &str)> = self.last_id.iter().map(|id| ("Last-Event-ID", id.as_str())).collect();
        let mut stream = self.stream.take().unwrap_or_else(|| {
            // One who has left may keep his place for 2 s.
            wait_until("a place for a reader of events", || {
                let stream = Stream::open(client, "/events", &headers);
                (stream.status == 200).then_some(stream)
            })
        });
        while !stream.is_quiet_for(Duration::from_millis(2)) {
            let text = stream.read_until(|text| text.ends_with("\n\n"));
            assert!(text.ends_with("\n\n"), "the stream of events has ended: {text:?}");
            text.split_terminator("\n\n").for_each(|event| self.take(event));
        }
        self.stream = Some(stream);
    }

    fn take(&mut self, event: &str) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let (name, id) = (field("event: "), field("id: "));
        if name.is_empty() {
            return;
        }
        assert_eq!(self.is_known, name != "snapshot", "{event}");
        if self.is_known {
            let before = self.last_id.as_deref().map(number).unwrap_or_default();
            assert!(number(id) >= before, "an event of before {before}: {event}");
        }
        (self.last_id, self.is_known) = (Some(id.to_owned()), true);
        let data: Value = serde_json::from_str(field("data: ")).unwrap();
        let slug = |value: &Value| value["slug"].as_str().unwrap().to_owned();
        match name {
            "snapshot" => {
                let all = data["servers"].as_array().unwrap();
                self.servers = all.iter().map(|server| (slug(server), server.clone())).collect();
                self.runs = all.iter().map(|server| (slug(server), last_run(server))).collect();
            }
            "server" => drop(self.servers.insert(slug(&data["server"]), data["server"].clone())),
            "deleted" => {
                self.servers.remove(&slug(&data));
                self.runs.remove(&slug(&data));
            }
            "run" => {
                let run = data["run"]["run"].as_u64().unwrap();
                let before = self.runs.insert(slug(&data), run).unwrap_or(0);
                let missed = data["missed"].as_u64().unwrap_or(0);
                assert_eq!(run, before + missed + 1, "a gap that no event reports, or a run twice: {event}");
            }
            other => panic!("{other}: {event}"),
        }
    }

    /// Of each server what a client can compare, and its newest run that is over.
    fn picture(&self) -> BTreeMap<String, Value> {
        let known_run = |slug: &String| self.runs.get(slug).copied().unwrap_or(0);
        self.servers.iter().map(|(slug, server)| (slug.clone(), picture(server, known_run(slug)))).collect()
    }
}

fn number(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

fn last_run(server: &Value) -> u64 {
    server["last_exit"]["run"].as_u64().unwrap_or(0)
}

fn picture(server: &Value, last_run: u64) -> Value {
    json!([server["status"], server["pid"], server["restart_count"], server["environment"], last_run])
}

impl Soak {
    /// What the events say is what is there, and each end of a run was among it.
    pub(super) fn watch(&mut self) {
        if self.random.below(2) == 0 {
            self.watcher.leave();
        }
        let limit = Instant::now() + LIMIT;
        loop {
            self.watcher.read(&self.daemon.client);
            let list = self.get("/servers").json()["data"]["servers"].clone();
            let all = list.as_array().unwrap().iter();
            let expected: BTreeMap<String, Value> = all
                .map(|server| (server["slug"].as_str().unwrap().to_owned(), picture(server, last_run(server))))
                .collect();
            let seen = self.watcher.picture();
            if seen == expected {
                break;
            }
            assert!(Instant::now() < limit, "the events say {seen:#?}, and there is {expected:#?}");
        }
    }
}
