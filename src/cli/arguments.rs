//! Options and words of a command line.
//!
//! Owns: how options are written (`--name value`, `--name=value`, `-n5`, `-fn5`), and `--`. Never: what one means.
//!
//! Which options there are is read from the help text, one in a line: `  -n, --lines N   what it does`. So no option is
//! without help, and no help without its option.

use std::time::Duration;

use super::{Failure, keep};
use crate::error::quoted;
use crate::model::nearest::nearest;

/// The options that each command takes.
pub const COMMON: &str = "      --json                print JSON, one object a line
      --address ADDRESS     the daemon: http://IP:PORT or unix:PATH
      --state-dir DIR       the daemon's state directory
      --token-file FILE     the access token is in this file
      --timeout SECONDS     wait no longer; 0 asks once; logs -f, events, top ignore it [60]
  -h, --help                print help
";

/// An option, as its line of the help has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CliOption {
    /// Its letter; 0 if it has none.
    pub short: u8,
    /// Its long name, with its dashes.
    pub long: &'static str,
    /// Whether a value follows.
    pub has_value: bool,
    /// What it does.
    pub help: &'static str,
}

/// The options that `help` describes.
pub fn options(help: &'static str) -> impl Iterator<Item = CliOption> {
    help.lines().filter_map(option)
}

#[inline(never)]
fn option(line: &'static str) -> Option<CliOption> {
    let (short, line) = match line.as_bytes() {
        [b' ', b' ', b'-', letter, b',', b' ', ..] => (*letter, &line[6..]),
        [b' ', b' ', b' ', b' ', b' ', b' ', b'-', ..] => (0, &line[6..]),
        _ => return None,
    };
    let name_end = line.bytes().position(|byte| byte == b' ')?;
    let (long, rest) = line.split_at(name_end);
    let has_value = rest.as_bytes().get(1).is_some_and(|byte| *byte != b' ');
    // The value's name has no space in it.
    let help = rest[1..].bytes().position(|byte| byte == b' ').map_or(rest, |end| &rest[1 + end..]);
    Some(CliOption { short, long, has_value, help: help.trim_ascii_start() })
}

#[derive(Debug, Default)]
pub struct Parsed {
    options: Vec<(&'static str, &'static str)>,
    /// What is no option, before `--`.
    pub words: Vec<&'static str>,
    /// What stands after `--`; `None` without it.
    pub rest: Option<Vec<&'static str>>,
}

impl Parsed {
    /// Reads `arguments` up to the first word (`only_leading`), or all of them, and returns how many were read. The
    /// options are those of `help` and the common ones; `help_by` prints them.
    ///
    /// # Errors
    /// An option is unknown, or lacks its value.
    pub fn read(
        &mut self,
        arguments: &[&'static str],
        help: &'static str,
        only_leading: bool,
        help_by: &str,
    ) -> Result<usize, Failure> {
        let known: Vec<CliOption> = options(help).chain(options(COMMON)).collect();
        let mut at = 0;
        while let Some(&argument) = arguments.get(at) {
            at += 1;
            let bytes = argument.as_bytes();
            if argument == "--" && !only_leading {
                self.rest = Some(arguments[at..].to_vec());
                return Ok(arguments.len());
            }
            if !bytes.starts_with(b"-") || bytes.len() == 1 {
                if only_leading {
                    return Ok(at - 1);
                }
                self.words.push(argument);
                continue;
            }
            let is_long = bytes[1] == b'-';
            let (name, mut attached) = match argument.split_once('=') {
                Some((name, value)) if is_long => (name, Some(value)),
                Some(_) | None => (argument, None),
            };
            let mut letters = &argument[1..];
            loop {
                let found = known.iter().find(|option| match is_long {
                    true => option.long == name,
                    false => option.short == letters.as_bytes()[0],
                });
                let Some(option) = found else { return Err(unknown(name, &known, help_by)) };
                letters = letters.get(1..).unwrap_or_default();
                if option.has_value && !is_long && !letters.is_empty() {
                    attached = Some(letters.strip_prefix('=').unwrap_or(letters));
                }
                let value = match (option.has_value, attached) {
                    (true, Some(value)) => value,
                    (true, None) => match arguments.get(at) {
                        Some(value) => {
                            at += 1;
                            value
                        }
                        None => return Err(Failure::usage(&[name, " needs a value"])),
                    },
                    (false, None) => "",
                    (false, Some(_)) => return Err(Failure::usage(&[name, " takes no value"])),
                };
                self.options.push((option.long, value));
                if is_long || option.has_value || letters.is_empty() {
                    break;
                }
            }
        }
        Ok(at)
    }

    pub fn has(&self, long: &str) -> bool {
        self.value(long).is_some()
    }

    /// The value of an option, the last one if there are several.
    #[inline(never)]
    pub fn value(&self, long: &str) -> Option<&'static str> {
        self.all(long).last()
    }

