//! `logs` and `events`: streams.
//!
//! Owns: how a line and an event are printed. Never: a reconnect: a daemon that is lost is exit code 3.

use std::time::SystemTime;

use serde_json::Value;

use super::Context;
use crate::cli::api::{Next, with_slugs};
use crate::cli::arguments::usage;
use crate::cli::goal::describe;
use crate::cli::server::Server;
use crate::cli::sse::Event;
use crate::cli::table::plain;
use crate::cli::terminal::Colour;
use crate::cli::{Exit, Failure};
use crate::error::quoted;
use crate::model::time::rfc3339;

/// `servisor logs`.
pub fn logs(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let lines = context.given.number("--lines")?.unwrap_or(100);
    let stream = context.given.value("--stream").map(str::to_owned);
    if let Some(word) = stream.as_deref().filter(|word| !matches!(*word, "stdout" | "stderr")) {
        return Err(usage(format!("--stream {} must be stdout or stderr", quoted(word))));
    }
    let mut target = format!("/logs?tail={lines}");
    if let Some(stream) = &stream {
        target.push_str("&stream=");
        target.push_str(stream);
    }
    let slugs = context.given.words.clone();
    // One that does not exist is waited for by the stream, but not by a person who mistyped it.
    if !slugs.is_empty() {
        let (_, exit) = super::look::all_or_named(context, "/servers")?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    let prefix = slugs.len() != 1 && !context.given.has("--no-prefix");
    if context.given.has("--follow") {
        target.push_str("&follow=true");
        return stream_events(context, &with_slugs(&target, &slugs), |context, event| {
            let data = parse(event)?;
            match event.name.as_str() {
                "line" => print_line(context, &data, prefix),
                "dropped" => {
                    let bytes = data.get("bytes").and_then(Value::as_u64).unwrap_or(0);
                    let slug = Server(&data).slug();
                    context.to.note(&format!("servisor: {slug}: {bytes} bytes were missed here"));
                }
                _ => {}
            }
            Ok(())
        });
    }
    let answer = context.api.get(&with_slugs(&target, &slugs))?;
    for line in answer.body.pointer("/data/lines").and_then(Value::as_array).into_iter().flatten() {
        print_line(context, line, prefix);
    }
    Ok(Exit::Done)
}

fn print_line(context: &mut Context<'_>, line: &Value, prefix: bool) {
    if context.given.has("--json") {
        context.to.line(&line.to_string());
        return;
    }
    let view = Server(line);
    if context.given.has("--times") {
        let now = rfc3339(SystemTime::now());
        context.to.print(now.split('.').next().unwrap_or_default());
        context.to.print("Z ");
    }
    if prefix {
        context.to.coloured(view.slug(), Colour::Dim);
        context.to.print(if view.text("stream") == "stderr" { " ! " } else { " | " });
    }
    // What a server wrote is shown as it wrote it, colours included; a pipe gets the same bytes.
    context.to.line(view.text("line"));
}

/// `servisor events`.
pub fn events(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let target = with_slugs("/events", &context.given.words);
    stream_events(context, &target, |context, event| {
        let data = parse(event)?;
        if context.given.has("--json") {
            let name = serde_json::Value::from(event.name.as_str());
            context.to.line(&format!("{{\"event\":{name},\"data\":{data}}}"));
            return Ok(());
        }
        let now = rfc3339(SystemTime::now());
        let time = now.get(11..19).unwrap_or_default().to_owned();
        for text in sentences(&event.name, &data) {
            context.to.line(&format!("{time} {}", plain(&text)));
        }
        Ok(())
    })
}

/// An event in words.
fn sentences(name: &str, data: &Value) -> Vec<String> {
    match name {
        "snapshot" => {
            let servers = data.get("servers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            servers.iter().map(|server| describe(Server(server))).collect()
        }
        "server" => {
            let server = Server(data.get("server").unwrap_or(&Value::Null));
            let was = data.get("was").and_then(Value::as_str).unwrap_or_default();
            let mut text = describe(server);
            if !was.is_empty() && was != server.status() {
                text.push_str(" (was ");
                text.push_str(was);
                text.push(')');
            }
            vec![text]
        }
        "deleted" => vec![format!("{} is deleted", Server(data).slug())],
        "run" => {
            let run = Server(data.get("run").unwrap_or(&Value::Null));
            let number = run.number("run").unwrap_or(0);
            let mut text = format!("{} run {number} ended: {}", Server(data).slug(), run.text("sentence"));
            if let Some(missed) = data.get("missed").and_then(Value::as_u64) {
                text.push_str(&format!(" ({missed} runs before it were missed)"));
            }
            vec![text]
        }
        "shutdown" => vec!["the daemon is shutting down".into()],
        other => vec![format!("{other} {data}")],
    }
}

/// Prints a stream until it ends. What has come is written before each wait.
fn stream_events(
    context: &mut Context<'_>,
    target: &str,
    mut print: impl FnMut(&mut Context<'_>, &Event) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    // The stream borrows the client, and printing borrows the context.
    let api = std::mem::replace(&mut context.api, crate::cli::api::Api::unused());
    let mut events = api.events(target)?;
    loop {
        while let Some(event) = events.at_hand() {
            print(context, &event)?;
        }
        if context.to.flush().is_err() {
            // The reader has seen enough.
            return Ok(Exit::Done);
        }
        match events.next(None)? {
            Next::Event(event) => print(context, &event)?,
            Next::Quiet => {}
            Next::Ended => return Ok(Exit::Done),
        }
    }
}

fn parse(event: &Event) -> Result<Value, Failure> {
    serde_json::from_str(&event.data)
        .map_err(|_| Failure::new(Exit::Failed, "the daemon sends events that this version does not understand"))
}
