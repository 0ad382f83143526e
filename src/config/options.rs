//! The options given by arguments and variables.
//!
//! Owns: their names and syntax. Never: the meaning of their values.

use std::ffi::OsString;

use super::{ConfigError, error};
use crate::error::quoted;
use crate::model::nearest::nearest;
use crate::sorted::Sorted;

const VARIABLE_PREFIX: &str = "SERVISOR_";
/// Known variables that belong to no option: the token, the marker and the URL in the environment of managed servers,
/// and the daemon's address for the command line.
const OTHER_VARIABLES: [&str; 4] = ["SERVISOR_ACCESS_TOKEN", "SERVISOR_RUN", "SERVISOR_URL", "SERVISOR_ADDRESS"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opt {
    Listen,
    Root,
    StateDir,
    Setup,
    PublicUrl,
    Proxy,
    ProxyListen,
    ProxyAccess,
    Gateway,
    SandboxUrl,
    AccessTokenFile,
    NoAuth,
    AllowOrigin,
    LogLevel,
    LogBufferBytes,
    LogDir,
    LogFileBytes,
}

impl Opt {
    /// All variants with their names, in the order of the declaration.
    pub const ALL: [(&'static str, Opt); 17] = [
        ("--listen", Opt::Listen),
        ("--root", Opt::Root),
        ("--state-dir", Opt::StateDir),
        ("--setup", Opt::Setup),
        ("--public-url", Opt::PublicUrl),
        ("--proxy", Opt::Proxy),
        ("--proxy-listen", Opt::ProxyListen),
        ("--proxy-access", Opt::ProxyAccess),
        ("--gateway", Opt::Gateway),
        ("--sandbox-url", Opt::SandboxUrl),
        ("--access-token-file", Opt::AccessTokenFile),
        ("--no-auth", Opt::NoAuth),
        ("--allow-origin", Opt::AllowOrigin),
        ("--log-level", Opt::LogLevel),
        ("--log-buffer-bytes", Opt::LogBufferBytes),
        ("--log-dir", Opt::LogDir),
        ("--log-file-bytes", Opt::LogFileBytes),
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

/// Parses `arguments` into options, in order.
pub fn read_options(arguments: &[String]) -> Result<Vec<(Opt, String)>, ConfigError> {
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
            (Opt::NoAuth | Opt::Gateway | Opt::Proxy, None) => String::new(),
            (_, None) => match rest.next() {
                Some(value) => value.clone(),
                None => return error(format!("{name} needs a value")),
            },
        };
        if value.is_empty() && !matches!(option, Opt::NoAuth | Opt::Gateway | Opt::Proxy) {
            return error(format!("{name} needs a value that is not empty"));
        }
        options.push((option, value));
    }
    Ok(options)
}

pub struct Given<'a> {
    pub arguments: Vec<(Opt, String)>,
    pub environment: &'a Environment,
}

impl Given<'_> {
    /// The name (argument or variable) and value of an option that may be given once.
    ///
    /// # Errors
    /// It is given more than once, or is not UTF-8.
    pub fn one(&self, option: Opt) -> Result<Option<(String, String)>, ConfigError> {
        let mut values = self.arguments.iter().filter(|(other, _)| *other == option).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(Some((option.name().into(), value.clone()))),
            (Some(_), Some(_)) => error(format!("{} is given more than once", option.name())),
            (None, _) => {
                let variable = option.variable();
                let value = self.environment.text(&variable)?.map(str::to_owned);
                // Compose files and shells set an empty variable where an option is left out.
                Ok(value.filter(|value| !value.is_empty()).map(|value| (variable, value)))
            }
        }
    }

    /// The name by which a boolean option was turned on, if it was.
    ///
    /// # Errors
    /// Its value is neither true nor false, or as [`Given::one`].
    pub fn flag(&self, option: Opt) -> Result<Option<String>, ConfigError> {
        let Some((name, word)) = self.one(option)? else { return Ok(None) };
        match word.as_str() {
            "" | "1" | "true" | "yes" => Ok(Some(name)),
            "0" | "false" | "no" => Ok(None),
            _ => error(format!("{name} {} must be true or false", quoted(&word))),
        }
    }

    /// The values of a repeatable option; in the variable they are separated by commas.
    pub fn all(&self, option: Opt) -> Vec<(String, String)> {
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

/// The environment variables with names in UTF-8.
pub struct Environment {
    all: Sorted<String, OsString>,
}

impl Environment {
    pub fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Environment {
        Environment { all: variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect() }
    }

    /// The value of a non-empty variable.
    pub fn set(&self, name: &str) -> Option<&OsString> {
        self.all.get(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable, if it is set.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        match self.all.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(text)),
            Some(None) => error(format!("the variable {name} is not UTF-8")),
        }
    }

    /// Warnings about unknown variables with the prefix.
    pub fn warnings(&self) -> Vec<String> {
        let known: Vec<String> = Opt::ALL.iter().map(|(name, _)| variable_of(name)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).chain(OTHER_VARIABLES).collect();
        let mut unknown: Vec<&String> = self
            .all
            .keys()
            .filter(|name| name.starts_with(VARIABLE_PREFIX) && !known.contains(&name.as_str()))
            .collect();
        unknown.sort_unstable();
        unknown
            .iter()
            .map(|name| {
                let hint = nearest(name, &known).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
                format!("the variable {name} means nothing to this version of servisor{hint}")
            })
            .collect()
    }
}
