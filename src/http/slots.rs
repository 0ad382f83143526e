//! The slots of connections: admission, and eviction at the cap.
//!
//! Owns: the caps, the difference between strangers and owners, and the order of eviction. Never: a byte of a request.
//!
//! A connection begins as a stranger's. It becomes an owner's with the first request that has a valid token. At
//! the cap a new connection evicts a stranger, whatever that one does; a stranger never evicts an owner.
//!
//! A connection that serves visitors of managed servers takes none of these slots: it has its own number
//! ([`Visitors`]).

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::service::ClientKind;
use crate::os::peer::{self, Peeked};
use crate::sorted::Sorted;
use crate::sync::{lock, wait_for};

#[cfg(test)]
mod tests;
mod visitors;

pub use visitors::Visitors;

/// So many slots are never taken by owners, so that a new connection always finds a stranger to evict.
const STRANGERS_MIN: usize = 32;
/// An evicted connection needs its thread for another moment: one that waits for readiness checks once a second. At
/// most so many of them exist in addition to the slots.
const EVICTED_MAX: usize = 64;
/// The limit of a new connection's wait for a slot.
const ADMIT_LIMIT: Duration = Duration::from_millis(200);
/// A new connection is not evicted before this age, so that its head can arrive; before [`FRESH`] it is evicted last.
const GRACE: Duration = Duration::from_millis(10);
/// A connection this young, or with a response this young, is not evicted in a shortage of descriptors or threads: its
/// successor would be no better.
const FRESH: Duration = Duration::from_millis(250);
/// At most so many candidates are checked for unread bytes.
const ASKED_MAX: usize = 16;
/// The time within which a thread with unread bytes is scheduled.
const SCHEDULED: Duration = Duration::from_millis(2);
/// When the listener closes, the sources of streams have ended; a client that has not read the rest within this does
/// not read.
const STREAM_LIMIT: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionActivity {
    /// Waits for a request or the rest of a head, or drains unread bytes.
    Waiting,
    /// Has read a head; the kind of the client is not decided yet.
    Asking,
    /// Carries out or answers a request.
    Busy,
    /// Sends a stream, which has no end of its own.
    Streaming,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<UnixStream>,
    client_kind: ClientKind,
    activity: ConnectionActivity,
    /// When it was admitted.
    arrived: Instant,
    /// When its activity began.
    since: Instant,
    /// How often it has begun to wait.
    waits: u32,
    evicted: bool,
    /// Where it is counted, if it serves a visitor.
    visitors: Option<Arc<Visitors>>,
}

impl Entry {
    fn begin(&mut self, activity: ConnectionActivity) {
        self.activity = activity;
        self.waits = self.waits.saturating_add(u32::from(activity == ConnectionActivity::Waiting));
        self.since = Instant::now();
    }

    /// Whether it waits as a visitor's for the next request.
    fn is_idle_visitor(&self) -> bool {
        self.visitors.is_some() && self.activity == ConnectionActivity::Waiting && !self.evicted
    }
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    /// In the order of arrival.
    by_id: Sorted<u64, Entry>,
    closed: bool,
}

#[derive(Debug)]
pub struct Slots {
    cap: usize,
    owners_cap: usize,
    entries: Mutex<Entries>,
    left: Condvar,
}

/// A connection's slot; dropping it frees the slot.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    id: u64,
    socket: Arc<UnixStream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// All slots are taken by connections that can't be evicted.
    Full,
    Closed,
}

/// Which connection can be evicted.
enum Victim {
    Now(u64),
    /// One, from then on.
    Later(Instant),
    Never,
}

impl Slots {
    /// `cap` free slots.
    pub fn new(cap: usize) -> Slots {
        let owners_cap = cap - STRANGERS_MIN.min(cap / 4);
        Slots { cap, owners_cap, entries: Mutex::default(), left: Condvar::new() }
    }

    /// Admits a new connection; at the cap, evicts a stranger for it.
    pub fn admit(self: &Arc<Self>, socket: Arc<UnixStream>) -> Result<Slot, NoSlot> {
        let mut entries = self.with_room(self.entries())?;
        let (id, now) = (entries.next, Instant::now());
        entries.next += 1;
        let entry = Entry {
            socket: Arc::clone(&socket),
            client_kind: ClientKind::Stranger,
            activity: ConnectionActivity::Waiting,
            arrived: now,
            since: now,
            waits: 0,
            evicted: false,
            visitors: None,
        };
        entries.by_id.insert(id, entry);
        Ok(Slot { slots: Arc::clone(self), id, socket })
    }

