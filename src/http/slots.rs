//! The slots of connections: who has one, and who is evicted when they are short.
//!
//! Owns: the caps, the difference between strangers and owners, and the order of eviction. Never: a byte of a request.
//!
//! A connection begins as a stranger's. It becomes an owner's with the first request that shows the right token. A
//! newcomer at the cap evicts a stranger, whatever that one does; no stranger ever costs an owner the slot.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::service::Standing;
use crate::os::peer::{self, Peeked};
use crate::sorted::Sorted;
use crate::sync::{lock, wait_for};

#[cfg(test)]
mod tests;

/// Of all slots so many are never taken by owners, so that each newcomer finds a stranger to evict.
const STRANGERS_MIN: usize = 32;
/// An evicted connection needs its thread for another moment: one that waits for readiness looks up once a second. At
/// most so many of them are there beside the slots.
const EVICTED_MAX: usize = 64;
/// As long as this a newcomer waits for a slot.
const ADMIT_LIMIT: Duration = Duration::from_millis(200);
/// A newcomer's head is on its way: it is not evicted before this, and after all others before [`FRESH`].
const GRACE: Duration = Duration::from_millis(10);
/// A connection this young, or with an answer this young, is not closed for a shortage of descriptors or threads: the
/// next one in its place would fare no better.
const FRESH: Duration = Duration::from_millis(250);
/// So many candidates are asked whether bytes of theirs wait for our thread.
const ASKED_MAX: usize = 16;
/// Such a thread runs within this.
const SCHEDULED: Duration = Duration::from_millis(2);
/// When the listener is closed what fills streams has ended; a client that has not taken the rest by then does not read.
const STREAM_LIMIT: Duration = Duration::from_millis(200);

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It waits for a request, or for the rest of a head, or drains what is left unread.
    Waiting,
    /// A request of it was read, and it is not yet decided who asks.
    Asking,
    /// A request of it is carried out or answered.
    Busy,
    /// It is sent a stream, which has no end of its own.
    Streaming,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<UnixStream>,
    standing: Standing,
    activity: Activity,
    /// When it was admitted.
    arrived: Instant,
    /// When its activity began.
    since: Instant,
    /// How often it has begun to wait.
    waits: u32,
    evicted: bool,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    /// In the order of arrival.
    by_id: Sorted<u64, Entry>,
    closed: bool,
}

/// All slots.
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

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// All slots are taken by connections that can't be evicted.
    Full,
    /// The listener is closed.
    Closed,
}

/// What can be done for a newcomer.
enum Victim {
    /// This connection can be evicted.
    Now(u64),
    /// Some can, from then on.
    Later(Instant),
    /// None can.
    Never,
}

impl Slots {
    /// `cap` free slots.
    pub fn new(cap: usize) -> Slots {
        let owners_cap = cap - STRANGERS_MIN.min(cap / 4);
        Slots { cap, owners_cap, entries: Mutex::default(), left: Condvar::new() }
    }

    /// Gives a newcomer a slot, at the cap that of a stranger.
    pub fn admit(self: &Arc<Self>, socket: Arc<UnixStream>) -> Result<Slot, NoSlot> {
        let limit = Instant::now() + ADMIT_LIMIT;
        let mut entries = self.entries();
        loop {
            let now = Instant::now();
            if entries.closed {
                return Err(NoSlot::Closed);
            }
            let evicted = entries.by_id.values().filter(|entry| entry.evicted).count();
            let is_full = entries.by_id.len() - evicted >= self.cap;
            let until = if is_full && evicted >= EVICTED_MAX {
                limit
            } else if is_full {
                match entries.victim(now, now >= limit) {
                    Victim::Now(id) => {
                        entries.evict(id);
                        continue;
                    }
                    Victim::Later(at) => at.min(limit),
                    Victim::Never => return Err(NoSlot::Full),
                }
            } else {
                let id = entries.next;
                entries.next += 1;
                let entry = Entry {
                    socket: Arc::clone(&socket),
                    standing: Standing::Stranger,
                    activity: Activity::Waiting,
                    arrived: now,
                    since: now,
                    waits: 0,
                    evicted: false,
                };
                entries.by_id.insert(id, entry);
                return Ok(Slot { slots: Arc::clone(self), id, socket });
            };
            let patience = until.saturating_duration_since(now);
            if patience.is_zero() {
                return Err(NoSlot::Full);
            }
            entries = wait_for(&self.left, entries, patience);
        }
    }

    /// Evicts a connection for a shortage of descriptors or threads: a stranger first, else an owner that is idle.
    /// Returns whether there was one.
    pub fn make_room(&self) -> bool {
        let now = Instant::now();
        let is_old = |at: Instant| now.saturating_duration_since(at) >= FRESH;
        let mut entries = self.entries();
        let stranger = entries.first_of(|entry| {
            entry.standing == Standing::Stranger
                && is_old(if entry.activity == Activity::Waiting { entry.since } else { entry.arrived })
        });
        let victim = stranger.or_else(|| entries.longest_idle(|entry| is_old(entry.since)));
        victim.inspect(|id| entries.evict(*id)).is_some()
    }

