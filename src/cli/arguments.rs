//! Options and words of a command line.
//!
//! Owns: how options are written (`--name value`, `--name=value`, `-n5`, `-fn5`), and `--`. Never: what one means.

use std::time::Duration;

use super::{Exit, Failure};
use crate::error::quoted;
use crate::model::nearest::nearest;

/// An option of a command.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// Its long name, with its dashes.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What its value is called in the help; `None` if it has none.
    pub value: Option<&'static str>,
    /// What it does, in one line.
    pub help: &'static str,
}

/// Shorthand for tables of options.
pub const fn opt(long: &'static str, short: Option<char>, value: Option<&'static str>, help: &'static str) -> Opt {
    Opt { long, short, value, help }
}

/// The options that each command takes.
pub const COMMON: [Opt; 6] = [
    opt("--json", None, None, "print JSON, one object a line"),
    opt("--address", None, Some("ADDRESS"), "the daemon: http://IP:PORT or unix:PATH"),
    opt("--state-dir", None, Some("DIR"), "the daemon's state directory"),
    opt("--token-file", None, Some("FILE"), "the access token is in this file"),
    opt("--timeout", None, Some("SECONDS"), "wait no longer than this; 0 asks once [60]"),
    opt("--help", Some('h'), None, "print help"),
];

/// What was given.
#[derive(Debug, Default)]
pub struct Parsed {
    options: Vec<(&'static str, String)>,
    /// What is no option, before `--`.
    pub words: Vec<String>,
    /// What stands after `--`; `None` without it.
    pub rest: Option<Vec<String>>,
}

/// A command line that makes no sense.
pub fn usage(text: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, text)
}

impl Parsed {
    /// Reads `arguments` up to the first word (`only_leading`), or all of them, and returns how many were read.
    ///
    /// # Errors
    /// An option is unknown, or lacks its value.
    pub fn read(
        &mut self,
        arguments: &[String],
        known: &dyn Fn() -> Vec<Opt>,
        only_leading: bool,
        help: &str,
    ) -> Result<usize, Failure> {
        let known = known();
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            at += 1;
            if argument == "--" && !only_leading {
                self.rest = Some(arguments[at..].to_vec());
                return Ok(arguments.len());
            }
            if argument.starts_with("--") {
                let (name, attached) = match argument.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (argument.as_str(), None),
                };
                let Some(option) = known.iter().find(|option| option.long == name) else {
                    return Err(unknown(name, &known, help));
                };
                let value = match (option.value, attached) {
                    (None, None) => String::new(),
                    (None, Some(_)) => return Err(usage(format!("{name} takes no value"))),
                    (Some(_), Some(value)) => value.to_owned(),
                    (Some(_), None) => take(arguments, &mut at, name)?,
                };
                self.options.push((option.long, value));
            } else if argument.len() > 1 && argument.starts_with('-') {
                let mut letters = argument[1..].chars();
                while let Some(letter) = letters.next() {
                    let name = format!("-{letter}");
                    let Some(option) = known.iter().find(|option| option.short == Some(letter)) else {
                        return Err(unknown(&name, &known, help));
                    };
                    let attached = letters.as_str();
                    let value = match option.value {
                        None => String::new(),
                        Some(_) if attached.is_empty() => take(arguments, &mut at, &name)?,
                        Some(_) => attached.strip_prefix('=').unwrap_or(attached).to_owned(),
                    };
                    self.options.push((option.long, value));
                    if option.value.is_some() {
                        break;
                    }
                }
            } else if only_leading {
                return Ok(at - 1);
            } else {
                self.words.push(argument.clone());
            }
        }
        Ok(at)
    }

    /// Whether an option was given.
    pub fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// The value of an option, the last one if there are several.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.options.iter().rev().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// All values of an option that may be repeated.
    pub fn all<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// The value of an option that is a number.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, long: &str) -> Result<Option<u64>, Failure> {
        match self.value(long) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(usage(format!("{long} {} must be a whole number", quoted(text)))),
            },
        }
    }

    /// `--timeout`; a minute without it.
    ///
    /// # Errors
    /// It is no number of seconds.
    pub fn timeout(&self) -> Result<Duration, Failure> {
        let Some(text) = self.value("--timeout") else { return Ok(Duration::from_secs(60)) };
        seconds(text).ok_or_else(|| usage(format!("--timeout {} must be a number of seconds", quoted(text))))
    }
}

/// `1.5` as a duration; not more than a year. By hand: the parser of floats has tables of 10 KiB.
fn seconds(text: &str) -> Option<Duration> {
    const YEAR: u64 = 31_536_000;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|seconds| *seconds <= YEAR)?;
    let millis = part.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(Duration::from_millis(whole * 1000 + millis))
}

fn take(arguments: &[String], at: &mut usize, name: &str) -> Result<String, Failure> {
    let value = arguments.get(*at).cloned();
    *at += 1;
    value.ok_or_else(|| usage(format!("{name} needs a value")))
}

fn unknown(name: &str, known: &[Opt], help: &str) -> Failure {
    let names: Vec<&str> = known.iter().map(|option| option.long).collect();
    let hint = match nearest(name, &names) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("'{help}' lists the options"),
    };
    usage(format!("there is no option {}; {hint}", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Opt> {
        vec![
            opt("--follow", Some('f'), None, ""),
            opt("--lines", Some('n'), Some("N"), ""),
            opt("--env", Some('e'), Some("K=V"), ""),
        ]
    }

    fn read(arguments: &[&str]) -> Result<Parsed, Failure> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let mut parsed = Parsed::default();
        parsed.read(&arguments, &known, false, "servisor logs --help")?;
        Ok(parsed)
    }

    #[test]
    fn each_way_to_write_an_option() {
        for line in
            [&["-fn5", "web"][..], &["-f", "-n", "5", "web"], &["--follow", "--lines=5", "web"], &["web", "-f", "-n=5"]]
        {
            let parsed = read(line).unwrap();
            assert!(parsed.has("--follow"));
            assert_eq!(parsed.number("--lines").unwrap(), Some(5));
            assert_eq!(parsed.words, ["web"]);
        }
        let parsed = read(&["-e", "A=1", "--env=B=2", "--", "-f", "--", "x"]).unwrap();
        assert_eq!(parsed.all("--env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(parsed.rest.as_deref(), Some(&["-f".to_owned(), "--".into(), "x".into()][..]));
        assert!(!parsed.has("--follow"));
        assert_eq!(read(&["-"]).unwrap().words, ["-"]);
    }

    #[test]
    fn timeouts() {
        let at = |text: &str| seconds(text).map(|limit| limit.as_millis());
        assert_eq!([at("0"), at("60"), at("0.5"), at("1.25")], [Some(0), Some(60_000), Some(500), Some(1250)]);
        for text in ["", ".5", "-1", "1e3", "1.2345", "31536001", "x"] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_says_why() {
        let text = |arguments: &[&str]| read(arguments).unwrap_err().text;
        assert_eq!(text(&["--folow"]), "there is no option \"--folow\"; did you mean --follow?");
        assert!(text(&["-x"]).contains("'servisor logs --help' lists the options"));
        assert_eq!(text(&["--lines"]), "--lines needs a value");
        assert_eq!(text(&["--follow=yes"]), "--follow takes no value");
        assert!(read(&["-n", "x"]).unwrap().number("--lines").is_err());
    }
}
