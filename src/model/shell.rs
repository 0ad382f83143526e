//! Analysis of shell commands without a shell: where `exec` can be inserted, and the words of the simplest ones.
//!
//! Owns: the decision whether a command is certainly a simple one. Never: its execution, or any other change to it.
//!
//! A shell that runs `node server.js` stays as its parent (dash, busybox) unless the command is `exec node server.js`;
//! then the `pid` in the API is the server's, and signals reach it directly. Before anything but one simple command of
//! a program, `exec` would change the meaning. So this parses a small, unambiguous part of the shell's grammar, and
//! leaves everything else unchanged.

use std::borrow::Cow;
use std::iter;

#[cfg(test)]
mod tests;

/// First words that are not programs: reserved words and built-in commands of dash, bash and busybox.
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

/// Returns `command` for `/bin/sh -c`, with `exec` inserted if it is certainly one simple command.
pub fn exec_form(command: &str) -> Cow<'_, str> {
    match program_at(command) {
        Some(place) => Cow::Owned(format!("{}exec {}", &command[..place], &command[place..])),
        None => Cow::Borrowed(command),
    }
}

/// Returns the words of `command`, the program's name first, if it certainly consists of plain words: nothing quoted,
/// redirected or assigned. `exec` before them is left out: the shell that it would replace is not there. `value`
/// returns variables; one is expanded if its value has nothing that a shell would interpret again.
pub fn words<'a>(command: &str, value: impl Fn(&str) -> Option<&'a str>) -> Option<Vec<String>> {
    let blanks = [' ', '\t'];
    let whole = command.trim_end_matches([' ', '\t', '\n']).trim_start_matches(blanks);
    let after_exec = whole.strip_prefix("exec").filter(|after| after.starts_with(blanks));
    let mut rest = after_exec.map_or(whole, |after| after.trim_start_matches(blanks));
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

/// The offset of the program's name, if `command` is certainly one simple command of a program.
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

/// Whether `word` is a plain name or path of a program, without quotes and expansions.
fn is_program(word: &str) -> bool {
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./+-@".contains(&byte));
    plain && !word.starts_with('-') && !NO_PROGRAMS.contains(&word)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

/// Whether `name` is a valid name of a shell variable. Shells pass no others on to programs.
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

/// A parser of the unambiguous part of the grammar; `None` means: anything else.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// `>`, `>>` or `<`, optionally after a descriptor, and before a file or `&` and a descriptor.
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

    /// An argument up to the next blank or the end.
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
                // A comment at the start of an argument, a part of it elsewhere.
                '#' if first => return None,
                // Operators, substitutions, and all else that is no part of an argument.
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

    /// `$NAME`, `${NAME}`, or the latter with a default in plain letters. No substitutions.
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
