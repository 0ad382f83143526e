//! `Last-Event-ID` of any kind, to any history: a number is read only from an id of this daemon, and a reader who has
//! seen so much gets all that came after and nothing twice, or a snapshot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use servisor::fuzzing::{Changes, ClosedBook, ChangeCount, ChangesSince, event_number};
use servisor::model::spec::Slug;

/// As many deletions are remembered.
const DELETIONS: usize = 256;
const EPOCH: &str = "0123456789abcdef";

/// Each change in order: the server, and whether it was deleted.
type History = Vec<(String, bool)>;

/// A byte is a change of one of eight servers, or so many deletions of it.
fn carry_out(changes: &Changes, byte: u8, history: &mut History) {
    let slug = Slug::parse(&format!("s{}", byte % 8)).expect("a slug");
    let times = usize::from(byte >> 4);
    for _ in 0..times * 5 {
        changes.delete(&slug, ClosedBook::default());
        history.push((slug.as_str().to_owned(), true));
    }
    if times == 0 {
        assert_eq!(changes.mark(&slug), history.len() as u64 + 1);
        history.push((slug.as_str().to_owned(), false));
    }
}

/// What was sent for one reader is what the history has behind `seen`.
fn check(since: &ChangesSince, seen: usize, history: &History) {
    let new = || history.iter().enumerate().skip(seen);
    let deleted: Vec<_> =
        new().filter(|(_, (_, gone))| *gone).map(|(at, (slug, _))| (at as u64 + 1, &**slug)).collect();
    let sent: Vec<_> = since.deletions.iter().map(|one| (one.number, one.slug.as_str())).collect();
    assert_eq!(sent, deleted);
    let mut marks: Vec<_> = since.marks.iter().map(|(number, slug)| (*number, slug.as_str())).collect();
    marks.sort_unstable();
    // The newest change of each server that was not deleted after it.
    let is_newest = |at: usize, slug: &str| history.iter().skip(at + 1).all(|(other, _)| other != slug);
    let newest = new().filter(|(at, (slug, gone))| !gone && is_newest(*at, slug));
    assert_eq!(marks, newest.map(|(at, (slug, _))| (at as u64 + 1, &**slug)).collect::<Vec<_>>());
}

fuzz_target!(|input: &[u8]| {
    // A header is one line of text.
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (id, orders) = input.split_at(end);
    let Ok(id) = str::from_utf8(id) else { return };
    let (changes, mut history) = (Changes::default(), History::new());
    orders.iter().skip(1).take(16).for_each(|byte| carry_out(&changes, *byte, &mut history));
    assert_eq!(changes.count().number(), history.len() as u64);
    // As it is, and behind what each id of this daemon begins with: most are no such id.
    for id in [id.to_owned(), format!("{EPOCH}-{id}"), format!("{EPOCH}{id}")] {
        let Some(seen) = event_number(&id, EPOCH) else { continue };
        let digits = id.strip_prefix(EPOCH).and_then(|rest| rest.strip_prefix('-')).expect("an id of this daemon");
        assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()), "{id:?}");
        let trimmed = digits.trim_start_matches('0');
        assert_eq!(seen.number().to_string(), if trimmed.is_empty() { "0" } else { trimmed });
        assert_eq!(event_number(&id, "another"), None);
        let gone = history.iter().enumerate().filter(|(_, (_, gone))| *gone).map(|(at, _)| at as u64 + 1);
        let forgotten = gone.rev().nth(DELETIONS).unwrap_or(0);
        let is_known = seen.number() <= history.len() as u64 && seen.number() >= forgotten;
        let since = changes.since(seen);
        assert_eq!(since.is_some(), is_known, "{id:?}, forgotten to {forgotten}");
        if let Some((since, count)) = since {
            assert_eq!(count, changes.count());
            check(&since, seen.number() as usize, &history);
        }
    }
    // What the daemon itself writes is read again, and continues at its end with nothing.
    let own = format!("{EPOCH}-{}", history.len());
    assert_eq!(event_number(&own, EPOCH), Some(ChangeCount::of(history.len() as u64)));
    let (since, _) = changes.since(ChangeCount::of(history.len() as u64)).expect("the newest is known");
    assert!(since.marks.is_empty() && since.deletions.is_empty());
});
