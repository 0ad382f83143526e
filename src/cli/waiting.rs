//! The wait for servers: one stream of events, judged at each change.
//!
//! Owns: the picture of the servers that are waited for, and its deadline. Never: when a goal is reached (see `goal`).
//!
//! The stream asks with `attend=true`: the daemon then looks for ports of these servers as it does for `wait_for`.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::api::{ApiClient, NextEvent, path, with_slugs};
use super::goal::{Goal, Verdict, describe};
use super::server::{Server, list, take};
use super::sse::SseEvent;
use super::terminal::Terminal;
use super::{CliExit, Failure, joined};

/// As many lines of a log explain a failure.
const LOG_LINES: &str = "/logs?tail=10";

/// Whether a server stays up is judged this often when nothing happens.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until each of `slugs` (all servers, if there is none) has reached `goal`, and returns them.
///
/// # Errors
/// One can't get there (with its reason and the end of its log), the time was up, the daemon was lost.
pub fn wait(api: &ApiClient, to: &mut Terminal, goal: Goal, slugs: &[&str]) -> Result<&'static [Value], Failure> {
    let deadline = Instant::now() + api.timeout;
    let mut picture = Picture { slugs, servers: Vec::new(), goal };
    let mut events = api.events(with_slugs("/events?attend=true", slugs))?;
    // A stream begins with how everything is.
    let mut next = events.next(None)?;
    loop {
        match next {
            NextEvent::SseEvent(event) => picture.take(event, to)?,
            NextEvent::Quiet if Instant::now() < deadline => {}
            NextEvent::Quiet => {
                let (failure, slug) = picture.late();
                to.complain(&[failure.text]);
                say_what_is_missing(api, to, slug);
                last_lines(api, to, slug);
                return Err(Failure::reported(failure.exit));
            }
            NextEvent::Ended => return Err(Failure::new(CliExit::NoDaemon, &["the daemon has ended"])),
        }
        while let Some(event) = events.at_hand() {
            picture.take(event, to)?;
        }
        let (verdict, slug) = picture.verdict();
        match verdict {
            Verdict::Reached => return Ok(picture.servers.leak()),
            Verdict::Pending => {}
            Verdict::NoServer => {
                picture.each(|slug, server| {
                    if server.is_none() {
                        to.complain(&["there is no server ", slug]);
                    }
                });
                return Err(Failure::reported(CliExit::NoServer));
            }
            Verdict::Impossible(why) => {
                to.complain(&[why]);
                last_lines(api, to, slug);
                return Err(Failure::reported(CliExit::Failed));
            }
        }
        let look = match goal {
            Goal::Up => deadline.min(Instant::now() + LOOK),
            Goal::Running | Goal::Ready | Goal::Healthy | Goal::Stopped | Goal::Gone => deadline,
        };
        next = events.next(Some(look))?;
    }
}

struct Picture<'a> {
    /// Empty for all servers.
    slugs: &'a [&'a str],
    servers: Vec<Value>,
    goal: Goal,
}

impl Picture<'_> {
    fn take(&mut self, event: SseEvent, to: &mut Terminal) -> Result<(), Failure> {
        let mut data = event.json()?;
        match event.name.as_str() {
            "snapshot" => {
                let goal = self.goal;
                self.servers = match take(&mut data, "servers") {
                    Value::Array(servers) => servers,
                    _ => return Err(not_understood()),
                };
                if self.slugs.is_empty() {
                    self.servers.retain(|server| goal.concerns(server));
                }
                // Otherwise a long wait would begin with silence.
                let now = SystemTime::now();
                self.each(|_, server| {
                    if let Some(server) = server
                        && goal.judge(Some(server), now) == Verdict::Pending
                    {
                        to.progress(&describe(Server(server)));
                    }
                });
            }
            "server" => {
                let new = take(&mut data, "server");
                let view = Server(&new);
                let place = self.servers.iter().position(|known| Server(known).slug() == view.slug());
                if place.is_none_or(|place| Server(&self.servers[place]).status() != view.status()) {
                    to.progress(&describe(view));
                }
                match place {
                    Some(place) => self.servers[place] = new,
                    None => self.servers.push(new),
                }
            }
            "deleted" => {
                let slug = Server(&data).slug();
                self.servers.retain(|server| Server(server).slug() != slug);
                to.progress(&[slug, " is deleted"]);
            }
            "shutdown" => return Err(Failure::new(CliExit::NoDaemon, &["the daemon is shutting down"])),
            _ => {}
        }
        Ok(())
    }

    /// The servers that are waited for, by name; `None` in the place of one that does not exist.
    fn each(&self, mut with: impl FnMut(&str, Option<&Value>)) {
        if self.slugs.is_empty() {
            self.servers.iter().for_each(|server| with(Server(server).slug(), Some(server)));
        }
        for slug in self.slugs {
            with(slug, self.servers.iter().find(|server| Server(server).slug() == *slug));
        }
    }

    /// Of all servers, and of which one: trouble counts before patience.
    fn verdict(&self) -> (Verdict, &'static str) {
        let (mut worst, now) = ((Verdict::Reached, ""), SystemTime::now());
        self.each(|slug, server| {
            let verdict = self.goal.judge(server, now);
            if matches!(worst.0, Verdict::Reached | Verdict::Pending) && verdict != Verdict::Reached {
                let slug = if matches!(verdict, Verdict::Impossible(_)) { joined(&[slug]) } else { "" };
                worst = (verdict, slug);
            }
        });
        worst
    }

    /// The failure, and the first server that is not there yet.
    fn late(&self) -> (Failure, &'static str) {
        let (mut text, mut first, now) = (vec!["the time is up"], "", SystemTime::now());
        self.each(|slug, server| {
            if self.goal.judge(server, now) == Verdict::Pending
                && let Some(server) = server
            {
                let separator = if text.len() == 1 { ": " } else { "; " };
                text.extend([separator, joined(&describe(Server(server)))]);
                if first.is_empty() {
                    first = joined(&[slug]);
                }
            }
        });
        (Failure::new(CliExit::TimeUp, &text), first)
    }
}

/// Says what a server that runs lacks to be ready. Asks for it: a health check that fails again is no event.
fn say_what_is_missing(api: &ApiClient, to: &mut Terminal, slug: &str) {
    let Ok(answer) = api.get(path(slug, "")) else { return };
    let server = answer.server();
    let health = Server(server.field("health")).text("last_error");
    match server.status() {
        "running" if server.can_be_ready() && list(server.0, "ports").is_empty() => {
            to.note(&["  ", slug, " listens on no port"]);
        }
        "running" if !health.is_empty() => to.note(&["  the health check of ", slug, " fails: ", health]),
        _ => {}
    }
}

/// A stream that makes no sense.
pub fn not_understood() -> Failure {
    Failure::new(CliExit::Failed, &["the daemon sends events that this version does not understand"])
}

/// Shows the last lines of a log on stderr. A log that can't be had is no further failure.
pub fn last_lines(api: &ApiClient, to: &mut Terminal, slug: &str) {
    let Ok(answer) = api.get(with_slugs(LOG_LINES, &[slug])) else { return };
    for line in list(answer.body.0, "lines").iter().map(Server) {
        to.note(&["  ", line.text("stream"), " | ", line.text("line")]);
    }
}
