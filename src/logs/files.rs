//! What servers write, also as plain files.
//!
//! Owns: the one thread that writes all of them, and what has come of each log's files. Never: a server's time, a wake-up
//! while nothing is written.
//!
//! The thread is one more reader of the rings: they are its queue, with their bound. So a slow or full disk costs
//! nothing but the files: what a ring had to drop before it was written is counted, and noted in the file when writing
//! works again; what it still holds then is written late, but is written. Files stay when their server is deleted.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use self::file::{LogFile, Unwritten};
use super::SharedLog;
use super::buffer::{Batch, Cursor, Reading, Selection, StreamId};
use crate::log::{self, Level};
use crate::model::spec::Slug;
use crate::os::inbox::{Inbox, Nothing, Sender, inbox};
use crate::os::thread::{self, Joined, Thread};

mod file;
#[cfg(test)]
mod tests;

/// As long as something can't be written it is tried again this often.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// About this much is read from a ring at once, in bytes.
const BATCH: usize = 64 * 1024;
/// After this much of one stream, in bytes, it is another server's turn.
const TURN: usize = 1024 * 1024;

/// The way to the thread that writes.
#[derive(Debug)]
pub struct LogFiles {
    bell: Sender<Word>,
    thread: Thread,
}

#[derive(Debug)]
enum Word {
    /// This log has something new.
    News(Arc<SharedLog>),
    /// Write what there is, and end.
    End,
}

/// What ties a log to its files.
#[derive(Debug)]
pub struct Tap {
    slug: Slug,
    log: Weak<SharedLog>,
    bell: Sender<Word>,
    /// The word that there is news is on its way. So there is one of it for each log, however much is written.
    rung: AtomicBool,
    /// Only the writing thread's.
    progress: Mutex<Progress>,
}

/// How far a log's files are.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    cursor: Cursor,
    /// Of each stream, what was dropped before it could be written and is not noted in the file yet.
    missed: [u64; 2],
}

impl LogFiles {
    /// Begins to write files of up to `limit` bytes into `directory`, which is made if there is none.
    ///
    /// # Errors
    /// A sentence for a person: it can't be made or written, or the system has no thread to give.
    pub fn start(directory: &Path, limit: u64) -> Result<LogFiles, String> {
        let shown = directory.display();
        let cant = |what: &str, error: &io::Error| format!("log directory {shown} {what}: {error}; give --log-dir");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| cant("can't be made", &error))?;
        probe(directory).map_err(|error| cant("can't be written", &error))?;
        let (bell, inbox) = inbox();
        let writer = Writer::new(directory.to_owned(), limit);
        let thread = thread::spawn("files", thread::STACK, move || writer.run(&inbox))
            .map_err(|error| format!("no thread to write log files: {error}"))?;
        Ok(LogFiles { bell, thread })
    }

    /// The tap of a log that is just being made.
    pub fn tap(&self, slug: &Slug, log: &Weak<SharedLog>) -> Tap {
        Tap::new(slug.clone(), Weak::clone(log), self.bell.clone())
    }

    /// Writes what there is and ends, but does not wait past `deadline`.
    pub fn finish(&self, deadline: Instant) {
        // One that has ended in a fault of its own has said so.
        let _ = self.bell.send(Word::End);
        if self.thread.join_by(deadline) == Joined::Late {
            log::warn(format_args!("the log files are not written to their ends: the disk is too slow"));
        }
    }
}

impl Tap {
    fn new(slug: Slug, log: Weak<SharedLog>, bell: Sender<Word>) -> Tap {
        Tap { slug, log, bell, rung: AtomicBool::new(false), progress: Mutex::default() }
    }

    /// Says that there is something new. Never waits.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(log) = self.log.upgrade()
        {
            // Without a thread to hear it there are no files any more; the log has said so.
            let _ = self.bell.send(Word::News(log));
        }
    }

    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// What a turn came to.
enum Turn {
    /// Everything is written.
    Done,
    /// There is more.
    Unfinished,
    /// A file could not be written.
    Failed { path: PathBuf, error: io::Error },
}

