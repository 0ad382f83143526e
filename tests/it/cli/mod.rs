//! The command line, as a program: what it prints, its exit codes, what it does to its daemon.
//!
//! - `terminal` colours, width, pipes, signals; `codes` each exit code; `control` what is done to servers
//! - `finding` which daemon is asked, and with which token; `loss` a daemon that stops, dies or ends meanwhile
//! - `streams` waiting, logs, events; `setup` whole files; `shells` completions; `cost` time and memory

mod codes;
mod control;
mod cost;
mod finding;
mod loss;
mod setup;
mod shells;
mod streams;
mod terminal;

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::support::{Daemon, TOKEN};

/// What a command has done.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// stdout, if the exit code is 0.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// stderr, if the exit code is `code` and stdout is empty.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        assert!(self.err.starts_with("servisor: "), "{self:?}");
        self.err
    }

    /// Each line of stdout as JSON.
    #[track_caller]
    pub fn json(self) -> Vec<Value> {
        let lines = self.done();
        lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// The binary, with the daemon's state directory and token.
pub fn command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Daemon::command();
    command.args(arguments).env("SERVISOR_STATE_DIR", &daemon.state).env("SERVISOR_ACCESS_TOKEN", TOKEN);
    for name in ["NO_COLOR", "TERM", "DISPLAY", "WAYLAND_DISPLAY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command and waits until it exits.
pub fn run(daemon: &Daemon, arguments: &[&str]) -> Ran {
    Ran::of(command(daemon, arguments).output().unwrap())
}

/// One line for each command that asks the daemon something, with a file in its directory for `up`.
pub const ASKING: [&str; 15] = [
    "ps",
    "status web",
    "run x -- true",
    "up",
    "start web",
    "stop web",
    "restart web",
    "rm web",
    "wait web",
    "logs web",
    "logs -f",
    "runs web",
    "top",
    "open web",
    "events",
];

/// Starts each of [`ASKING`] with these arguments in front.
pub fn start_each(daemon: &Daemon, leading: &[&str]) -> Vec<(&'static str, Child)> {
    std::fs::write(daemon.root.join("Procfile"), "web: sleep 600\n").unwrap();
    let start = |line: &'static str| {
        let words: Vec<&str> = leading.iter().copied().chain(line.split(' ')).collect();
        let mut command = command(daemon, &words);
        command.current_dir(&daemon.root).stdout(Stdio::piped()).stderr(Stdio::piped());
        (line, command.spawn().unwrap())
    };
    ASKING.into_iter().map(start).collect()
}

/// A command line of one text, split at spaces.
pub fn line(daemon: &Daemon, line: &str) -> Ran {
    run(daemon, &line.split(' ').collect::<Vec<_>>())
}
