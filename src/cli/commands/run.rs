//! `run`: a new server from a command line.
//!
//! Owns: from options to the body of `POST /servers`, and the replacement of a server that is active. Never: whether a
//! value makes sense: the daemon says so, by field.

use std::env;
use std::fs::File;

use super::CommandContext;
use super::show::Listing;
use crate::cli::api::{Answer, path};
use crate::cli::arguments::{Parsed, shown};
use crate::cli::goal::{Goal, describe};
use crate::cli::server::Server;
use crate::cli::{CliExit, Failure, json, keep, waiting};
use crate::json::{Map, Value};
use crate::os::fs::read_bounded;

/// As much as the daemon takes.
const FILE_MAX: u64 = 1024 * 1024;

pub fn run(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let body = body(context.given)?;
    if let Some(words @ [_, _, ..]) = context.given.rest.as_deref()
        && let Some(word) = words.iter().find(|word| word.contains('$'))
        && !words.contains(&"-c")
    {
        let note = " is passed as it is; give the command as one word to have a shell read it";
        context.to.complain(&["note: ", shown(word), note]);
    }
    let active = if context.given.has("--replace") { Active::Replaced } else { Active::Kept };
    let server = create(context, &body, active)?.server();
    let result = finish(context, &[Server(&body).slug()], &[server]);
    if let Err(failure) = result
        && failure.exit == CliExit::Failed
    {
        advise(context, Server(&body).slug());
    }
    result
}

/// Advice for a server that did not come up, where its end suggests one.
fn advise(context: &mut CommandContext<'_>, slug: &str) {
    let Ok(answer) = context.api.get(path(slug, "")) else { return };
    let server = answer.server();
    let (reason, place) = (server.reason(), server.text("path"));
    if server.status() == "stopped" && reason == "exited with code 0" {
        context.to.complain(&["a server has to stay in the foreground"]);
    }
    // A shell's codes for a command that is not there or no program, and the daemon's own words.
    let is_missing = ["code 127", "code 126", " directory "].iter().any(|words| reason.contains(words));
    let is_absolute = context.given.value("--path").is_some_and(|path| path.starts_with('/'));
    if is_missing && !is_absolute && env::current_dir().is_ok_and(|own| own.as_os_str() != place) {
        context.to.complain(&["its directory was ", place, "; use --path DIR for another one"]);
    }
}

/// What happens to an active server of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// The new one is refused.
    Kept,
    /// Stop it first.
    Replaced,
    /// Stop it first if its configuration differs, and report that.
    ReplacedIfChanged,
}

