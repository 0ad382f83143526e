//! The commands: one table, one file for each kind.
//!
//! Owns: which commands there are, their options, and the function that carries each out. Never: a request, a command
//! line (see `dispatch`).

use super::api::ApiClient;
use super::arguments::Parsed;
use super::find::Variable;
use super::terminal::Terminal;
use super::{CliExit, Failure, joined};
use crate::packed::{Document, Packed};

mod control;
mod follow;
pub mod run;
mod show;
mod top;
mod up;

pub struct CommandContext<'a> {
    /// Its options and words.
    pub given: &'a Parsed,
    pub api: &'a ApiClient,
    pub to: &'a mut Terminal,
    pub variable: Variable<'a>,
    /// How wide the names before the lines of logs are.
    pub prefix: usize,
}

pub struct CliCommand {
    pub name: &'static str,
    /// Carries it out.
    pub run: fn(&mut CommandContext<'_>) -> Result<CliExit, Failure>,
}

impl CliCommand {
    /// All of its help but the common options. Its options are read from it, its third line is the summary.
    pub fn help(&self) -> &'static str {
        let begin = joined(&["Usage: servisor ", self.name, " "]);
        let all = str::from_utf8(HELP.get()).unwrap_or_default();
        all.split("%\n").find(|help| help.starts_with(begin)).unwrap_or_default()
    }

    /// What it does, in one line.
    pub fn summary(&self) -> &'static str {
        self.help().lines().nth(2).unwrap_or_default()
    }

    /// Whether its words are names of servers.
    pub fn takes_slugs(&self) -> bool {
        // `Usage: servisor NAME SLUG` or `[SLUG]`.
        self.help().as_bytes()["Usage: servisor ".len() + self.name.len()..].iter().take(3).any(|&byte| byte == b'S')
    }
}

/// The help of each command, between lines of a percent sign.
static HELP: Document<{ PACKED.length }> = Document::new(&PACKED);
const PACKED: Packed = Packed::new(include_bytes!("help.txt"));

const fn command(name: &'static str, run: fn(&mut CommandContext<'_>) -> Result<CliExit, Failure>) -> CliCommand {
    CliCommand { name, run }
}

/// All commands, in the order of the help.
pub static COMMANDS: [CliCommand; 14] = [
    command("ps", show::ps),
    command("status", show::status),
    command("run", run::run),
    command("up", up::up),
    command("start", control::start),
    command("stop", control::stop),
    command("restart", control::restart),
    command("rm", control::remove),
    command("wait", control::wait),
    command("logs", follow::logs),
    command("runs", show::runs),
    command("top", top::top),
    command("open", show::open),
    command("events", follow::events),
];

/// The words that are commands, but need no daemon.
pub const OTHERS: [(&str, &str); 3] = [
    ("completion", "print completions for bash, zsh or fish"),
    ("help", "print help, also of a command"),
    ("version", "print the version"),
];

/// The command that is called `name`.
pub fn find_command(name: &str) -> Option<&'static CliCommand> {
    COMMANDS.iter().find(|command| command.name == name)
}
