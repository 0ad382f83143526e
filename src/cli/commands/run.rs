//! `run`: a new server from a command line.
//!
//! Owns: from options to the body of `POST /servers`, and the replacement of a server that is active. Never: whether a value
//! makes sense: the daemon says so, by field.

use std::fs::File;
use std::io::Read;

use serde_json::{Map, Value};

use super::{Context, look};
use crate::cli::api::{Answer, Refused, path};
use crate::cli::arguments::usage;
use crate::cli::goal::{Goal, describe};
use crate::cli::server::Server;
use crate::cli::{Exit, Failure, waiting};
use crate::error::quoted;

/// As much as the daemon takes.
const FILE_MAX: u64 = 1024 * 1024;

/// `servisor run`.
pub fn run(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let body = body(context)?;
    let slug = body.get("slug").and_then(Value::as_str).unwrap_or_default().to_owned();
    let replaces = context.given.has("--replace");
    let server = create(context, &Value::Object(body), replaces, "/servers")?.server();
    finish(context, &[slug], vec![server])
}

/// Waits for what was started, unless `--no-wait` was given, and prints how it is.
pub fn finish(context: &mut Context<'_>, slugs: &[String], started: Vec<Value>) -> Result<Exit, Failure> {
    let servers = if context.given.has("--no-wait") {
        started
    } else {
        waiting::wait(&context.api, context.to, Goal::Up, slugs)?
    };
    if context.given.has("--json") {
        for server in &servers {
            look::print_json(context, server);
        }
        return Ok(Exit::Done);
    }
    if let [server] = servers.as_slice() {
        let view = Server(server);
        let url = view.text("url");
        let line =
            if url.is_empty() { describe(view) } else { format!("{} is {} at {url}", view.slug(), view.status()) };
        context.to.line(&crate::cli::table::plain(&line));
    } else {
        look::print_table(context, &servers);
    }
    Ok(Exit::Done)
}

/// Creates a server. One that is active is stopped first if `replaces` says so.
///
/// # Errors
/// The daemon refuses.
pub fn create(context: &mut Context<'_>, body: &Value, replaces: bool, target: &str) -> Result<Answer, Failure> {
    let text = body.to_string();
    let mut answer = context.api.ask("POST", target, Some(text.as_bytes()))?;
    if replaces && answer.as_ref().is_err_and(|refused| refused.code == "server_active") {
        let slug = body.get("slug").and_then(Value::as_str).unwrap_or_default().to_owned();
        context.to.progress(&format!("{slug}: stopping the present one"));
        context.api.ask("POST", &path(&slug, "/stop"), None)?.map_err(Refused::failure)?;
        waiting::wait(&context.api, context.to, Goal::Stopped, &[slug])?;
        answer = context.api.ask("POST", target, Some(text.as_bytes()))?;
    }
    let answer = answer.map_err(|refused| {
        let hint = if refused.code == "server_active" && !replaces { "\n--replace stops and replaces it" } else { "" };
        let failure = refused.failure();
        Failure::new(failure.exit, failure.text + hint)
    })?;
    for warning in answer.body.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        context.to.note(&format!("servisor: warning: {}", warning.as_str().unwrap_or_default()));
    }
    Ok(answer)
}

fn body(context: &Context<'_>) -> Result<Map<String, Value>, Failure> {
    let given = &context.given;
    let mut body = match given.value("--file") {
        None => Map::new(),
        Some(file) => {
            let text = read_text(file)?;
            match serde_json::from_str(&text) {
                Ok(Value::Object(body)) => body,
                Ok(_) => return Err(usage(format!("{} must have a JSON object", quoted(file)))),
                Err(error) => return Err(usage(format!("{} is not valid JSON: {error}", quoted(file)))),
            }
        }
    };
    look::no_words(context, 1)
        .map_err(|failure| Failure::new(failure.exit, failure.text + "; put -- before the command"))?;
    if let Some(slug) = given.words.first() {
        body.insert("slug".into(), slug.as_str().into());
    }
    if body.get("slug").is_none() {
        return Err(usage("name the server: servisor run SLUG -- COMMAND"));
    }
    match given.rest.as_deref() {
        None | Some([]) => {}
        Some([line]) => drop(body.insert("start".into(), line.as_str().into())),
        Some(words) => {
            let words: Vec<String> = words.iter().map(|word| shell_quoted(word)).collect();
            body.insert("start".into(), words.join(" ").into());
        }
    }
    if body.get("start").is_none() {
        return Err(usage("the command is missing: servisor run SLUG -- COMMAND"));
    }
    options(context, &mut body)?;
    Ok(body)
}

fn options(context: &Context<'_>, body: &mut Map<String, Value>) -> Result<(), Failure> {
    let given = &context.given;
    for (option, field) in
        [("--path", "path"), ("--install", "install"), ("--env-file", "env_file"), ("--restart", "restart_policy")]
    {
        if let Some(text) = given.value(option) {
            body.insert(field.into(), text.into());
        }
    }
    for (option, field) in [("--port", "port"), ("--max-restarts", "max_restarts")] {
        if let Some(number) = given.number(option)? {
            body.insert(field.into(), number.into());
        }
    }
    if given.has("--strict-port") {
        body.insert("strict_port".into(), true.into());
    }
    if let Some(path) = given.value("--health") {
        let mut check = Map::new();
        check.insert("path".into(), path.into());
        body.insert("health_check".into(), check.into());
    }
    let mut variables = match body.remove("environment") {
        Some(Value::Object(variables)) => variables,
        None => Map::new(),
        // The daemon says what is wrong with it.
        Some(other) => {
            body.insert("environment".into(), other);
            return Ok(());
        }
    };
    for variable in given.all("--env") {
        match variable.split_once('=') {
            Some((name, value)) if !name.is_empty() => drop(variables.insert(name.into(), value.into())),
            Some(_) | None => return Err(usage(format!("--env {} must be NAME=VALUE", quoted(variable)))),
        }
    }
    if !variables.is_empty() {
        body.insert("environment".into(), variables.into());
    }
    Ok(())
}

/// Reads a file, or stdin for `-`.
///
/// # Errors
/// It can't be read, or is no text.
pub fn read_text(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    // It may be a pipe: a person has named it, and can interrupt.
    let path = if file == "-" { "/dev/stdin" } else { file };
    let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::new(Exit::Failed, format!("{file} can't be read: {error}"))),
    }
}

/// `word` as a shell reads it back.
pub fn shell_quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    // A word with = at the front of a line would be an assignment; quoted it is a word.
    if !word.is_empty() && word.bytes().all(is_plain) && !word.contains('=') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["plain", "", "a b", "it's", "$HOME", "--host=0.0.0.0", "A=1", "*", "a\nb", "é"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", shell_quoted(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
        assert_eq!(shell_quoted("--port"), "--port");
    }
}
