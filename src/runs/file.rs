//! The book of a server as a file, `STATE_DIR/runs/SLUG.json`.
//!
//! Owns: the form of the file, and when it is written. Never: a synced write: what a loss of power takes of it is
//! history.
//!
//! At most one write a second a server, however often it crashes. The end of a run is written at once if the last write
//! is that long ago; a start is written a moment later, and not at all if the run is over by then.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::form::{RunInfo, WithTail};
use super::tail::{Line, Tail};
use super::writer::BookWriter;
use super::{Book, EndedRun, KEPT, Living, Usage};
use crate::json::{Map, Value};
use crate::log;
use crate::logs::StreamId;
use crate::model::ending::{AfterEnding, EndingKind, Reason};
use crate::model::spec::Slug;
use crate::model::time::parse_rfc3339;
use crate::model::words::by_word;
use crate::sorted::Sorted;
use crate::store::files::{Files, VERSION};
use crate::store::members::Members;
use crate::sync::lock;

/// Two writes of one server are this far apart.
const EVERY: Duration = Duration::from_secs(1);
/// The delay of the write of a start.
const START_AFTER: Duration = Duration::from_millis(250);

/// The books of the daemon before, until their servers take them, and where books are written.
#[derive(Debug)]
pub struct Books {
    writer: BookWriter,
    restored: Mutex<Sorted<String, Book>>,
}

impl Books {
    /// Reads what is there. A file that can't be used is dropped with a line in the log.
    pub fn load(files: Arc<Files>) -> Books {
        let read = files.load_history(|name, members| Ok((name.to_owned(), parse(members, SystemTime::now())?)));
        let restored = read.unwrap_or_else(|error| {
            log::warn(format_args!("how runs ended before can't be read: {error}; it begins anew"));
            Vec::new()
        });
        Books { writer: BookWriter::new(files), restored: Mutex::new(restored.into_iter().collect()) }
    }

    /// The book of a server that is made now.
    pub fn take(&self, slug: &str) -> Book {
        self.restored().remove(slug).unwrap_or_default()
    }

    /// Has a book written soon.
    pub fn write(&self, slug: &Slug, book: &Arc<Book>) {
        self.writer.write(slug, book);
    }

    /// Has the file of a server that is deleted removed soon.
    pub fn remove(&self, slug: &Slug) {
        self.writer.remove(slug);
    }

    /// Waits until all is written, but not past `deadline`.
    pub fn finish(&self, deadline: Instant) {
        self.writer.finish(deadline);
    }

    fn restored(&self) -> MutexGuard<'_, Sorted<String, Book>> {
        lock(&self.restored)
    }
}

/// When the file of one server is written.
#[derive(Debug, Default)]
pub struct Schedule {
    written_at: Option<Instant>,
    due_at: Option<Instant>,
}

impl Schedule {
    /// Records that a run has begun.
    pub fn begun(&mut self, now: Instant) {
        self.is_due_at(now + START_AFTER);
    }

    /// Records that a run is over.
    pub fn ended(&mut self, now: Instant) {
        self.is_due_at(now);
    }

    /// When [`Schedule::is_due`] will say yes.
    pub fn deadline(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether the file has to be written now; then it counts as written.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due_at.is_some_and(|due| due <= now);
        if is_due {
            self.due_at = None;
            self.written_at = Some(now);
        }
        is_due
    }

    /// Whether something is not written yet; then it counts as written. For the end of the daemon.
    pub fn is_pending(&mut self) -> bool {
        self.due_at.take().is_some()
    }

    /// What is due already is not put off: a server that crashes again and again begins a run right after each end.
    fn is_due_at(&mut self, wanted: Instant) {
        let at = self.not_before(wanted);
        self.due_at = Some(self.due_at.map_or(at, |due| due.min(at)));
    }

    fn not_before(&self, wanted: Instant) -> Instant {
        self.written_at.map_or(wanted, |written| wanted.max(written + EVERY))
    }
}

#[derive(Serialize)]
struct RunFile<'a> {
    version: u64,
    last: u64,
    living: Option<RunInfo<'a>>,
    runs: Vec<RunInfo<'a>>,
}

