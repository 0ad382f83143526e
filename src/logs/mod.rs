//! The output of servers: ring buffers in memory, followers, log files.
//!
//! Owns: the buffer of each server, its lock, and the files that are written from it. Never: a pipe (see
//! `supervisor::reader`), JSON.

use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) mod buffer;
mod files;
mod follow;
mod lines;

pub use buffer::{Batch, Rendered, Selection, StreamId};
pub use files::LogFiles;
pub use follow::{Follower, NextOutput};
pub use lines::{Lines, Shown};

use crate::model::spec::Slug;
use crate::os::waker::Waker;
use crate::sync::lock;
use buffer::LogBuffer;
use files::FilesNotifier;

/// The log of one server: the thread `log:SLUG` appends what it reads from the pipes; clients and the thread of the log
/// files read.
#[derive(Debug)]
pub struct SharedLog {
    state: Mutex<LogState>,
    /// Notifies the thread of the log files, if there is one.
    notifier: Option<FilesNotifier>,
}

#[derive(Debug)]
struct LogState {
    buffer: LogBuffer,
    /// Signalled when there is more. Without any, a write costs no system call.
    wakers: Vec<Arc<Waker>>,
    /// The server was deleted: nothing more will be written.
    ended: bool,
}

/// What is counted of a log since its server was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// The bytes of each stream.
    pub written: [u64; 2],
    /// The bytes of both that are not kept any more.
    pub dropped: u64,
}

impl LogState {
    fn wake(&self) {
        self.wakers.iter().for_each(|waker| waker.wake());
    }
}

impl SharedLog {
    /// Creates an empty log of at most about `capacity` bytes.
    pub fn new(capacity: usize) -> SharedLog {
        let state = LogState { buffer: LogBuffer::new(capacity), wakers: Vec::new(), ended: false };
        SharedLog { state: Mutex::new(state), notifier: None }
    }

    /// Creates a log that is also written to the files of the server `slug`.
    pub fn with_files(capacity: usize, slug: &Slug, files: &LogFiles) -> Arc<SharedLog> {
        Arc::new_cyclic(|log| SharedLog { notifier: Some(files.notifier(slug, log)), ..SharedLog::new(capacity) })
    }

    /// Appends what was read from a stream. Waits no longer than a copy of the buffer takes.
    pub fn append(&self, stream: StreamId, bytes: &[u8]) {
        {
            let mut state = self.state();
            state.buffer.push(stream, bytes);
            state.wake();
        }
        if let Some(notifier) = &self.notifier {
            notifier.notify();
        }
    }

    /// Marks the log as ended, because the server was deleted: followers get its rest, then [`NextOutput::Ended`].
    pub fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.wake();
    }

    /// How many bytes each stream has brought, and how many of both are not kept any more.
    pub fn totals(&self) -> Totals {
        let state = self.state();
        Totals { written: state.buffer.written(), dropped: state.buffer.dropped() }
    }

    /// Returns the buffered output of `selection`, or only its last `tail` lines.
    pub fn render(&self, selection: Selection, tail: Option<usize>) -> Rendered {
        // Under the lock only a plain copy is made.
        let copy = match tail {
            Some(lines) => self.state().buffer.copy_tail(selection, lines),
            None => self.state().buffer.copy(selection),
        };
        copy.render(tail)
    }

    /// The last `count` lines of each stream that came after `from` (as in [`Totals::written`]), in the order of their
    /// ends.
    pub fn last_lines(&self, from: [u64; 2], count: usize) -> Vec<(StreamId, Vec<u8>)> {
        self.state().buffer.last_lines(from, count)
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        lock(&self.state)
    }
}
