//! A server's configuration, valid by construction.
//!
//! Owns: the types of a spec and the rules of each of its values. Never: JSON, the API's defaults, the file system
//! (whether a directory exists is checked when it is needed).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use super::overlay::{OverlayId, OverlaySpec};
use super::proxy::ProxyRules;
use super::stop::StopRules;
use crate::sorted::Sorted;

/// The longest slug, in bytes: that of a DNS label, so that a slug can become part of a host name.
pub const SLUG_MAX: usize = 63;
/// The longest command, in bytes. Linux takes 131,072 for one argument with its end (`MAX_ARG_STRLEN`); the rest
/// is room for the `exec ` that may be put in front.
pub const COMMAND_MAX: usize = 131_000;
/// The longest `NAME=value`, in bytes, for the same reason.
pub const VARIABLE_MAX: usize = 131_000;
/// The longest duration in a spec: a year. A longer one is a mistake; with this limit, sums of durations stay in range.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The name of a server: 1 to 63 of `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

impl Slug {
    /// Parses a slug.
    ///
    /// # Errors
    /// The broken rule, as a phrase that follows the word "slug".
    pub fn parse(text: &str) -> Result<Slug, String> {
        let first_fits = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        if text.len() > SLUG_MAX {
            return Err(format!("is {} bytes long; {SLUG_MAX} are allowed", text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            return Err(format!("{text:?} may only have letters, digits, '.', '_' and '-'"));
        }
        if !first_fits {
            return Err(format!("{text:?} must begin with a letter or a digit"));
        }
        Ok(Slug(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A TCP port that can be listened on: 1 to 65535.
pub type Port = NonZeroU16;

/// A command for `/bin/sh -c`: not empty, without NUL, at most [`COMMAND_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    /// Parses a command.
    ///
    /// # Errors
    /// The broken rule, as a phrase that follows the name of the field.
    pub fn parse(text: &str) -> Result<CommandLine, String> {
        if text.trim().is_empty() {
            return Err("must not be empty".into());
        }
        if text.len() > COMMAND_MAX {
            return Err(format!("is {} bytes long; {COMMAND_MAX} are allowed", text.len()));
        }
        if text.contains('\0') {
            return Err("must not contain a NUL byte".into());
        }
        Ok(CommandLine(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// After which ends of its own a server is restarted. Failed health checks restart it under every policy, if the spec
/// says so ([`HealthCheck::restart_after_failures`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// After none.
    Never,
    /// After a non-zero exit code, a death by signal, or a spawn that failed.
    OnFailure,
    /// After any end.
    Always,
}

impl RestartPolicy {
    /// All variants with their API names.
    pub const ALL: [(&'static str, RestartPolicy); 3] =
        [("never", Self::Never), ("on-failure", Self::OnFailure), ("always", Self::Always)];

    /// The API name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

/// The standard input of the start command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// `/dev/null`: end of file at once.
    Null,
    /// A pipe without a writer, open as long as the run lasts: some file watchers exit at end of input.
    Open,
}

impl Stdin {
    /// All variants with their API names.
    pub const ALL: [(&'static str, Stdin); 2] = [("null", Self::Null), ("open", Self::Open)];

    /// The API name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Open => "open",
        }
    }
}

/// The rules of automatic restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRules {
    pub policy: RestartPolicy,
    /// The most automatic restarts since the last start command; `None` is no limit.
    pub max: Option<NonZeroU32>,
    /// The time from an end to the next start.
    pub delay: Duration,
    /// If set, `delay` doubles after each short run, up to this value.
    pub delay_max: Option<Duration>,
}

/// The HTTP health check of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path of the request, beginning with a slash.
    pub path: String,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// From connect to the last byte of the response head.
    pub timeout: Duration,
    /// From the detection of the port to the first check.
    pub delay: Duration,
    /// The number of consecutive failures that restarts the server, under every policy; `None` is never.
    pub restart_after_failures: Option<NonZeroU32>,
}

/// The working directory of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkDir {
    /// As the client sent it; `None` for the root.
    pub original: Option<String>,
    /// `original` resolved against the root; absolute.
    pub resolved: PathBuf,
}

/// The configuration of one server. Immutable: a change makes another spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    pub slug: Slug,
    /// The command that runs the server.
    pub start: CommandLine,
    /// A command that must succeed once before the first start.
    pub install: Option<CommandLine>,
    /// The working directory of both commands.
    pub path: WorkDir,
    /// The requested port.
    pub port: Option<Port>,
    /// Whether only that port will do: a start fails if it is taken. Otherwise the next free port is used.
    pub strict_port: bool,
    /// Ports of helper processes: one of these counts as the server's only while it listens on no other.
    pub ignore_ports: Vec<Port>,
    /// Environment variables; they override all other sources.
    pub environment: Sorted<String, String>,
    /// A dotenv file, relative to `path`, read at every start.
    pub env_file: Option<String>,
    pub restart: RestartRules,
    /// The time from the stop signal to SIGKILL, for the whole process tree.
    pub stop_timeout: Duration,
    pub stop: StopRules,
    /// Whether the daemon starts it when the daemon itself starts.
    pub autostart: bool,
    pub health_check: Option<HealthCheck>,
    /// The overlays that are created for it before its first process.
    pub overlays: Vec<OverlaySpec>,
    /// Existing overlays that it waits for.
    pub depends_on: Vec<OverlayId>,
    pub stdin: Stdin,
    pub proxy: ProxyRules,
}

impl ServerSpec {
    /// Whether its first process waits for overlays.
    pub fn waits_for_overlays(&self) -> bool {
        !self.overlays.is_empty() || !self.depends_on.is_empty()
    }

    /// Returns the spec with `ids` added to `depends_on`.
    pub fn waiting_for(mut self, ids: &[OverlayId]) -> ServerSpec {
        let more: Vec<OverlayId> = ids.iter().filter(|id| !self.depends_on.contains(id)).cloned().collect();
        self.depends_on.extend(more);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for good in ["a", "0", "web", "Web.1_x-y", &"a".repeat(63)] {
            assert_eq!(Slug::parse(good).map(|slug| slug.as_str().to_owned()), Ok(good.to_owned()));
        }
        for bad in ["", ".", "-a", "_a", "..", "a b", "a/b", "a\0", "ä", "a\n", &"a".repeat(64)] {
            assert!(Slug::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn commands() {
        assert!(CommandLine::parse("node server.js").is_ok());
        assert!(CommandLine::parse(&"x".repeat(COMMAND_MAX)).is_ok());
        for bad in ["", "  \n", "a\0b", &"x".repeat(COMMAND_MAX + 1)] {
            assert!(CommandLine::parse(bad).is_err());
        }
    }

    #[test]
    fn policies_have_one_word_each() {
        for (word, policy) in RestartPolicy::ALL {
            assert_eq!(policy.as_str(), word);
        }
        for (word, stdin) in Stdin::ALL {
            assert_eq!(stdin.as_str(), word);
        }
    }
}
