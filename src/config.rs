//! Parses arguments and environment into a valid configuration.
//!
//! Owns: the names of the options, their defaults and the help text. Never: the file system or the network; `daemon`
//! checks whether a directory exists or an address is free.
//!
//! Every option has a variable, as `--listen` has `SERVISOR_LISTEN`; arguments win.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{self, PathBuf};
use std::str::FromStr;

use crate::access::{AllowedOrigin, Token};
use crate::error::quoted;
use crate::log::Level;
use crate::model::proxy::ProxyAccess;
use crate::model::public_url::PublicUrl;
use crate::setup;

mod help;
mod options;
mod proxy;
#[cfg(test)]
mod tests;

use options::{Environment, Given, Opt, read_options};

/// Where the SDK's tools look for the daemon.
const DEFAULT_LISTEN: &str = "127.0.0.1:18080";
const DEFAULT_LOG_BUFFER: usize = 1024 * 1024;
/// Smaller buffers can't hold a few lines; larger ones are a mistake.
const LOG_BUFFER: RangeInclusive<usize> = 4 * 1024..=1024 * 1024 * 1024;

/// The variables for the access token. The first one that is set counts.
const TOKEN_VARIABLES: [&str; 2] = ["SERVISOR_ACCESS_TOKEN", "COMPUTESDK_ACCESS_TOKEN"];
pub const SECRET_VARIABLES: [&str; 3] = [TOKEN_VARIABLES[0], TOKEN_VARIABLES[1], setup::VARIABLE];

const DEFAULT_LOG_FILE: u64 = 10 * 1024 * 1024;
const LOG_FILE: RangeInclusive<u64> = 4 * 1024..=1024 * 1024 * 1024 * 1024;

/// What `servisor serve` was called for.
#[derive(Debug)]
pub enum Invocation {
    /// To print this.
    Help(&'static str),
    Serve(Box<Config>),
}

/// The daemon's configuration.
#[derive(Debug)]
pub struct Config {
    /// The address of the API.
    pub listen: Listen,
    /// The base of relative paths of servers; absolute.
    pub root: PathBuf,
    /// The state directory; absolute.
    pub state_dir: PathBuf,
    pub setup: Option<setup::PayloadSource>,
    /// The template of the servers' URLs, if it is given.
    pub public_url: Option<PublicUrl>,
    /// How the daemon leads visitors to its servers, if it does.
    pub proxy: Option<ProxyConfig>,
    /// Whether it also answers the SDK's gateway routes.
    pub gateway: bool,
    /// The sandbox URL in the gateway's answers.
    pub sandbox_url: Option<String>,
    pub auth: AuthSource,
    /// The web origins that may use the API.
    pub allow_origins: Vec<AllowedOrigin>,
    pub log_level: Level,
    /// The capacity of each server's log buffer, in bytes.
    pub log_buffer_bytes: usize,
    /// The directory of log files; absolute.
    pub log_dir: Option<PathBuf>,
    /// The size at which a log file is rotated, in bytes.
    pub log_file_bytes: u64,
    /// Mistakes that do not prevent the start.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// A further address, for servers only.
    pub listen: Option<Listen>,
    /// The default access to a server whose spec gives none.
    pub access: ProxyAccess,
}

/// An address of the API, or of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 is any free port.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The source of the access token.
#[derive(Debug)]
pub enum AuthSource {
    File(PathBuf),
    Given(Token),
    /// Generated at the first start and stored in the state directory.
    Kept,
    /// No authentication.
    Off,
}

/// A usage error: one line.
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
/// One line: the option or variable, its value, the mistake, and a correct example.
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
        None => None,
        Some((name, text)) => {
            let parsed = PublicUrl::parse(&text).or_else(|why| error(format!("{name} {} {why}", quoted(&text))))?;
            Some((name, text, parsed))
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
    let proxy = proxy::proxy(&given, public_url.as_ref(), &listen, &allow_origins, &mut warnings)?;
    let public_url = public_url.map(|(_, _, parsed)| parsed);
    let auth = auth(&given, &environment, &listen, &allow_origins, &mut warnings)?;
    let setup = setup(&given, &environment, &mut warnings)?;
    Ok(Config {
        listen,
        root: absolute("--root", root)?,
        state_dir: absolute("--state-dir", state_dir)?,
        setup,
        public_url,
        proxy,
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

/// The option `--setup` wins over the variable, which the sandbox sets.
fn setup(
    given: &Given<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Option<setup::PayloadSource>, ConfigError> {
    let variable = environment.text(setup::VARIABLE)?.filter(|value| !value.is_empty());
    match (given.one(Opt::Setup)?, variable) {
        (Some((name, path)), variable) => {
            if variable.is_some() {
                warnings.push(format!("{} is not used: {name} is given too", setup::VARIABLE));
            }
            Ok(Some(setup::PayloadSource::File(absolute(&name, path.into())?)))
        }
        (None, Some(value)) => Ok(Some(setup::PayloadSource::Variable(value.to_owned()))),
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
                "--no-auth is for a loopback address or a unix socket only: on {address} every client that reaches it could \
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

/// Parses an option with a number of bytes.
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

/// Parses the URL of the API as clients see it; they append paths.
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

/// The default state directory: by the XDG base directory specification, or `/var/lib` without a home.
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
