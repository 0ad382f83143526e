//! The commands: one table, one file for each kind.
//!
//! Owns: which commands there are, their options, and from a command line to the function that carries it out. Never: a
//! request.

use std::ffi::OsString;

use super::api::Api;
use super::arguments::{COMMON, Opt, Parsed, opt, usage};
use super::terminal::Terminal;
use super::{Exit, Failure, completion, find, help};
use crate::error::quoted;
use crate::model::nearest::nearest;

mod control;
mod follow;
mod look;
mod run;
mod top;
mod up;

/// What a command gets.
pub struct Context<'a> {
    /// Its options and words.
    pub given: Parsed,
    /// The daemon.
    pub api: Api,
    /// What it prints to.
    pub to: &'a mut Terminal,
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// A command.
pub struct Command {
    /// Its word.
    pub name: &'static str,
    /// What follows it, as in a usage line.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What else there is to know; may be empty.
    pub detail: &'static str,
    /// A command line that can be typed as it is.
    pub example: &'static str,
    /// Its own options.
    pub options: &'static [Opt],
    /// Carries it out.
    pub run: fn(&mut Context<'_>) -> Result<Exit, Failure>,
}

const ENV: Opt = opt("--env", None, None, "show the values of the environment, secrets included");
const ALL: Opt = opt("--all", None, None, "all servers");

/// All commands, in the order of the help.
pub const COMMANDS: [Command; 14] = [
    Command {
        name: "ps",
        arguments: "[SLUG]...",
        summary: "list servers",
        detail: "",
        example: "servisor ps",
        options: &[opt("--quiet", Some('q'), None, "print names only"), ENV],
        run: look::ps,
    },
    Command {
        name: "status",
        arguments: "SLUG...",
        summary: "show all fields, the end of the last run, and the last 10 lines of the log",
        detail: "",
        example: "servisor status web",
        options: &[ENV],
        run: look::status,
    },
    Command {
        name: "run",
        arguments: "SLUG [OPTION]... -- COMMAND",
        summary: "start a new server, and wait until it is up",
        detail: "A COMMAND of one word is a shell line; of several words each is passed as it is.\n\
                 A PATH is taken from the daemon's root unless it is absolute.",
        example: "servisor run web -p 3000 -- npm run dev",
        options: &[
            opt("--port", Some('p'), Some("PORT"), "give it this port, as $PORT; the next free one if it is taken"),
            opt("--strict-port", None, None, "fail if the port is taken"),
            opt("--path", None, Some("DIR"), "its working directory"),
            opt("--install", None, Some("LINE"), "shell line to run before the first start"),
            opt("--env-file", None, Some("FILE"), "dotenv file, taken from its working directory"),
            opt("--env", Some('e'), Some("NAME=VALUE"), "set a variable; can be repeated"),
            opt("--restart", None, Some("POLICY"), "never, on-failure or always [never]"),
            opt("--max-restarts", None, Some("N"), "give up after N restarts; 0 is no limit [0]"),
            opt("--health", None, Some("PATH"), "check its health with GET PATH"),
            opt("--replace", None, None, "stop and replace a server of this name"),
            opt("--no-wait", None, None, "do not wait until it is up"),
            opt("--file", Some('f'), Some("FILE"), "the configuration as JSON; - is stdin"),
        ],
        run: run::run,
    },
    Command {
        name: "up",
        arguments: "[FILE]",
        summary: "start what a setup file or a Procfile describes, and wait until all is up",
        detail: "Without FILE: servisor.json or Procfile of this directory. A server whose configuration\n\
                 did not change is left as it is.",
        example: "servisor up Procfile",
        options: &[opt("--no-wait", None, None, "do not wait until all is up")],
        run: up::up,
    },
    Command {
        name: "start",
        arguments: "SLUG...|--all",
        summary: "start stopped or failed servers with their kept configuration",
        detail: "",
        example: "servisor start web",
        options: &[ALL],
        run: control::start,
    },
    Command {
        name: "stop",
        arguments: "SLUG...|--all",
        summary: "stop servers; done when no process of theirs is left",
        detail: "",
        example: "servisor stop web api",
        options: &[ALL],
        run: control::stop,
    },
    Command {
        name: "restart",
        arguments: "SLUG...|--all",
        summary: "restart servers; done when their new processes run",
        detail: "'servisor wait' waits until they are up again.",
        example: "servisor restart web && servisor wait web",
        options: &[ALL],
        run: control::restart,
    },
    Command {
        name: "rm",
        arguments: "SLUG...|--all",
        summary: "stop servers and delete their configuration, logs and runs",
        detail: "",
        example: "servisor rm web",
        options: &[ALL],
        run: control::remove,
    },
    Command {
        name: "wait",
        arguments: "[SLUG]...",
        summary: "wait until servers are up",
        detail: "up is ready, or running where neither a port nor a health check is configured. Fails at\n\
                 once when one can't get there. Without SLUG: all servers but stopped ones.",
        example: "servisor wait web --for healthy --timeout 120",
        options: &[opt("--for", None, Some("GOAL"), "up, running, ready, healthy, stopped or gone [up]")],
        run: control::wait,
    },
    Command {
        name: "logs",
        arguments: "[SLUG]...",
        summary: "print what servers wrote",
        detail: "",
        example: "servisor logs -f -n 20 web",
        options: &[
            opt("--follow", Some('f'), None, "go on with new lines"),
            opt("--lines", Some('n'), Some("N"), "the last N lines of each server [100]"),
            opt("--stream", None, Some("STREAM"), "stdout or stderr alone"),
            opt("--no-prefix", None, None, "no names before the lines"),
            opt("--times", Some('t'), None, "the time at which each line was read"),
        ],
        run: follow::logs,
    },
    Command {
        name: "runs",
        arguments: "SLUG",
        summary: "show how its runs ended",
        detail: "",
        example: "servisor runs web",
        options: &[opt("--lines", Some('n'), Some("N"), "the last N runs [20]")],
        run: look::runs,
    },
    Command {
        name: "top",
        arguments: "[SLUG]...",
        summary: "show processor time and memory, every 2 s",
        detail: "Without a terminal: once.",
        example: "servisor top",
        options: &[],
        run: top::top,
    },
    Command {
        name: "open",
        arguments: "SLUG",
        summary: "print its URL, and open a browser where there is one",
        detail: "",
        example: "servisor open web",
        options: &[opt("--no-browser", None, None, "print only")],
        run: look::open,
    },
    Command {
        name: "events",
        arguments: "[SLUG]...",
        summary: "print what changes, until interrupted",
        detail: "",
        example: "servisor events --json",
        options: &[],
        run: follow::events,
    },
];

/// The words that are commands, but need no daemon.
pub const OTHERS: [(&str, &str); 4] = [
    ("serve", "start the daemon"),
    ("completion", "print completions for bash, zsh or fish"),
    ("help", "print help, also of a command"),
    ("version", "print the version"),
];

fn words() -> Vec<&'static str> {
    COMMANDS.iter().map(|command| command.name).chain(OTHERS.map(|(name, _)| name)).collect()
}

