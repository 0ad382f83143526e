//! `ps`, `status`, `runs`, `open`: how servers are.
//!
//! Owns: what of a server is printed. Never: a change.

use std::time::SystemTime;

use super::CommandContext;
use crate::cli::api::{LISTED, path};
use crate::cli::arguments::shown;
use crate::cli::goal::describe;
use crate::cli::list::Objects;
use crate::cli::server::{Server, colour, digits, list, precise, short, size};
use crate::cli::table::Table;
use crate::cli::terminal::Colour;
use crate::cli::{CliExit, Failure, concat, joined, json};
use crate::json::Value;

pub fn ps(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let mut listing = Listing::new();
    let exit = all_or_named(context, "/servers", &mut |context, server| {
        if context.given.has("--quiet") {
            context.to.line(Server(&server).slug());
        } else {
            listing.show(context, Server(&server));
        }
    })?;
    if !context.given.has("--quiet") {
        listing.end(context);
    }
    Ok(exit)
}

/// Servers as a table or, with `--json`, as lines.
pub struct Listing {
    table: Table,
    now: SystemTime,
}

impl Listing {
    /// A table without a row.
    pub fn new() -> Listing {
        Listing { table: Table::new("NAME|STATUS|UP|RESTARTS|PID|PORT|URL / WHY"), now: SystemTime::now() }
    }

    /// Adds a row, or prints a line.
    #[inline(never)]
    pub fn show(&mut self, context: &mut CommandContext<'_>, server: Server<'_>) {
        if context.given.has("--json") {
            print_json(context, server);
            return;
        }
        let table = &mut self.table;
        table.cell(server.slug());
        table.coloured(server.status(), colour(server.status()));
        table.number(server.up(self.now), short);
        for name in ["restart_count", "pid", "port"] {
            table.number(server.number(name), digits);
        }
        table.cell(server.url_or_reason());
    }

    /// Prints the table.
    pub fn end(self, context: &mut CommandContext<'_>) {
        if !context.given.has("--json") {
            self.table.print(context.to);
        }
    }
}

