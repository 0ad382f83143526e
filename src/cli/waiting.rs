//! The wait for servers: one stream of events, judged at each change.
//!
//! Owns: the state of the servers that are waited for, and its deadline. Never: when a goal is reached (see `goal`).
//!
//! The stream asks with `attend=true`: the daemon then looks for ports of these servers as it does for `wait_for`.

use std::time::{Duration, Instant, SystemTime};

use super::api::{ApiClient, LISTED, NextEvent, path, with_slugs};
use super::arguments::shown;
use super::goal::{Goal, Verdict, describe};
use super::server::{Server, list, take};
use super::sse::{SseEvent, not_understood};
use super::terminal::Terminal;
use super::{CliExit, Failure, joined};
use crate::json::Value;

/// As many lines of a log explain a failure.
const LOG_LINES: &str = "/logs?tail=10";

/// What is said to a command that concerns all servers.
pub const NO_SERVERS: &str = "there are no servers; 'servisor run' starts one";

/// Whether a server stays up is judged this often when nothing happens.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until each of `slugs` (all servers, if there is none) has reached `goal`, and returns them.
///
/// # Errors
/// One can't get there (with its reason and the end of its log), the time was up, the daemon was lost.
pub fn wait(api: &ApiClient, to: &mut Terminal, goal: Goal, slugs: &[&str]) -> Result<&'static [Value], Failure> {
    let deadline = Instant::now() + api.timeout;
    let mut waited = WaitedServers { slugs, servers: Vec::new(), goal };
    let mut events = api.events(with_slugs("/events?attend=true", slugs))?;
    // A stream begins with how everything is.
    let mut next = events.next(None)?;
    loop {
        match next {
            NextEvent::SseEvent(event) => waited.take(event, to)?,
            NextEvent::Quiet if Instant::now() < deadline => {}
            NextEvent::Quiet => return Err(waited.late(api, to)),
            NextEvent::Ended => return Err(Failure::new(CliExit::NoDaemon, &["the daemon has ended"])),
        }
        while let Some(event) = events.at_hand() {
            waited.take(event, to)?;
        }
        let (verdict, slug) = waited.verdict();
        match verdict {
            Verdict::Reached => return Ok(waited.servers.leak()),
            Verdict::Pending => {}
            Verdict::NoServer => {
                waited.each(|slug, server| {
                    if server.is_none() {
                        to.complain(&["there is no server ", shown(slug), LISTED]);
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

struct WaitedServers<'a> {
    /// Empty for all servers.
    slugs: &'a [&'a str],
    servers: Vec<Value>,
    goal: Goal,
}

impl WaitedServers<'_> {
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
                    if self.servers.is_empty() {
                        to.complain(&[NO_SERVERS]);
                    }
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

    /// Says which servers have not reached the goal, and what the first of them lacks.
    fn late(&self, api: &ApiClient, to: &mut Terminal) -> Failure {
        let (mut text, mut first, now) = (vec!["the time is up"], None, SystemTime::now());
        self.each(|slug, server| {
            if self.goal.judge(server, now) == Verdict::Pending
                && let Some(server) = server
            {
                let mut view = Server(server);
                let separator = if text.len() == 1 { ": " } else { "; " };
                // A health check that fails again is no event.
                if text.len() == 1
                    && let Ok(answer) = api.get(path(slug, ""))
                {
                    view = answer.server();
                    first = Some(answer.server());
                }
                text.extend([separator, joined(&describe(view))]);
            }
        });
        to.complain(&text);
        if let Some(server) = first {
            say_what_is_missing(to, server);
            last_lines(api, to, server.slug());
            if !matches!(self.goal, Goal::Stopped | Goal::Gone) && !matches!(server.status(), "stopped" | "failed") {
                to.complain(&["it keeps running; 'servisor wait ", server.slug(), "' waits on"]);
            }
        }
        Failure::reported(CliExit::TimeUp)
    }
}

/// Says what a server that runs lacks to be ready.
fn say_what_is_missing(to: &mut Terminal, server: Server<'_>) {
    let slug = server.slug();
    let health = Server(server.field("health")).text("last_error");
    match server.status() {
        "running" if server.can_be_ready() && list(server.0, "ports").is_empty() => {
            to.note(&["  ", slug, " listens on no port"]);
        }
        "running" if !health.is_empty() && !server.reason().contains(health) => {
            to.note(&["  the health check of ", slug, " fails: ", health]);
        }
        _ => {}
    }
}

/// Shows the last lines of a log on stderr. A log that can't be read is no further failure.
pub fn last_lines(api: &ApiClient, to: &mut Terminal, slug: &str) {
    let Ok(answer) = api.get(with_slugs(LOG_LINES, &[slug])) else { return };
    for line in list(answer.body.0, "lines").iter().map(Server) {
        to.note(&["  ", line.text("stream"), " | ", line.text("line")]);
    }
}