/// Writes the book of `slug`.
///
/// # Errors
/// It can't be written; what was written before is still there.
#[inline(never)]
pub fn write(files: &Files, slug: &str, book: &Book) -> io::Result<()> {
    let (living, ended) = book.newest(KEPT);
    let contents = RunFile {
        version: VERSION,
        last: book.last_number(),
        living: living.as_ref().map(|(run, begun)| RunInfo::living(run, begun.elapsed())),
        runs: ended.iter().rev().map(|run| RunInfo::ended(run, WithTail::Yes)).collect(),
    };
    files.put_unsynced(slug, &contents)
}

/// Reads a book back. A run that was alive when it was written is lost, and found to be so at `now`.
///
/// # Errors
/// What is wrong with the file, in words that fit after its name and a colon.
pub fn parse(members: Members, now: SystemTime) -> Result<Book, String> {
    let last = members.number("last")?;
    let Value::Object(members) = members.into_value() else { return Err("it is no object".into()) };
    let runs = members.get("runs").and_then(Value::as_array).ok_or("it has no list of runs")?;
    let ended = runs.iter().map(|run| run.as_object().and_then(ended).ok_or("a run of it can't be read"));
    let mut ended = ended.collect::<Result<Vec<EndedRun>, _>>()?;
    if let Some(lost) = members.get("living").and_then(Value::as_object).and_then(living) {
        ended.push(EndedRun {
            run: lost,
            ended_at: now,
            lasted: None,
            reason: Reason::Lost,
            exit_code: None,
            exit_signal: None,
            sentence: "was lost: the daemon was killed while it ran, and has ended it at its next start".into(),
            next: AfterEnding::Restart,
            usage: None,
            survivors_killed: 0,
            tail: Tail::default(),
        });
    }
    ended.drain(..ended.len().saturating_sub(KEPT));
    Ok(Book::restored(ended, last))
}

fn living(run: &Map) -> Option<Living> {
    let word = text(run, "kind")?;
    Some(Living {
        number: number(run, "run")?,
        kind: by_word(&EndingKind::ALL, word)?,
        started_at: parse_rfc3339(text(run, "started_at")?)?,
        ready_at: text(run, "ready_at").and_then(parse_rfc3339),
        ready_after: None,
        pid: number(run, "pid").and_then(|pid| pid.try_into().ok()),
        port: number(run, "port").and_then(|port| port.try_into().ok()),
    })
}

fn ended(run: &Map) -> Option<EndedRun> {
    let next = text(run, "next")?;
    let lines = run.get("tail")?.as_array()?.iter().map(|line| line.as_object().and_then(tail_line));
    let usage = number(run, "cpu_ms").zip(number(run, "max_rss_bytes"));
    Some(EndedRun {
        run: living(run)?,
        ended_at: parse_rfc3339(text(run, "ended_at")?)?,
        lasted: number(run, "duration_ms").map(Duration::from_millis),
        reason: Reason::parse(text(run, "reason")?)?,
        exit_code: run.get("exit_code").and_then(Value::as_i64).and_then(|code| code.try_into().ok()),
        exit_signal: text(run, "exit_signal").map(str::to_owned),
        sentence: text(run, "sentence")?.to_owned(),
        next: by_word(&AfterEnding::ALL, next)?,
        usage: usage.map(|(cpu, max_rss_bytes)| Usage { cpu: Duration::from_millis(cpu), max_rss_bytes }),
        survivors_killed: number(run, "survivors_killed")?.try_into().ok()?,
        tail: Tail { lines: lines.collect::<Option<_>>()?, truncated: run.get("tail_truncated")?.as_bool()? },
    })
}

fn tail_line(line: &Map) -> Option<Line> {
    let word = text(line, "stream")?;
    let stream = StreamId::BOTH.into_iter().find(|stream| stream.as_str() == word)?;
    Some(Line { stream, text: text(line, "line")?.to_owned() })
}

fn text<'a>(run: &'a Map, name: &str) -> Option<&'a str> {
    run.get(name)?.as_str()
}

fn number(run: &Map, name: &str) -> Option<u64> {
    run.get(name)?.as_u64()
}