    /// Waits until a slot is free; at the cap, evicts a stranger for it.
    fn with_room<'a>(&'a self, mut entries: MutexGuard<'a, Entries>) -> Result<MutexGuard<'a, Entries>, NoSlot> {
        let limit = Instant::now() + ADMIT_LIMIT;
        loop {
            let now = Instant::now();
            if entries.closed {
                return Err(NoSlot::Closed);
            }
            if entries.holders() < self.cap {
                return Ok(entries);
            }
            let evicted = entries.by_id.values().filter(|entry| entry.evicted).count();
            let until = if evicted >= EVICTED_MAX {
                limit
            } else {
                match entries.victim(now, now >= limit) {
                    Victim::Now(id) => {
                        entries.evict(id);
                        continue;
                    }
                    Victim::Later(at) => at.min(limit),
                    Victim::Never => return Err(NoSlot::Full),
                }
            };
            let patience = until.saturating_duration_since(now);
            if patience.is_zero() {
                return Err(NoSlot::Full);
            }
            entries = wait_for(&self.left, entries, patience);
        }
    }

    /// Evicts a connection in a shortage of descriptors or threads: a stranger, else an idle visitor, else an idle
    /// owner. Returns whether there was one.
    pub fn make_room(&self) -> bool {
        let now = Instant::now();
        let is_old = |at: Instant| now.saturating_duration_since(at) >= FRESH;
        let mut entries = self.entries();
        let stranger = entries.first_of(|entry| {
            entry.client_kind == ClientKind::Stranger
                && entry.visitors.is_none()
                && is_old(if entry.activity == ConnectionActivity::Waiting { entry.since } else { entry.arrived })
        });
        let victim = stranger
            .or_else(|| entries.first_of(Entry::is_idle_visitor))
            .or_else(|| entries.longest_idle(|entry| is_old(entry.since)));
        victim.inspect(|id| entries.evict(*id)).is_some()
    }

    /// Closes idle connections; busy ones close after their response.
    pub fn close(&self) {
        let mut entries = self.entries();
        entries.closed = true;
        while let Some(id) = entries.longest_idle(|_| true) {
            entries.evict(id);
        }
        while let Some(id) = entries.first_of(|entry| entry.activity == ConnectionActivity::Waiting) {
            entries.evict(id);
        }
    }

    /// Waits until no connection is left. At `deadline` the rest are closed in the middle of a response; streams much
    /// sooner.
    pub fn drain(&self, deadline: Instant) {
        let streams = deadline.min(Instant::now() + STREAM_LIMIT);
        self.shut_down_at(streams, |activity| activity == ConnectionActivity::Streaming);
        self.shut_down_at(deadline, |_| true);
    }

    fn shut_down_at(&self, deadline: Instant, which: impl Fn(ConnectionActivity) -> bool) {
        let mut entries = self.entries();
        while entries.by_id.values().any(|entry| which(entry.activity)) {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                for entry in entries.by_id.values().filter(|entry| which(entry.activity)) {
                    let _ = entry.socket.shutdown(Shutdown::Both);
                }
                return;
            }
            entries = wait_for(&self.left, entries, patience);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.entries().closed
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }
}

impl Entries {
    /// The stranger to evict for a new connection: first those that wait for a request and are not fresh, then all
    /// others, in the order of arrival: activity does not make a connection younger. One with bytes that its thread has
    /// not read or decided about is skipped, unless `must` is set.
    fn victim(&self, now: Instant, must: bool) -> Victim {
        let age = |entry: &Entry| now.saturating_duration_since(entry.arrived);
        let is_stranger =
            |entry: &Entry| entry.client_kind == ClientKind::Stranger && entry.visitors.is_none() && !entry.evicted;
        let strangers = || self.by_id.iter().filter(|(_, entry)| is_stranger(entry));
        let is_idle = |entry: &Entry| {
            entry.activity == ConnectionActivity::Waiting
                && age(entry) >= FRESH
                && now.saturating_duration_since(entry.since) >= GRACE
        };
        // On a busy machine its thread may be late. Only the first request counts: a connection that pipelines, or
        // sends on after a refusal, always has unread bytes.
        let has_asked = |entry: &Entry| match entry.activity {
            ConnectionActivity::Waiting => entry.waits <= 1 && peer::peek(&*entry.socket, &mut [0]) != Peeked::Nothing,
            ConnectionActivity::Asking => entry.waits <= 1,
            ConnectionActivity::Busy | ConnectionActivity::Streaming => false,
        };
        let mut idle = strangers().filter(|(_, entry)| is_idle(entry)).take(ASKED_MAX);
        if let Some((id, _)) = idle.find(|(_, entry)| !has_asked(entry)) {
            return Victim::Now(*id);
        }
        let mut later = None;
        for (id, entry) in strangers().take(ASKED_MAX) {
            if age(entry) < GRACE {
                // Later ones are younger still.
                later = Some(later.unwrap_or(entry.arrived + GRACE));
                break;
            }
            if must || !has_asked(entry) {
                return Victim::Now(*id);
            }
            later = Some(now + SCHEDULED);
        }
        later.map_or(Victim::Never, Victim::Later)
    }

