//! The thread that writes books to files.
//!
//! Owns: its queue and the order of writes and removals. Never: when a book is written (see [`super::books`]), or the
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
    state: Mutex<WriterState>,
}

#[derive(Debug)]
enum WriterState {
    /// Nothing was to be written yet.
    Idle,
    Working(Thread),
    /// The system had no thread: the tasks wait for the next try.
    Short,
    /// The daemon ends. Of two threads each could rename what the other is writing.
    Finished,
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
        BookWriter { files, sender, tasks: Arc::new(tasks), state: Mutex::new(WriterState::Idle) }
    }

    /// Has `book` written as it is then. There is at most one such task for each book, however long a write takes.
    pub fn write(&self, slug: &Slug, book: &Arc<Book>) {
        if book.enqueue() {
            self.send(BookTask::Write(slug.clone(), Arc::clone(book)));
        }
        self.keep_working();
    }

    /// Has the file of a server that is deleted removed.
    pub fn remove(&self, slug: &Slug) {
        self.send(BookTask::Remove(slug.clone()));
        self.keep_working();
    }

    /// Ends the thread after all tasks; waits until `deadline`.
    pub fn finish(&self, deadline: Instant) {
        if matches!(*lock(&self.state), WriterState::Short) {
            self.keep_working();
        }
        self.send(BookTask::End);
        // Not under the lock, which a server that could not be ended may want.
        let before = std::mem::replace(&mut *lock(&self.state), WriterState::Finished);
        let why = match before {
            WriterState::Idle | WriterState::Finished => return,
            WriterState::Short => "the system has no thread to write it",
            WriterState::Working(thread) => match thread.join_by(deadline) {
                Joined::Ended => return,
                Joined::Late => "the disk of the state directory is too slow",
                Joined::Panicked => "the thread that writes it has panicked",
            },
        };
        log::warn(format_args!("how the last runs ended is not kept: {why}"));
    }

    fn send(&self, task: BookTask) {
        // This is the owner of the inbox.
        let _ = self.sender.send(task);
    }

    /// Makes the thread for the first task, and again after a panic, which is logged, or when the system had none.
    fn keep_working(&self) {
        let mut state = lock(&self.state);
        match &*state {
            WriterState::Finished => return,
            WriterState::Working(thread) if thread.join_by(Instant::now()) == Joined::Late => return,
            WriterState::Working(_) | WriterState::Idle | WriterState::Short => {}
        }
        let (files, tasks) = (Arc::clone(&self.files), Arc::clone(&self.tasks));
        match thread::spawn("books", thread::STACK, move || work(&files, &tasks)) {
            Ok(thread) => *state = WriterState::Working(thread),
            Err(error) => {
                *state = WriterState::Short;
                log::warn(format_args!("no thread to write how runs ended, the next write tries again: {error}"));
            }
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

    fn begun() -> Arc<Book> {
        let book = Arc::new(Book::default());
        book.begin(EndingKind::Start, (SystemTime::now(), Instant::now()));
        book
    }

    #[test]
    fn tasks_are_done_in_their_order_and_before_the_end() {
        let (scratch, files) = files();
        let files = Arc::new(files);
        let writer = BookWriter::new(Arc::clone(&files));
        writer.write(&slug(), &begun());
        writer.remove(&slug());
        writer.finish(soon());
        assert!(!scratch.0.join("web.json").exists());
        // The next server of this name.
        let writer = BookWriter::new(files);
        writer.remove(&slug());
        writer.write(&slug(), &begun());
        writer.finish(soon());
        assert!(scratch.0.join("web.json").exists());
    }

    #[test]
    fn without_a_task_there_is_no_thread_and_after_the_end_no_other() {
        let (scratch, files) = files();
        let writer = BookWriter::new(Arc::new(files));
        assert!(matches!(*lock(&writer.state), WriterState::Idle));
        writer.finish(Instant::now());
        writer.write(&slug(), &begun());
        assert!(matches!(*lock(&writer.state), WriterState::Finished) && !scratch.0.join("web.json").exists());
    }

    #[test]
    fn a_book_waits_once_and_is_written_when_there_is_a_thread_again() {
        let (scratch, files) = files();
        let (writer, book) = (BookWriter::new(Arc::new(files)), begun());
        // As after a thread that the system did not give, or that panicked.
        assert!(book.enqueue());
        writer.send(BookTask::Write(slug(), Arc::clone(&book)));
        for _ in 0..1000 {
            assert!(!book.enqueue(), "it waits already");
        }
        writer.write(&slug(), &book);
        writer.finish(soon());
        assert!(scratch.0.join("web.json").exists());
    }
}
