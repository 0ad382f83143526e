//! Log files: the output of servers as plain files.
//!
//! Owns: the one thread that writes all files, and the position of each log's files. Never: a delay of a server, a
//! wake-up while nothing is written.
//!
//! The thread reads the rings, which are its bounded queue. So a slow or full disk affects the files alone: bytes that
//! a ring drops before they are written are counted, and noted in the file when writing works again; the rest is
//! written late. Files stay when their server is deleted.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use self::file::{LogFile, Unwritten};
use super::SharedLog;
use super::buffer::{Batch, Cursor, Reading, Selection, StreamId};
use crate::log::{self, Level};
use crate::model::spec::Slug;
use crate::os::RecvError;
use crate::os::inbox::{Inbox, Sender, inbox};
use crate::os::thread::{self, Joined, Thread};
use crate::sync::lock;

mod file;
#[cfg(test)]
mod tests;

/// The interval of retries after a write error.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The size of a batch, in bytes.
const BATCH: usize = 64 * 1024;
/// The bytes of one stream after which another server gets its turn.
const TURN: usize = 1024 * 1024;

/// The handle of the writing thread.
#[derive(Debug)]
pub struct LogFiles {
    sender: Sender<FilesMessage>,
    thread: Thread,
}

#[derive(Debug)]
enum FilesMessage {
    /// A log has new output.
    Output(Arc<SharedLog>),
    /// Write everything, and exit.
    End,
}

/// Notifies the writing thread of new output of one log, and holds the position of its files.
#[derive(Debug)]
pub struct FilesNotifier {
    slug: Slug,
    log: Weak<SharedLog>,
    sender: Sender<FilesMessage>,
    /// A message is in the queue. So there is at most one for each log.
    is_queued: AtomicBool,
    /// Used by the writing thread only.
    position: Mutex<FilePosition>,
}

/// The position of a log's files.
#[derive(Debug, Clone, Copy, Default)]
struct FilePosition {
    cursor: Cursor,
    /// For each stream, the bytes that were dropped before they were written, and are not noted in the file yet.
    missed: [u64; 2],
}

impl LogFiles {
    /// Starts the thread, which writes files of up to `limit` bytes into `directory`, which is created if it is
    /// missing.
    ///
    /// # Errors
    /// A sentence for the user: the directory can't be created or written, or no thread can be created.
    pub fn start(directory: &Path, limit: u64) -> Result<LogFiles, String> {
        let shown = directory.display();
        let cant = |what: &str, error: &io::Error| format!("log directory {shown} {what}: {error}; give --log-dir");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| cant("can't be made", &error))?;
        probe(directory).map_err(|error| cant("can't be written", &error))?;
        let (sender, inbox) = inbox();
        let writer = Writer::new(directory.to_owned(), limit);
        let thread = thread::spawn("files", thread::STACK, move || writer.run(&inbox))
            .map_err(|error| format!("no thread to write log files: {error}"))?;
        Ok(LogFiles { sender, thread })
    }

    /// Creates the notifier of a new log.
    pub fn notifier(&self, slug: &Slug, log: &Weak<SharedLog>) -> FilesNotifier {
        FilesNotifier::new(slug.clone(), Weak::clone(log), self.sender.clone())
    }

    /// Ends the thread after it has written everything; waits until `deadline`.
    pub fn finish(&self, deadline: Instant) {
        // A thread that panicked has logged it.
        let _ = self.sender.send(FilesMessage::End);
        if self.thread.join_by(deadline) == Joined::Late {
            log::warn(format_args!("the log files lack their last lines: the disk is too slow"));
        }
    }
}

impl FilesNotifier {
    fn new(slug: Slug, log: Weak<SharedLog>, sender: Sender<FilesMessage>) -> FilesNotifier {
        FilesNotifier { slug, log, sender, is_queued: AtomicBool::new(false), position: Mutex::default() }
    }

    /// Reports new output. Never waits.
    pub fn notify(&self) {
        if !self.is_queued.swap(true, Ordering::AcqRel)
            && let Some(log) = self.log.upgrade()
        {
            // The thread has panicked, which is logged; there are no files any more.
            let _ = self.sender.send(FilesMessage::Output(log));
        }
    }

    fn position(&self) -> FilePosition {
        *lock(&self.position)
    }

    fn keep(&self, position: FilePosition) {
        *lock(&self.position) = position;
    }
}

/// The result of a turn.
enum TurnResult {
    Done,
    /// More is to be written.
    Unfinished,
    /// A file could not be written.
    Failed {
        path: PathBuf,
        error: io::Error,
    },
}

struct Writer {
    directory: PathBuf,
    limit: u64,
    batch: Batch,
    /// The logs whose files could not be written; they are retried.
    blocked: Vec<Arc<SharedLog>>,
    retry_at: Instant,
}

