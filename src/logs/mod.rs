//! What a server has written, as much of it as is kept.
//!
//! Owns: the buffer of each server and who may touch it when. Never: a pipe (see `supervisor::reader`), a file, JSON.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod buffer;

pub use buffer::{Rendered, Selection, StreamId};

use buffer::LogBuffer;

/// The log of one server: two readers of pipes write to it, any number of clients read from it.
#[derive(Debug)]
pub struct SharedLog {
    buffer: Mutex<LogBuffer>,
}

impl SharedLog {
    /// An empty log that will keep up to about `capacity` bytes.
    pub fn new(capacity: usize) -> SharedLog {
        SharedLog { buffer: Mutex::new(LogBuffer::new(capacity)) }
    }

    /// Takes what was read from a stream. Never waits longer than a copy of the buffer takes.
    pub fn append(&self, stream: StreamId, bytes: &[u8]) {
        self.buffer().push(stream, bytes);
    }

    /// The kept output of `selection`, or only its last `tail` lines.
    pub fn render(&self, selection: Selection, tail: Option<usize>) -> Rendered {
        // A plain copy is made under the lock; what takes longer is done on the copy.
        let copy = self.buffer().copy(selection);
        copy.render(tail)
    }

    fn buffer(&self) -> MutexGuard<'_, LogBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