    /// All values of an option that may be repeated.
    pub fn all(&self, long: &str) -> impl Iterator<Item = &'static str> {
        self.options.iter().filter(move |(name, _)| *name == long).map(|(_, value)| *value)
    }

    /// The value of an option that is a number.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, long: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.value(long) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Failure::usage(&[long, " ", shown(text), " must be a whole number"])),
        }
    }

    /// `--timeout`; a minute without it.
    ///
    /// # Errors
    /// It is no number of seconds.
    pub fn timeout(&self) -> Result<Duration, Failure> {
        let Some(text) = self.value("--timeout") else { return Ok(Duration::from_secs(60)) };
        seconds(text).ok_or_else(|| Failure::usage(&["--timeout ", shown(text), " must be a number of seconds"]))
    }

    /// The slugs of the command line.
    ///
    /// # Errors
    /// There must be one, and there is none.
    pub fn slugs(&self) -> Result<&[&'static str], Failure> {
        if self.words.is_empty() { Err(Failure::usage(&["name a server"])) } else { Ok(&self.words) }
    }

    /// The one slug of the command line.
    ///
    /// # Errors
    /// There is none, or more.
    pub fn slug(&self) -> Result<&'static str, Failure> {
        match self.words.as_slice() {
            [slug] => Ok(slug),
            _ => Err(Failure::usage(&["name one server"])),
        }
    }

    /// The only word, if there is one.
    ///
    /// # Errors
    /// There are more.
    pub fn word(&self) -> Result<Option<&'static str>, Failure> {
        match self.words.as_slice() {
            [] => Ok(None),
            [word] => Ok(Some(word)),
            [_, word, ..] => Err(Failure::usage(&["unexpected argument ", shown(word)])),
        }
    }
}

/// `text` in quotes, for a sentence.
#[inline(never)]
pub fn shown(text: &str) -> &'static str {
    keep(quoted(text))
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

fn unknown(name: &str, known: &[CliOption], help_by: &str) -> Failure {
    let names: Vec<&str> = known.iter().map(|option| option.long).collect();
    match nearest(name, &names) {
        Some(near) => Failure::usage(&["there is no option ", shown(name), "; did you mean ", near, "?"]),
        None => Failure::usage(&["there is no option ", shown(name), "; '", help_by, " --help' lists the options"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Usage: x\n  -f, --follow              continue\n  -n, --lines N             so many\n  -e, --env K=V             a\n";

    fn read(arguments: &[&'static str]) -> Result<Parsed, Failure> {
        let mut parsed = Parsed::default();
        parsed.read(arguments, HELP, false, "servisor logs")?;
        Ok(parsed)
    }

    #[test]
    fn the_help_is_the_list_of_options() {
        let lines = CliOption { short: b'n', long: "--lines", has_value: true, help: "so many" };
        let found: Vec<CliOption> = options(HELP).collect();
        assert_eq!((found.len(), found[1]), (3, lines));
        let help = options(COMMON).last().unwrap();
        assert_eq!(help, CliOption { short: b'h', long: "--help", has_value: false, help: "print help" });
        assert_eq!(options(COMMON).count(), COMMON.lines().count());
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
        assert_eq!(parsed.rest.as_deref(), Some(&["-f", "--", "x"][..]));
        assert!(!parsed.has("--follow"));
        assert_eq!(read(&["-"]).unwrap().words, ["-"]);
        assert!(read(&["-fh"]).unwrap().has("--help"));
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
        let text = |arguments: &[&'static str]| read(arguments).unwrap_err().text;
        assert_eq!(text(&["--folow"]), "there is no option \"--folow\"; did you mean --follow?");
        assert!(text(&["-x"]).contains("'servisor logs --help' lists the options"));
        assert!(text(&["-fé"]).contains("no option"));
        assert_eq!(text(&["--lines"]), "--lines needs a value");
        assert_eq!(text(&["--follow=yes"]), "--follow takes no value");
        assert!(read(&["-n", "x"]).unwrap().number("--lines").is_err());
    }
}
