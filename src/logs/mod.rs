//! What a server has written, as much of it as is kept.
//!
//! Owns: the buffer of each server, who may touch it when, and the files that are written from it. Never: a pipe (see
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

/// The log of one server: two readers of pipes write to it, any number of clients read from it.
#[derive(Debug)]
pub struct SharedLog {
    state: Mutex<State>,
    /// There is something for those who wait.
    changed: Condvar,
    /// The way to its files, if it has any.
    tap: Option<Tap>,
}

#[derive(Debug)]
struct State {
    buffer: LogBuffer,
    /// So many followers wait for more. Without any, writing costs no call of the system.
    waiting: usize,
    /// Nothing more will come.
    ended: bool,
}

impl SharedLog {
    /// An empty log that will keep up to about `capacity` bytes.
    pub fn new(capacity: usize) -> SharedLog {
        let state = State { buffer: LogBuffer::new(capacity), waiting: 0, ended: false };
        SharedLog { state: Mutex::new(state), changed: Condvar::new(), tap: None }
    }

    /// The same, also written to the files of the server `slug`.
    pub fn with_files(capacity: usize, slug: &Slug, files: &LogFiles) -> Arc<SharedLog> {
        Arc::new_cyclic(|log| SharedLog { tap: Some(files.tap(slug, log)), ..SharedLog::new(capacity) })
    }

    /// Takes what was read from a stream. Never waits longer than a copy of the buffer takes.
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

    /// Says that the server is gone for good: whoever follows it has come to the end.
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// The kept output of `selection`, or only its last `tail` lines.
    pub fn render(&self, selection: Selection, tail: Option<usize>) -> Rendered {
        // A plain copy is made under the lock; what takes longer is done on the copy.
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
