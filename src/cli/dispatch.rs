//! From a command line to the command that is carried out.
//!
//! Owns: this way, the words that need no daemon, and the hint at a command that was meant. Never: what a command does.

use std::ffi::OsString;

use super::api::ApiClient;
use super::arguments::{Parsed, shown};
use super::commands::{COMMANDS, CommandContext, OTHERS, find_command};
use super::find::Variable;
use super::terminal::Terminal;
use super::{CliExit, Failure, completion, find, help, joined, keep};
use crate::model::nearest::nearest;

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
