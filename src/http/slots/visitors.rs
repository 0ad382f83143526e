//! The connections that serve visitors of managed servers.
//!
//! Owns: their number, and their way out of the slots of the API and back. Never: what a visitor is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{ClientKind, ConnectionActivity, Entry, NoSlot, Slot};

/// The number of connections that serve visitors, of all fronts together.
#[derive(Debug)]
pub struct Visitors {
    count: AtomicUsize,
    most: usize,
}

impl Visitors {
    /// None yet, and `most` at the same time.
    pub fn new(most: usize) -> Arc<Visitors> {
        Arc::new(Visitors { count: AtomicUsize::new(0), most })
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Adds one, if there is room.
    fn enter(&self) -> bool {
        let more = |count| (count < self.most).then_some(count + 1);
        self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    pub(super) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slot {
    /// Makes the connection a visitor's, with a request: it holds no slot of the API from now on. If there are too many,
    /// evicts an idle one. This one counts as busy from the same moment on, or the next one would evict it.
    ///
    /// # Errors
    /// None of them is idle, or this one was evicted a moment ago.
    pub fn become_visitor(&self, visitors: &Arc<Visitors>) -> Result<(), NoSlot> {
        let mut entries = self.slots.entries();
        match entries.by_id.get_mut(&self.id) {
            Some(entry) if entry.evicted => return Err(NoSlot::Closed),
            None => return Err(NoSlot::Closed),
            Some(entry) if entry.visitors.is_some() => {
                entry.begin(ConnectionActivity::Streaming);
                return Ok(());
            }
            Some(_) => {}
        }
        if !visitors.enter() {
            let idle = entries.first_of(Entry::is_idle_visitor).ok_or(NoSlot::Full)?;
            entries.evict(idle);
            // In its place: the number stays the same.
            drop(entries.by_id.get_mut(&idle).and_then(|entry| entry.visitors.take()));
        }
        if let Some(entry) = entries.by_id.get_mut(&self.id) {
            entry.visitors = Some(Arc::clone(visitors));
            entry.begin(ConnectionActivity::Streaming);
        }
        drop(entries);
        self.slots.left.notify_all();
        Ok(())
    }

    /// The connection has a request for the API, so it needs a slot of it, like one that is admitted, and an owner's
    /// like one that is promoted.
    ///
    /// # Errors
    /// There is none, or this connection was evicted a moment ago.
    pub fn stop_visiting(&self) -> Result<(), NoSlot> {
        let entries = self.slots.entries();
        match entries.by_id.get(&self.id) {
            Some(entry) if entry.visitors.is_none() => return Ok(()),
            Some(_) | None => {}
        }
        let mut entries = self.slots.with_room(entries)?;
        // It may have been evicted during the wait.
        let client_kind = match entries.by_id.get(&self.id) {
            Some(entry) if !entry.evicted => entry.client_kind,
            Some(_) | None => return Err(NoSlot::Closed),
        };
        if client_kind == ClientKind::Owner {
            entries.make_room_for_owner(self.slots.owners_cap)?;
        }
        if let Some(visitors) = entries.by_id.get_mut(&self.id).and_then(|entry| entry.visitors.take()) {
            visitors.leave();
        }
        Ok(())
    }
}
