//! The book of a server as a file, `STATE_DIR/runs/SLUG.json`.
//!
//! Owns: the form of the file. Never: when it is written (see [`super::books`]).

use std::io;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::form::{RunInfo, WithTail};
use super::tail::{Line, Tail};
use super::{Book, EndedRun, KEPT, Living, Usage};
use crate::json::{Map, Value};
use crate::logs::StreamId;
use crate::model::ending::{AfterEnding, EndingKind, Reason};
use crate::model::names::by_name;
use crate::model::time::parse_rfc3339;
use crate::store::files::{Files, VERSION};
use crate::store::members::Members;

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
        kind: by_name(&EndingKind::ALL, word)?,
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
        next: by_name(&AfterEnding::ALL, next)?,
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
