//! The command line: a client of the HTTP API, in the same binary.
//!
//! Owns: the commands, their exit codes, and what they print. Never: anything of the daemon but `config` (defaults and names)
//! and `model` (slips, times): it could run on another machine. It never starts a daemon.
//!
//! Reading order: [`commands`] has the table of commands, [`find`] says which daemon is meant, [`api`] asks it, [`waiting`]
//! decides whether a server is up, [`terminal`] and [`table`] print.
//!
//! All answers are read as [`serde_json::Value`]: a field that this version does not know is no error.

use std::ffi::OsString;
use std::fmt;

pub mod api;
pub mod arguments;
pub mod commands;
pub mod completion;
pub mod find;
pub mod goal;
pub mod help;
pub mod http;
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
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused, or failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No daemon answers, or it does not accept the token.
    NoDaemon = 3,
    /// No server has this slug.
    NoServer = 4,
    /// The time was up.
    TimeUp = 5,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command did not do what it should, for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// Printed on stderr after `servisor: `; empty when everything was said already.
    pub text: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: text.into() }
    }

    /// A failure that was printed where it happened.
    pub fn reported(exit: Exit) -> Failure {
        Failure { exit, text: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As shells have it after SIGINT.
const INTERRUPTED: i32 = 130;

/// Runs the command of `arguments` (without the program's name) and returns its exit code.
pub fn run(arguments: Vec<OsString>, variable: &dyn Fn(&str) -> Option<OsString>) -> u8 {
    crate::os::terminal::exit_when_interrupted(INTERRUPTED);
    let mut terminal = terminal::Terminal::of_process(variable);
    let result = commands::dispatch(arguments, variable, &mut terminal);
    let result = match (result, terminal.flush()) {
        (Ok(exit), Ok(())) => Ok(exit),
        // A reader that has seen enough is no failure, whatever else happened.
        (_, Err(terminal::Unwritten::ReaderGone)) => Ok(Exit::Done),
        (Ok(_), Err(terminal::Unwritten::Failed(error))) => {
            Err(Failure::new(Exit::Failed, format!("can't write to stdout: {error}")))
        }
        (Err(failure), _) => Err(failure),
    };
    match result {
        Ok(exit) => exit.code(),
        Err(failure) => {
            if !failure.text.is_empty() {
                terminal.complain(&failure.text);
            }
            failure.exit.code()
        }
    }
}
