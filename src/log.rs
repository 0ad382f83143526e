//! The daemon's own log: one line an event on stderr, with time, level and slug.
//!
//! Owns: the form of a line, the level, and the count of lines that stderr could not take. Never: the servers'
//! output (see `logs`), a blocking write. A full pipe or a closed stderr costs lines, never time: the loss is
//! counted and told with the next line that gets through.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::model::spec::Slug;
use crate::model::time::rfc3339;
use crate::os::stderr;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something is lost or can't be done.
    Error,
    /// Something is wrong and the daemon goes on.
    Warn,
    /// What a person wants to see of a normal day.
    Info,
    /// What helps to find out why.
    Debug,
}

impl Level {
    /// All of them, the most important first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// The word for it, as an option takes it and a line shows it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The level that `word` names.
    pub fn parse(word: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == word)
    }
}

/// The lines up to this level are written. A test that sets none sees warnings.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Warn as u8);
/// The lines that stderr could not take since the last one that it took.
static LOST: AtomicU64 = AtomicU64::new(0);
/// One line at a time; the `String` keeps its memory from line to line.
static LINE: Mutex<String> = Mutex::new(String::new());

/// From now on, writes the lines up to `level`.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Something is lost or can't be done.
pub fn error(text: fmt::Arguments<'_>) {
    write(Level::Error, None, text);
}

/// Something is wrong and the daemon goes on.
pub fn warn(text: fmt::Arguments<'_>) {
    write(Level::Warn, None, text);
}

/// What a person wants to see of a normal day.
pub fn info(text: fmt::Arguments<'_>) {
    write(Level::Info, None, text);
}

/// What helps to find out why.
pub fn debug(text: fmt::Arguments<'_>) {
    write(Level::Debug, None, text);
}

/// An event of one server.
pub fn server(level: Level, slug: &Slug, text: fmt::Arguments<'_>) {
    write(level, Some(slug), text);
}

/// A panic. It takes no lock: the thread may panic with this log's.
pub fn panic(text: fmt::Arguments<'_>) {
    let mut line = String::new();
    compose(&mut line, Level::Error, None, text);
    if stderr::write_now(line.as_bytes()).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

fn write(level: Level, slug: Option<&Slug>, text: fmt::Arguments<'_>) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = LOST.load(Ordering::Relaxed);
    if lost > 0 {
        compose(&mut line, Level::Warn, None, format_args!("{lost} lines of this log were lost: stderr took no more"));
        if stderr::write_now(line.as_bytes()).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        LOST.fetch_sub(lost, Ordering::Relaxed);
    }
    compose(&mut line, level, slug, text);
    if stderr::write_now(line.as_bytes()).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes one line, whatever is in `text`: what a stranger sent can't begin a second one or send codes to a terminal.
fn compose(line: &mut String, level: Level, slug: Option<&Slug>, text: fmt::Arguments<'_>) {
    line.clear();
    // Writing into a `String` does not fail.
    let _ = write!(line, "{} {:5} ", rfc3339(SystemTime::now()), level.name());
    if let Some(slug) = slug {
        let _ = write!(line, "[{slug}] ");
    }
    let _ = write!(Plain(line), "{text}");
    if line.len() >= stderr::LINE_MAX {
        let mut end = stderr::LINE_MAX - "…\n".len();
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
            assert!(line.len() <= stderr::LINE_MAX && line.ends_with('\n'), "{}", line.len());
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
