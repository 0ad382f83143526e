//! A `Procfile` as a setup payload.
//!
//! Owns: its grammar (`name: command`, `#` comments) and the ports of its processes. Never: a file. Pure.
//!
//! As foreman does, the n-th process that uses `$PORT` gets the port 5000 + 100 n; one that does not use it gets none, so that
//! it counts as up when it runs.

use serde_json::{Map, Value};

const PORT_BASE: u64 = 5000;
const PORT_STEP: u64 = 100;

/// The servers that `text` describes; all work in `directory`, with `env_file` if there is one.
///
/// # Errors
/// The number of the line that is wrong, and why.
pub fn servers(text: &str, directory: &str, env_file: Option<&str>) -> Result<Vec<Value>, String> {
    let mut servers = Vec::new();
    let mut port = PORT_BASE;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || format!("line {}: must be NAME: COMMAND", number + 1);
        let (name, command) = line.split_once(':').ok_or_else(wrong)?;
        let (name, command) = (name.trim(), command.trim());
        if name.is_empty() || command.is_empty() {
            return Err(wrong());
        }
        let mut server = Map::new();
        server.insert("slug".into(), name.into());
        server.insert("start".into(), command.into());
        server.insert("path".into(), directory.into());
        if let Some(file) = env_file {
            server.insert("env_file".into(), file.into());
        }
        if command.contains("$PORT") || command.contains("${PORT") {
            server.insert("port".into(), port.into());
            port += PORT_STEP;
        }
        servers.push(Value::Object(server));
    }
    if servers.is_empty() { Err("it has no line NAME: COMMAND".into()) } else { Ok(servers) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_line_is_a_server() {
        let text =
            "# comment\nweb: bundle exec puma -p $PORT\n\n worker : node worker.js --a=b:c \napi: serve ${PORT:-1}\n";
        assert_eq!(
            servers(text, "/app", Some(".env")).unwrap(),
            [
                json!({"slug": "web", "start": "bundle exec puma -p $PORT", "path": "/app", "env_file": ".env", "port": 5000}),
                json!({"slug": "worker", "start": "node worker.js --a=b:c", "path": "/app", "env_file": ".env"}),
                json!({"slug": "api", "start": "serve ${PORT:-1}", "path": "/app", "env_file": ".env", "port": 5100}),
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_line() {
        assert_eq!(servers("web: x\nworker\n", "/", None).unwrap_err(), "line 2: must be NAME: COMMAND");
        assert!(servers("web:\n", "/", None).is_err());
        assert!(servers("# nothing\n", "/", None).is_err());
    }
}
