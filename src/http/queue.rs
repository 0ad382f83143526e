//! New connections that wait for a thread, when none can be started.
//!
//! Owns: which of them is served next. Never: consumes a byte of a request (it reads with `MSG_PEEK`).
//!
//! At the limit on processes only the thread in reserve is left. It serves clients whose head is complete, owners
//! first, and one request of each. A stranger that holds it is evicted when an owner waits. So whatever strangers do,
//! an owner waits for one of them at most.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{self, FrontState};
use super::head;
use super::response::{self, Refusal};
use super::service::ClientKind;
use crate::os::peer::{self, Peeked};
use crate::os::reserve_thread::{ReserveThread, RunsOn};
use crate::os::thread;

/// The longest queue; beyond it the stranger that has waited longest is refused.
const WAITING_MAX: usize = 128;
/// The limit of a client's wait: a stranger holds the thread in reserve for less.
const LIMIT: Duration = Duration::from_secs(2);

/// The waiting clients, in the order of arrival.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Vec<QueuedClient>,
    /// The buffer for heads, freed when the queue is empty.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct QueuedClient {
    socket: Arc<UnixStream>,
    since: Instant,
    /// Known once the head is complete.
    kind: Option<ClientKind>,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a client.
    pub fn push(&mut self, socket: Arc<UnixStream>, shared: &FrontState) {
        if self.waiting.len() >= WAITING_MAX {
            let stranger = self.waiting.iter().position(|client| client.kind != Some(ClientKind::Owner));
            refuse(&self.waiting.remove(stranger.unwrap_or(0)));
        }
        let mut client = QueuedClient { socket, since: Instant::now(), kind: None };
        if client.look(&mut self.buffer, shared) {
            self.waiting.push(client);
        }
    }

    /// Serves clients as far as threads can be started, and refuses those that have waited too long.
    ///
    /// # Errors
    /// A client was refused because no thread can be started.
    pub fn serve(&mut self, shared: &Arc<FrontState>, reserve: &ReserveThread) -> io::Result<()> {
        let buffer = &mut self.buffer;
        self.waiting.retain_mut(|client| client.look(buffer, shared));
        let mut shortage = Ok(());
        while shortage.is_ok()
            && let Some(next) = self.next()
        {
            // A client without a complete head never gets the thread in reserve.
            let reserve = self.waiting[next].kind.map(|_| reserve);
            match start(&self.waiting[next].socket, shared, reserve) {
                Start::Begun => drop(self.waiting.remove(next)),
                Start::NoSlot => refuse(&self.waiting.remove(next)),
                Start::NoThread(error) => {
                    if self.waiting[next].kind == Some(ClientKind::Owner) {
                        shared.slots.make_room();
                    }
                    shortage = Err(error);
                }
            }
        }
        let before = self.waiting.len();
        self.waiting.retain(|client| {
            let stays = client.since.elapsed() < LIMIT;
            if !stays {
                refuse(client);
            }
            stays
        });
        if self.waiting.is_empty() {
            self.buffer = Vec::new();
        }
        if self.waiting.len() < before { shortage } else { Ok(()) }
    }

    /// The owner that has waited longest, else the stranger, else a client without a complete head.
    fn next(&self) -> Option<usize> {
        let first = |kind| self.waiting.iter().position(|client| client.kind == kind);
        first(Some(ClientKind::Owner)).or_else(|| first(Some(ClientKind::Stranger))).or_else(|| first(None))
    }
}

impl QueuedClient {
    /// Finds out the kind of the client, unless that is known. Returns whether it is still connected.
    fn look(&mut self, buffer: &mut Vec<u8>, shared: &FrontState) -> bool {
        if self.kind.is_some() {
            return true;
        }
        buffer.resize(shared.limits.head, 0);
        match peer::peek(&*self.socket, buffer) {
            Peeked::End => return false,
            Peeked::Nothing => {}
            Peeked::Bytes(count) => self.kind = kind_of(&buffer[..count], shared),
        }
        true
    }
}

/// `None` while the head is not complete. An invalid head is a stranger's, which is refused soon.
fn kind_of(bytes: &[u8], shared: &FrontState) -> Option<ClientKind> {
    let end = match head::end(bytes, 0, &shared.limits) {
        Ok(end) => end?,
        Err(_) => return Some(ClientKind::Stranger),
    };
    let vetted = head::vet(&bytes[..end], &shared.limits);
    Some(vetted.map_or(ClientKind::Stranger, |head| shared.service.client_kind(&head.canonical)))
}

fn refuse(client: &QueuedClient) {
    response::refuse_at_once(&client.socket, Refusal::TooManyConnections);
}

/// The result of an attempt to start a connection's thread.
enum Start {
    Begun,
    NoSlot,
    NoThread(io::Error),
}

fn start(socket: &Arc<UnixStream>, shared: &Arc<FrontState>, reserve: Option<&ReserveThread>) -> Start {
    let Ok(slot) = shared.slots.admit(Arc::clone(socket)) else { return Start::NoSlot };
    let (for_thread, name) = (Arc::clone(shared), format!("conn-{}", slot.number()));
    // The slot moves into the closure; if there is no thread, it is freed with it.
    let serve = move |place| connection::serve(&for_thread, slot, place);
    let begun = match reserve {
        Some(reserve) => reserve.spawn(&name, Box::new(serve)).map(drop),
        None => thread::spawn(&name, thread::STACK, move || serve(RunsOn::Own)).map(drop),
    };
    begun.map_or_else(Start::NoThread, |()| Start::Begun)
}
