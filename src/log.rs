//! The daemon's own log: one line for each event on stderr, with time, level and slug.
//!
//! Owns: the format of a line, the level, and the count of lost lines. Never: the servers' output (see `logs`), the
//! write, which [`open`] is given and which does not block. A full pipe or a closed stderr loses lines, but takes no
//! time: the loss is counted, and reported before the next line that can be written.
//!
//! Records of libraries (tiny_http) come through the `log` crate. Our own do not: each of its macros leaves a module
//! path and a file name in the binary.

use std::fmt::{self, Write};
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use crate::model::spec::Slug;
use crate::model::time::rfc3339;
use crate::sync::lock;

/// The severity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something is lost or impossible.
    Error,
    /// Something is wrong; the daemon continues.
    Warn,
    /// Normal events that a user wants to see.
    Info,
    /// Details for the search for a cause.
    Debug,
}

impl Level {
    /// All levels, the most severe first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// The name, in options and in lines.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    pub fn parse(word: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == word)
    }
}

/// The longest line, in bytes: what a pipe that is writable at all has room for (`PIPE_BUF`).
pub const LINE_MAX: usize = 4096;

/// Writes a line of up to [`LINE_MAX`] bytes at once, or fails.
pub type WriteLine = fn(&[u8]) -> io::Result<()>;

/// The write; standard error before [`open`].
static OUTPUT: OnceLock<WriteLine> = OnceLock::new();
/// The least severe level that is written. Tests see warnings.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Warn as u8);
/// The number of lines lost since the last successful write.
static LOST: AtomicU64 = AtomicU64::new(0);
/// The buffer of the current line, reused for the next one.
static LINE: Mutex<String> = Mutex::new(String::new());

/// Sets the level and the write, and takes the records of libraries.
pub fn open(level: Level, output: WriteLine) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    // Each is set once; a second call changes the level only.
    let _ = OUTPUT.set(output);
    let _ = ::log::set_logger(&Libraries);
    ::log::set_max_level(match level {
        Level::Error | Level::Warn | Level::Info => ::log::LevelFilter::Off,
        Level::Debug => ::log::LevelFilter::Debug,
    });
}

/// The records of libraries. All of them are details: the one error of tiny_http is the end of its accept loop, which
/// `api::http` brings about, and what a request suffers from is reported there.
struct Libraries;

impl ::log::Log for Libraries {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        write(Level::Debug, None, format_args!("{}: {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}

pub fn error(text: fmt::Arguments<'_>) {
    write(Level::Error, None, text);
}

pub fn warn(text: fmt::Arguments<'_>) {
    write(Level::Warn, None, text);
}

/// Logs an event of normal operation.
pub fn info(text: fmt::Arguments<'_>) {
    write(Level::Info, None, text);
}

pub fn debug(text: fmt::Arguments<'_>) {
    write(Level::Debug, None, text);
}

pub fn server(level: Level, slug: &Slug, text: fmt::Arguments<'_>) {
    write(level, Some(slug), text);
}

/// Logs a panic. Takes no lock, because the panicking thread may hold the one of this log.
pub fn panic(text: fmt::Arguments<'_>) {
    let mut line = String::new();
    compose(&mut line, Level::Error, None, text);
    if put(line.as_bytes()).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

fn write(level: Level, slug: Option<&Slug>, text: fmt::Arguments<'_>) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mut line = lock(&LINE);
    let lost = LOST.load(Ordering::Relaxed);
    if lost > 0 {
        compose(&mut line, Level::Warn, None, format_args!("{lost} lines of this log were lost: stderr took no more"));
        if put(line.as_bytes()).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        LOST.fetch_sub(lost, Ordering::Relaxed);
    }
    compose(&mut line, level, slug, text);
    if put(line.as_bytes()).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

fn put(line: &[u8]) -> io::Result<()> {
    match OUTPUT.get() {
        Some(output) => output(line),
        None => io::Write::write_all(&mut io::stderr(), line),
    }
}

/// Formats one line. Control characters in `text` are escaped, so a client's text can't start a second line or send
/// codes to a terminal.
fn compose(line: &mut String, level: Level, slug: Option<&Slug>, text: fmt::Arguments<'_>) {
    line.clear();
    // Writing into a `String` does not fail.
    let _ = write!(line, "{} {:5} ", rfc3339(SystemTime::now()), level.name());
    if let Some(slug) = slug {
        let _ = write!(line, "[{slug}] ");
    }
    let _ = write!(Plain(line), "{text}");
    if line.len() >= LINE_MAX {
        let mut end = LINE_MAX - "…\n".len();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line.push('\n');
}

/// Control characters become escapes.
struct Plain<'a>(&'a mut String);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_control() {
                self.0.extend(character.escape_default());
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(slug: Option<&Slug>, text: fmt::Arguments<'_>) -> String {
        let mut line = String::from("what was here before");
        compose(&mut line, Level::Info, slug, text);
        line
    }

    #[test]
    fn a_line_has_time_level_slug_and_text() {
        let slug = Slug::parse("web").unwrap();
        let line = line_of(Some(&slug), format_args!("spawned as pid {}", 7));
        assert!(line.ends_with("Z info  [web] spawned as pid 7\n"), "{line:?}");
        assert!(line.starts_with("20"), "{line:?}");
    }

    #[test]
    fn a_text_can_not_make_a_second_line() {
        let line = line_of(None, format_args!("a\nb\u{1b}[31m\0"));
        assert!(line.ends_with("a\\nb\\u{1b}[31m\\u{0}\n"), "{line:?}");
    }

    #[test]
    fn a_line_fits_in_one_write() {
        for length in [1, 4000, 5000, 100_000] {
            let line = line_of(None, format_args!("{}", "ä".repeat(length)));
            assert!(line.len() <= LINE_MAX && line.ends_with('\n'), "{}", line.len());
        }
    }

    #[test]
    fn levels_have_one_word_each() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.name()), Some(level));
        }
        assert_eq!(Level::parse("loud"), None);
    }
}