/// Waits for what was started, unless `--no-wait` was given, and prints how it is.
pub fn finish(
    context: &mut CommandContext<'_>,
    slugs: &[&str],
    started: &[Server<'static>],
) -> Result<CliExit, Failure> {
    let servers = match context.given.has("--no-wait") {
        true => started.to_vec(),
        false => waiting::wait(context.api, context.to, Goal::Up, slugs)?.iter().map(Server).collect(),
    };
    for server in &servers {
        if let (Some(asked), Some(port)) = (server.number("requested_port"), server.number("port"))
            && server.status() == "ready"
            && asked != port
        {
            let note = ", not on the port that was asked for: that was taken, or its command does not read $PORT";
            context.to.complain(&[server.slug(), " listens on ", &port.to_string(), note]);
        }
    }
    match servers.as_slice() {
        [server] if !context.given.has("--json") => match server.text("url") {
            "" => context.to.plain_line(&describe(*server)),
            url => context.to.plain_line(&[server.slug(), " is ", server.status(), " at ", url]),
        },
        servers => {
            let mut listing = Listing::new();
            servers.iter().for_each(|server| listing.show(context, *server));
            listing.end(context);
        }
    }
    Ok(CliExit::Done)
}

/// Creates a server.
///
/// # Errors
/// The daemon refuses.
pub fn create(context: &mut CommandContext<'_>, body: &Value, active: Active) -> Result<Answer, Failure> {
    let target = if active == Active::ReplacedIfChanged { "/servers?if_changed=true" } else { "/servers" };
    let text = keep(json(body));
    let mut answer = context.api.ask("POST", target, Some(text));
    if let Err(failure) = answer
        && failure.code == "server_active"
    {
        if active == Active::Kept {
            return Err(Failure::new(failure.exit, &[failure.text, "\n--replace stops and replaces it"]));
        }
        let slug = Server(body).slug();
        context.to.progress(&[slug, ": stopping the present one"]);
        let stopped = context.api.ask("POST", path(slug, "/stop"), None)?;
        if stopped.status == 202 {
            waiting::wait(context.api, context.to, Goal::Stopped, &[slug])?;
        }
        answer = context.api.ask("POST", target, Some(text));
        if active == Active::ReplacedIfChanged && answer.is_ok() {
            context.to.complain(&[slug, ": its configuration changed, it was replaced"]);
        }
    }
    let answer = answer?;
    for warning in answer.warnings {
        context.to.complain(&["warning: ", warning.as_str().unwrap_or_default()]);
    }
    Ok(answer)
}

#[inline(never)]
pub fn set(body: &mut Map, name: &str, value: Value) {
    body.insert(name.to_owned(), value);
}

#[inline(never)]
pub fn set_text(body: &mut Map, name: &str, text: &str) {
    set(body, name, Value::String(text.to_owned()));
}

fn body(given: &Parsed) -> Result<Value, Failure> {
    let mut body = match given.value("--file") {
        None => Map::new(),
        Some(file) => match read_json(file)? {
            Value::Object(body) => body,
            _ => return Err(Failure::usage(&[shown(file), " must have a JSON object"])),
        },
    };
    match given.word() {
        Ok(Some(slug)) => set_text(&mut body, "slug", slug),
        Ok(None) => {}
        Err(failure) => return Err(Failure::usage(&[failure.text, "; put -- before the command"])),
    }
    match given.rest.as_deref() {
        None | Some([]) => {}
        Some([line]) => set_text(&mut body, "start", line),
        Some(words) => {
            let mut line = String::new();
            for word in words {
                push_quoted(&mut line, word);
            }
            set_text(&mut body, "start", &line);
        }
    }
    for (field, what) in [("slug", "name the server"), ("start", "the command is missing")] {
        if !body.contains_key(field) {
            return Err(Failure::usage(&[what, ": servisor run SLUG -- COMMAND"]));
        }
    }
    options(given, &mut body)?;
    Ok(Value::Object(body))
}

fn options(given: &Parsed, body: &mut Map) -> Result<(), Failure> {
    for (option, field) in
        [("--path", "path"), ("--install", "install"), ("--env-file", "env_file"), ("--restart", "restart_policy")]
    {
        if let Some(text) = given.value(option) {
            set_text(body, field, text);
        }
    }
    for (option, field) in [("--port", "port"), ("--max-restarts", "max_restarts")] {
        if let Some(number) = given.number(option)? {
            set(body, field, Value::from(number));
        }
    }
    if given.has("--strict-port") {
        set(body, "strict_port", Value::Bool(true));
    }
    if let Some(path) = given.value("--health") {
        let mut check = Map::new();
        set_text(&mut check, "path", path);
        set(body, "health_check", Value::Object(check));
    }
    for variable in given.all("--env") {
        let Some((name, value)) = variable.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::usage(&["--env ", shown(variable), " must be NAME=VALUE"]));
        };
        if !body.contains_key("environment") {
            set(body, "environment", Value::Object(Map::new()));
        }
        // If the file has something else there, the daemon says what is wrong with it.
        if let Some(Value::Object(variables)) = body.get_mut("environment") {
            set_text(variables, name, value);
        }
    }
    Ok(())
}

/// Reads a file, or stdin for `-`.
///
/// # Errors
/// It can't be read.
pub fn read(file: &str) -> Result<Vec<u8>, Failure> {
    // It may be a pipe: a person has named it, and can interrupt.
    let path = if file == "-" { "/dev/stdin" } else { file };
    File::open(path)
        .and_then(|opened| read_bounded(&opened, FILE_MAX))
        .map_err(|error| Failure::new(CliExit::Failed, &[file, " can't be read: ", &error.to_string()]))
}

/// Reads a file as JSON.
///
/// # Errors
/// It can't be read, or is none.
pub fn read_json(file: &str) -> Result<Value, Failure> {
    let text = read(file)?;
    crate::json::parse(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&text))
        .map_err(|error| Failure::usage(&[file, " is not valid JSON: ", &error.to_string()]))
}

/// Adds `word` to a line as a shell reads it back.
fn push_quoted(line: &mut String, word: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    // An argument with = at the front of a line would be an assignment; quoted it is an argument.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        line.push_str(word);
        return;
    }
    line.push('\'');
    for letter in word.chars() {
        match letter {
            '\'' => line.push_str("'\\''"),
            letter => line.push(letter),
        }
    }
    line.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["plain", "", "a b", "it's", "$HOME", "--host=0.0.0.0", "A=1", "*", "a\nb", "é"] {
            let mut line = "printf %s".to_owned();
            push_quoted(&mut line, word);
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
        let mut line = String::new();
        ["npm", "run", "dev", "--", "--port", "3000"].iter().for_each(|word| push_quoted(&mut line, word));
        assert_eq!(line, "npm run dev -- --port 3000");
    }
}