/// Calls `with` for each server in the answer to `target` that the command line names, or for all. One that does not
/// exist is reported, and makes the exit code 4.
#[inline(never)]
pub fn all_or_named(
    context: &mut CommandContext<'_>,
    target: &str,
    with: &mut dyn FnMut(&mut CommandContext<'_>, Value),
) -> Result<CliExit, Failure> {
    let slugs = &context.given.words;
    let mut missing = slugs.clone();
    let body = context.api.text(target)?;
    let Some(mut servers) = Objects::under("\"servers\"", &body) else {
        return Err(Failure::new(CliExit::Failed, &["the daemon's answer has no list of servers"]));
    };
    while let Some(server) = servers.take()? {
        let slug = Server(&server).slug();
        if slugs.is_empty() || slugs.contains(&slug) {
            missing.retain(|name| *name != slug);
            with(context, server);
        }
    }
    for slug in &missing {
        context.to.complain(&["there is no server ", shown(slug), LISTED]);
    }
    Ok(if missing.is_empty() { CliExit::Done } else { CliExit::NoServer })
}

/// Prints a server as one line of JSON; its environment only if that was asked for.
pub fn print_json(context: &mut CommandContext<'_>, server: Server<'_>) {
    match server.0 {
        // With `run` the option sets a variable.
        Value::Object(fields) if context.given.value("--env") != Some("") => {
            let mut separator = "";
            context.to.print("{");
            for (name, value) in fields.iter().filter(|(name, _)| *name != "environment") {
                // The API's names are plain words.
                for part in [separator, "\"", name, "\":", &json(value)] {
                    context.to.print(part);
                }
                separator = ",";
            }
            context.to.line("}");
        }
        other => context.to.line(&json(other)),
    }
}

pub fn status(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let mut exit = CliExit::Done;
    let mut separator = "";
    for slug in context.given.slugs()? {
        match context.api.get(path(slug, "")) {
            Ok(answer) => {
                if context.given.has("--json") {
                    print_json(context, answer.server());
                    continue;
                }
                context.to.print(separator);
                separator = "\n";
                print_fields(context, answer.server());
                print_tail(context, slug)?;
            }
            Err(failure) if failure.is_of_server() => {
                context.to.complain(&[failure.text]);
                exit = exit.max(failure.exit);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(exit)
}

fn print_fields(context: &mut CommandContext<'_>, server: Server<'_>) {
    let to = &mut *context.to;
    let [slug, is, status, reason @ ..] = describe(server);
    for part in [slug, is] {
        to.plain(part);
    }
    to.coloured(status, colour(status));
    to.plain_line(&reason);
    let Value::Object(fields) = server.0 else { return };
    for (name, value) in fields.iter() {
        let value = Server(value);
        let text = match (name.as_str(), value.0) {
            ("slug" | "status" | "status_reason" | "restart_delay" | "stop_timeout", _) | (_, Value::Null) => continue,
            ("environment", Value::Object(variables)) if !context.given.has("--env") => {
                let mut names = String::new();
                for name in variables.keys() {
                    names.push_str(name);
                    names.push(' ');
                }
                names
            }
            ("last_exit", Value::Object(_)) => {
                let mut text = "run ".to_owned();
                digits(value.number("run").unwrap_or(0), &mut text);
                concat(&[&text, ": ", value.text("sentence"), " (", value.text("reason"), ")"])
            }
            (_, Value::String(text)) => text.clone(),
            (_, other) => json(other),
        };
        if !text.is_empty() && text != "[]" {
            to.print("  ");
            to.padded(name, 24);
            to.plain_line(&[text.trim_ascii_end()]);
        }
    }
}

fn print_tail(context: &mut CommandContext<'_>, slug: &str) -> Result<(), Failure> {
    let answer = match context.api.get(path(slug, "/logs?tail=10")) {
        Ok(answer) => answer,
        // Deleted since.
        Err(failure) if failure.is_of_server() => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let logs = answer.body.text("logs");
    if !logs.is_empty() {
        context.to.line("log:");
    }
    for line in logs.split_terminator('\n') {
        context.to.plain_line(&["  ", line]);
    }
    Ok(())
}

pub fn runs(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let mut limit = "/runs?limit=".to_owned();
    digits(context.given.number("--lines")?.unwrap_or(20), &mut limit);
    let answer = context.api.get(path(context.given.slug()?, &limit))?;
    let runs = list(answer.body.0, "runs");
    if context.given.has("--json") {
        runs.iter().for_each(|run| context.to.line(&json(run)));
        return Ok(CliExit::Done);
    }
    let mut table = Table::new("RUN|KIND|STARTED|LASTED|REASON|CPU|MEMORY|NEXT|HOW");
    for run in runs.iter().map(Server) {
        let is_trouble = !matches!(run.text("reason"), "" | "stopped" | "idle" | "restarted" | "deleted" | "shutdown")
            && run.number("exit_code") != Some(0);
        table.number(run.number("run"), digits);
        table.cell(run.text("kind"));
        table.cell(run.text("started_at").split('.').next().unwrap_or_default());
        table.number(run.number("duration_ms"), precise);
        table.coloured(run.text("reason"), if is_trouble { Colour::Red } else { Colour::Plain });
        table.number(run.number("cpu_ms"), precise);
        table.number(run.number("max_rss_bytes"), size);
        table.cell(run.text("next"));
        table.cell(run.text("sentence"));
    }
    table.print(context.to);
    Ok(CliExit::Done)
}

pub fn open(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let view = context.api.get(path(context.given.slug()?, ""))?.server();
    let url = match view.text("access_url") {
        "" => view.text("url"),
        url => url,
    };
    if url.is_empty() {
        return Err(Failure::new(CliExit::Failed, &[joined(&describe(view)), "; it has no URL yet"]));
    }
    if context.given.has("--json") {
        print_json(context, view);
        return Ok(CliExit::Done);
    }
    context.to.plain_line(&[url]);
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| (context.variable)(name).is_some());
    let opens = has_display && context.to.is_interactive() && !context.given.has("--no-browser");
    if opens && url.starts_with("http") && context.to.flush().is_ok() {
        // Takes the place of this process, and returns only if it can't.
        let error = crate::os::terminal::exec("xdg-open", url);
        context.to.complain(&["no browser was opened: xdg-open: ", &error.to_string()]);
    }
    Ok(CliExit::Done)
}
