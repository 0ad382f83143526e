//! From arguments and environment to a configuration that can't be wrong.
//!
//! Owns: the names of the options, their defaults and the help text. Never: a look at the file system or the network;
//! whether a directory exists or an address is free is found out by `daemon`.
//!
//! Every option has a variable, `--listen` has `SERVISOR_LISTEN`; an option given as an argument wins.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{self, PathBuf};

use crate::api::access::{AllowedOrigin, Token};
use crate::error::quoted;
use crate::log::Level;
use crate::model::nearest::nearest;

mod help;
#[cfg(test)]
mod tests;

/// Where the SDK's tools look for the daemon.
const DEFAULT_LISTEN: &str = "127.0.0.1:18080";
const DEFAULT_LOG_BUFFER: usize = 1024 * 1024;
/// Less than this could not hold a few lines, more than this would be a mistake.
const LOG_BUFFER: std::ops::RangeInclusive<usize> = 4 * 1024..=1024 * 1024 * 1024;
const VARIABLE_PREFIX: &str = "SERVISOR_";
/// Variables of ours that belong to no option: the token itself, and the marker that a server of another servisor has.
const OTHER_VARIABLES: [&str; 2] = ["SERVISOR_ACCESS_TOKEN", "SERVISOR_RUN"];

/// What the program was called for.
#[derive(Debug)]
pub enum Invocation {
    /// To print this.
    Help(&'static str),
    /// To print its version.
    Version,
    /// To serve.
    Serve(Box<Config>),
}

/// How to serve.
#[derive(Debug)]
pub struct Config {
    /// Where the API is.
    pub listen: Listen,
    /// Relative paths of servers are taken from here; absolute.
    pub root: PathBuf,
    /// What outlives the daemon is here; absolute.
    pub state_dir: PathBuf,
    /// Who may use the API.
    pub auth: AuthSource,
    /// Which web pages may.
    pub allow_origins: Vec<AllowedOrigin>,
    /// What the daemon's own log tells.
    pub log_level: Level,
    /// How much output of each server is kept.
    pub log_buffer_bytes: usize,
    /// What is odd, and no reason not to start.
    pub warnings: Vec<String>,
}

/// An address of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 is any free one.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Where the access token comes from.
#[derive(Debug)]
pub enum AuthSource {
    /// From this file.
    File(PathBuf),
    /// It is this.
    Given(Token),
    /// Made at the first start and kept in the state directory.
    Kept,
    /// None is asked for.
    Off,
}

/// Why the program was called in a wrong way: one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

fn error<T>(text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(text.into()))
}

/// What `arguments` (without the program's name) and `environment` ask for.
///
/// # Errors
/// The option or variable, its value, what is wrong with it and what would be right.
pub fn parse(
    arguments: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigError> {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.into_string().or_else(|raw| error(format!("argument {raw:?} is not UTF-8"))))
        .collect::<Result<_, _>>()?;
    let (command, rest) = match arguments.split_first() {
        None => return error("a command is missing: `servisor serve` starts the daemon, `servisor --help` tells more"),
        Some((first, rest)) => (first.as_str(), rest),
    };
    match command {
        "serve" if rest.iter().any(|argument| argument == "--help" || argument == "-h") => {
            Ok(Invocation::Help(help::TEXT))
        }
        "serve" => serve(&arguments[1..], environment).map(|config| Invocation::Serve(Box::new(config))),
        "help" | "--help" | "-h" => Ok(Invocation::Help(help::TEXT)),
        "version" | "--version" | "-V" => Ok(Invocation::Version),
        other => match nearest(other, &["serve", "help", "version"]) {
            Some(known) => error(format!("there is no command {}; did you mean \"{known}\"?", quoted(other))),
            None => error(format!("there is no command {}; `servisor serve` starts the daemon", quoted(other))),
        },
    }
}

