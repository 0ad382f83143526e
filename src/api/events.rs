//! Changes of servers, as server-sent events.
//!
//! Owns: what one reader has been sent, the form of each event, and resumption. Never: a queue: an event has the
//! present state of a server, so a slow reader misses intermediate states but costs no memory.
//!
//! Each event has the number of its change as `id`, in the order of the sequence, so that a client that reconnects
//! continues after the last event it has seen (see `supervisor::Changes`).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::follow::{EVENTS, HEARTBEAT, headers, waker};
use super::permits::Permit;
use super::wire::server::ServerInfo;
use crate::error::Error;
use crate::handoff::{Outcome, StreamOut};
use crate::json::{self, ToJson};
use crate::model::spec::Slug;
use crate::model::view::ServerView;
use crate::registry::Registry;
use crate::runs::EndedRun;
use crate::runs::form::{RunInfo, WithTail};
use crate::sorted::Sorted;
use crate::supervisor::{AttentionGuard, ChangeCount, ChangesSince, Deletion, Supervisor};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// The servers to report; all if empty.
    pub slugs: Vec<Slug>,
    /// Search their ports as often as for a client that waits for readiness.
    pub attend: bool,
}

/// The stream of events: after `last_id` if that is an id of this daemon and not too old, else from a snapshot.
///
/// # Errors
/// No descriptor is left.
pub fn stream(
    registry: Arc<Registry>,
    epoch: &str,
    query: EventQuery,
    last_id: Option<&str>,
    place: Permit,
) -> Result<Outcome, Error> {
    let waker = waker()?;
    let seen = last_id.and_then(|id| number_of(id, epoch));
    let mut reader = EventReader {
        registry,
        epoch: epoch.to_owned(),
        query,
        seen: seen.unwrap_or(ChangeCount::NONE),
        needs_snapshot: seen.is_none(),
        known: Sorted::default(),
        attending: Vec::new(),
    };
    let body = move |to: &mut dyn StreamOut| {
        let _place = place;
        let registry = Arc::clone(&reader.registry);
        let _guard = registry.changes().wake_on_change(Arc::clone(&waker));
        let mut sent_at = Instant::now();
        loop {
            waker.drain();
            let is_over = registry.is_closed();
            let mut text = reader.news()?;
            if is_over {
                text.extend_from_slice(b"event: shutdown\ndata: {}\n\n");
            } else if text.is_empty() && Instant::now() >= sent_at + HEARTBEAT {
                text.extend_from_slice(b": quiet\n\n");
            }
            if !text.is_empty() {
                to.write_all(&text)?;
                sent_at = Instant::now();
            }
            if is_over {
                return Ok(());
            }
            drop(text);
            to.wait(&waker, sent_at + HEARTBEAT)?;
        }
    };
    Ok(Outcome::Stream { content_type: EVENTS, headers: headers(), body: Box::new(body) })
}

/// The number in an id of this life of the daemon: `EPOCH-NUMBER`.
pub fn number_of(id: &str, epoch: &str) -> Option<ChangeCount> {
    let digits = id.strip_prefix(epoch)?.strip_prefix('-')?;
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().map(ChangeCount::of)
}

/// What a reader was last sent about a server.
struct LastSent {
    view: Arc<ServerView>,
    /// The newest run that was sent.
    run: u64,
}

struct EventReader {
    registry: Arc<Registry>,
    epoch: String,
    query: EventQuery,
    /// All changes up to here are sent.
    seen: ChangeCount,
    needs_snapshot: bool,
    known: Sorted<Slug, LastSent>,
    attending: Vec<(Arc<Supervisor>, AttentionGuard)>,
}

/// An event that is not written yet.
enum Item {
    Deleted(Slug),
    Server(Arc<ServerView>),
    Run { slug: Slug, run: Arc<EndedRun>, missed: u64 },
}

/// What there is to write.
enum News {
    /// In the order of their numbers.
    All(Vec<(u64, Item)>),
    /// A server was deleted after this list was made: a new one has its last runs.
    Deleted,
    /// Ended runs of that time are no longer remembered.
    TooOld,
}

impl EventReader {
    /// The events since the last call.
    fn news(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        while !self.needs_snapshot
            && let Some((since, count)) = self.registry.changes().since(self.seen)
        {
            match self.items(since, count) {
                News::All(items) => {
                    for (number, item) in items {
                        self.write(number, item, &mut text)?;
                    }
                    self.seen = count;
                    return Ok(text);
                }
                News::Deleted => {}
                News::TooOld => break,
            }
        }
        self.snapshot(&mut text)?;
        Ok(text)
    }

    fn wants(&self, slug: &Slug) -> bool {
        self.query.slugs.is_empty() || self.query.slugs.contains(slug)
    }

