//! A `Procfile` as a setup payload.
//!
//! Owns: its grammar (`name: command`, `#` comments) and the ports of its processes. Never: a file. Pure.
//!
//! As foreman does, the n-th process that uses `$PORT` gets the port 5000 + 100 n; one that does not use it gets none,
//! so that it counts as up when it runs.

use super::commands::run::{set, set_text};
use super::joined;
use crate::json::{Map, Value};

const PORT_BASE: u64 = 5000;
const PORT_STEP: u64 = 100;

/// The servers that `text` describes; all work in `directory`, with its `.env` if it has one.
///
/// # Errors
/// The number of the line that is wrong, and why.
pub fn servers(text: &str, directory: &str, has_env: bool) -> Result<Vec<Value>, &'static str> {
    let mut servers = Vec::new();
    let mut port = PORT_BASE;
    for (number, line) in text.split('\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, command) = line.split_once(':').unwrap_or_default();
        let (name, command) = (name.trim_ascii(), command.trim_ascii());
        if name.is_empty() || command.is_empty() {
            return Err(joined(&["line ", &(number + 1).to_string(), ": must be NAME: COMMAND"]));
        }
        let mut server = Map::new();
        set_text(&mut server, "slug", name);
        set_text(&mut server, "start", command);
        set_text(&mut server, "path", directory);
        if has_env {
            set_text(&mut server, "env_file", ".env");
        }
        let uses = |word: &[u8]| command.as_bytes().windows(word.len()).any(|part| part == word);
        if uses(b"$PORT") || uses(b"${PORT") {
            set(&mut server, "port", Value::from(port));
            port += PORT_STEP;
        }
        servers.push(Value::Object(server));
    }
    if servers.is_empty() { Err("it has no line NAME: COMMAND") } else { Ok(servers) }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::json::json;

    #[test]
    fn each_line_is_a_server() {
        let text =
            "# comment\nweb: bundle exec puma -p $PORT\n\n worker : node worker.js --a=b:c \napi: serve ${PORT:-1}\n";
        assert_eq!(
            servers(text, "/app", true).unwrap(),
            [
                json!({"slug": "web", "start": "bundle exec puma -p $PORT", "path": "/app", "env_file": ".env", "port": 5000}),
                json!({"slug": "worker", "start": "node worker.js --a=b:c", "path": "/app", "env_file": ".env"}),
                json!({"slug": "api", "start": "serve ${PORT:-1}", "path": "/app", "env_file": ".env", "port": 5100}),
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_line() {
        assert_eq!(servers("web: x\nworker\n", "/", false).unwrap_err(), "line 2: must be NAME: COMMAND");
        assert!(servers("web:\n", "/", false).is_err());
        assert!(servers("# nothing\n", "/", false).is_err());
    }
}
