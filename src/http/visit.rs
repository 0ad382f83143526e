//! The interface between the front and what serves requests to managed servers.
//!
//! Owns: what a request is handed over with, and what follows. Never: which hosts are those of servers, a byte of such
//! a request beyond its head.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

pub use super::slots::{Slot, Visitors};

/// Serves the requests that are not for the API.
pub trait VisitService: Send + Sync {
    /// Whether it serves requests with this `Host`, readable or not. The API never gets one of these.
    fn claims(&self, host: Option<&[u8]>) -> bool;

    /// Serves one. It may take as long as the client stays.
    fn serve(&self, request: VisitRequest<'_>) -> VisitEnd;

    /// The connections that serve visitors.
    fn visitors(&self) -> &Arc<Visitors>;
}

/// A request whose head was read and not vetted.
pub struct VisitRequest<'a> {
    pub head: Vec<u8>,
    /// What was read after the head. What is left of it in the end begins the next request.
    pub rest: &'a mut Vec<u8>,
    pub slot: &'a Slot,
}

impl VisitRequest<'_> {
    pub fn socket(&self) -> &UnixStream {
        self.slot.socket()
    }
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisitEnd {
    /// The next request is awaited.
    KeepAlive,
    /// The answer is complete. The client may still send, and must not lose the answer by that.
    Linger,
    Close,
    /// The answer is cut, and its body has no other end than that of the connection: the client is to see a reset.
    Reset,
}
