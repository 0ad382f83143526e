//! `start`, `stop`, `restart`, `rm`, `wait`: what is done to servers.
//!
//! Owns: the order of requests for many servers, and the exit code of all of them. Never: how a server is printed.
//!
//! The requests for all servers are sent before the first answer is waited for, so that a hundred slow stops take as long as
//! the slowest. Each failure is one line on stderr; the highest exit code wins.

use serde_json::Value;

use super::{Context, look};
use crate::cli::api::{Answer, Refused, path};
use crate::cli::arguments::usage;
use crate::cli::goal::{Goal, describe};
use crate::cli::server::Server;
use crate::cli::{Exit, Failure, waiting};
use crate::error::quoted;

/// As many requests are under way at once; the daemon has room for 256 connections.
const AT_ONCE: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Start,
    Stop,
    Restart,
    Remove,
}

impl Action {
    fn request(self, slug: &str) -> (&'static str, String) {
        match self {
            Action::Start => ("POST", path(slug, "/start")),
            Action::Stop => ("POST", path(slug, "/stop")),
            Action::Restart => ("POST", path(slug, "/restart")),
            Action::Remove => ("DELETE", path(slug, "")),
        }
    }
}

/// `servisor start`.
pub fn start(context: &mut Context<'_>) -> Result<Exit, Failure> {
    act(context, Action::Start)
}

/// `servisor stop`.
pub fn stop(context: &mut Context<'_>) -> Result<Exit, Failure> {
    act(context, Action::Stop)
}

/// `servisor restart`.
pub fn restart(context: &mut Context<'_>) -> Result<Exit, Failure> {
    act(context, Action::Restart)
}

/// `servisor rm`.
pub fn remove(context: &mut Context<'_>) -> Result<Exit, Failure> {
    act(context, Action::Remove)
}

fn act(context: &mut Context<'_>, action: Action) -> Result<Exit, Failure> {
    let slugs = match (context.given.has("--all"), context.given.words.is_empty()) {
        (true, true) => {
            let (servers, _) = look::all_or_named(context, "/servers")?;
            servers.iter().map(|server| Server(server).slug().to_owned()).collect()
        }
        (true, false) => return Err(usage("name servers, or give --all, but not both")),
        (false, _) => context.slugs()?,
    };
    let mut exit = Exit::Done;
    for some in slugs.chunks(AT_ONCE) {
        let mut calls = Vec::new();
        for slug in some {
            let (method, target) = action.request(slug);
            if action != Action::Start {
                context.to.progress(&format!("{slug}: {}", progress(action)));
            }
            calls.push((slug, context.api.begin(method, &target, None)?));
        }
        for (slug, call) in calls {
            let answer = context.api.finish(call)?;
            exit = exit.max(report(context, action, slug, answer)?);
        }
    }
    Ok(exit)
}

fn progress(action: Action) -> &'static str {
    match action {
        Action::Start => "starting",
        Action::Stop => "stopping",
        Action::Restart => "restarting",
        Action::Remove => "stopping, then deleting",
    }
}

fn report(
    context: &mut Context<'_>,
    action: Action,
    slug: &str,
    answer: Result<Answer, Refused>,
) -> Result<Exit, Failure> {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(refused) if action == Action::Start && refused.code == "server_active" => {
            context.to.note(&format!("servisor: {slug} runs already"));
            return show_active(context, slug);
        }
        Err(refused) => {
            let failure = refused.failure();
            context.to.complain(&failure.text);
            return Ok(failure.exit);
        }
    };
    let mut server = answer.server();
    // The work goes on after the answer.
    let is_late = answer.status == 202;
    match action {
        Action::Stop if Server(&server).status() != "stopped" => match wait_for(context, Goal::Stopped, slug)? {
            Waited::There(there) => server = there.unwrap_or(server),
            Waited::Failed(exit) => return Ok(exit),
        },
        Action::Remove if is_late => {
            if let Waited::Failed(exit) = wait_for(context, Goal::Gone, slug)? {
                return Ok(exit);
            }
        }
        Action::Restart if is_late => match wait_for(context, Goal::Running, slug)? {
            Waited::There(there) => server = there.unwrap_or(server),
            Waited::Failed(exit) => return Ok(exit),
        },
        Action::Start | Action::Stop | Action::Restart | Action::Remove => {}
    }
    let is_bad = matches!(action, Action::Start | Action::Restart) && Server(&server).status() == "failed";
    if is_bad {
        context.to.complain(&describe(Server(&server)));
        waiting::last_lines(&context.api, context.to, slug, 10);
        return Ok(Exit::Failed);
    }
    if context.given.has("--json") && action != Action::Remove {
        look::print_json(context, &server);
    }
    Ok(Exit::Done)
}

fn show_active(context: &mut Context<'_>, slug: &str) -> Result<Exit, Failure> {
    if context.given.has("--json") {
        let server = context.api.get(&path(slug, ""))?.server();
        look::print_json(context, &server);
    }
    Ok(Exit::Done)
}

enum Waited {
    There(Option<Value>),
    Failed(Exit),
}

/// Goes on where the daemon has answered that it takes longer.
fn wait_for(context: &mut Context<'_>, goal: Goal, slug: &str) -> Result<Waited, Failure> {
    match waiting::wait(&context.api, context.to, goal, &[slug.to_owned()]) {
        Ok(servers) => Ok(Waited::There(servers.into_iter().next())),
        Err(failure) if failure.exit == Exit::NoDaemon => Err(failure),
        Err(failure) => {
            if !failure.text.is_empty() {
                context.to.complain(&failure.text);
            }
            Ok(Waited::Failed(failure.exit))
        }
    }
}

/// `servisor wait`.
pub fn wait(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let word = context.given.value("--for").unwrap_or("up");
    let Some(goal) = Goal::parse(word) else {
        let words: Vec<&str> = Goal::ALL.iter().map(|(word, _)| *word).collect();
        return Err(usage(format!("--for {} must be one of {}", quoted(word), words.join(", "))));
    };
    let servers = waiting::wait(&context.api, context.to, goal, &context.given.words)?;
    if context.given.has("--json") {
        for server in &servers {
            look::print_json(context, server);
        }
    }
    Ok(Exit::Done)
}
