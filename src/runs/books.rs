//! The books of all servers, as they are kept on the disk.
//!
//! Owns: the books of the daemon before, and when each one is written. Never: the form of a file (see [`super::file`]), a
//! synced write: what a loss of power takes of it is history.
//!
//! At most one write a second a server, however often it crashes. The end of a run is written at once if the last write
//! is that long ago; a start is written a moment later, and not at all if the run is over by then.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use super::Book;
use super::file::parse;
use super::writer::BookWriter;
use crate::log;
use crate::model::spec::Slug;
use crate::sorted::Sorted;
use crate::store::files::Files;
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
