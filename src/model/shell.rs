//! What a command is, without a shell: how to make a simple one become the process that `/bin/sh -c` was started as, and
//! which words the simplest ones consist of.
//!
//! Owns: the decision whether a command is certainly a simple one. Never: its execution; another change to it.
//!
//! A shell that runs `node server.js` stays as its parent (dash, busybox) unless it is told `exec node server.js`; then the
//! `pid` that people see is the server's and a signal reaches it directly. In front of anything but one simple command of
//! a program, `exec` would change the meaning. So this reads a small part of the shell's grammar, in which nothing is
//! in doubt, and leaves everything else alone.

use std::borrow::Cow;
use std::iter;

#[cfg(test)]
mod tests;

/// Words that are no program when they come first: reserved words and built-in commands of dash, bash and busybox.
const NO_PROGRAMS: [&str; 84] = [
    ".",
    ":",
    "[",
    "[[",
    "]]",
    "{",
    "}",
    "!",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

/// `command` for `/bin/sh -c`, with `exec` in the place where it makes a simple command the process itself.
pub fn exec_form(command: &str) -> Cow<'_, str> {
    match program_at(command) {
        Some(place) => Cow::Owned(format!("{}exec {}", &command[..place], &command[place..])),
        None => Cow::Borrowed(command),
    }
}

/// The words of `command`, the program's name first, if it certainly has no more to it than these: nothing that is quoted,
/// redirected or set. `value` knows the variables; one is put in its place when there is nothing in its value that a shell
/// would look at again.
pub fn words<'a>(command: &str, value: impl Fn(&str) -> Option<&'a str>) -> Option<Vec<String>> {
    let blanks = [' ', '\t'];
    let mut rest = command.trim_end_matches([' ', '\t', '\n']).trim_start_matches(blanks);
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (word, after) = rest.split_once(blanks).unwrap_or((rest, ""));
        if words.is_empty() && !is_program(word) {
            return None;
        }
        words.push(expanded(word, &value)?);
        rest = after.trim_start_matches(blanks);
    }
    (!words.is_empty()).then_some(words)
}

/// `word` with the values of its variables, if it and they are plain.
fn expanded<'a>(word: &str, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./+-@:,=%".contains(&byte));
    let mut parts = word.split('$');
    let mut whole = parts.next().filter(|text| is_plain(text))?.to_owned();
    for part in parts {
        let (name, after) = match part.strip_prefix('{') {
            Some(inner) => inner.split_once('}')?,
            None => part.split_at(part.bytes().take_while(|&byte| is_of_name(byte)).count()),
        };
        if !is_name(name) || !is_plain(after) {
            return None;
        }
        let value = value(name).filter(|value| !value.is_empty() && is_plain(value))?;
        whole.extend(iter::once(value).chain([after]));
    }
    Some(whole)
}

/// Where the program's name begins, if the whole of `command` is certainly one simple command of a program.
fn program_at(command: &str) -> Option<usize> {
    let text = command.trim_end_matches([' ', '\t', '\n']);
    let mut scanner = Scanner { rest: text };
    let mut program = None;
    loop {
        scanner.skip_blanks();
        let place = text.len() - scanner.rest.len();
        if scanner.rest.is_empty() {
            return program;
        }
        if program.is_some() && scanner.redirection()? == Found::Yes {
            continue;
        }
        let word = scanner.word()?;
        if program.is_none() && !is_assignment(word) {
            if !is_program(word) {
                return None;
            }
            program = Some(place);
        }
    }
}

/// Only a plain name or path: what has quotes or expansions in it could come out as anything.
fn is_program(word: &str) -> bool {
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./+-@".contains(&byte));
    plain && !word.starts_with('-') && !NO_PROGRAMS.contains(&word)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

/// Whether a shell takes `name` for a variable's. What it does not take it passes on to no program.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && name.bytes().all(is_of_name)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[derive(PartialEq, Eq)]
enum Found {
    Yes,
    No,
}

/// Reads the part of the grammar that is in no doubt; `None` is doubt.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// `>`, `>>` or `<` with a descriptor before it or not, and a file or `&` and a descriptor after it.
    fn redirection(&mut self) -> Option<Found> {
        let after_number = self.rest.trim_start_matches(|character: char| character.is_ascii_digit());
        let Some(operator) = [">>", ">", "<"].into_iter().find(|operator| after_number.starts_with(operator)) else {
            return Some(Found::No);
        };
        let mut target = &after_number[operator.len()..];
        if let Some(descriptor) = target.strip_prefix('&') {
            target = descriptor;
            let length = target.len() - target.trim_start_matches(|character: char| character.is_ascii_digit()).len();
            if length == 0 || !target[length..].starts_with([' ', '\t']) && !target[length..].is_empty() {
                return None;
            }
        }
        self.rest = target;
        self.skip_blanks();
        self.word()?;
        Some(Found::Yes)
    }

    /// A word up to the next blank or the end.
    fn word(&mut self) -> Option<&'a str> {
        let start = self.rest;
        let mut first = true;
        while let Some(character) = self.rest.chars().next() {
            match character {
                ' ' | '\t' => break,
                '\'' => {
                    let length = self.rest[1..].find('\'')?;
                    self.rest = &self.rest[length + 2..];
                }
                '"' => self.double_quoted()?,
                '\\' => self.escaped()?,
                '$' => self.expansion()?,
                // A comment here, a part of the word anywhere else.
                '#' if first => return None,
                // Operators, substitutions, history, and whatever else is no part of a word.
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '\n' | '\r' | '\0' => return None,
                other => self.rest = &self.rest[other.len_utf8()..],
            }
            first = false;
        }
        let word = &start[..start.len() - self.rest.len()];
        (!word.is_empty()).then_some(word)
    }

    fn double_quoted(&mut self) -> Option<()> {
        self.rest = &self.rest[1..];
        loop {
            match self.rest.chars().next()? {
                '"' => {
                    self.rest = &self.rest[1..];
                    return Some(());
                }
                '\\' => self.escaped()?,
                '$' => self.expansion()?,
                '`' => return None,
                other => self.rest = &self.rest[other.len_utf8()..],
            }
        }
    }

    fn escaped(&mut self) -> Option<()> {
        let character = self.rest[1..].chars().next().filter(|&character| character != '\n')?;
        self.rest = &self.rest[1 + character.len_utf8()..];
        Some(())
    }

    /// `$NAME`, `${NAME}`, or the latter with a default in plain letters. A substitution is doubt.
    fn expansion(&mut self) -> Option<()> {
        let after = &self.rest[1..];
        if let Some(inner) = after.strip_prefix('{') {
            let length = inner.find('}')?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-+=?./,%@".contains(&byte);
            let fits = length > 0 && inner.bytes().take(length).all(plain);
            self.rest = &inner[length + 1..];
            return fits.then_some(());
        }
        let length = after.len()
            - after.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_').len();
        self.rest = &after[length..];
        (length > 0).then_some(())
    }
}
