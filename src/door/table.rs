//! Who is connected.
//!
//! Owns: the cap on connections, and whose turn it is to go when it is reached. Never: a byte of a request.

use crate::sorted::Sorted;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An evicted connection's thread ends at once; only when the machine is very busy does it take longer than this.
const EVICTION_LIMIT: Duration = Duration::from_millis(200);
/// A client that was let in just now, or was just answered, gets this long for its request while descriptors are short.
const FRESH: Duration = Duration::from_millis(250);
/// When the door is closed what fills streams has ended; who has not taken the rest by then does not read.
const STREAM_LIMIT: Duration = Duration::from_millis(200);

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It waits for a request, or for the rest of one: it can be cut.
    Waiting,
    /// A request of it is being carried out.
    Busy,
    /// It is sent a stream, which has no end of its own.
    Streaming,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<UnixStream>,
    activity: Activity,
    since: Instant,
    cut: bool,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    by_id: Sorted<u64, Entry>,
    closed: bool,
}

/// All connections.
#[derive(Debug)]
pub struct Table {
    cap: usize,
    entries: Mutex<Entries>,
    left: Condvar,
}

/// A connection's place in the table; dropping it gives the place free.
#[derive(Debug)]
pub struct Seat {
    table: Arc<Table>,
    id: u64,
    socket: Arc<UnixStream>,
}

/// Why a newcomer gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSeat {
    /// Everybody is busy.
    Full,
    /// The door is closed.
    Closed,
}

/// Whether a connection is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Go on.
    Stays,
    /// It was cut, or the door is closed.
    Leaves,
}

impl Table {
    /// Nobody is connected; up to `cap` may be.
    pub fn new(cap: usize) -> Table {
        Table { cap, entries: Mutex::default(), left: Condvar::new() }
    }

    /// Takes a newcomer in; at the cap, whoever has been waiting for the longest time has to go.
    pub fn admit(self: &Arc<Self>, socket: UnixStream) -> Result<Seat, (NoSeat, UnixStream)> {
        let limit = Instant::now() + EVICTION_LIMIT;
        let mut entries = self.entries();
        while entries.by_id.len() >= self.cap && !entries.closed {
            let leaving = entries.by_id.values().any(|entry| entry.cut) || entries.cut_oldest();
            let patience = limit.saturating_duration_since(Instant::now());
            if !leaving || patience.is_zero() {
                return Err((NoSeat::Full, socket));
            }
            entries = self.left.wait_timeout(entries, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        if entries.closed {
            return Err((NoSeat::Closed, socket));
        }
        let (id, socket) = (entries.next, Arc::new(socket));
        entries.next += 1;
        let entry =
            Entry { socket: Arc::clone(&socket), activity: Activity::Waiting, since: Instant::now(), cut: false };
        entries.by_id.insert(id, entry);
        Ok(Seat { table: Arc::clone(self), id, socket })
    }

    /// Cuts the connection that has been waiting for the longest time, to get its descriptor back. One that is new is let
    /// alone: its request is on its way, and whoever comes in its place would fare no better.
    pub fn make_room(&self) {
        let now = Instant::now();
        self.entries().cut_oldest_if(|entry| now.saturating_duration_since(entry.since) >= FRESH);
    }

    /// Cuts all who wait; who is busy leaves after the answer.
    pub fn close(&self) {
        let mut entries = self.entries();
        entries.closed = true;
        while entries.cut_oldest() {}
    }

    /// Waits until nobody is left; who is still there at `deadline` is cut off in the middle of the answer, and much
    /// sooner in the middle of a stream.
    pub fn wait_empty(&self, deadline: Instant) {
        let streams = deadline.min(Instant::now() + STREAM_LIMIT);
        self.cut_at(streams, |activity| activity == Activity::Streaming);
        self.cut_at(deadline, |_| true);
    }

    fn cut_at(&self, deadline: Instant, whom: impl Fn(Activity) -> bool) {
        let mut entries = self.entries();
        while entries.by_id.values().any(|entry| whom(entry.activity)) {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                for entry in entries.by_id.values().filter(|entry| whom(entry.activity)) {
                    let _ = entry.socket.shutdown(Shutdown::Both);
                }
                return;
            }
            entries = self.left.wait_timeout(entries, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether [`Table::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.entries().closed
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Whether there was one to cut. Its thread wakes with an end of file.
    fn cut_oldest(&mut self) -> bool {
        self.cut_oldest_if(|_| true)
    }

    fn cut_oldest_if(&mut self, may_go: impl Fn(&Entry) -> bool) -> bool {
        let waiting = self.by_id.values_mut().filter(|entry| entry.activity == Activity::Waiting && !entry.cut);
        let waiting = waiting.filter(|entry| may_go(entry));
        match waiting.min_by_key(|entry| entry.since) {
            Some(entry) => {
                entry.cut = true;
                // One that is gone already needs no cutting.
                let _ = entry.socket.shutdown(Shutdown::Both);
                true
            }
            None => false,
        }
    }
}

impl Seat {
    /// The connection.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// How many connections there were before, to tell them apart.
    pub fn number(&self) -> u64 {
        self.id
    }

    /// The connection, for whoever has to answer when no thread can: it does not keep the place.
    pub fn shared_socket(&self) -> Arc<UnixStream> {
        Arc::clone(&self.socket)
    }

    /// Says what the connection is at from now on, and hears whether it may go on.
    pub fn turn(&self, activity: Activity) -> Standing {
        let mut entries = self.table.entries();
        let closed = entries.closed;
        match entries.by_id.get_mut(&self.id) {
            Some(entry) if entry.cut => Standing::Leaves,
            Some(_) if closed && activity == Activity::Waiting => Standing::Leaves,
            Some(entry) => {
                entry.activity = activity;
                entry.since = Instant::now();
                Standing::Stays
            }
            None => Standing::Leaves,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.entries().by_id.remove(&self.id);
        self.table.left.notify_all();
    }
}