fn serve(
    arguments: &[String],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let environment = Environment::read(environment)?;
    let mut given = Given { arguments: read_options(arguments)?, environment: &environment };
    let (listen_name, listen) = given.one(Opt::Listen)?.unwrap_or_else(|| ("--listen".into(), DEFAULT_LISTEN.into()));
    let listen = parse_listen(&listen).or_else(|why| error(format!("{listen_name} {} {why}", quoted(&listen))))?;
    let root = given.one(Opt::Root)?.map_or_else(|| PathBuf::from("."), |(_, value)| value.into());
    let state_dir = match given.one(Opt::StateDir)? {
        Some((_, value)) => value.into(),
        None => default_state_dir(&environment),
    };
    let log_level = match given.one(Opt::LogLevel)? {
        None => Level::Info,
        Some((name, word)) => Level::parse(&word).map_or_else(
            || {
                let words = Level::ALL.map(Level::name).join(", ");
                error(format!("{name} {} must be one of {words}", quoted(&word)))
            },
            Ok,
        )?,
    };
    let log_buffer_bytes = match given.one(Opt::LogBufferBytes)? {
        None => DEFAULT_LOG_BUFFER,
        Some((name, text)) => text.parse().ok().filter(|bytes| LOG_BUFFER.contains(bytes)).map_or_else(
            || {
                let (least, most) = (LOG_BUFFER.start(), LOG_BUFFER.end());
                error(format!("{name} {} must be a number of bytes from {least} to {most}", quoted(&text)))
            },
            Ok,
        )?,
    };
    let allow_origins = given
        .all(Opt::AllowOrigin)
        .into_iter()
        .map(|(name, text)| {
            AllowedOrigin::parse(&text).or_else(|why| error(format!("{name} {} {why}", quoted(&text))))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let auth = auth(&mut given, &environment, &listen, &allow_origins)?;
    Ok(Config {
        listen,
        root: absolute("--root", root)?,
        state_dir: absolute("--state-dir", state_dir)?,
        auth,
        allow_origins,
        log_level,
        log_buffer_bytes,
        warnings: environment.warnings(),
    })
}

fn auth(
    given: &mut Given<'_>,
    environment: &Environment,
    listen: &Listen,
    origins: &[AllowedOrigin],
) -> Result<AuthSource, ConfigError> {
    let file = given.one(Opt::AccessTokenFile)?;
    let off = match given.one(Opt::NoAuth)? {
        None => false,
        Some((name, word)) => match word.as_str() {
            "" | "1" | "true" | "yes" => true,
            "0" | "false" | "no" => false,
            _ => return error(format!("{name} {} must be true or false", quoted(&word))),
        },
    };
    if off {
        if let Some((name, _)) = file {
            return error(format!("--no-auth and {name} contradict each other; give one of them"));
        }
        if let Listen::Tcp(address) = listen
            && !is_loopback(address.ip())
        {
            return error(format!(
                "--no-auth is for a loopback address or a unix socket only: on {address} anyone who reaches it could \
                 run commands"
            ));
        }
        if origins.contains(&AllowedOrigin::Any) {
            return error("--no-auth with --allow-origin \"*\" would let any web page run commands; name the origins");
        }
        return Ok(AuthSource::Off);
    }
    match (file, environment.text("SERVISOR_ACCESS_TOKEN")?) {
        (Some((_, path)), _) => Ok(AuthSource::File(path.into())),
        (None, Some(token)) => match Token::parse(token) {
            Ok(token) => Ok(AuthSource::Given(token)),
            Err(why) => error(format!("the access token in SERVISOR_ACCESS_TOKEN {why}")),
        },
        (None, None) => Ok(AuthSource::Kept),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.strip_prefix("//").unwrap_or(path) {
            "" => Err("has no path after \"unix:\"".into()),
            path => Ok(Listen::Unix(path.into())),
        };
    }
    let spelled = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    spelled.as_deref().unwrap_or(text).parse().map(Listen::Tcp).map_err(|_| {
        "must be IP:PORT, as in \"127.0.0.1:18080\" or \"[::1]:18080\", or \"unix:PATH\"".into()
    })
}

/// Where the base directory specification has such things, or where systems have them if there is no home.
fn default_state_dir(environment: &Environment) -> PathBuf {
    let set = |name: &str| environment.all.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match (set("XDG_STATE_HOME"), set("HOME")) {
        (Some(state), _) => state.join("servisor"),
        (None, Some(home)) => home.join(".local/state/servisor"),
        (None, None) => PathBuf::from("/var/lib/servisor"),
    }
}

fn absolute(name: &str, given: PathBuf) -> Result<PathBuf, ConfigError> {
    path::absolute(&given).or_else(|cause| error(format!("{name} {} can't be used: {cause}", given.display())))
}

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Opt {
    Listen,
    Root,
    StateDir,
    AccessTokenFile,
    NoAuth,
    AllowOrigin,
    LogLevel,
    LogBufferBytes,
}

impl Opt {
    const ALL: [(&'static str, Opt); 8] = [
        ("--listen", Opt::Listen),
        ("--root", Opt::Root),
        ("--state-dir", Opt::StateDir),
        ("--access-token-file", Opt::AccessTokenFile),
        ("--no-auth", Opt::NoAuth),
        ("--allow-origin", Opt::AllowOrigin),
        ("--log-level", Opt::LogLevel),
        ("--log-buffer-bytes", Opt::LogBufferBytes),
    ];

    fn name(self) -> &'static str {
        Opt::ALL[self as usize].0
    }

    fn variable(self) -> String {
        variable_of(self.name())
    }
}

fn variable_of(option: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", option.trim_start_matches('-').replace('-', "_").to_ascii_uppercase())
}

fn read_options(arguments: &[String]) -> Result<Vec<(Opt, String)>, ConfigError> {
    let mut options = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let Some((_, option)) = Opt::ALL.into_iter().find(|(known, _)| *known == name) else {
            let hint = nearest(name, &Opt::ALL.map(|(known, _)| known));
            let hint = hint.map(|known| format!("did you mean {known}?"));
            let hint = hint.unwrap_or_else(|| "`servisor serve --help` lists the options".into());
            return error(format!("there is no option {}; {hint}", quoted(name)));
        };
        let value = match (option, attached) {
            (_, Some(value)) => value,
            (Opt::NoAuth, None) => String::new(),
            (_, None) => match rest.next() {
                Some(value) => value.clone(),
                None => return error(format!("{name} needs a value")),
            },
        };
        if value.is_empty() && option != Opt::NoAuth {
            return error(format!("{name} needs a value that is not empty"));
        }
        options.push((option, value));
    }
    Ok(options)
}

/// The options as they were given, in one way or the other.
struct Given<'a> {
    arguments: Vec<(Opt, String)>,
    environment: &'a Environment,
}