    /// Closes all connections that wait for a request; busy ones close after their answer.
    pub fn close(&self) {
        let mut entries = self.entries();
        entries.closed = true;
        while let Some(id) = entries.longest_idle(|_| true) {
            entries.evict(id);
        }
        while let Some(id) = entries.first_of(|entry| entry.activity == Activity::Waiting) {
            entries.evict(id);
        }
    }

    /// Waits until no connection is left. One that is still there at `deadline` is closed in the middle of the answer, and
    /// much sooner in the middle of a stream.
    pub fn drain(&self, deadline: Instant) {
        let streams = deadline.min(Instant::now() + STREAM_LIMIT);
        self.shut_down_at(streams, |activity| activity == Activity::Streaming);
        self.shut_down_at(deadline, |_| true);
    }

    fn shut_down_at(&self, deadline: Instant, which: impl Fn(Activity) -> bool) {
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

    /// Whether [`Slots::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.entries().closed
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }
}

impl Entries {
    /// The stranger to be evicted for a newcomer. First those that wait for a request and are not fresh, then all others,
    /// each in the order of arrival: no activity makes a connection younger. One that has sent what our own thread has not
    /// read or decided about yet is left out, unless it `must` be.
    fn victim(&self, now: Instant, must: bool) -> Victim {
        let age = |entry: &Entry| now.saturating_duration_since(entry.arrived);
        let strangers =
            || self.by_id.iter().filter(|(_, entry)| entry.standing == Standing::Stranger && !entry.evicted);
        let is_idle = |entry: &Entry| {
            entry.activity == Activity::Waiting
                && age(entry) >= FRESH
                && now.saturating_duration_since(entry.since) >= GRACE
        };
        // On a busy machine our own thread may be late. The first request alone counts: one that pipelines them, or is
        // refused and goes on sending, has asked all the time.
        let has_asked = |entry: &Entry| match entry.activity {
            Activity::Waiting => entry.waits <= 1 && peer::peek(&*entry.socket, &mut [0]) != Peeked::Nothing,
            Activity::Asking => entry.waits <= 1,
            Activity::Busy | Activity::Streaming => false,
        };
        let mut idle = strangers().filter(|(_, entry)| is_idle(entry)).take(ASKED_MAX);
        if let Some((id, _)) = idle.find(|(_, entry)| !has_asked(entry)) {
            return Victim::Now(*id);
        }
        let mut later = None;
        for (id, entry) in strangers().take(ASKED_MAX) {
            if age(entry) < GRACE {
                // Those behind it are younger still.
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

    /// The first of those that are not evicted yet.
    fn first_of(&self, which: impl Fn(&Entry) -> bool) -> Option<u64> {
        self.by_id.iter().find(|(_, entry)| !entry.evicted && which(entry)).map(|(id, _)| *id)
    }

    /// The owner's connection that has waited for a request for the longest time.
    fn longest_idle(&self, which: impl Fn(&Entry) -> bool) -> Option<u64> {
        let idle = self.by_id.iter().filter(|(_, entry)| {
            entry.standing == Standing::Owner && entry.activity == Activity::Waiting && !entry.evicted && which(entry)
        });
        idle.min_by_key(|(_, entry)| entry.since).map(|(id, _)| *id)
    }

    /// Ends a connection: its thread reads an end of file, and can't write.
    fn evict(&mut self, id: u64) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.evicted = true;
            // One that is gone already needs none.
            let _ = entry.socket.shutdown(Shutdown::Both);
        }
    }
}

impl Slot {
    /// The connection.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The number of connections before this one.
    pub fn number(&self) -> u64 {
        self.id
    }

    /// How many connections there are with it.
    pub fn connections(&self) -> usize {
        self.slots.entries().by_id.len()
    }

    /// Notes what the connection does from now on. Returns whether it may: it was not evicted, and the listener not closed.
    pub fn enter(&self, activity: Activity) -> bool {
        let mut entries = self.slots.entries();
        let closed = entries.closed;
        match entries.by_id.get_mut(&self.id) {
            Some(entry) if !(entry.evicted || closed && activity == Activity::Waiting) => {
                entry.activity = activity;
                entry.waits = entry.waits.saturating_add(u32::from(activity == Activity::Waiting));
                entry.since = Instant::now();
                true
            }
            Some(_) | None => false,
        }
    }

    /// Makes the connection an owner's. At the owners' cap the one that is idle for the longest time is evicted.
    ///
    /// # Errors
    /// None of them is idle, or this one was evicted a moment ago.
    pub fn promote(&self) -> Result<(), NoSlot> {
        let mut entries = self.slots.entries();
        let owners = entries.by_id.values().filter(|entry| entry.standing == Standing::Owner && !entry.evicted).count();
        match entries.by_id.get(&self.id) {
            Some(entry) if !entry.evicted => {}
            Some(_) | None => return Err(NoSlot::Closed),
        }
        if owners >= self.slots.owners_cap {
            let idle = entries.longest_idle(|_| true).ok_or(NoSlot::Full)?;
            entries.evict(idle);
        }
        if let Some(entry) = entries.by_id.get_mut(&self.id) {
            entry.standing = Standing::Owner;
        }
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.entries().by_id.remove(&self.id);
        self.slots.left.notify_all();
    }
}
