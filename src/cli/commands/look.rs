//! `ps`, `status`, `runs`, `open`: how servers are.
//!
//! Owns: what of a server is printed. Never: a change.

use std::time::SystemTime;

use serde_json::Value;

use super::Context;
use crate::cli::api::path;
use crate::cli::arguments::usage;
use crate::cli::server::{self, Server, colour};
use crate::cli::table::{Cell, Table, plain};
use crate::cli::terminal::Colour;
use crate::cli::{Exit, Failure};

/// As many lines of the log does `status` show.
const LOG_LINES: usize = 10;

/// The cell of an ordinary text; a dash where there is none.
pub fn cell(text: impl Into<String>) -> Cell {
    let text = text.into();
    (if text.is_empty() { "-".to_owned() } else { text }, Colour::Plain)
}

/// `servisor ps`.
pub fn ps(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (servers, exit) = chosen(context)?;
    if context.given.has("--json") {
        for server in &servers {
            print_json(context, server);
        }
    } else if context.given.has("--quiet") {
        for server in &servers {
            context.to.line(Server(server).slug());
        }
    } else {
        print_table(context, &servers);
    }
    Ok(exit)
}

/// The table of `ps`.
pub fn print_table(context: &mut Context<'_>, servers: &[Value]) {
    let mut table = Table::new(&["NAME", "STATUS", "UP", "RESTARTS", "PID", "PORT", "URL / WHY"]);
    let now = SystemTime::now();
    for server in servers.iter().map(Server) {
        let number = |name: &str| cell(server.number(name).map(|number| number.to_string()).unwrap_or_default());
        table.row(vec![
            cell(server.slug()),
            (server.status().to_owned(), colour(server.status())),
            cell(server.up(now).map(server::short).unwrap_or_default()),
            number("restart_count"),
            number("pid"),
            number("port"),
            cell(server.url_or_reason()),
        ]);
    }
    table.print(context.to);
}

/// The servers of the command line, or all. One that does not exist is reported, and makes the exit code 4.
fn chosen(context: &mut Context<'_>) -> Result<(Vec<Value>, Exit), Failure> {
    all_or_named(context, "/servers")
}

/// The same with another target for the list.
pub fn all_or_named(context: &mut Context<'_>, target: &str) -> Result<(Vec<Value>, Exit), Failure> {
    let mut answer = context.api.get(target)?;
    let Some(Value::Array(mut servers)) = answer.body.pointer_mut("/data/servers").map(Value::take) else {
        return Err(Failure::new(Exit::Failed, "the daemon's answer has no list of servers"));
    };
    let slugs = &context.given.words;
    if slugs.is_empty() {
        return Ok((servers, Exit::Done));
    }
    let mut exit = Exit::Done;
    for slug in slugs {
        if !servers.iter().any(|server| Server(server).slug() == slug) {
            context.to.complain(&format!("there is no server {}", plain(slug)));
            exit = Exit::NoServer;
        }
    }
    servers.retain(|server| slugs.iter().any(|slug| Server(server).slug() == slug));
    Ok((servers, exit))
}

/// Prints a server as one line of JSON; its environment only if that was asked for.
pub fn print_json(context: &mut Context<'_>, server: &Value) {
    let mut server = server.clone();
    if !context.given.has("--env")
        && let Some(fields) = server.as_object_mut()
    {
        fields.remove("environment");
    }
    context.to.line(&server.to_string());
}

/// `servisor status`.
pub fn status(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for (number, slug) in context.slugs()?.iter().enumerate() {
        let mut answer = match context.api.ask("GET", &path(slug, ""), None)? {
            Ok(answer) => answer,
            Err(refused) => {
                let failure = refused.failure();
                context.to.complain(&failure.text);
                exit = exit.max(failure.exit);
                continue;
            }
        };
        let server = answer.server();
        if context.given.has("--json") {
            print_json(context, &server);
            continue;
        }
        if number > 0 {
            context.to.line("");
        }
        print_fields(context, &server);
        print_tail(context, slug)?;
    }
    Ok(exit)
}

