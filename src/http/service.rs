//! What the listener asks of that which answers requests.
//!
//! Owns: the two steps of a request, and the words for who asks. Never: a socket, a rule of access.
//!
//! The first step sees the head alone, so that no byte of a body is read for a client that may not ask. The second one
//! has the body.

use super::budget::Share;
use crate::handoff::{Client, Outcome, Reply};

/// Answers requests.
pub trait Service: Send + Sync {
    /// Decides about a request whose vetted head in canonical form is `head`. Nothing of it is carried out yet.
    fn admit(&self, head: &[u8]) -> Verdict;

    /// Returns who has sent a vetted head, as far as the token says. It costs little and decides about no more than the order
    /// in which clients are served.
    fn standing(&self, head: &[u8]) -> Standing;

    /// Called after a connection has ended, on its thread: time to give back what only a rush needs.
    fn settle(&self) {}
}

/// Who has sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A client that has shown no right token.
    Stranger,
    /// A client that has shown it, or needs none.
    Owner,
}

/// What was decided from a head.
pub struct Verdict {
    /// Who asks.
    pub standing: Standing,
    /// What follows.
    pub step: Step,
}

/// What follows a head.
pub enum Step {
    /// This answer. A body is left unread.
    Reply(Reply),
    /// The body is read and handed on.
    TakeBody(Box<dyn Request>),
    /// A body means nothing: it is skipped.
    SkipBody(Box<dyn Request>),
}

/// A request that may be carried out.
pub trait Request {
    /// Carries it out. It may wait, but not without a limit or for a client that has left.
    fn call(self: Box<Self>, body: Body, client: &dyn Client) -> Outcome;
}

/// A whole body, and its share of the memory for bodies.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    _share: Option<Share>,
}

impl Body {
    /// A body that is in memory already, in `share`.
    pub fn new(bytes: Vec<u8>, share: Share) -> Body {
        Body { bytes, _share: Some(share) }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
