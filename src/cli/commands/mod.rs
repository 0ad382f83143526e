//! The commands: one table, one file for each kind.
//!
//! Owns: which commands there are, their options, and from a command line to the function that carries it out. Never: a
//! request.

use std::ffi::OsString;

use super::api::ApiClient;
use super::arguments::{Parsed, shown};
use super::find::Variable;
use super::terminal::Terminal;
use super::{CliExit, Failure, completion, find, help, joined, keep};
use crate::model::nearest::nearest;
use crate::packed::{Document, Packed};

mod control;
mod follow;
mod look;
pub mod run;
mod top;
mod up;

/// What a command gets.
pub struct CommandContext<'a> {
    /// Its options and words.
    pub given: &'a Parsed,
    /// The daemon.
    pub api: &'a ApiClient,
    /// What it prints to.
    pub to: &'a mut Terminal,
    /// The environment.
    pub variable: Variable<'a>,
    /// How wide the names before the lines of logs are.
    pub prefix: usize,
}

/// A command.
pub struct CliCommand {
    /// Its word.
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
    command("ps", look::ps),
    command("status", look::status),
    command("run", run::run),
    command("up", up::up),
    command("start", control::start),
    command("stop", control::stop),
    command("restart", control::restart),
    command("rm", control::remove),
    command("wait", control::wait),
    command("logs", follow::logs),
    command("runs", look::runs),
    command("top", top::top),
    command("open", look::open),
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

/// From arguments to a command that is carried out.
///
/// # Errors
/// Why it was not.
#[inline(never)]
pub fn dispatch(arguments: Vec<OsString>, variable: Variable<'_>, to: &mut Terminal) -> Result<CliExit, Failure> {
    let mut texts = Vec::new();
    for argument in arguments {
        match argument.into_string() {
            Ok(text) => texts.push(keep(text)),
            Err(raw) => return Err(Failure::usage(&["argument ", shown(&raw.to_string_lossy()), " is not UTF-8"])),
        }
    }
    let mut given = Parsed::default();
    if let Some(&("--version" | "-V")) = texts.first() {
        texts[0] = "version";
    }
    let leading = given.read(&texts, "", true, "servisor")?;
    let Some((&name, rest)) = texts[leading..].split_first() else {
        if given.has("--help") {
            help::overview(to);
            return Ok(CliExit::Done);
        }
        return Err(Failure::usage(&[
            "a command is missing: \"servisor serve\" starts the daemon, \"servisor --help\" lists the commands",
        ]));
    };
    let command = match name {
        "help" => return help_on(rest.first(), to),
        "completion" => return complete(rest, variable, to),
        "version" => {
            to.line(concat!("servisor ", env!("CARGO_PKG_VERSION")));
            return Ok(CliExit::Done);
        }
        "serve" => return Err(Failure::usage(&["\"serve\" has to stand before its options"])),
        name => find_command(name).ok_or_else(|| no_command(name))?,
    };
    given.read(rest, command.help(), false, joined(&["servisor ", name]))?;
    if given.has("--help") {
        help::of(command, to);
        return Ok(CliExit::Done);
    }
    let timeout = given.timeout()?;
    let api = ApiClient::new(find::daemon(&given, variable)?, timeout);
    (command.run)(&mut CommandContext { given: &given, api: &api, to, variable, prefix: 0 })
}

fn no_command(name: &str) -> Failure {
    let mut words: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    words.extend(OTHERS.map(|(name, _)| name));
    words.push("serve");
    let hint = match nearest(name, &words) {
        Some(known) => joined(&["did you mean \"", known, "\"?"]),
        None => "\"servisor --help\" lists the commands",
    };
    Failure::usage(&["there is no command ", shown(name), "; ", hint])
}

fn help_on(name: Option<&&'static str>, to: &mut Terminal) -> Result<CliExit, Failure> {
    match name {
        None | Some(&("help" | "version")) => help::overview(to),
        Some(&"serve") => to.print(crate::config::help_text()),
        Some(&"completion") => to.print(completion::HELP),
        Some(name) => help::of(find_command(name).ok_or_else(|| no_command(name))?, to),
    }
    Ok(CliExit::Done)
}

fn complete(rest: &[&'static str], variable: Variable<'_>, to: &mut Terminal) -> Result<CliExit, Failure> {
    let text = match rest {
        ["words", "--", words @ ..] => return Ok(completion::words(words, variable, to)),
        ["--help" | "-h", ..] => Some(completion::HELP),
        rest => completion::script(rest.first().copied().unwrap_or_default()),
    };
    to.print(text.ok_or_else(|| Failure::usage(&["name a shell: servisor completion bash|zsh|fish"]))?);
    Ok(CliExit::Done)
}