    /// How many hold a slot of the API.
    fn holders(&self) -> usize {
        self.by_id.values().filter(|entry| !entry.evicted && entry.visitors.is_none()).count()
    }

    /// The first of those that are not evicted yet.
    fn first_of(&self, which: impl Fn(&Entry) -> bool) -> Option<u64> {
        self.by_id.iter().find(|(_, entry)| !entry.evicted && which(entry)).map(|(id, _)| *id)
    }

    /// The owner's connection that has waited for a request for the longest time.
    fn longest_idle(&self, which: impl Fn(&Entry) -> bool) -> Option<u64> {
        let idle = self.by_id.iter().filter(|(_, entry)| {
            entry.client_kind == ClientKind::Owner
                && entry.visitors.is_none()
                && entry.activity == ConnectionActivity::Waiting
                && !entry.evicted
                && which(entry)
        });
        idle.min_by_key(|(_, entry)| entry.since).map(|(id, _)| *id)
    }

    /// At the cap of owners, evicts the one that is idle for the longest time.
    fn make_room_for_owner(&mut self, cap: usize) -> Result<(), NoSlot> {
        let is_owner =
            |entry: &&Entry| entry.client_kind == ClientKind::Owner && entry.visitors.is_none() && !entry.evicted;
        if self.by_id.values().filter(is_owner).count() >= cap {
            let idle = self.longest_idle(|_| true).ok_or(NoSlot::Full)?;
            self.evict(idle);
        }
        Ok(())
    }

    /// Ends a connection: its thread reads an end of file, and can't write.
    fn evict(&mut self, id: u64) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.evicted = true;
            // An error means that it is closed already.
            let _ = entry.socket.shutdown(Shutdown::Both);
        }
    }
}

impl Slot {
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The same for one who may have to end the connection.
    pub fn shared_socket(&self) -> &Arc<UnixStream> {
        &self.socket
    }

    /// The number of connections before this one.
    pub fn number(&self) -> u64 {
        self.id
    }

    /// The number of connections that hold a slot, this one included.
    pub fn connections(&self) -> usize {
        self.slots.entries().holders()
    }

    /// Sets the activity. Returns whether the connection may continue: it is not evicted, and the listener not closed.
    pub fn enter(&self, activity: ConnectionActivity) -> bool {
        let mut entries = self.slots.entries();
        let closed = entries.closed;
        match entries.by_id.get_mut(&self.id) {
            Some(entry) if !(entry.evicted || closed && activity == ConnectionActivity::Waiting) => {
                entry.begin(activity);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Makes the connection an owner's. At the owners' cap, evicts the one that is idle for the longest time.
    ///
    /// # Errors
    /// None of them is idle, or this one was evicted a moment ago.
    pub fn promote(&self) -> Result<(), NoSlot> {
        let mut entries = self.slots.entries();
        match entries.by_id.get(&self.id) {
            Some(entry) if !entry.evicted => {}
            Some(_) | None => return Err(NoSlot::Closed),
        }
        entries.make_room_for_owner(self.slots.owners_cap)?;
        if let Some(entry) = entries.by_id.get_mut(&self.id) {
            entry.client_kind = ClientKind::Owner;
        }
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let entry = self.slots.entries().by_id.remove(&self.id);
        if let Some(visitors) = entry.and_then(|entry| entry.visitors) {
            visitors.leave();
        }
        self.slots.left.notify_all();
    }
}