/// The command that is called `name`.
pub fn find_command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// From arguments to a command that is carried out.
///
/// # Errors
/// Why it was not.
pub fn dispatch(
    arguments: Vec<OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    to: &mut Terminal,
) -> Result<Exit, Failure> {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|argument| argument.into_string().map_err(|raw| usage(format!("argument {raw:?} is not UTF-8"))))
        .collect::<Result<_, _>>()?;
    let mut given = Parsed::default();
    let leading = given.read(&arguments, &|| COMMON.to_vec(), true, "servisor --help")?;
    let Some((name, rest)) = arguments[leading..].split_first() else {
        return if given.has("--help") {
            to.print(&help::overview());
            Ok(Exit::Done)
        } else {
            Err(usage("a command is missing: `servisor serve` starts the daemon, `servisor --help` lists the commands"))
        };
    };
    match name.as_str() {
        "help" => return help_on(rest, to),
        "completion" => return complete(rest, to),
        _ => {}
    }
    let Some(command) = find_command(name) else {
        let hint = match nearest(name, &words()) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "`servisor --help` lists the commands".to_owned(),
        };
        return Err(usage(format!("there is no command {}; {hint}", quoted(name))));
    };
    let known = || COMMON.iter().chain(command.options).copied().collect::<Vec<_>>();
    given.read(rest, &known, false, &format!("servisor {name} --help"))?;
    if given.has("--help") {
        to.print(&help::of(command));
        return Ok(Exit::Done);
    }
    let timeout = given.timeout()?;
    let own = |long: &str| given.value(long).map(str::to_owned);
    let place =
        find::Given { address: own("--address"), state_dir: own("--state-dir"), token_file: own("--token-file") };
    let api = Api::new(find::daemon(&place, variable)?, timeout);
    (command.run)(&mut Context { given, api, to, variable })
}

fn help_on(rest: &[String], to: &mut Terminal) -> Result<Exit, Failure> {
    match rest.first().map(String::as_str) {
        None => to.print(&help::overview()),
        Some("serve") => to.print(crate::config::help_text()),
        Some(name) => match find_command(name) {
            Some(command) => to.print(&help::of(command)),
            None if words().contains(&name) => to.print(&help::overview()),
            None => return Err(usage(format!("there is no command {}", quoted(name)))),
        },
    }
    Ok(Exit::Done)
}

fn complete(rest: &[String], to: &mut Terminal) -> Result<Exit, Failure> {
    let script = match rest.first().map(String::as_str) {
        Some("bash") => completion::bash(),
        Some("zsh") => completion::zsh(),
        Some("fish") => completion::fish(),
        Some("--help" | "-h") => {
            to.print(completion::HELP);
            return Ok(Exit::Done);
        }
        Some(_) | None => return Err(usage("name a shell: servisor completion bash|zsh|fish")),
    };
    to.print(&script);
    Ok(Exit::Done)
}

impl Context<'_> {
    /// The slugs of the command line.
    ///
    /// # Errors
    /// There must be one, and there is none.
    pub fn slugs(&self) -> Result<Vec<String>, Failure> {
        if self.given.words.is_empty() { Err(usage("name a server")) } else { Ok(self.given.words.clone()) }
    }

    /// The one slug of the command line.
    ///
    /// # Errors
    /// There is none, or more.
    pub fn slug(&self) -> Result<String, Failure> {
        match self.given.words.as_slice() {
            [slug] => Ok(slug.clone()),
            _ => Err(usage("name one server")),
        }
    }
}
