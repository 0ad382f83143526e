//! The thread that writes books to files.
//!
//! Owns: its queue and the order of writes and removals. Never: when a book is written (see [`super::file`]), or the
//! wait of a supervisor: on a disk that does not answer it would keep the server from being stopped.
//!
//! The thread is made for the first file: a daemon without servers has none.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Book, file};
use crate::log::{self, Level};
use crate::model::spec::Slug;
use crate::os::inbox::{Inbox, Sender, inbox};
use crate::os::thread::{self, Joined, Thread};
use crate::store::files::Files;
use crate::sync::lock;

/// The handle of the thread.
#[derive(Debug)]
pub struct BookWriter {
    files: Arc<Files>,
    sender: Sender<BookTask>,
    tasks: Arc<Inbox<BookTask>>,
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
enum BookTask {
    Write(Slug, Arc<Book>),
    Remove(Slug),
    /// Exit: all before it is done.
    End,
}

impl BookWriter {
    /// A writer without a thread.
    pub fn new(files: Arc<Files>) -> BookWriter {
        let (sender, tasks) = inbox();
        BookWriter { files, sender, tasks: Arc::new(tasks), thread: Mutex::default() }
    }

    /// Has `book` written as it is then. There is at most one such task for each book, however long a write takes.
    pub fn write(&self, slug: &Slug, book: &Arc<Book>) {
        if book.enqueue() {
            self.send(BookTask::Write(slug.clone(), Arc::clone(book)));
        }
    }

    /// Has the file of a server that is deleted removed.
    pub fn remove(&self, slug: &Slug) {
        self.send(BookTask::Remove(slug.clone()));
    }

    /// Ends the thread after all tasks; waits until `deadline`.
    pub fn finish(&self, deadline: Instant) {
        // Not under the lock, which a server that could not be ended may want.
        let Some(thread) = lock(&self.thread).take() else { return };
        let _ = self.sender.send(BookTask::End);
        if thread.join_by(deadline) == Joined::Late {
            log::warn(format_args!("how the last runs ended is not kept: the disk of the state directory is too slow"));
        }
    }

    fn send(&self, task: BookTask) {
        // This is the owner of the inbox.
        let _ = self.sender.send(task);
        let mut running = lock(&self.thread);
        if running.as_ref().is_some_and(|thread| thread.join_by(Instant::now()) == Joined::Late) {
            return;
        }
        // The first task, or the one after a panic, which is logged.
        let (files, tasks) = (Arc::clone(&self.files), Arc::clone(&self.tasks));
        match thread::spawn("books", thread::STACK, move || work(&files, &tasks)) {
            Ok(thread) => *running = Some(thread),
            // The tasks wait for the next one.
            Err(error) => log::warn(format_args!("no thread to write how runs ended: {error}")),
        }
    }
}

fn work(files: &Files, tasks: &Inbox<BookTask>) {
    while let Ok(task) = tasks.recv_by(None) {
        match task {
            BookTask::Write(slug, book) => write(files, &slug, &book),
            // What stays is replaced by the next server of this name, or read as its history.
            BookTask::Remove(slug) => drop(files.discard(slug.as_str())),
            BookTask::End => return,
        }
    }
}

/// A failure costs the history, and is logged once.
fn write(files: &Files, slug: &Slug, book: &Book) {
    // Before it is read: what changes from now on is written by the next task.
    book.dequeue();
    if let Err(error) = file::write(files, slug.as_str(), book)
        && !book.was_reported()
    {
        log::server(Level::Warn, slug, format_args!("how its runs ended can't be kept: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ending::EndingKind;
    use crate::runs::tests::files;
    use crate::testing::soon;
    use std::time::SystemTime;

    fn slug() -> Slug {
        Slug::parse("web").unwrap()
    }

    #[test]
    fn tasks_are_done_in_their_order_and_before_the_end() {
        let (directory, files) = files("order");
        let (writer, book) = (BookWriter::new(Arc::new(files)), Arc::new(Book::default()));
        writer.finish(Instant::now());
        assert!(lock(&writer.thread).is_none(), "nothing was to be written");
        let begin = |book: &Book| book.begin(EndingKind::Start, (SystemTime::now(), Instant::now()));
        begin(&book);
        writer.write(&slug(), &book);
        writer.remove(&slug());
        writer.finish(soon());
        assert!(!directory.join("web.json").exists());
        // The next server of this name.
        let next = Arc::new(Book::default());
        begin(&next);
        writer.remove(&slug());
        writer.write(&slug(), &next);
        writer.finish(soon());
        assert!(directory.join("web.json").exists());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_book_that_is_waiting_is_not_queued_again() {
        let (directory, files) = files("once");
        let (writer, book) = (BookWriter::new(Arc::new(files)), Arc::new(Book::default()));
        assert!(book.enqueue());
        for _ in 0..1000 {
            writer.write(&slug(), &book);
        }
        assert!(writer.tasks.try_recv().is_err() && lock(&writer.thread).is_none());
        book.dequeue();
        writer.write(&slug(), &book);
        writer.finish(soon());
        assert!(directory.join("web.json").exists());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
