//! The output of servers: ring buffers in memory, followers, log files.
//!
//! Owns: the buffer of each server, its lock, and the files that are written from it. Never: a pipe (see
//! `supervisor::reader`), JSON.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub(crate) mod buffer;
mod files;
mod follow;
mod lines;
mod newline;

pub use buffer::{Batch, Rendered, Selection, StreamId};
pub use files::LogFiles;
pub use follow::{Follower, Next};
pub use lines::{Lines, Shown};

use crate::model::spec::Slug;
use buffer::LogBuffer;
use files::Tap;

/// The log of one server: its supervisor's thread writes what it reads from the pipes; clients and the thread of the log
/// files read.
#[derive(Debug)]
pub struct SharedLog {
    state: Mutex<State>,
    /// Wakes the followers.
    changed: Condvar,
    /// Notifies the thread of the log files, if there is one.
    tap: Option<Tap>,
}

#[derive(Debug)]
struct State {
    buffer: LogBuffer,
    /// The number of followers that wait. Without any, writing needs no system call.
    waiting: usize,
    /// The server was deleted: nothing more will be written.
    ended: bool,
}

impl SharedLog {
    /// Creates an empty log of at most about `capacity` bytes.
    pub fn new(capacity: usize) -> SharedLog {
        let state = State { buffer: LogBuffer::new(capacity), waiting: 0, ended: false };
        SharedLog { state: Mutex::new(state), changed: Condvar::new(), tap: None }
    }

    /// Creates a log that is also written to the files of the server `slug`.
    pub fn with_files(capacity: usize, slug: &Slug, files: &LogFiles) -> Arc<SharedLog> {
        Arc::new_cyclic(|log| SharedLog { tap: Some(files.tap(slug, log)), ..SharedLog::new(capacity) })
    }

    /// Appends what was read from a stream. Waits no longer than a copy of the buffer takes.
    pub fn append(&self, stream: StreamId, bytes: &[u8]) {
        let waiting = {
            let mut state = self.state();
            state.buffer.push(stream, bytes);
            state.waiting
        };
        if waiting > 0 {
            self.changed.notify_all();
        }
        if let Some(tap) = &self.tap {
            tap.ring();
        }
    }

    /// Marks the log as ended, because the server was deleted: followers get its rest, then [`Next::Ended`].
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