impl Given<'_> {
    /// The value of an option that is given once, and the name under which it was.
    fn one(&mut self, option: Opt) -> Result<Option<(String, String)>, ConfigError> {
        let mut values = self.arguments.iter().filter(|(other, _)| *other == option).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(Some((option.name().into(), value.clone()))),
            (Some(_), Some(_)) => error(format!("{} is given more than once", option.name())),
            (None, _) => {
                let variable = option.variable();
                let value = self.environment.text(&variable)?.map(str::to_owned);
                // An empty variable is how compose files and shells leave an option out.
                Ok(value.filter(|value| !value.is_empty()).map(|value| (variable, value)))
            }
        }
    }

    /// The values of an option that may be repeated; the variable has them with commas.
    fn all(&self, option: Opt) -> Vec<(String, String)> {
        let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let arguments: Vec<_> = self.arguments.iter().filter(|(other, _)| *other == option).collect();
        if !arguments.is_empty() {
            return arguments.into_iter().map(|(option, value)| named(option.name(), value)).collect();
        }
        let variable = option.variable();
        let list = self.environment.all.get(&variable).and_then(|value| value.to_str()).unwrap_or_default();
        list.split(',').map(str::trim).filter(|value| !value.is_empty()).map(|value| named(&variable, value)).collect()
    }
}

/// The variables of the environment whose names are text.
struct Environment {
    all: HashMap<String, OsString>,
}

impl Environment {
    fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, ConfigError> {
        let all = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        Ok(Environment { all })
    }

    fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        match self.all.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(text)),
            Some(None) => error(format!("the variable {name} is not UTF-8")),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let known: Vec<String> = Opt::ALL.iter().map(|(name, _)| variable_of(name)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).chain(OTHER_VARIABLES).collect();
        let mut unknown: Vec<&String> = self
            .all
            .keys()
            .filter(|name| name.starts_with(VARIABLE_PREFIX) && !known.contains(&name.as_str()))
            .collect();
        unknown.sort();
        let mut warnings: Vec<String> = unknown
            .iter()
            .map(|name| {
                let hint = nearest(name, &known).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
                format!("the variable {name} means nothing to this version of servisor{hint}")
            })
            .collect();
        if self.all.get("COMPUTESDK_SETUP_B64").is_some_and(|payload| !payload.is_empty()) {
            warnings.push(
                "COMPUTESDK_SETUP_B64 is set, but this version does not carry out setup payloads; create its servers \
                 by POST /servers"
                    .into(),
            );
        }
        warnings
    }
}
