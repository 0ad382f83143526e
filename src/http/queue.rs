//! Newcomers that wait for a thread, when the system has none to give.
//!
//! Owns: who of them is served next. Never: a byte of a request; it looks at what has come and leaves it there.
//!
//! Without threads there is the one in reserve. It takes only clients whose head is complete, owners first, and each for
//! one request. A stranger that holds it is evicted when an owner waits. So however many strangers come and whatever they
//! do, an owner waits for one of them at most.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{self, Shared};
use super::head;
use super::response::{self, Refusal};
use super::service::Standing;
use crate::os::peer::{self, Peeked};
use crate::os::reserve_thread::{ReserveThread, RunsOn};
use crate::os::thread;

/// So many clients wait; one more takes the place of the stranger that has waited longest.
const WAITING_MAX: usize = 128;
/// For so long a client waits: a stranger holds the thread in reserve for less.
const LIMIT: Duration = Duration::from_secs(2);

/// The clients that wait, in the order of arrival.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Vec<Waiting>,
    /// Where heads are looked at. There is none while nobody waits.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    socket: Arc<UnixStream>,
    since: Instant,
    /// Who asks, once the head is complete.
    asks: Option<Standing>,
}

impl Queue {
    /// Whether no client waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a client.
    pub fn push(&mut self, socket: Arc<UnixStream>, shared: &Shared) {
        if self.waiting.len() >= WAITING_MAX {
            let stranger = self.waiting.iter().position(|client| client.asks != Some(Standing::Owner));
            refuse(&self.waiting.remove(stranger.unwrap_or(0)));
        }
        let mut client = Waiting { socket, since: Instant::now(), asks: None };
        if client.look(&mut self.buffer, shared) {
            self.waiting.push(client);
        }
    }

    /// Serves those for whom there is a thread now, and refuses those that have waited for too long.
    ///
    /// # Errors
    /// One was refused since the system has no thread.
    pub fn serve(&mut self, shared: &Arc<Shared>, reserve: &ReserveThread) -> io::Result<()> {
        let buffer = &mut self.buffer;
        self.waiting.retain_mut(|client| client.look(buffer, shared));
        let mut shortage = Ok(());
        while shortage.is_ok()
            && let Some(next) = self.next()
        {
            // Who says nothing has a thread only if there are threads again.
            let reserve = self.waiting[next].asks.map(|_| reserve);
            match start(&self.waiting[next].socket, shared, reserve) {
                Start::Begun => drop(self.waiting.remove(next)),
                Start::NoSlot => refuse(&self.waiting.remove(next)),
                Start::NoThread(error) => {
                    if self.waiting[next].asks == Some(Standing::Owner) {
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

    /// The owner that has waited longest, else the stranger, else one that has not asked yet.
    fn next(&self) -> Option<usize> {
        let first = |asks| self.waiting.iter().position(|client| client.asks == asks);
        first(Some(Standing::Owner)).or_else(|| first(Some(Standing::Stranger))).or_else(|| first(None))
    }
}

impl Waiting {
    /// Finds out who asks, unless that is known. Returns whether the client is still there.
    fn look(&mut self, buffer: &mut Vec<u8>, shared: &Shared) -> bool {
        if self.asks.is_some() {
            return true;
        }
        buffer.resize(shared.limits.head, 0);
        match peer::peek(&*self.socket, buffer) {
            Peeked::End => return false,
            Peeked::Nothing => {}
            Peeked::Bytes(count) => self.asks = who_asks(&buffer[..count], shared),
        }
        true
    }
}

/// `None` while the head is not complete. One that can't pass is a stranger's: it is refused soon.
fn who_asks(bytes: &[u8], shared: &Shared) -> Option<Standing> {
    let end = match head::end(bytes, 0, &shared.limits) {
        Ok(end) => end?,
        Err(_) => return Some(Standing::Stranger),
    };
    let vetted = head::vet(&bytes[..end], &shared.limits);
    Some(vetted.map_or(Standing::Stranger, |head| shared.service.standing(&head.canonical)))
}

fn refuse(client: &Waiting) {
    response::refuse_at_once(&client.socket, Refusal::TooManyConnections);
}

/// What became of the start of a connection.
enum Start {
    Begun,
    NoSlot,
    NoThread(io::Error),
}

fn start(socket: &Arc<UnixStream>, shared: &Arc<Shared>, reserve: Option<&ReserveThread>) -> Start {
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