    fn items(&mut self, since: ChangesSince, count: ChangeCount) -> News {
        let mut items = Vec::new();
        let seen = self.seen.number();
        let deleted: Vec<Slug> = since.deletions.iter().map(|deletion| deletion.slug.clone()).collect();
        for (place, Deletion { number, slug, runs }) in since.deletions.into_iter().enumerate() {
            if !self.wants(&slug) {
                continue;
            }
            let last_sent = self.last_sent(&slug, &deleted[..place]);
            let last = runs.last.filter(|(number, run)| *number > seen && run.run.number > last_sent);
            if let Some((number, run)) = last {
                let missed = runs.earlier.iter().filter(|earlier| **earlier > seen).count() as u64;
                insert(&mut items, number, Item::Run { slug: slug.clone(), run, missed });
            }
            insert(&mut items, number, Item::Deleted(slug));
        }
        for (mark, slug) in since.marks {
            if !self.wants(&slug) {
                continue;
            }
            let Some(supervisor) = self.registry.find(&slug) else {
                if self.registry.changes().count() != count {
                    return News::Deleted;
                }
                // Nothing has changed since the list was made, so no deletion explains it: a mark without a server.
                continue;
            };
            self.attend(&supervisor);
            let Ok(book) = supervisor.book().since(seen) else { return News::TooOld };
            let last_sent = self.last_sent(&slug, &deleted);
            let mut missed = book.missed;
            for (number, run) in book.runs {
                if number <= count.number() && run.run.number > last_sent {
                    insert(
                        &mut items,
                        number,
                        Item::Run { slug: slug.clone(), run, missed: std::mem::take(&mut missed) },
                    );
                }
            }
            let view = supervisor.view();
            // One that was made anew since then is to be sent after the deletion.
            let is_known =
                !deleted.contains(&slug) && self.known.get(&slug).is_some_and(|known| Arc::ptr_eq(&known.view, &view));
            if !is_known {
                insert(&mut items, mark, Item::Server(view));
            }
        }
        News::All(items)
    }

    /// The newest run that was sent of `slug`; the numbers of one that was made anew since then begin anew.
    fn last_sent(&self, slug: &Slug, deleted: &[Slug]) -> u64 {
        if deleted.contains(slug) { 0 } else { self.known.get(slug).map_or(0, |known| known.run) }
    }

    fn attend(&mut self, supervisor: &Arc<Supervisor>) {
        if self.query.attend && !self.attending.iter().any(|(known, _)| Arc::ptr_eq(known, supervisor)) {
            self.attending.push((Arc::clone(supervisor), supervisor.attend()));
        }
    }

    fn write(&mut self, number: u64, item: Item, text: &mut Vec<u8>) -> io::Result<()> {
        #[derive(Serialize)]
        struct ServerEvent<'a> {
            server: ServerInfo<'a>,
            was: Option<&'static str>,
        }
        #[derive(Serialize)]
        struct DeletedEvent<'a> {
            slug: &'a str,
        }
        #[derive(Serialize)]
        struct RunEvent<'a> {
            slug: &'a str,
            run: RunInfo<'a>,
            #[serde(skip_serializing_if = "is_zero")]
            missed: u64,
        }
        match item {
            Item::Deleted(slug) => {
                self.known.remove(&slug);
                self.attending.retain(|(supervisor, _)| *supervisor.slug() != slug);
                self.event(number, "deleted", &DeletedEvent { slug: slug.as_str() }, text)
            }
            Item::Server(view) => {
                let was = self.known.get(&view.spec.slug).map(|known| known.view.status.as_str());
                self.event(number, "server", &ServerEvent { server: ServerInfo::of(&view, &[]), was }, text)?;
                let slug = view.spec.slug.clone();
                let run = self.known.get(&slug).map_or(0, |known| known.run);
                self.known.insert(slug, LastSent { view, run });
                Ok(())
            }
            Item::Run { slug, run, missed } => {
                let event = RunEvent { slug: slug.as_str(), run: RunInfo::ended(&run, WithTail::Yes), missed };
                self.event(number, "run", &event, text)?;
                if let Some(known) = self.known.get_mut(&slug) {
                    known.run = run.run.number;
                }
                Ok(())
            }
        }
    }

    fn snapshot(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        #[derive(Serialize)]
        struct SnapshotEvent<'a> {
            servers: Vec<ServerInfo<'a>>,
        }
        // The count first: later changes are sent again.
        let count = self.registry.changes().count();
        self.known = Sorted::default();
        let mut views = Vec::new();
        for supervisor in self.registry.supervisors() {
            if self.wants(supervisor.slug()) {
                self.attend(&supervisor);
                let view = supervisor.view();
                let run = view.last_run.as_ref().map_or(0, |run| run.run.number);
                self.known.insert(supervisor.slug().clone(), LastSent { view: Arc::clone(&view), run });
                views.push(view);
            }
        }
        let servers = views.iter().map(|view| ServerInfo::of(view, &[])).collect();
        self.event(count.number(), "snapshot", &SnapshotEvent { servers }, text)?;
        (self.seen, self.needs_snapshot) = (count, false);
        Ok(())
    }

    fn event(&self, number: u64, name: &str, data: &dyn ToJson, text: &mut Vec<u8>) -> io::Result<()> {
        let number = number.to_string();
        for part in ["id: ", &self.epoch, "-", &number, "\nevent: ", name, "\ndata: "] {
            text.extend_from_slice(part.as_bytes());
        }
        // JSON on one line: serde_json writes no line ends, and escapes those in strings.
        json::append(text, data)?;
        text.extend_from_slice(b"\n\n");
        Ok(())
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Inserts an item after those of the same and of lower numbers. Most arrive in order.
fn insert(items: &mut Vec<(u64, Item)>, number: u64, item: Item) {
    let place = items.iter().rposition(|(other, _)| *other <= number).map_or(0, |place| place + 1);
    items.insert(place, (number, item));
}
