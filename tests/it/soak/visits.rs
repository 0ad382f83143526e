//! Visitors of servers, by public URL.

use serde_json::json;

use super::Soak;
use super::model::State;
use crate::proxy::{Visitor, visit};
use crate::support::{quiet_port, testchild, wait_until};

/// Streams that are open at the same time, at most.
const HELD_MAX: usize = 4;
/// Without visitors for so long, a server that lives by them is stopped.
const IDLE_MS: u64 = 30;

/// A stream that lasts as long as the run that it comes from.
pub struct Held {
    slug: String,
    /// The first process of the run.
    pid: u64,
    form: Form,
    visitor: Visitor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A WebSocket.
    Tunnel,
    /// An answer whose end is the end of the connection.
    Endless,
    /// The first bytes of an answer of known length.
    Half,
}

impl Soak {
    /// What a visitor gets is the answer of the run that lives, or says why there is none.
    pub(super) fn visit(&mut self, slug: &str) {
        let (address, host) = (self.daemon.client.address, format!("{slug}.localhost"));
        let refused = match self.model.get(slug) {
            None => (404, "no_such_server"),
            Some(server) if server.is_visited() => return self.visit_run(slug, &host),
            // It is not known yet that it will not listen.
            Some(server) if server.state == State::Up => return,
            Some(server) if server.state == State::Failed => (502, "server_failed"),
            Some(_) => (503, "server_stopped"),
        };
        let answer = visit(address, &host, "/who", "");
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        assert_eq!((answer.status, code.as_str()), refused, "{slug}: {:?}", self.model.get(slug));
    }

    fn visit_run(&mut self, slug: &str, host: &str) {
        let address = self.daemon.client.address;
        if self.model[slug].starts_now_on_visit() {
            // Not by what a page that was left open asks for.
            assert_eq!(visit(address, host, "/who", "Sec-Fetch-Mode: cors").status, 503, "{slug}");
            self.change(slug, super::model::Server::start);
        }
        let answer = visit(address, host, "/who", "");
        assert_eq!(answer.status, 200, "{slug}: {:?} {}", self.model[slug], answer.text());
        let pid = self.pid(slug).unwrap();
        assert_eq!(who(&answer.text()), Some((slug, pid)), "{}", answer.text());
        match self.random.below(4) {
            0 => {
                let length = self.random.below(300_000);
                let head = format!("POST /count HTTP/1.1\nHost: {host}\nContent-Length: {length}\nConnection: close");
                let mut visitor = Visitor::open(address, &head);
                visitor.send(&vec![b'x'; length as usize]);
                assert_eq!(visitor.answer().text(), length.to_string());
            }
            1 => {
                let length = self.random.below(1_000_000);
                let path = format!("/{}/{length}", if length.is_multiple_of(2) { "big" } else { "chunks" });
                assert_eq!(visit(address, host, &path, "").body.len() as u64, length);
            }
            _ => {}
        }
    }

    /// Opens a stream to a server that runs, or leaves one.
    pub(super) fn hold(&mut self, slug: &str) {
        if self.held.len() >= HELD_MAX {
            let place = self.random.below(HELD_MAX as u64) as usize;
            self.held.remove(place);
        }
        if !self.model.get(slug).is_some_and(|server| server.is_visited() && server.state == State::Up) {
            return;
        }
        let (form, head) = match self.random.below(4) {
            0 => (Form::Endless, "GET /events HTTP/1.1"),
            1 => (Form::Half, "GET /half HTTP/1.1"),
            _ => (Form::Tunnel, "GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade"),
        };
        let pid = self.seen[slug]["pid"].as_u64().unwrap();
        let mut visitor = Visitor::open(self.daemon.client.address, &format!("{head}\nHost: {slug}.localhost"));
        let head = visitor.read_to("\r\n\r\n");
        let status = if form == Form::Tunnel { " 101 " } else { " 200 " };
        assert!(head.contains(status), "{slug}: {head}");
        self.held.push(Held { slug: slug.to_owned(), pid, form, visitor });
    }

    /// Each stream lasts as long as its run, and no longer.
    pub(super) fn look_at_held(&mut self) {
        let seen = &self.seen;
        self.held.retain_mut(|held| {
            if seen.get(&held.slug).is_some_and(|server| server["pid"] == held.pid) {
                if held.form == Form::Tunnel {
                    held.visitor.send(b"frame;");
                    held.visitor.read_to("frame;");
                }
                return true;
            }
            let rest = held.visitor.rest();
            let expected = match held.form {
                Form::Tunnel => &["", "end"][..],
                // No last chunk.
                Form::Endless => &[""],
                // Less than was announced.
                Form::Half => &["half"],
            };
            assert!(expected.contains(&rest.as_str()), "{:?} of {}: {rest:?}", held.form, held.slug);
            false
        });
    }

    /// The whole life of a server that visitors with a key start, and that is stopped when they have left.
    pub(super) fn live_by_visits(&mut self) {
        let (client, address) = (self.daemon.client.clone(), self.daemon.client.address);
        let spec = json!({
            "slug": "lazy", "start": format!("exec {} web 127.0.0.1:PORT stay", testchild()), "port": quiet_port(),
            "restart_policy": "always",
            "proxy": {"access": "key", "start_on_visit": true, "idle_stop_ms": IDLE_MS},
        });
        client.create(&spec).server(201);
        let server = client.wait_for_status("lazy", "stopped");
        let key = server["access_url"].as_str().unwrap().split_once("?servisor_key=").unwrap().1.to_owned();
        assert_eq!(visit(address, "lazy.localhost", "/who", "").status, 401);
        assert_eq!(client.show("lazy")["status"], "stopped", "who has no key starts nothing");
        let answer = visit(address, "lazy.localhost", "/who", &format!("X-Servisor-Key: {key}"));
        assert!(answer.status == 200 && who(&answer.text()).is_some_and(|(slug, _)| slug == "lazy"), "{answer:?}");
        wait_until("it is stopped once more", || {
            let runs = client.get("/servers/lazy/runs").json()["data"]["runs"].clone();
            let idle: Vec<_> = runs.as_array().unwrap().iter().map(|run| (&run["run"], &run["reason"])).collect();
            (idle == [(&json!(2), &json!("idle")), (&json!(1), &json!("idle"))]).then_some(())
        });
        assert_eq!(client.delete("/servers/lazy").status, 204);
    }
}

/// The server and the process that an answer to `/who` names.
pub fn who(text: &str) -> Option<(&str, u64)> {
    let (run, pid) = text.split_once(' ')?;
    Some((run.split('.').nth(2)?, pid.parse().ok()?))
}
