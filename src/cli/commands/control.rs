//! `start`, `stop`, `restart`, `rm`, `wait`: what is done to servers.
//!
//! Owns: the order of requests for many servers, and the exit code of all of them. Never: how a server is printed.
//!
//! The requests for all servers are sent before the first answer is waited for, so that a hundred slow stops take as
//! long as the slowest. Each failure is one line on stderr; the highest exit code wins.

use super::{CommandContext, show};
use crate::cli::api::{Answer, path};
use crate::cli::arguments::shown;
use crate::cli::goal::{Goal, describe};
use crate::cli::server::Server;
use crate::cli::{CliExit, Failure, joined, waiting};
use crate::json::Value;

/// As many requests are under way at once; the daemon has room for 256 connections.
const AT_ONCE: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Start,
    Stop,
    Restart,
    Remove,
}

impl Action {
    /// Method, end of the path, and the words for a person who waits.
    fn request(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Action::Start => ("POST", "/start", ": starting"),
            Action::Stop => ("POST", "/stop", ": stopping"),
            Action::Restart => ("POST", "/restart", ": restarting"),
            Action::Remove => ("DELETE", "", ": stopping, then deleting"),
        }
    }

    /// What is waited for when the work outlasts the answer.
    fn goal(self) -> Goal {
        match self {
            Action::Start | Action::Restart => Goal::Running,
            Action::Stop => Goal::Stopped,
            Action::Remove => Goal::Gone,
        }
    }
}

pub fn start(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    act(context, Action::Start)
}

pub fn stop(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    act(context, Action::Stop)
}

pub fn restart(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    act(context, Action::Restart)
}

/// `servisor rm`.
pub fn remove(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    act(context, Action::Remove)
}

#[inline(never)]
fn act(context: &mut CommandContext<'_>, action: Action) -> Result<CliExit, Failure> {
    let mut slugs = context.given.words.clone();
    match (context.given.has("--all"), slugs.is_empty()) {
        (true, true) => {
            show::all_or_named(context, "/servers", &mut |_, server| slugs.push(joined(&[Server(&server).slug()])))?;
        }
        (true, false) => return Err(Failure::usage(&["name servers, or give --all, but not both"])),
        (false, true) => return Err(Failure::usage(&["name a server, or give --all"])),
        (false, false) => {}
    }
    let (method, end, progress) = action.request();
    let mut exit = CliExit::Done;
    for some in slugs.chunks(AT_ONCE) {
        let mut calls = Vec::new();
        for slug in some {
            context.to.progress(&[slug, progress]);
            calls.push(context.api.begin(method, path(slug, end), None)?);
        }
        for (slug, call) in some.iter().zip(calls) {
            let done = context.api.finish(call).and_then(|answer| finish(context, action, slug, answer));
            match done {
                Ok(()) => {}
                Err(failure) if action == Action::Start && failure.code == "server_active" => {
                    context.to.complain(&[slug, " already runs"]);
                    if context.given.has("--json") {
                        let server = context.api.get(path(slug, ""))?.server();
                        show::print_json(context, server);
                    }
                }
                Err(failure) if failure.exit == CliExit::NoDaemon => return Err(failure),
                Err(failure) => {
                    if !failure.text.is_empty() {
                        context.to.complain(&[failure.text]);
                    }
                    exit = exit.max(failure.exit);
                }
            }
        }
    }
    Ok(exit)
}

/// Waits until work that continues after the response is done, and prints the server.
fn finish(context: &mut CommandContext<'_>, action: Action, slug: &str, answer: Answer) -> Result<(), Failure> {
    let mut server = answer.server();
    // A stop whose end is not known yet is answered by 202, too.
    if answer.status == 202 {
        let servers = waiting::wait(context.api, context.to, action.goal(), &[slug])?;
        server = Server(servers.first().unwrap_or(&Value::Null));
    }
    let is_bad = matches!(action, Action::Start | Action::Restart) && server.status() == "failed";
    if is_bad {
        context.to.complain(&describe(server));
        waiting::last_lines(context.api, context.to, slug);
        return Err(Failure::reported(CliExit::Failed));
    }
    if context.given.has("--json") && !server.0.is_null() {
        show::print_json(context, server);
    }
    Ok(())
}

pub fn wait(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let word = context.given.value("--for").unwrap_or("up");
    let Some(goal) = Goal::parse(word) else {
        let words = "running, ready, healthy, stopped, gone";
        return Err(Failure::usage(&["--for ", shown(word), " must be one of up, ", words]));
    };
    let servers = waiting::wait(context.api, context.to, goal, &context.given.words)?;
    if context.given.has("--json") {
        servers.iter().for_each(|server| show::print_json(context, Server(server)));
    }
    Ok(CliExit::Done)
}
