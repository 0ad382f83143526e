//! Making a simple command become the process that `/bin/sh -c` was started as.
//!
//! Owns: the decision whether a command is certainly a simple one. Never: its execution; another change to it.
//!
//! A shell that runs `node server.js` stays as its parent (dash, busybox) unless it is told `exec node server.js`; then the
//! `pid` that people see is the server's and a signal reaches it directly. In front of anything but one simple command of
//! a program, `exec` would change the meaning. So this reads a small part of the shell's grammar, in which nothing is
//! in doubt, and leaves everything else alone.

use std::borrow::Cow;

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
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_commands_become_the_process() {
        for (command, form) in [
            ("node server.js", "exec node server.js"),
            ("  ./run --port $PORT\n", "  exec ./run --port $PORT\n"),
            ("python3 -m http.server \"$PORT\" 2>&1", "exec python3 -m http.server \"$PORT\" 2>&1"),
            ("NODE_ENV=production A='b c' node x", "NODE_ENV=production A='b c' exec node x"),
            ("npm run dev -- --host=${HOST:-0.0.0.0} >> log", "exec npm run dev -- --host=${HOST:-0.0.0.0} >> log"),
            ("a 'it''s' \\; \"x;y|z\" http://h/#a?b=c*", "exec a 'it''s' \\; \"x;y|z\" http://h/#a?b=c*"),
        ] {
            assert_eq!(exec_form(command), form);
        }
    }

    #[test]
    fn everything_else_is_left_alone() {
        for command in [
            "",
            " ",
            "cd app && node x",
            "node x; true",
            "node x &",
            "a | b",
            "a || b",
            "(a)",
            "{ a; }",
            "! a",
            "if a; then b; fi",
            "exec node x",
            "echo hi",
            "test -f x",
            "[ -f x ]",
            "cd app",
            ". ./env",
            "A=1",
            "A=1 B=2",
            "$CMD x",
            "\"a b\" c",
            "'a'",
            "a $(b)",
            "a `b`",
            "a $((1+2))",
            "a \"$(b)\"",
            "a \"`b`\"",
            "a <<EOF\nx\nEOF",
            "a\nb",
            "a # comment",
            "# a",
            "a 'open",
            "a \"open",
            "a \\",
            "a \\\nb",
            "a ${b",
            "a ${b:-\"c\"}",
            "a ${}",
            "a $",
            "a $'x'",
            "a >",
            "a > ",
            "a 2>&",
            "a >&x",
            "a &> x",
            "> x a",
            "f() { a; }",
            "while a; do b; done",
            "time a",
            "-a b",
            "a\0b",
            "a $!",
        ] {
            assert_eq!(exec_form(command), command);
        }
    }
}
