//! What is printed where: stdout, stderr, colours, width.
//!
//! Owns: the buffer before stdout, and the rule that a pipe gets plain text. Never: what is printed.

use std::ffi::OsString;
use std::io;

use super::concat;
use crate::os::terminal;

/// Output is collected up to this many bytes, so that a table is one write.
const BUFFER: usize = 16 * 1024;

/// The colour of a text. It never carries a meaning of its own: the text has it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// As the terminal has it.
    Plain,
    /// All is well.
    Green,
    /// Work in progress.
    Yellow,
    /// Trouble.
    Red,
    /// Less important.
    Dim,
}

impl Colour {
    /// The escape sequence that turns it on; empty for plain text.
    pub fn on(self) -> &'static str {
        match self {
            Colour::Plain => "",
            Colour::Green => "\x1b[32m",
            Colour::Yellow => "\x1b[33m",
            Colour::Red => "\x1b[31m",
            Colour::Dim => "\x1b[2m",
        }
    }
}

/// The escape sequence that turns every colour off.
pub const COLOUR_OFF: &str = "\x1b[0m";

/// Adds `text` on one line, without anything that a terminal would act on: a reason can quote what a program wrote.
#[inline(never)]
pub fn push_plain(to: &mut String, text: &str) {
    for letter in text.chars() {
        to.push(if letter.is_control() { ' ' } else { letter });
    }
}

/// Why stdout did not take what was printed.
#[derive(Debug)]
pub enum StdoutError {
    /// EPIPE: `servisor ps | head -1`.
    ReaderGone,
    /// Anything else, a full disk for example.
    Failed(io::Error),
}

/// stdout and stderr of the process.
pub struct Terminal {
    buffer: Vec<u8>,
    failed: Option<StdoutError>,
    /// Whether words are coloured.
    pub colours: bool,
    /// The width of stdout, if it is a terminal.
    pub width: Option<usize>,
    /// Whether stderr is a terminal: then long work shows its progress there.
    pub shows_progress: bool,
}

impl Terminal {
    /// The process's own. `NO_COLOR` (any value but an empty one) and `TERM=dumb` turn colours off.
    pub fn of_process(variable: &dyn Fn(&str) -> Option<OsString>) -> Terminal {
        let is_terminal = terminal::is_stdout();
        let plain = variable("NO_COLOR").is_some_and(|value| !value.is_empty())
            || variable("TERM").is_some_and(|value| value == "dumb");
        Terminal {
            buffer: Vec::new(),
            failed: None,
            colours: is_terminal && !plain,
            width: if is_terminal { terminal::columns() } else { None },
            shows_progress: terminal::is_stderr(),
        }
    }

    pub fn is_interactive(&self) -> bool {
        self.width.is_some() || terminal::is_stdout()
    }

    /// Adds text to stdout.
    #[inline(never)]
    pub fn print(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
        if self.buffer.len() >= BUFFER {
            self.write_out();
        }
    }

    /// Adds text to stdout, without anything that a terminal would act on.
    #[inline(never)]
    pub fn plain(&mut self, text: &str) {
        let mut plain = String::with_capacity(text.len());
        push_plain(&mut plain, text);
        self.print(&plain);
    }

    /// Adds texts to stdout as [`Terminal::plain`] does, and a line end.
    #[inline(never)]
    pub fn plain_line(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.plain(part));
        self.print("\n");
    }

    /// Adds a line to stdout.
    pub fn line(&mut self, text: &str) {
        self.print(text);
        self.print("\n");
    }

    pub fn spaces(&mut self, count: usize) {
        for _ in 0..count {
            self.print(" ");
        }
    }

    /// Adds a name of ASCII, and spaces up to a width.
    pub fn padded(&mut self, name: &str, width: usize) {
        self.plain(name);
        self.spaces(width.saturating_sub(name.len()));
    }

    #[inline(never)]
    pub fn coloured(&mut self, text: &str, colour: Colour) {
        let on = if self.colours { colour.on() } else { "" };
        self.print(on);
        self.plain(text);
        if !on.is_empty() {
            self.print(COLOUR_OFF);
        }
    }

    /// Writes what was collected: before a wait, and at the end.
    ///
    /// # Errors
    /// The first write that failed, this time or earlier.
    pub fn flush(&mut self) -> Result<(), StdoutError> {
        self.write_out();
        match self.failed.take() {
            None => Ok(()),
            Some(failed) => Err(failed),
        }
    }

    /// Whether the rest can be left out: stdout takes no more.
    pub fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    /// Writes what was collected. What fails is known by [`Terminal::is_closed`], and reported by [`Terminal::flush`].
    pub fn write_out(&mut self) {
        if self.failed.is_none() && !self.buffer.is_empty() {
            // Straight to the descriptor: the standard library's own buffer would be written at the exit, unchecked.
            if let Err(error) = terminal::write_stdout(&self.buffer) {
                self.failed = Some(match error.kind() {
                    io::ErrorKind::BrokenPipe => StdoutError::ReaderGone,
                    _ => StdoutError::Failed(error),
                });
            }
        }
        self.buffer.clear();
    }

    /// Prints a sentence on stderr, after the program's name. If stderr is closed the exit code has to be enough.
    #[inline(never)]
    pub fn complain(&mut self, parts: &[&str]) {
        let text = concat(parts);
        self.note(&["servisor: ", &text]);
    }

    /// Prints lines on stderr, without anything else that a terminal would act on.
    #[inline(never)]
    pub fn note(&mut self, parts: &[&str]) {
        self.write_out();
        let mut text = String::new();
        for line in concat(parts).split('\n') {
            push_plain(&mut text, line);
            text.push('\n');
        }
        terminal::write_stderr(text.as_bytes());
    }

    /// Prints a line on stderr, but only for a person who watches.
    #[inline(never)]
    pub fn progress(&mut self, parts: &[&str]) {
        if self.shows_progress {
            self.note(parts);
        }
    }
}
