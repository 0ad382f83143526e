//! `up`: a setup file or a Procfile, brought to life on a running daemon.
//!
//! Owns: which file is meant, and the order: overlays, then servers, each of which waits for all overlays. Never:
//! whether a configuration is the same as before: the daemon compares (`if_changed=true`).

use std::path::{self, Path};

use super::{CommandContext, run};
use crate::cli::api::path as server_path;
use crate::cli::{CliExit, Failure, json, keep, procfile};
use crate::json::{Map, Value};

/// What a directory is searched for.
const FILES: [&str; 2] = ["servisor.json", "Procfile"];

pub fn up(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let file = match context.given.word()? {
        Some(file) => file,
        None => FILES.into_iter().find(|file| Path::new(file).is_file()).ok_or_else(|| {
            Failure::usage(&["there is neither servisor.json nor Procfile here; name a file: servisor up FILE"])
        })?,
    };
    let mut setup = match is_procfile(file) {
        true => read_procfile(file)?,
        false => match run::read_json(file).map_err(|failure| explain(file, failure))? {
            Value::Object(setup) => setup,
            _ => return Err(Failure::usage(&[file, ": it must be an object with \"overlays\" and \"servers\""])),
        },
    };
    if !setup.contains_key("servers") && !setup.contains_key("overlays") {
        let what = " has no \"servers\" and no \"overlays\"; write {\"servers\": [{…}]}";
        return Err(Failure::usage(&[file, what]));
    }
    let overlays = take_list(file, &mut setup, "overlays")?;
    let servers = take_list(file, &mut setup, "servers")?;
    for name in setup.keys() {
        context.to.complain(&["warning: ", file, ": ", name, " means nothing here"]);
    }
    if servers.is_empty() {
        for overlay in overlays {
            context.api.ask("POST", "/filesystem/overlays", Some(keep(json(&overlay))))?;
        }
        return Ok(CliExit::Done);
    }
    let (mut slugs, mut started) = (Vec::new(), Vec::new());
    for mut server in servers {
        if let Value::Object(fields) = &mut server {
            add_overlays(fields, &overlays);
        }
        let answer = run::create(context, &server, run::Active::ReplacedIfChanged)?;
        let is_unchanged = answer.status == 200;
        let mut there = answer.server();
        let slug = there.slug();
        if is_unchanged && matches!(there.status(), "stopped" | "failed") {
            there = context.api.ask("POST", server_path(slug, "/start"), None)?.server();
        }
        slugs.push(slug);
        started.push(there);
    }
    run::finish(context, &slugs, &started)
}

/// Adds the overlays of the file to those of a server: it waits for all of them. To the daemon the same overlay in
/// several servers, or a second time, is one.
fn add_overlays(fields: &mut Map, overlays: &[Value]) {
    if !overlays.is_empty() && !fields.contains_key("overlays") {
        run::set(fields, "overlays", Value::Array(Vec::new()));
    }
    if let Some(Value::Array(present)) = fields.get_mut("overlays") {
        // By way of text: code that clones a `Value` is needed nowhere else.
        present.extend(overlays.iter().filter_map(|overlay| crate::json::parse(json(overlay).as_bytes()).ok()));
    }
}

fn is_procfile(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.len() >= 8 && name.is_char_boundary(8) && name[..8].eq_ignore_ascii_case("procfile")
}

/// Adds how a Procfile is recognized to the complaint that a file is no JSON.
fn explain(file: &str, failure: Failure) -> Failure {
    if failure.exit != CliExit::Usage || file.ends_with(".json") {
        return failure;
    }
    Failure::usage(&[failure.text, " (a Procfile's name begins with \"Procfile\")"])
}

#[inline(never)]
fn read_procfile(file: &str) -> Result<Map, Failure> {
    let text = String::from_utf8_lossy(&run::read(file)?).into_owned();
    let file_path = path::absolute(file).unwrap_or_default();
    let directory = file_path.parent().unwrap_or(Path::new("/"));
    let has_env = directory.join(".env").is_file();
    let servers = procfile::servers(&text, &directory.to_string_lossy(), has_env);
    let servers = servers.map_err(|why| Failure::usage(&[file, ": ", why]))?;
    let mut setup = Map::new();
    run::set(&mut setup, "servers", Value::Array(servers));
    Ok(setup)
}

/// What is left out or `null` is empty.
fn take_list(file: &str, setup: &mut Map, name: &str) -> Result<Vec<Value>, Failure> {
    match setup.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(Failure::usage(&[file, ": ", name, " must be a list"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procfile_is_known_by_its_name() {
        assert!(["Procfile", "a/procfile.dev", "/x/Procfile"].iter().all(|file| is_procfile(file)));
        assert!(!["servisor.json", "Procfile/x.json", "proc", "éééééééé"].iter().any(|file| is_procfile(file)));
    }
}
