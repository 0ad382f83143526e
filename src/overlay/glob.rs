//! Patterns of ignored paths, as in `.gitignore`.
//!
//! Owns: the language of the patterns: `*`, `?`, `[a-z]`, `**`, `\`, a slash at the front, in the middle or at the end,
//! `!`, `#`. Never: a file system. Callers do not descend into ignored directories, so that a `!` has no effect below
//! them, as in git.
//!
//! Patterns and names are compared by characters; invalid UTF-8 in a name counts as one unknown character.

use std::ffi::OsStr;
use std::iter::once;

#[cfg(test)]
mod tests;

/// The longest class, in characters. The search for the end of each one goes no further, however many begin.
const CLASS_MAX: usize = 256;

/// Patterns, in order: the last one that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    segments: Vec<Segment>,
    effect: PatternEffect,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PatternEffect {
    LeaveOut,
    TakeBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Anything,
    DirectoriesOnly,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of components, none included.
    AnyDepth,
    /// One component.
    Component(Vec<GlobToken>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum GlobToken {
    One(char),
    /// `?`: any character.
    Any,
    /// `*`: any number of them.
    Star,
    /// `[a-z]`, or `[!a-z]` when `inside` is false.
    Class {
        ranges: Vec<(char, char)>,
        inside: bool,
    },
}

impl Ignore {
    /// Reads patterns; there is no text that is not one, though some match nothing.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Ignore {
        Ignore(patterns.into_iter().filter_map(Pattern::parse).collect())
    }

    /// Whether the entry at `path`, the components from the top of the tree on, is left out.
    pub fn leaves_out<'a>(&self, path: impl IntoIterator<Item = &'a OsStr>, is_directory: bool) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let path: Vec<Vec<char>> =
            path.into_iter().map(|component| component.to_string_lossy().chars().collect()).collect();
        let matches = |pattern: &&Pattern| {
            (is_directory || pattern.what == What::Anything) && segments_match(&pattern.segments, &path)
        };
        self.0.iter().rev().find(matches).is_some_and(|pattern| pattern.effect == PatternEffect::LeaveOut)
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let text = without_trailing_spaces(text);
        if text.starts_with('#') {
            return None;
        }
        let (effect, text) = match text.strip_prefix('!') {
            Some(rest) => (PatternEffect::TakeBack, rest),
            None => (PatternEffect::LeaveOut, text),
        };
        // Not git's, but what its users mean by it.
        let (is_dotted, text) = text.strip_prefix("./").map_or((false, text), |rest| (true, rest));
        let (what, text) = match text.strip_suffix('/') {
            Some(rest) => (What::DirectoriesOnly, rest),
            None => (What::Anything, text),
        };
        let is_anchored = is_dotted || text.contains('/');
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let last = parts.last()?;
        // `a/**` is all that is in `a`, and not `a`.
        let inside = (*last == "**").then(|| Segment::Component(vec![GlobToken::Star]));
        let segments = parts.iter().map(|part| match *part {
            "**" => Segment::AnyDepth,
            part => Segment::Component(tokens(part)),
        });
        let anywhere = (!is_anchored).then_some(Segment::AnyDepth);
        Some(Pattern { segments: anywhere.into_iter().chain(segments).chain(inside).collect(), effect, what })
    }
}

/// Spaces at the end count only behind a backslash.
fn without_trailing_spaces(text: &str) -> &str {
    let text = text.trim_end_matches(['\r', '\n']);
    let trimmed = text.trim_end_matches(' ');
    let backslashes = trimmed.len() - trimmed.trim_end_matches('\\').len();
    let kept = if backslashes % 2 == 1 { (trimmed.len() + 1).min(text.len()) } else { trimmed.len() };
    &text[..kept]
}

