//! `logs` and `events`: streams.
//!
//! Owns: how a line and an event are printed. Never: a reconnect: a daemon that is lost is exit code 3.

use std::time::SystemTime;

use super::CommandContext;
use crate::cli::api::{NextEvent, with_slugs};
use crate::cli::arguments::shown;
use crate::cli::goal::describe;
use crate::cli::list::Objects;
use crate::cli::server::{Server, digits, list};
use crate::cli::sse::SseEvent;
use crate::cli::terminal::Colour;
use crate::cli::waiting::NO_SERVERS;
use crate::cli::{CliExit, Failure, json};
use crate::json::Value;
use crate::model::time::rfc3339;

pub fn logs(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let mut target = "/logs?tail=".to_owned();
    digits(context.given.number("--lines")?.unwrap_or(100), &mut target);
    match context.given.value("--stream") {
        None => {}
        Some(stream @ ("stdout" | "stderr")) => {
            target.push_str("&stream=");
            target.push_str(stream);
        }
        Some(word) => return Err(Failure::usage(&["--stream ", shown(word), " must be stdout or stderr"])),
    }
    let slugs = &context.given.words;
    context.prefix = slugs.iter().map(|slug| slug.len()).max().unwrap_or(0);
    // One that does not exist is waited for by the stream, but not by a person who mistyped it.
    if !slugs.is_empty() {
        let exit = super::show::all_or_named(context, "/servers", &mut |_, _| {})?;
        if exit != CliExit::Done {
            return Ok(exit);
        }
    }
    if context.given.has("--follow") {
        target.push_str("&follow=true");
        return follow(context, with_slugs(&target, slugs), print_logged);
    }
    let body = context.api.text(with_slugs(&target, slugs))?;
    let mut has_lines = false;
    // The first time for the width of the names. Ten thousand lines as values would take megabytes.
    for prints in [false, true] {
        let Some(mut lines) = Objects::under("\"lines\"", &body) else {
            return Err(Failure::new(CliExit::Failed, &["the daemon's answer has no lines"]));
        };
        while let Some(line) = lines.take()? {
            match prints {
                false => context.prefix = context.prefix.max(Server(&line).slug().len()),
                true => print_line(context, &line),
            }
            has_lines = true;
        }
    }
    if !has_lines && slugs.is_empty() {
        let mut has_servers = false;
        super::show::all_or_named(context, "/servers", &mut |_, _| has_servers = true)?;
        if !has_servers {
            context.to.complain(&[NO_SERVERS]);
        }
    }
    Ok(CliExit::Done)
}

fn print_logged(context: &mut CommandContext<'_>, event: &SseEvent) -> Result<(), Failure> {
    let data = event.json()?;
    match event.name.as_str() {
        "line" => print_line(context, &data),
        "dropped" => {
            let mut bytes = String::new();
            digits(Server(&data).number("bytes").unwrap_or(0), &mut bytes);
            context.to.complain(&[Server(&data).slug(), ": ", &bytes, " bytes were missed here"]);
        }
        _ => {}
    }
    Ok(())
}

fn print_line(context: &mut CommandContext<'_>, line: &Value) {
    if context.given.has("--json") {
        context.to.line(&json(line));
        return;
    }
    let view = Server(line);
    if context.given.has("--times") {
        let now = rfc3339(SystemTime::now());
        context.to.print(&now[..19]);
        context.to.print("Z ");
    }
    if context.given.words.len() != 1 && !context.given.has("--no-prefix") {
        let length = view.slug().len();
        context.prefix = context.prefix.max(length);
        context.to.coloured(view.slug(), Colour::Dim);
        context.to.spaces(context.prefix - length);
        context.to.print(if view.text("stream") == "stderr" { " ! " } else { " | " });
    }
    // What a server wrote is shown as it wrote it, colours included; a pipe gets the same bytes.
    context.to.line(view.text("line"));
}

pub fn events(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    follow(context, with_slugs("/events", &context.given.words), print_event)
}

fn print_event(context: &mut CommandContext<'_>, event: &SseEvent) -> Result<(), Failure> {
    let data = event.json()?;
    if context.given.has("--json") {
        // Its name is a plain word.
        for part in ["{\"event\":\"", &event.name, "\",\"data\":", &json(&data), "}\n"] {
            context.to.print(part);
        }
        return Ok(());
    }
    let now = rfc3339(SystemTime::now());
    let mut print = |parts: &[&str]| {
        context.to.print(&now[11..19]);
        context.to.print(" ");
        context.to.plain_line(parts);
    };
    let view = Server(&data);
    match event.name.as_str() {
        "snapshot" => list(&data, "servers").iter().for_each(|server| print(&describe(Server(server)))),
        "server" => {
            let server = Server(view.field("server"));
            let [slug, is, status, separator, reason] = describe(server);
            match view.text("was") {
                was if was.is_empty() || was == status => print(&[slug, is, status, separator, reason]),
                was => print(&[slug, is, status, separator, reason, " (was ", was, ")"]),
            }
        }
        "deleted" => print(&[view.slug(), " is deleted"]),
        "run" => {
            let run = Server(view.field("run"));
            let (mut number, mut missed) = (String::new(), String::new());
            digits(run.number("run").unwrap_or(0), &mut number);
            if let Some(count) = view.number("missed") {
                missed.push_str("; so many before it were missed: ");
                digits(count, &mut missed);
            }
            print(&[view.slug(), " run ", &number, " ended: ", run.text("sentence"), &missed]);
        }
        "shutdown" => print(&["the daemon is shutting down"]),
        other => print(&[other, " ", &json(&data)]),
    }
    Ok(())
}

/// Prints a stream until it ends. What has come is written before each wait.
fn follow(
    context: &mut CommandContext<'_>,
    target: &str,
    print: fn(&mut CommandContext<'_>, &SseEvent) -> Result<(), Failure>,
) -> Result<CliExit, Failure> {
    let mut events = context.api.events(target)?;
    loop {
        while let Some(event) = events.at_hand() {
            print(context, &event)?;
        }
        context.to.write_out();
        if context.to.is_closed() {
            // The reader has seen enough, or the end says what is wrong.
            return Ok(CliExit::Done);
        }
        match events.next(None)? {
            NextEvent::SseEvent(event) => print(context, &event)?,
            NextEvent::Quiet => {}
            NextEvent::Ended => return Ok(CliExit::Done),
        }
    }
}
