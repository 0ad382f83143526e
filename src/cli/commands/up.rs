//! `up`: a setup file or a Procfile, brought to life on a running daemon.
//!
//! Owns: which file is meant, and the order: overlays, then servers, each of which waits for all overlays. Never: whether a
//! configuration is the same as before: the daemon compares (`if_changed=true`).

use std::path::{self, Path};

use serde_json::{Map, Value};

use super::{Context, look, run};
use crate::cli::api::{Refused, path as server_path};
use crate::cli::arguments::usage;
use crate::cli::procfile;
use crate::cli::server::Server;
use crate::cli::{Exit, Failure};

/// What a directory is searched for.
const FILES: [&str; 2] = ["servisor.json", "Procfile"];

/// `servisor up`.
pub fn up(context: &mut Context<'_>) -> Result<Exit, Failure> {
    look::no_words(context, 1)?;
    let file = match context.given.words.first() {
        Some(file) => file.clone(),
        None => match FILES.into_iter().find(|file| Path::new(file).is_file()) {
            Some(file) => file.to_owned(),
            None => {
                return Err(usage("there is neither servisor.json nor Procfile here; name a file: servisor up FILE"));
            }
        },
    };
    let setup = read(&file)?;
    let mut ids = Vec::new();
    for overlay in &setup.overlays {
        let answer = context.api.ask("POST", "/filesystem/overlays", Some(overlay.to_string().as_bytes()))?;
        let overlay = answer.map_err(Refused::failure)?.body;
        ids.push(overlay.get("id").cloned().unwrap_or_default());
    }
    let (mut slugs, mut started) = (Vec::new(), Vec::new());
    for mut server in setup.servers {
        if !ids.is_empty()
            && let Some(fields) = server.as_object_mut()
        {
            let waits_for = fields.entry("depends_on").or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(waits_for) = waits_for {
                waits_for.extend(ids.iter().cloned());
            }
        }
        let mut answer = run::create(context, &server, true, "/servers?if_changed=true")?;
        let mut there = answer.server();
        let slug = Server(&there).slug().to_owned();
        let is_unchanged = answer.status == 200;
        if is_unchanged && matches!(Server(&there).status(), "stopped" | "failed") {
            let mut answer = context.api.ask("POST", &server_path(&slug, "/start"), None)?.map_err(Refused::failure)?;
            there = answer.server();
        }
        slugs.push(slug);
        started.push(there);
    }
    if slugs.is_empty() {
        return Ok(Exit::Done);
    }
    run::finish(context, &slugs, started)
}

struct Setup {
    overlays: Vec<Value>,
    servers: Vec<Value>,
}

fn read(file: &str) -> Result<Setup, Failure> {
    let text = run::read_text(file)?;
    let wrong = |why: String| usage(format!("{file}: {why}"));
    let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.to_ascii_lowercase().contains("procfile") {
        let absolute = path::absolute(file).map_err(|error| wrong(error.to_string()))?;
        let directory = absolute.parent().unwrap_or(Path::new("/"));
        let env_file = directory.join(".env").is_file().then_some(".env");
        let servers = procfile::servers(&text, &directory.to_string_lossy(), env_file).map_err(wrong)?;
        return Ok(Setup { overlays: Vec::new(), servers });
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(mut setup)) => {
            let (overlays, servers) =
                (list(&mut setup, "overlays").map_err(wrong)?, list(&mut setup, "servers").map_err(wrong)?);
            Ok(Setup { overlays, servers })
        }
        Ok(_) => Err(wrong("it must be an object with \"overlays\" and \"servers\"".into())),
        Err(error) => Err(wrong(format!("it is not valid JSON: {error}"))),
    }
}

fn list(setup: &mut Map<String, Value>, name: &str) -> Result<Vec<Value>, String> {
    match setup.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(format!("{name} must be a list")),
    }
}