fn tokens(part: &str) -> Vec<GlobToken> {
    let mut tokens = Vec::new();
    let mut rest = part.chars();
    while let Some(character) = rest.next() {
        let token = match character {
            '*' if tokens.last() == Some(&GlobToken::Star) => continue,
            '*' => GlobToken::Star,
            '?' => GlobToken::Any,
            '\\' => GlobToken::One(rest.next().unwrap_or('\\')),
            '[' => match class(first_characters(rest.as_str(), CLASS_MAX)) {
                Some((token, length)) => {
                    rest = rest.as_str()[length..].chars();
                    token
                }
                // Without its end it is a character like any other.
                None => GlobToken::One('['),
            },
            other => GlobToken::One(other),
        };
        tokens.push(token);
    }
    tokens
}

/// Reads a class behind its `[`; gives its length, with its `]`.
fn class(whole: &str) -> Option<(GlobToken, usize)> {
    let (inside, text) = match whole.strip_prefix(['!', '^']) {
        Some(rest) => (false, rest),
        None => (true, whole),
    };
    let mut ranges = Vec::new();
    let mut rest = text.chars();
    loop {
        let first = match rest.next()? {
            // As the first one it stands for itself.
            ']' if !ranges.is_empty() => {
                return Some((GlobToken::Class { ranges, inside }, whole.len() - rest.as_str().len()));
            }
            '[' if rest.as_str().starts_with(':') => {
                let (word, after) = rest.as_str()[1..].split_once(":]")?;
                ranges.extend(named_class(word)?);
                rest = after.chars();
                continue;
            }
            '\\' => rest.next()?,
            other => other,
        };
        let mut ahead = rest.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                rest = ahead.clone();
                if last == '\\' { rest.next()? } else { last }
            }
            (_, _) => first,
        };
        ranges.push((first, last));
    }
}

fn first_characters(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

fn named_class(word: &str) -> Option<&'static [(char, char)]> {
    Some(match word {
        "alpha" => &[('a', 'z'), ('A', 'Z')],
        "digit" => &[('0', '9')],
        "alnum" => &[('a', 'z'), ('A', 'Z'), ('0', '9')],
        "lower" => &[('a', 'z')],
        "upper" => &[('A', 'Z')],
        "xdigit" => &[('0', '9'), ('a', 'f'), ('A', 'F')],
        "space" => &[(' ', ' '), ('\t', '\r')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        _ => return None,
    })
}

fn segments_match(pattern: &[Segment], path: &[Vec<char>]) -> bool {
    wildcard(
        pattern,
        path,
        |segment| *segment == Segment::AnyDepth,
        |segment, component| match segment {
            Segment::AnyDepth => false,
            Segment::Component(tokens) => component_matches(tokens, component),
        },
    )
}

fn component_matches(tokens: &[GlobToken], component: &[char]) -> bool {
    wildcard(
        tokens,
        component,
        |token| *token == GlobToken::Star,
        |token, character| match token {
            GlobToken::One(one) => one == character,
            GlobToken::Any => true,
            GlobToken::Star => false,
            GlobToken::Class { ranges, inside } => {
                ranges.iter().any(|(first, last)| (first..=last).contains(&character)) == *inside
            }
        },
    )
}

/// Matches with items that stand for any number of others, in a time of at most the product of both lengths: only the
/// last such item ever has to take one more.
fn wildcard<P, T>(pattern: &[P], text: &[T], is_star: impl Fn(&P) -> bool, one: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut reached, mut last_star) = (0, 0, None);
    while reached < text.len() {
        match pattern.get(at) {
            Some(item) if is_star(item) => {
                last_star = Some((at, reached));
                at += 1;
            }
            Some(item) if one(item, &text[reached]) => {
                at += 1;
                reached += 1;
            }
            Some(_) | None => match last_star {
                Some((star, taken)) => {
                    last_star = Some((star, taken + 1));
                    (at, reached) = (star + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(is_star)
}

/// The components of `directory` and then `name`.
pub fn joined<'a>(directory: &'a std::path::Path, name: &'a OsStr) -> impl Iterator<Item = &'a OsStr> {
    directory.iter().chain(once(name))
}
