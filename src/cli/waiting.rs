//! The wait for servers: one stream of events, judged at each change.
//!
//! Owns: the picture of the servers that are waited for, and its deadline. Never: when a goal is reached (see `goal`).
//!
//! The stream asks with `attend=true`: the daemon then looks for ports of these servers as it does for `wait_for`.

use std::time::Instant;

use serde_json::Value;

use super::api::{Api, Events, Next, with_slugs};
use super::goal::{Goal, Verdict, describe};
use super::server::Server;
use super::sse::Event;
use super::terminal::Terminal;
use super::{Exit, Failure};

/// As many lines of a log explain a failure.
const LOG_LINES: usize = 10;

/// Waits until each of `slugs` (all servers, if there is none) has reached `goal`, and returns them.
///
/// # Errors
/// One can't get there (with its reason and the end of its log), the time was up, the daemon was lost.
pub fn wait(api: &Api, to: &mut Terminal, goal: Goal, slugs: &[String]) -> Result<Vec<Value>, Failure> {
    let deadline = Instant::now() + api.timeout;
    let mut picture = Picture { slugs, servers: Vec::new(), goal };
    let mut events = api.events(&with_slugs("/events?attend=true", slugs))?;
    picture.begin(&mut events)?;
    loop {
        while let Some(event) = events.at_hand() {
            picture.take(&event, to)?;
        }
        match picture.verdict() {
            Verdict::Reached => return Ok(picture.servers),
            Verdict::Pending => {}
            Verdict::NoServer => return Err(picture.missing()),
            Verdict::Impossible(why) => return Err(impossible(api, to, &why, picture.culprit())),
        }
        match events.next(Some(deadline))? {
            Next::Event(event) => picture.take(&event, to)?,
            Next::Quiet => return Err(picture.late()),
            Next::Ended => return Err(Failure::new(Exit::NoDaemon, "the daemon has ended")),
        }
    }
}

struct Picture<'a> {
    /// Empty for all servers.
    slugs: &'a [String],
    servers: Vec<Value>,
    goal: Goal,
}

impl Picture<'_> {
    /// A stream begins with how everything is.
    fn begin(&mut self, events: &mut Events<'_>) -> Result<(), Failure> {
        match events.next(None)? {
            Next::Event(event) if event.name == "snapshot" => {
                let mut data = parse(&event)?;
                if let Some(Value::Array(servers)) = data.get_mut("servers").map(Value::take) {
                    let goal = self.goal;
                    self.servers = servers;
                    if self.slugs.is_empty() {
                        self.servers.retain(|server| goal.concerns(server));
                    }
                }
                Ok(())
            }
            Next::Ended => Err(Failure::new(Exit::NoDaemon, "the daemon has ended")),
            Next::Event(_) | Next::Quiet => Err(not_understood()),
        }
    }

    fn take(&mut self, event: &Event, to: &mut Terminal) -> Result<(), Failure> {
        let mut data = parse(event)?;
        match event.name.as_str() {
            "server" => {
                let Some(server) = data.get_mut("server").map(Value::take) else { return Err(not_understood()) };
                let slug = Server(&server).slug().to_owned();
                let known = self.servers.iter_mut().find(|known| Server(known).slug() == slug);
                if known.as_ref().is_none_or(|known| Server(known).status() != Server(&server).status()) {
                    to.progress(&describe(Server(&server)));
                }
                match known {
                    Some(known) => *known = server,
                    None => self.servers.push(server),
                }
            }
            "deleted" => {
                let slug = Server(&data).slug().to_owned();
                self.servers.retain(|server| Server(server).slug() != slug);
                to.progress(&format!("{slug} is deleted"));
            }
            "shutdown" => return Err(Failure::new(Exit::NoDaemon, "the daemon is shutting down")),
            _ => {}
        }
        Ok(())
    }

    fn find(&self, slug: &str) -> Option<&Value> {
        self.servers.iter().find(|server| Server(server).slug() == slug)
    }

    /// Of all servers: trouble counts before patience.
    fn verdict(&self) -> Verdict {
        let mut pending = false;
        let verdicts: Vec<Verdict> = if self.slugs.is_empty() {
            self.servers.iter().map(|server| self.goal.judge(Some(server))).collect()
        } else {
            self.slugs.iter().map(|slug| self.goal.judge(self.find(slug))).collect()
        };
        for verdict in verdicts {
            match verdict {
                Verdict::Reached => {}
                Verdict::Pending => pending = true,
                Verdict::NoServer | Verdict::Impossible(_) => return verdict,
            }
        }
        if pending { Verdict::Pending } else { Verdict::Reached }
    }

    fn culprit(&self) -> Option<&str> {
        let is_lost = |server: &&Value| matches!(self.goal.judge(Some(server)), Verdict::Impossible(_));
        self.servers.iter().find(is_lost).map(|server| Server(server).slug())
    }

    fn missing(&self) -> Failure {
        let missing: Vec<&str> =
            self.slugs.iter().filter(|slug| self.find(slug).is_none()).map(String::as_str).collect();
        Failure::new(Exit::NoServer, format!("there is no server {}", missing.join(", ")))
    }

    fn late(&self) -> Failure {
        let is_waited_for = |server: &&Value| self.goal.judge(Some(server)) == Verdict::Pending;
        let waited: Vec<String> =
            self.servers.iter().filter(is_waited_for).map(|server| describe(Server(server))).collect();
        Failure::new(Exit::TimeUp, format!("the time is up: {}", waited.join("; ")))
    }
}

fn parse(event: &Event) -> Result<Value, Failure> {
    serde_json::from_str(&event.data).map_err(|_| not_understood())
}

fn not_understood() -> Failure {
    Failure::new(Exit::Failed, "the daemon sends events that this version does not understand")
}

/// Says why, and shows the end of the log of `slug`.
fn impossible(api: &Api, to: &mut Terminal, why: &str, slug: Option<&str>) -> Failure {
    to.complain(why);
    if let Some(slug) = slug {
        last_lines(api, to, slug, LOG_LINES);
    }
    Failure::reported(Exit::Failed)
}

/// Shows the last lines of a log on stderr. A log that can't be had is no further failure.
pub fn last_lines(api: &Api, to: &mut Terminal, slug: &str, count: usize) {
    let target = with_slugs(&format!("/logs?tail={count}"), &[slug.to_owned()]);
    let Ok(Ok(answer)) = api.ask("GET", &target, None) else { return };
    for line in answer.body["data"]["lines"].as_array().into_iter().flatten() {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        to.note(&format!("  {} | {}", text("stream"), super::table::plain(text("line"))));
    }
}
