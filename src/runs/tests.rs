//! Books: numbers, what is kept, what a reader of events gets, and the file.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::books::{Books, Schedule};
use super::file::parse;
use super::tail::{Line, Tail};
use super::*;
use crate::logs::StreamId;
use crate::model::ending::AfterEnding;
use crate::store::files::Files;
use crate::testing::Scratch;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn now(seconds: u64) -> (SystemTime, Instant) {
    (at(seconds), Instant::now())
}

fn over(run: Living, reason: Reason) -> EndedRun {
    EndedRun {
        ended_at: run.started_at + Duration::from_secs(1),
        run,
        lasted: Some(Duration::from_millis(1530)),
        reason,
        exit_code: Some(3),
        exit_signal: None,
        sentence: "exited with code 3 after 1.5 s".into(),
        next: AfterEnding::Restart,
        usage: Some(Usage { cpu: Duration::from_millis(640), max_rss_bytes: 91_234_304 }),
        survivors_killed: 2,
        tail: Tail { lines: vec![Line { stream: StreamId::Stderr, text: "Error: \"x\"".into() }], truncated: true },
    }
}

/// A run of which everything is known.
pub(crate) fn example() -> EndedRun {
    let run = Living {
        number: 7,
        kind: EndingKind::Start,
        started_at: at(1),
        ready_at: Some(at(2)),
        ready_after: None,
        pid: Some(7),
        port: Some(80),
    };
    EndedRun { exit_signal: Some("SIGKILL".into()), ..over(run, Reason::Signal) }
}

/// A book of `count` crashes; the n-th ended with the change 10 n.
fn crashed(count: u64) -> Book {
    let book = Book::default();
    for number in 1..=count {
        assert_eq!(book.begin(EndingKind::Start, now(number)), number);
        assert!(book.end(|run, _| over(run, Reason::Exit), || number * 10).is_some());
    }
    book
}

#[test]
fn the_newest_twenty_are_kept_beside_the_living_one() {
    let book = crashed(25);
    book.begin(EndingKind::Start, now(26));
    book.note(|run| run.pid = Some(4711));
    let (living, ended) = book.newest(KEPT);
    assert_eq!(living.map(|(run, _)| (run.number, run.pid)), Some((26, Some(4711))));
    assert_eq!(ended.iter().map(|run| run.run.number).collect::<Vec<_>>(), (6..=25).rev().collect::<Vec<_>>());
    assert_eq!(book.newest(2).1.len(), 2);
    assert_eq!(book.counters().exits[Reason::Exit as usize], 25);
    assert_eq!(book.counters().cpu, Duration::from_millis(25 * 640));
}

#[test]
fn without_a_living_run_nothing_ends() {
    let book = crashed(1);
    assert_eq!(book.end(|run, _| over(run, Reason::Exit), || panic!("no change")), None);
    assert_eq!(book.counters().exits[Reason::Exit as usize], 1);
}

#[test]
fn a_reader_gets_each_run_once_or_its_number() {
    let book = crashed(25);
    let since = book.since(200).unwrap();
    assert_eq!(since.runs.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [210, 220, 230, 240, 250]);
    assert_eq!(since.missed, 0);
    let since = book.since(30).unwrap();
    assert_eq!((since.runs.len(), since.missed), (20, 2));
    assert_eq!(book.since(250).unwrap(), RunsSince::default());
}

#[test]
fn who_was_away_too_long_is_not_given_a_wrong_number() {
    let book = crashed(2 * REMEMBERED as u64);
    assert_eq!(book.since(1), Err(TooOld));
    let since = book.since((2 * REMEMBERED as u64 - 100) * 10).unwrap();
    assert_eq!(since.runs.len() as u64 + since.missed, 100);
}

pub(super) fn files() -> (Scratch, Files) {
    let scratch = Scratch::absent();
    let files = Files::open(scratch.0.clone()).unwrap();
    (scratch, files)
}

#[test]
fn a_book_is_read_back_and_the_run_that_lived_is_lost() {
    let (scratch, files) = files();
    let directory = &scratch.0;
    let book = crashed(25);
    book.begin(EndingKind::Install, now(100));
    book.note(|run| (run.pid, run.port, run.ready_at) = (Some(7), Some(3000), Some(at(101))));
    file::write(&files, "web", &book).unwrap();
    let read = files.load(|name, members| parse(members, at(200)).map(|book| (name.to_owned(), book))).unwrap();
    let (name, read) = &read[0];
    assert_eq!((name.as_str(), read.last_number()), ("web", 26));
    let (living, ended) = read.newest(KEPT);
    assert_eq!(living, None);
    let lost = &ended[0];
    assert_eq!((lost.reason, lost.run.kind, lost.run.number), (Reason::Lost, EndingKind::Install, 26));
    assert_eq!((lost.run.pid, lost.run.port, lost.run.ready_at), (Some(7), Some(3000), Some(at(101))));
    assert_eq!(ended[1..], book.newest(KEPT).1[..KEPT - 1]);
    assert_eq!(read.begin(EndingKind::Start, now(300)), 27);
    std::fs::write(directory.join("torn.json"), "{\"version\":1,\"la").unwrap();
    let books = Books::load(Arc::new(files));
    assert_eq!((books.take("web").last_number(), books.take("torn").last_number()), (26, 0));
    assert!(
        !directory.join("torn.json").exists() && std::fs::read_dir(directory).unwrap().count() == 1,
        "it is dropped"
    );
}

#[test]
fn at_most_one_write_a_second_and_none_is_forgotten() {
    let begun = Instant::now();
    let mut schedule = Schedule::default();
    let mut writes = Vec::new();
    for millis in 0..10_000_u64 {
        let now = begun + Duration::from_millis(millis);
        if millis < 5000 {
            // The next run begins in the moment in which one ends.
            schedule.ended(now);
            schedule.begun(now);
        }
        if schedule.is_due(now) {
            writes.push(millis);
        }
    }
    assert_eq!(writes, [0, 1000, 2000, 3000, 4000, 5000]);
    assert!(!schedule.is_pending());
    schedule.begun(begun + Duration::from_secs(20));
    assert_eq!(schedule.deadline(), Some(begun + Duration::from_millis(20_250)));
    assert!(schedule.is_pending());
    assert_eq!(schedule.deadline(), None);
}
