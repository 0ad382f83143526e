//! From arguments and environment to a configuration that can't be wrong.
//!
//! Owns: the names of the options, their defaults and the help text. Never: a look at the file system or the network;
//! whether a directory exists or an address is free is found out by `daemon`.
//!
//! Every option has a variable, `--listen` has `SERVISOR_LISTEN`; an option given as an argument wins.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{self, PathBuf};
use std::str::FromStr;

use crate::api::access::{AllowedOrigin, Token};
use crate::error::quoted;
use crate::log::Level;
use crate::model::public_url::PublicUrl;
use crate::setup;

mod help;
mod options;
#[cfg(test)]
mod tests;

use options::{Environment, Given, Opt, read_options};

/// Where the SDK's tools look for the daemon.
const DEFAULT_LISTEN: &str = "127.0.0.1:18080";
const DEFAULT_LOG_BUFFER: usize = 1024 * 1024;
/// Less than this could not hold a few lines, more than this would be a mistake.
const LOG_BUFFER: RangeInclusive<usize> = 4 * 1024..=1024 * 1024 * 1024;

/// The variables that can hold the access token. The first one that is set counts.
const TOKEN_VARIABLES: [&str; 2] = ["SERVISOR_ACCESS_TOKEN", "COMPUTESDK_ACCESS_TOKEN"];
/// The variables whose values are secrets.
pub const SECRET_VARIABLES: [&str; 3] = [TOKEN_VARIABLES[0], TOKEN_VARIABLES[1], setup::VARIABLE];

const DEFAULT_LOG_FILE: u64 = 10 * 1024 * 1024;
const LOG_FILE: RangeInclusive<u64> = 4 * 1024..=1024 * 1024 * 1024 * 1024;

/// What `servisor serve` was called for.
#[derive(Debug)]
pub enum Invocation {
    /// To print this.
    Help(&'static str),
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
    /// What it is told to have from the start.
    pub setup: Option<setup::Source>,
    /// How servers are reached from outside.
    pub public_url: PublicUrl,
    /// Whether it is a gateway of the SDK too.
    pub gateway: bool,
    /// Where that gateway says that its sandbox is reached.
    pub sandbox_url: Option<String>,
    /// Who may use the API.
    pub auth: AuthSource,
    /// Which web pages may.
    pub allow_origins: Vec<AllowedOrigin>,
    /// What the daemon's own log tells.
    pub log_level: Level,
    /// How much output of each server is kept.
    pub log_buffer_bytes: usize,
    /// Where that output is also written to files; absolute.
    pub log_dir: Option<PathBuf>,
    /// How large such a file gets.
    pub log_file_bytes: u64,
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

/// What `arguments` (those after `serve`) and `environment` ask for.
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
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return Ok(Invocation::Help(help::TEXT));
    }
    serve(&arguments, environment).map(|config| Invocation::Serve(Box::new(config)))
}

/// The help of `servisor serve`.
pub fn help_text() -> &'static str {
    help::TEXT
}

