//! The text of a target: segments of its path, parts of its query.
//!
//! Owns: how both are decoded, and the errors of a query. Never: what a name means, which characters and lengths a
//! target may have (see `vet_target` in `http/head.rs`, which has run before).

use std::time::Duration;

use super::{WAIT_LIMIT, WAIT_LIMIT_MAX, Wait};
use crate::error::{Code, Error, WARNINGS_MAX, Wrong, one_of, quoted, unknown};
use crate::model::spec::Slug;

/// The decoded segments of a path that begins with a slash.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Error> {
    let malformed = |why: &str| Error::new(Code::Malformed, format!("the path {} {why}", quoted(path)));
    let rest = path.strip_prefix('/').ok_or_else(|| malformed("must begin with a slash"))?;
    let segments: Vec<String> = rest.split('/').map(decode).collect::<Result<_, _>>().map_err(|why| malformed(&why))?;
    if segments.iter().any(|segment| segment == "." || segment == "..") {
        return Err(malformed("must not have \".\" or \"..\" in it"));
    }
    Ok(segments)
}

/// Decodes percent-encoding; refuses what can't be decoded or is not text.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                tail
            }
            (b'%', _) => return Err("has a \"%\" that is not followed by two hexadecimal digits".into()),
            (b'!'..=b'~', tail) if *byte != b'#' => {
                bytes.push(*byte);
                tail
            }
            (_, _) => return Err("has a character that must be percent-encoded".into()),
        };
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("has a control character in it".into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 when it is decoded".into())
}

/// The value of an ASCII hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Takes the known parameters of a query, and collects the errors.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    wrong: Vec<Wrong>,
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Query, Error> {
        // As forms are encoded, and `URLSearchParams`: a plus is a space.
        let part = |text: &str| {
            decode(&text.replace('+', "%20")).map_err(|why| Error::new(Code::Malformed, format!("the query {why}")))
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((part(name)?, part(value)?))
        });
        Ok(Query { pairs: pairs.collect::<Result<_, Error>>()?, known: Vec::new(), wrong: Vec::new() })
    }

    /// Takes out the value of `name`.
    pub(super) fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let (mine, others): (Vec<_>, Vec<_>) = self.pairs.drain(..).partition(|(other, _)| other == name);
        self.pairs = others;
        if mine.len() > 1 {
            self.blame(name, "is given more than once".into());
        }
        mine.into_iter().next().map(|(_, value)| value)
    }

    /// Takes out the names of servers; `slug` may be repeated.
    pub(super) fn slugs(&mut self) -> Vec<Slug> {
        self.known.push("slug");
        let mut slugs = Vec::new();
        let pairs = std::mem::take(&mut self.pairs);
        for (name, value) in pairs {
            if name != "slug" {
                self.pairs.push((name, value));
                continue;
            }
            match Slug::parse(&value) {
                Ok(slug) if slugs.contains(&slug) => {}
                Ok(slug) => slugs.push(slug),
                Err(why) => self.blame("slug", why),
            }
        }
        slugs
    }

    pub(super) fn blame(&mut self, name: &str, why: String) {
        self.wrong.push(Wrong { field: name.to_owned(), why });
    }

    /// Takes out `name`, one of `all`.
    pub(super) fn word<T: Copy>(&mut self, name: &'static str, all: &[(&'static str, T)]) -> Option<T> {
        let word = self.take(name)?;
        one_of(&word, all).map_err(|why| self.blame(name, why)).ok()
    }

    /// Takes out `name`, a number of `what` up to `most`.
    pub(super) fn number(&mut self, name: &'static str, what: &str, most: u64) -> Option<u64> {
        let text = self.take(name)?;
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits_only && *number <= most);
        if number.is_none() {
            self.blame(name, format!("must be a number of {what} from 0 to {most}, not {}", quoted(&text)));
        }
        number
    }

    /// Takes out `name`, true or false; false if it is not there.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        self.word(name, &[("false", false), ("true", true)]).unwrap_or_default()
    }

    /// Takes out the limit of a wait for `goal`, if there is a goal.
    pub(super) fn wait<Goal>(&mut self, goal: Option<Goal>) -> Option<Wait<Goal>> {
        let most = u64::try_from(WAIT_LIMIT_MAX.as_millis()).unwrap_or(u64::MAX);
        let limit = self.number("timeout_ms", "milliseconds", most).map_or(WAIT_LIMIT, Duration::from_millis);
        goal.map(|goal| Wait { goal, limit })
    }

    pub(super) fn finish(self) -> Result<Vec<String>, Error> {
        if !self.wrong.is_empty() {
            return Err(Error::invalid(self.wrong));
        }
        Ok(self
            .pairs
            .iter()
            .take(WARNINGS_MAX)
            .map(|(name, _)| unknown("query parameter", name, &self.known))
            .collect())
    }
}