impl Writer {
    fn new(directory: PathBuf, limit: u64) -> Writer {
        let (batch, blocked) = (Batch::default(), Vec::new());
        Writer { directory, limit, batch, blocked, retry_at: Instant::now() }
    }

    fn run(mut self, inbox: &Inbox<FilesMessage>) {
        loop {
            let retry_at = (!self.blocked.is_empty()).then_some(self.retry_at);
            if retry_at.is_some_and(|retry_at| retry_at <= Instant::now()) {
                self.retry();
                continue;
            }
            match inbox.recv_by(retry_at) {
                Ok(FilesMessage::Output(log)) => self.write(log),
                Err(RecvError::Timeout) => {}
                Ok(FilesMessage::End) => {
                    self.retry();
                    // A turn that did not write everything has queued a message.
                    while let Ok(FilesMessage::Output(log)) = inbox.try_recv() {
                        self.write(log);
                    }
                    return;
                }
                Err(RecvError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, log: Arc<SharedLog>) {
        let Some(notifier) = &log.notifier else { return };
        // It is written with the next retry.
        if self.blocked.iter().any(|blocked| Arc::ptr_eq(blocked, &log)) {
            return;
        }
        match self.turn(&log, notifier) {
            TurnResult::Done => {}
            TurnResult::Unfinished => notifier.notify(),
            TurnResult::Failed { path, error } => {
                let shown = path.display();
                let what = format_args!(
                    "its log file {shown} can't be written: {error}; the server keeps running, and the write is retried"
                );
                log::server(Level::Warn, &notifier.slug, what);
                if self.blocked.is_empty() {
                    self.retry_at = Instant::now() + RETRY_EVERY;
                }
                self.blocked.push(log);
            }
        }
    }

    fn retry(&mut self) {
        self.retry_at = Instant::now() + RETRY_EVERY;
        for log in std::mem::take(&mut self.blocked) {
            let Some(notifier) = &log.notifier else { continue };
            let turn = self.turn(&log, notifier);
            match turn {
                TurnResult::Done | TurnResult::Unfinished => {
                    log::server(Level::Info, &notifier.slug, format_args!("its log files are written again"));
                    if matches!(turn, TurnResult::Unfinished) {
                        notifier.notify();
                    }
                }
                // The server was deleted: give up.
                TurnResult::Failed { .. } if log.state().ended => {}
                TurnResult::Failed { .. } => self.blocked.push(log),
            }
        }
    }

    fn turn(&mut self, log: &SharedLog, notifier: &FilesNotifier) -> TurnResult {
        // Before the read, so that later output sends a message again.
        notifier.is_queued.swap(false, Ordering::AcqRel);
        let mut all = TurnResult::Done;
        for (stream, selection) in [(StreamId::Stdout, Selection::Stdout), (StreamId::Stderr, Selection::Stderr)] {
            let path = file::path(&self.directory, &notifier.slug, stream);
            let mut position = notifier.position();
            let written = self.write_stream(log, stream, selection, &path, &mut position);
            notifier.keep(position);
            match written {
                Ok(written) if written < TURN => {}
                Ok(_) => all = TurnResult::Unfinished,
                Err(error) => return TurnResult::Failed { path, error },
            }
        }
        all
    }

    /// Returns the number of bytes written; less than a turn if that is everything.
    fn write_stream(
        &mut self,
        log: &SharedLog,
        stream: StreamId,
        selection: Selection,
        path: &Path,
        position: &mut FilePosition,
    ) -> io::Result<usize> {
        let (mut file, mut written) = (None, 0);
        while written < TURN {
            let reading = log.state().buffer.read(&mut position.cursor, selection, BATCH, &mut self.batch);
            let missed = &mut position.missed[stream as usize];
            *missed += self.batch.missed(stream).bytes;
            if reading == Reading::Nothing && *missed == 0 {
                break;
            }
            let bytes = self.batch.bytes();
            if let Err(Unwritten { left, error }) = write(&mut file, path, self.limit, missed, bytes) {
                // Read again from the ring, as long as that keeps it.
                position.cursor.back(stream, left);
                return Err(error);
            }
            written += bytes.len();
        }
        Ok(written)
    }
}

/// Checks that files can be created in `directory`.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(".servisor-probe");
    // Left by a killed daemon.
    let _ = fs::remove_file(&path);
    File::create_new(&path)?;
    fs::remove_file(&path)
}

/// Writes the note about `missed` bytes, if any, then `bytes`.
fn write(file: &mut Option<LogFile>, path: &Path, limit: u64, missed: &mut u64, bytes: &[u8]) -> Result<(), Unwritten> {
    let nothing_of_it = |error| Unwritten { left: bytes.len(), error };
    let file = match file {
        Some(file) => file,
        None => file.insert(LogFile::open(path.to_owned(), limit).map_err(nothing_of_it)?),
    };
    if *missed > 0 {
        file.note_missing(*missed).map_err(nothing_of_it)?;
        *missed = 0;
    }
    file.append(bytes)
}
