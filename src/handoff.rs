//! What an API worker may leave for the door to finish.
//!
//! A worker of the API never waits: there are two of them for the whole daemon. A call that takes its time
//! (a stop that waits for a process tree, a log that is followed) is answered at once with a ticket; the rest
//! of the work is a closure that the door runs on the thread of the client's own connection. So a hundred
//! slow calls cost a hundred threads that exist anyway, and no worker.
//!
//! Owns: the table from ticket to unfinished work. Never: HTTP, servers, threads.

use crate::sorted::Sorted;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The response header by which the API names a ticket to the door. It never reaches a client.
pub const TICKET_HEADER: &str = "X-Servisor-Ticket";

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
    pub body: Vec<u8>,
}

/// The one who waits for an answer.
pub trait Client {
    /// Whether it still does, as far as can be told without waiting.
    fn is_present(&self) -> bool;
}

/// What makes the answer of a call that a worker has let go of.
pub type Rest = Box<dyn FnOnce(&dyn Client) -> Reply + Send>;
/// What writes a stream piece by piece, until its end or until the client has left (a write error).
pub type StreamBody = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// The work that remains after a worker has let go of a call.
pub enum Later {
    /// Waits, with a limit of its own, and gives the answer.
    Reply(Rest),
    /// Sends an answer without a known end.
    Stream {
        /// The value of `Content-Type`.
        content_type: &'static str,
        /// Further headers; the same holds as for those of a [`Reply`].
        headers: Vec<(&'static str, String)>,
        /// Writes the body.
        body: StreamBody,
    },
}

/// The unfinished calls, by ticket. Each ticket is used once.
#[derive(Default)]
pub struct Tickets {
    next: AtomicU64,
    open: Mutex<Sorted<u64, Later>>,
}

impl Tickets {
    /// Keeps `later` until [`Tickets::take`] asks for it by the returned number.
    pub fn leave(&self, later: Later) -> u64 {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        self.table().insert(ticket, later);
        ticket
    }

    /// The work behind `ticket`; `None` the second time.
    pub fn take(&self, ticket: u64) -> Option<Later> {
        self.table().remove(&ticket)
    }

    fn table(&self) -> MutexGuard<'_, Sorted<u64, Later>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once() {
        let tickets = Tickets::default();
        let stream = || Later::Stream { content_type: "text/plain", headers: vec![], body: Box::new(|_| Ok(())) };
        let first = tickets.leave(stream());
        let second = tickets.leave(stream());
        assert_ne!(first, second);
        assert!(tickets.take(first).is_some());
        assert!(tickets.take(first).is_none());
        assert!(tickets.take(second).is_some());
    }
}