struct Writer {
    directory: PathBuf,
    limit: u64,
    batch: Batch,
    /// Whose files can't be written for the moment.
    blocked: Vec<Arc<SharedLog>>,
    retry_at: Instant,
}

impl Writer {
    fn new(directory: PathBuf, limit: u64) -> Writer {
        let (batch, blocked) = (Batch::default(), Vec::new());
        Writer { directory, limit, batch, blocked, retry_at: Instant::now() }
    }

    fn run(mut self, inbox: &Inbox<Word>) {
        loop {
            let retry_at = (!self.blocked.is_empty()).then_some(self.retry_at);
            if retry_at.is_some_and(|retry_at| retry_at <= Instant::now()) {
                self.retry();
                continue;
            }
            match inbox.recv_by(retry_at) {
                Ok(Word::News(log)) => self.write(log),
                Err(Nothing::Yet) => {}
                Ok(Word::End) => {
                    self.retry();
                    // What a turn did not come to the end of has said so.
                    while let Ok(Word::News(log)) = inbox.try_recv() {
                        self.write(log);
                    }
                    return;
                }
                Err(Nothing::EverMore) => return,
            }
        }
    }

    fn write(&mut self, log: Arc<SharedLog>) {
        let Some(tap) = &log.tap else { return };
        // Its turn comes with the next try.
        if self.blocked.iter().any(|blocked| Arc::ptr_eq(blocked, &log)) {
            return;
        }
        match self.turn(&log, tap) {
            Turn::Done => {}
            Turn::Unfinished => tap.ring(),
            Turn::Failed { path, error } => {
                let shown = path.display();
                let what = format_args!(
                    "its log file {shown} can't be written: {error}; the server goes on, and it is tried again"
                );
                log::server(Level::Warn, &tap.slug, what);
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
            let Some(tap) = &log.tap else { continue };
            let turn = self.turn(&log, tap);
            match turn {
                Turn::Done | Turn::Unfinished => {
                    log::server(Level::Info, &tap.slug, format_args!("its log files are written again"));
                    if matches!(turn, Turn::Unfinished) {
                        tap.ring();
                    }
                }
                // The server is gone, and nobody will write more.
                Turn::Failed { .. } if log.state().ended => {}
                Turn::Failed { .. } => self.blocked.push(log),
            }
        }
    }

    fn turn(&mut self, log: &SharedLog, tap: &Tap) -> Turn {
        // Before the look: what comes after it rings again.
        tap.rung.swap(false, Ordering::AcqRel);
        let mut all = Turn::Done;
        for (stream, selection) in [(StreamId::Stdout, Selection::Stdout), (StreamId::Stderr, Selection::Stderr)] {
            let path = file::path(&self.directory, &tap.slug, stream);
            let mut progress = tap.progress();
            let written = self.write_stream(log, stream, selection, &path, &mut progress);
            tap.keep(progress);
            match written {
                Ok(written) if written < TURN => {}
                Ok(_) => all = Turn::Unfinished,
                Err(error) => return Turn::Failed { path, error },
            }
        }
        all
    }

    /// How many bytes were written; less than a turn when that is all.
    fn write_stream(
        &mut self,
        log: &SharedLog,
        stream: StreamId,
        selection: Selection,
        path: &Path,
        progress: &mut Progress,
    ) -> io::Result<usize> {
        let (mut file, mut written) = (None, 0);
        while written < TURN {
            let reading = log.state().buffer.read(&mut progress.cursor, selection, BATCH, &mut self.batch);
            let missed = &mut progress.missed[stream as usize];
            *missed += self.batch.missed(stream).bytes;
            if reading == Reading::Nothing && *missed == 0 {
                break;
            }
            let bytes = self.batch.bytes();
            if let Err(Unwritten { left, error }) = write(&mut file, path, self.limit, missed, bytes) {
                // It stays in the ring as long as that can keep it.
                progress.cursor.back(stream, left);
                return Err(error);
            }
            written += bytes.len();
        }
        Ok(written)
    }
}

/// Finds out whether files can be made in `directory`.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(".servisor-probe");
    // What a killed daemon left there.
    let _ = fs::remove_file(&path);
    File::create_new(&path)?;
    fs::remove_file(&path)
}

/// Writes `bytes`, and before them what is missing.
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
