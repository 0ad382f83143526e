//! What was asked for: a server's configuration, valid by construction.
//!
//! Owns: the types of a spec and the rules of each of its values. Never: JSON, defaults of the wire, the file
//! system (whether a directory exists is found out when it is needed).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use super::overlay::{OverlayId, OverlaySpec};
use crate::sorted::Sorted;

/// The longest slug, in bytes: that of a DNS label, so that a slug can become part of a host name.
pub const SLUG_MAX: usize = 63;
/// The longest command, in bytes. Linux takes 131,072 for one argument with its end (`MAX_ARG_STRLEN`); the rest
/// is room for the `exec ` that may be put in front.
pub const COMMAND_MAX: usize = 131_000;
/// The longest `NAME=value`, in bytes, for the same reason.
pub const VARIABLE_MAX: usize = 131_000;
/// The longest time that a spec can ask for: a year. Past that it is a mistake, and sums of times stay in range.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The name of a server: 1 to 63 of `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

impl Slug {
    /// Takes `text` as a slug.
    ///
    /// # Errors
    /// A phrase that fits after "slug": which rule is broken.
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

    /// The slug as text.
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

/// A text that the system can take as a command, a path or a variable: not empty, without NUL, not too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    /// Takes `text` as a command for `/bin/sh -c`.
    ///
    /// # Errors
    /// A phrase that fits after the name of the field.
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

    /// The command as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// When a server is started again after it has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Not at all.
    Never,
    /// After a non-zero exit code, a death by signal, or a spawn that failed.
    OnFailure,
    /// After any end.
    Always,
}

impl RestartPolicy {
    /// All of them, by the word that the API has for each.
    pub const ALL: [(&'static str, RestartPolicy); 3] =
        [("never", Self::Never), ("on-failure", Self::OnFailure), ("always", Self::Always)];

    /// The word that the API has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

/// What the start command reads from its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Its end, at once.
    Null,
    /// Nothing, and no end as long as the run lasts: some watchers take the end of their input for the user's leave.
    Open,
}

impl Stdin {
    /// All of them, by the word that the API has for each.
    pub const ALL: [(&'static str, Stdin); 2] = [("null", Self::Null), ("open", Self::Open)];

    /// The word that the API has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Open => "open",
        }
    }
}

/// How a server is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRules {
    /// After which ends.
    pub policy: RestartPolicy,
    /// How many automatic restarts since the last start by hand; `None` is no limit.
    pub max: Option<NonZeroU32>,
    /// The time between an end and the next start.
    pub delay: Duration,
    /// When given, `delay` doubles with each short run, up to this.
    pub delay_max: Option<Duration>,
}

/// How a server's health is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path of the request, beginning with a slash.
    pub path: String,
    /// From the beginning of one check to that of the next.
    pub interval: Duration,
    /// From connect to the last byte of the answer's head.
    pub timeout: Duration,
    /// From the detection of the port to the first check.
    pub delay: Duration,
    /// After how many failures in a row the server is restarted; `None` is never.
    pub restart_after_failures: Option<NonZeroU32>,
}

/// Where a server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkDir {
    /// As it was sent; `None` when the root was meant.
    pub original: Option<String>,
    /// Absolute: `original` taken from the root.
    pub resolved: PathBuf,
}

/// All that one server was asked to be. It does not change; a change is another spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name.
    pub slug: Slug,
    /// The command that is the server.
    pub start: CommandLine,
    /// The command that has to succeed once before the first start.
    pub install: Option<CommandLine>,
    /// The working directory of both commands.
    pub path: WorkDir,
    /// The port that was asked for.
    pub port: Option<Port>,
    /// Whether another port will do when that one is taken.
    pub strict_port: bool,
    /// Ports of helpers: one of these is the server's own only while there is no other.
    pub ignore_ports: Vec<Port>,
    /// Variables set by name, over everything else.
    pub environment: Sorted<String, String>,
    /// A dotenv file, relative to `path`, read at every start.
    pub env_file: Option<String>,
    /// What happens after an end.
    pub restart: RestartRules,
    /// The time from SIGTERM to SIGKILL that the whole process tree gets.
    pub stop_timeout: Duration,
    /// Whether the daemon starts it when it boots.
    pub autostart: bool,
    /// How its health is asked for.
    pub health_check: Option<HealthCheck>,
    /// The overlays that are made for it before anything else.
    pub overlays: Vec<OverlaySpec>,
    /// Overlays that are made anyway, and that it waits for.
    pub depends_on: Vec<OverlayId>,
    /// What the start command reads from its standard input.
    pub stdin: Stdin,
}

impl ServerSpec {
    /// Whether something has to be there before its first process.
    pub fn waits_for_overlays(&self) -> bool {
        !self.overlays.is_empty() || !self.depends_on.is_empty()
    }

    /// The same server, waiting for the overlays `ids` too.
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
            assert_eq!(policy.word(), word);
        }
        for (word, stdin) in Stdin::ALL {
            assert_eq!(stdin.word(), word);
        }
    }
}
