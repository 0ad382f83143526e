//! The interface between the front and what answers requests.
//!
//! Owns: the two steps of a request, and the kinds of client. Never: a socket, a rule of access.
//!
//! The first step sees the head alone, so that no byte of a body is read for a client without access. The second has
//! the body.

use std::any::Any;

use super::budget::Share;
use crate::handoff::{Client, Outcome, Reply};

/// What a service keeps from one request of a connection to the next, on the thread of the connection.
pub type LastRequest = Option<Box<dyn Any>>;

/// Answers requests.
pub trait Service: Send + Sync {
    /// Decides about a request whose vetted head in canonical form is `head`. It is not carried out yet. `last` is what
    /// was kept of the request before it on the same connection.
    fn admit(&self, head: &[u8], last: &mut LastRequest) -> HeadVerdict;

    /// Returns the kind of the client, by the token in a vetted head. Cheap; used only for the order in which clients
    /// are served.
    fn client_kind(&self, head: &[u8]) -> ClientKind;

    /// Called after a connection has ended, on its thread: time to free what only a burst needs.
    fn settle(&self) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// A client without a valid token.
    Stranger,
    /// A client with a valid token, or one that needs none.
    Owner,
}

pub struct HeadVerdict {
    pub client_kind: ClientKind,
    pub step: NextStep,
}

pub enum NextStep {
    /// Send this response and leave a body unread.
    Reply(Reply),
    /// Read the body and call the request with it.
    TakeBody(Box<dyn AdmittedRequest>),
    /// Discard the body and call the request.
    SkipBody(Box<dyn AdmittedRequest>),
}

pub trait AdmittedRequest {
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

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
