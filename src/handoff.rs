//! What the listener and the API hand each other: a client that waits, and the answer to its request.
//!
//! Owns: these forms. Never: what stands in them, the connection that they go over.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Instant;

use crate::os::waker::Waker;

/// A whole HTTP answer, before anything is known of the connection it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// Further headers. Values never hold text that came from a client: nothing downstream refuses CR or LF.
    pub headers: Vec<(&'static str, String)>,
    /// The value of `Content-Type`; `None` for an answer without a body.
    pub content_type: Option<&'static str>,
    /// The body; `Content-Length` is made from it.
    pub body: Cow<'static, [u8]>,
}

/// A client that waits for a response.
pub trait Client {
    /// Whether it still does, as far as can be known without waiting.
    fn is_present(&self) -> bool;

    /// How many connections its listener has.
    fn connections(&self) -> usize;
}

/// Where a stream goes. A write fails once the client has left.
pub trait StreamOut: Write {
    /// Waits until `waker` is signalled, but not past `deadline`.
    ///
    /// # Errors
    /// The client has left.
    fn wait(&mut self, waker: &Waker, deadline: Instant) -> io::Result<()>;
}

/// What writes a stream piece by piece, until its end or until the client has left.
pub type StreamBody = Box<dyn FnOnce(&mut dyn StreamOut) -> io::Result<()> + Send>;

/// What becomes of a request.
pub enum Outcome {
    Whole(Reply),
    /// A response of unknown length.
    Stream {
        content_type: &'static str,
        /// Further headers; the same holds as for those of a [`Reply`].
        headers: Vec<(&'static str, String)>,
        /// Writes the body.
        body: StreamBody,
    },
}