fn print_fields(context: &mut Context<'_>, server: &Value) {
    let Some(fields) = server.as_object() else { return };
    let shown = |name: &&String| {
        !matches!(name.as_str(), "slug" | "status" | "status_reason" | "restart_delay" | "stop_timeout")
    };
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    let view = Server(server);
    context.to.print(&plain(view.slug()));
    context.to.print(" is ");
    context.to.coloured(view.status(), colour(view.status()));
    if !view.reason().is_empty() {
        context.to.print(": ");
        context.to.print(&plain(view.reason()));
    }
    context.to.print("\n");
    let shows_values = context.given.has("--env");
    for name in fields.keys().filter(shown) {
        let text = match &fields[name.as_str()] {
            Value::Null => continue,
            Value::String(text) => plain(text),
            Value::Object(variables) if name == "environment" && !shows_values => {
                let names: Vec<&str> = variables.keys().map(String::as_str).collect();
                if names.is_empty() { continue } else { plain(&names.join(" ")) }
            }
            Value::Object(object) if name == "last_exit" => plain(&run_sentence(object)),
            other => plain(&other.to_string()),
        };
        context.to.print(&format!("  {name:width$}  {text}\n"));
    }
}

fn run_sentence(run: &serde_json::Map<String, Value>) -> String {
    let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("run {}: {} ({})", run.get("run").unwrap_or(&Value::Null), text("sentence"), text("reason"))
}

fn print_tail(context: &mut Context<'_>, slug: &str) -> Result<(), Failure> {
    let target = path(slug, &format!("/logs?tail={LOG_LINES}"));
    let answer = match context.api.ask("GET", &target, None)? {
        Ok(answer) => answer,
        // Deleted since.
        Err(_) => return Ok(()),
    };
    let logs = answer.body.pointer("/data/logs").and_then(Value::as_str).unwrap_or_default();
    if !logs.is_empty() {
        context.to.line("log:");
    }
    for line in logs.lines() {
        context.to.print("  ");
        context.to.line(&plain(line));
    }
    Ok(())
}

/// `servisor runs`.
pub fn runs(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let slug = context.slug()?;
    let limit = context.given.number("--lines")?.unwrap_or(20);
    let answer = context.api.get(&path(&slug, &format!("/runs?limit={limit}")))?;
    let runs = answer.body.pointer("/data/runs").and_then(Value::as_array).cloned().unwrap_or_default();
    if context.given.has("--json") {
        for run in &runs {
            context.to.line(&run.to_string());
        }
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["RUN", "KIND", "STARTED", "LASTED", "REASON", "CPU", "MEMORY", "NEXT", "HOW"]);
    for run in &runs {
        let run = Server(run);
        let trouble = !matches!(run.text("reason"), "" | "stopped" | "restarted" | "deleted" | "shutdown")
            && run.number("exit_code") != Some(0);
        table.row(vec![
            cell(run.number("run").map(|number| number.to_string()).unwrap_or_default()),
            cell(run.text("kind")),
            cell(run.text("started_at").split('.').next().unwrap_or_default()),
            cell(run.number("duration_ms").map(server::precise).unwrap_or_default()),
            (cell(run.text("reason")).0, if trouble { Colour::Red } else { Colour::Plain }),
            cell(run.number("cpu_ms").map(server::precise).unwrap_or_default()),
            cell(run.number("max_rss_bytes").map(server::size).unwrap_or_default()),
            cell(run.text("next")),
            cell(run.text("sentence")),
        ]);
    }
    table.print(context.to);
    Ok(Exit::Done)
}

/// `servisor open`.
pub fn open(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let slug = context.slug()?;
    let server = context.api.get(&path(&slug, ""))?.server();
    let view = Server(&server);
    let url = match view.text("access_url") {
        "" => view.text("url"),
        url => url,
    };
    if url.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("{} has no URL yet", crate::cli::goal::describe(view))));
    }
    if context.given.has("--json") {
        print_json(context, &server);
        return Ok(Exit::Done);
    }
    context.to.line(&plain(url));
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| (context.variable)(name).is_some());
    let opens = has_display && context.to.is_interactive() && !context.given.has("--no-browser");
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    if opens && is_web && context.to.flush().is_ok() {
        // Takes the place of this process, and returns only if it can't.
        let error = crate::os::terminal::exec("xdg-open", url);
        context.to.note(&format!("servisor: no browser was opened: xdg-open: {error}"));
    }
    Ok(Exit::Done)
}

/// Refuses words where a command takes none.
pub fn no_words(context: &Context<'_>, most: usize) -> Result<(), Failure> {
    match context.given.words.get(most) {
        None => Ok(()),
        Some(word) => Err(usage(format!("\"{}\" is one argument too many", plain(word)))),
    }
}