fn serve(arguments: &[String], environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Config, ConfigError> {
    let environment = Environment::read(environment);
    let given = Given { arguments: read_options(arguments)?, environment: &environment };
    let (listen_name, listen) = given.one(Opt::Listen)?.unwrap_or_else(|| ("--listen".into(), DEFAULT_LISTEN.into()));
    let listen = parse_listen(&listen).or_else(|why| error(format!("{listen_name} {} {why}", quoted(&listen))))?;
    let root = given.one(Opt::Root)?.map_or_else(|| PathBuf::from("."), |(_, value)| value.into());
    let state_dir = match given.one(Opt::StateDir)? {
        Some((_, value)) => value.into(),
        None => default_state_dir(&|name| environment.set(name).cloned()),
    };
    let public_url = match given.one(Opt::PublicUrl)? {
        None => PublicUrl::default(),
        Some((name, text)) => {
            PublicUrl::parse(&text).or_else(|why| error(format!("{name} {} {why}", quoted(&text))))?
        }
    };
    let gateway = given.flag(Opt::Gateway)?.is_some();
    let sandbox_url = match given.one(Opt::SandboxUrl)? {
        None => None,
        Some((name, text)) => {
            Some(parse_sandbox_url(&text).or_else(|why| error(format!("{name} {} {why}", quoted(&text))))?)
        }
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
    let log_buffer_bytes = bytes(&given, Opt::LogBufferBytes, &LOG_BUFFER)?.unwrap_or(DEFAULT_LOG_BUFFER);
    let log_dir = given.one(Opt::LogDir)?.map(|(_, value)| absolute("--log-dir", value.into())).transpose()?;
    let log_file_bytes = bytes(&given, Opt::LogFileBytes, &LOG_FILE)?;
    let mut warnings = environment.warnings();
    if sandbox_url.is_some() && !gateway {
        warnings.push("--sandbox-url means nothing without --gateway".into());
    }
    if log_file_bytes.is_some() && log_dir.is_none() {
        warnings.push("--log-file-bytes means nothing without --log-dir".into());
    }
    let allow_origins = given
        .all(Opt::AllowOrigin)
        .into_iter()
        .map(|(name, text)| AllowedOrigin::parse(&text).or_else(|why| error(format!("{name} {} {why}", quoted(&text)))))
        .collect::<Result<Vec<_>, _>>()?;
    let auth = auth(&given, &environment, &listen, &allow_origins, &mut warnings)?;
    let setup = setup(&given, &environment, &mut warnings)?;
    Ok(Config {
        listen,
        root: absolute("--root", root)?,
        state_dir: absolute("--state-dir", state_dir)?,
        setup,
        public_url,
        gateway,
        sandbox_url,
        auth,
        allow_origins,
        log_level,
        log_buffer_bytes,
        log_dir,
        log_file_bytes: log_file_bytes.unwrap_or(DEFAULT_LOG_FILE),
        warnings,
    })
}

/// A file is the choice of whoever wrote the command line; the variable comes with the sandbox.
fn setup(
    given: &Given<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Option<setup::Source>, ConfigError> {
    let variable = environment.text(setup::VARIABLE)?.filter(|value| !value.is_empty());
    match (given.one(Opt::Setup)?, variable) {
        (Some((name, path)), variable) => {
            if variable.is_some() {
                warnings.push(format!("{} is not used: {name} is given too", setup::VARIABLE));
            }
            Ok(Some(setup::Source::File(absolute(&name, path.into())?)))
        }
        (None, Some(value)) => Ok(Some(setup::Source::Variable(value.to_owned()))),
        (None, None) => Ok(None),
    }
}

fn auth(
    given: &Given<'_>,
    environment: &Environment,
    listen: &Listen,
    origins: &[AllowedOrigin],
    warnings: &mut Vec<String>,
) -> Result<AuthSource, ConfigError> {
    let file = given.one(Opt::AccessTokenFile)?;
    let mut variables = Vec::new();
    for name in TOKEN_VARIABLES {
        // Empty, ours is a mistake; the SDK's may be handed on by a program that has none.
        let token = environment.text(name)?.filter(|token| name == TOKEN_VARIABLES[0] || !token.is_empty());
        variables.extend(token.map(|token| (name, token)));
    }
    let off = given.flag(Opt::NoAuth)?;
    if let Some(off) = off {
        let is_set = |(name, token): &(&str, &str)| (!token.is_empty()).then(|| (*name).to_owned());
        if let Some(name) = file.map(|(name, _)| name).or_else(|| variables.iter().find_map(is_set)) {
            return error(format!("{off} and {name} contradict each other; give one of them"));
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
    let (used, source) = match (file, variables.first()) {
        (Some((name, path)), _) => (name, AuthSource::File(path.into())),
        (None, Some((name, token))) => match Token::parse(token) {
            Ok(token) => ((*name).to_owned(), AuthSource::Given(token)),
            Err(why) => return error(format!("the access token in {name} {why}")),
        },
        (None, None) => return Ok(AuthSource::Kept),
    };
    let unused = variables.iter().filter(|(name, _)| *name != used);
    warnings.extend(unused.map(|(name, _)| format!("{name} is not used: {used} is given too")));
    Ok(source)
}

/// The value of an option that is a number of bytes.
fn bytes<N>(given: &Given<'_>, option: Opt, range: &RangeInclusive<N>) -> Result<Option<N>, ConfigError>
where
    N: FromStr + PartialOrd + fmt::Display,
{
    let Some((name, text)) = given.one(option)? else { return Ok(None) };
    match text.parse().ok().filter(|bytes| range.contains(bytes)) {
        Some(bytes) => Ok(Some(bytes)),
        None => {
            let (least, most) = (range.start(), range.end());
            error(format!("{name} {} must be a number of bytes from {least} to {most}", quoted(&text)))
        }
    }
}

/// The address of the API as clients see it; they put paths behind it.
fn parse_sandbox_url(text: &str) -> Result<String, String> {
    let Some(place) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return Err("must begin with \"http://\" or \"https://\"".into());
    };
    if place.is_empty() || place.starts_with(['/', ':']) {
        return Err("has no host; \"https://sandbox.example.com\" would be right".into());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\{}".contains(&byte)) {
        return Err("must be a URL without a query and without {placeholders}".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
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
    spelled
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map(Listen::Tcp)
        .map_err(|_| "must be IP:PORT, as in \"127.0.0.1:18080\" or \"[::1]:18080\", or \"unix:PATH\"".into())
}

/// Where the base directory specification has such things, or where systems have them if there is no home.
pub fn default_state_dir(variable: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    let set = |name: &str| variable(name).map(PathBuf::from);
    match (set("XDG_STATE_HOME"), set("HOME")) {
        (Some(state), _) => state.join("servisor"),
        (None, Some(home)) => home.join(".local/state/servisor"),
        (None, None) => PathBuf::from("/var/lib/servisor"),
    }
}

fn absolute(name: &str, given: PathBuf) -> Result<PathBuf, ConfigError> {
    path::absolute(&given).or_else(|cause| error(format!("{name} {} can't be used: {cause}", given.display())))
}
