//! The command line: a client of the HTTP API, in the same binary.
//!
//! Owns: the commands, their exit codes, and what they print. Never: anything of the daemon but `config` (defaults and
//! names) and `model` (slips, times): it could run on another machine. It never starts a daemon.
//!
//! Reading order: [`commands`] has the table of commands, [`find`] says which daemon is meant, [`api`] asks it,
//! [`waiting`] decides whether a server is up, [`terminal`] and [`table`] print.
//!
//! All answers are read as [`Value`]: a field that this version does not know is no error.
//!
//! A command lives for a moment. The text of its arguments and of its failures is leaked ([`keep`]), which leaves
//! nothing to drop at each way out of a function: half of the code otherwise. Answers and events, which can be many,
//! are owned.

use std::ffi::OsString;
use std::ops::Deref;

use crate::json::Value;

pub mod api;
pub mod arguments;
pub mod commands;
pub mod completion;
pub mod dispatch;
pub mod find;
pub mod goal;
pub mod help;
pub mod http;
pub mod list;
pub mod procfile;
pub mod server;
pub mod sse;
pub mod table;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod waiting;

/// How a command ended, as its exit code. Of several the highest one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CliExit {
    Done = 0,
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No daemon answers, or it does not accept the token.
    NoDaemon = 3,
    NoServer = 4,
    TimeUp = 5,
}

impl CliExit {
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// Keeps a text as long as the process lives.
pub fn keep(text: String) -> &'static str {
    text.leak()
}

/// The text that `parts` make together.
#[inline(never)]
pub fn concat(parts: &[&str]) -> String {
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// The same as [`concat()`], kept.
#[inline(never)]
pub fn joined(parts: &[&str]) -> &'static str {
    keep(concat(parts))
}

/// JSON as text. Not by `Display`: that serializer is another 3 KiB.
#[inline(never)]
pub fn json(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Why a command did not do what it should. A pointer, since nearly every function returns one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure(&'static Why);

#[derive(Debug, PartialEq, Eq)]
pub struct Why {
    pub exit: CliExit,
    /// Printed on stderr after `servisor: `; empty when everything was said already.
    pub text: &'static str,
    /// The API's machine word for it, `server_active` for example; empty if it does not come from the API.
    pub code: &'static str,
}

impl Failure {
    /// A failure with its sentence, which `parts` make together.
    #[inline(never)]
    pub fn new(exit: CliExit, parts: &[&str]) -> Failure {
        Failure(Box::leak(Box::new(Why { exit, text: joined(parts), code: "" })))
    }

    /// A command line that makes no sense.
    #[inline(never)]
    pub fn usage(parts: &[&str]) -> Failure {
        Failure::new(CliExit::Usage, parts)
    }

    pub fn refusal(exit: CliExit, text: &str, code: &str) -> Failure {
        Failure(Box::leak(Box::new(Why { exit, text: joined(&[text]), code: joined(&[code]) })))
    }

    /// A failure that was printed where it happened.
    pub fn reported(exit: CliExit) -> Failure {
        Failure::new(exit, &[])
    }

    /// Whether it concerns one server, so that others can still be asked for.
    pub fn is_of_server(self) -> bool {
        matches!(self.exit, CliExit::Failed | CliExit::NoServer)
    }
}

impl Deref for Failure {
    type Target = Why;

    fn deref(&self) -> &Why {
        self.0
    }
}

/// As shells have it after SIGINT.
const INTERRUPTED: i32 = 130;

/// Runs the command of `arguments` (without the program's name) and returns its exit code.
pub fn run(arguments: Vec<OsString>, variable: &dyn Fn(&str) -> Option<OsString>) -> u8 {
    crate::os::terminal::exit_when_interrupted(INTERRUPTED);
    let mut terminal = terminal::Terminal::of_process(variable);
    let result = dispatch::dispatch(arguments, variable, &mut terminal);
    let result = match (result, terminal.flush()) {
        // A reader that has seen enough is no failure, whatever else happened.
        (_, Err(terminal::StdoutError::ReaderGone)) => Ok(CliExit::Done),
        (Ok(_), Err(terminal::StdoutError::Failed(error))) => {
            Err(Failure::new(CliExit::Failed, &["can't write to stdout: ", &error.to_string()]))
        }
        (result, Ok(()) | Err(_)) => result,
    };
    match result {
        Ok(exit) => exit.code(),
        Err(failure) => {
            if !failure.text.is_empty() {
                terminal.complain(&[failure.text]);
            }
            failure.exit.code()
        }
    }
}
