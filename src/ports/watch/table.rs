//! Which listener belongs to which server, as far as is known.
//!
//! Owns: the servers that are watched, the listeners there are, and what was published. Never: reads the system; time
//! and facts are passed in.

use std::time::{Duration, Instant};

use super::{Id, ListeningFn, Pace};
use crate::model::spec::Port;
use crate::os::Pid;
use crate::os::sockets::ListeningSocket;
use crate::ports::listening::{Listening, RequestedPort, is_on_localhost, ports_of};
use crate::sorted::{Sorted, SortedSet};

#[cfg(test)]
mod tests;

/// Whose listeners a look has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The listeners of servers that wait for one. Other programs open listeners too, and each one is a reason to
    /// search: a server that waits for none is not looked into for that, however many descriptors it has open.
    Urgent,
    /// The listeners of all servers.
    All,
}

/// A listener that has been there for this time was not forked off while the processes were looked at: who has it is
/// found by one search through all servers.
const SETTLED_AFTER: Duration = Duration::from_millis(400);

/// A server that is watched.
pub struct WatchedRun {
    leader: Pid,
    requested: Option<Port>,
    notify: ListeningFn,
    pace: Pace,
    pace_since: Instant,
    since: Instant,
    /// The first look that was for it too: what was there by then is not new.
    first_look: u64,
    /// When the last complete search of its processes was begun.
    searched: Option<Instant>,
    published: Listening,
}

/// Whether something that was seen already can belong to a server that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// Opened since that server's first process was born, perhaps, and without an owner so far.
    Possible,
    /// All of it is older, or has an owner.
    None,
}

/// Where to search, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTask {
    /// The watch of the server.
    pub id: Id,
    /// Its first process.
    pub leader: Pid,
    /// The inodes of the listeners that may be its.
    pub wanted: SortedSet<u64>,
    /// Whether one of them has come since the last complete search, or has settled since.
    pub is_due: bool,
}

impl WatchedRun {
    /// Creates the entry of a server that listens on nothing yet and was spawned at `born`, or a little later.
    pub fn new(leader: Pid, requested: Option<Port>, notify: ListeningFn, born: Instant) -> WatchedRun {
        let published = Listening::default();
        WatchedRun {
            leader,
            requested,
            notify,
            pace: Pace::Fast,
            pace_since: born,
            since: born,
            first_look: 0,
            searched: None,
            published,
        }
    }
}

struct KnownListener {
    /// The server it belongs to, if that is known. It may still be any one's that [`WatchedRun::wants`] it.
    owner: Option<Id>,
    first_look: u64,
    /// When it was there for certain: the listing that has it was over by then.
    seen_by: Instant,
}

/// The result of a search for owners.
#[derive(Debug, Default)]
pub struct Searched {
    /// Whose the sockets with these inodes are.
    pub found: Sorted<u64, Id>,
    /// Servers with a process that can't be looked into.
    pub hidden: SortedSet<Id>,
    /// Servers all of whose processes were looked into, or can't be.
    pub complete: Vec<Id>,
}

/// Servers and listeners.
#[derive(Default)]
pub struct WatchTable {
    watched: Sorted<Id, WatchedRun>,
    known: Sorted<ListeningSocket, KnownListener>,
    /// The servers whose listeners have changed since the last notification.
    changed: SortedSet<Id>,
    /// Ports on which something has changed, no matter whose.
    touched: SortedSet<Port>,
    /// The servers to notify even without a change.
    asked: SortedSet<Id>,
    unsearched: bool,
    looks: u64,
}

impl WatchTable {
    /// Adds a server.
    pub fn add(&mut self, id: Id, watched: WatchedRun) -> Adoption {
        let is_young = |known: &KnownListener| known.owner.is_none() && known.seen_by >= watched.since;
        let adoption = if self.known.values().any(is_young) { Adoption::Possible } else { Adoption::None };
        self.watched.insert(id, WatchedRun { first_look: self.looks + 1, ..watched });
        adoption
    }

    /// Removes a server; its listeners may belong to another watch of the same processes.
    pub fn remove(&mut self, id: Id) {
        self.watched.remove(&id);
        self.changed.remove(&id);
        self.asked.remove(&id);
        for known in self.known.values_mut().filter(|known| known.owner == Some(id)) {
            known.owner = None;
            self.unsearched = true;
        }
    }

    /// Includes a server in the next scan, and notifies it, changed or not.
    pub fn ask(&mut self, id: Id) {
        if self.watched.contains_key(&id) {
            self.asked.insert(id);
            self.unsearched |= self.watched.get(&id).is_some_and(|watched| self.is_wanted_by(watched));
        }
    }

    /// Sets how soon its changes are noticed, from now on.
    pub fn set_pace(&mut self, id: Id, pace: Pace, now: Instant) {
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.pace = pace;
            watched.pace_since = now;
        }
        // What has come meanwhile was not looked for with it.
        let is_behind = |watched: &WatchedRun| watched.pace == Pace::Fast && self.is_wanted_by(watched);
        self.unsearched |= self.watched.get(&id).is_some_and(is_behind);
    }

    /// Since when the last one is urgent, if any is.
    pub fn fast_since(&self) -> Option<Instant> {
        self.watched.values().filter(|watched| watched.pace == Pace::Fast).map(|watched| watched.pace_since).max()
    }

    /// Counts a look.
    pub fn begin_look(&mut self) {
        self.looks += 1;
    }

    /// Whether something that was there is not in `all`.
    pub fn misses_some_of(&self, all: &SortedSet<ListeningSocket>) -> bool {
        self.known.keys().any(|listener| !all.contains(listener))
    }

    /// Sets the listeners that are there `now`.
    pub fn update(&mut self, all: &SortedSet<ListeningSocket>, now: Instant) {
        let (changed, touched) = (&mut self.changed, &mut self.touched);
        self.known.retain(|listener, known| {
            let is_there = all.contains(listener);
            if !is_there {
                touched.insert(listener.port);
            }
            if let (false, Some(id)) = (is_there, known.owner) {
                changed.insert(id);
            }
            is_there
        });
        for listener in all.iter() {
            if !self.known.contains_key(listener) {
                self.known.insert(*listener, KnownListener { owner: None, first_look: self.looks, seen_by: now });
                self.unsearched = true;
            }
        }
    }

    /// Whether there is a listener whose owner was never looked for; they count as looked for from now on.
    pub fn take_unsearched(&mut self) -> bool {
        std::mem::take(&mut self.unsearched)
    }

    /// Whether a listener may belong to a server and it is not known which.
    pub fn has_unknown(&self) -> bool {
        let youngest = self.known.values().filter(|known| known.owner.is_none()).max_by_key(|known| known.seen_by);
        youngest.is_some_and(|known| self.watched.values().any(|watched| watched.wants(known)))
    }

    fn is_wanted_by(&self, watched: &WatchedRun) -> bool {
        self.known.values().any(|known| watched.wants(known))
    }

    /// Whether there is a listener that may be found with one who did not have it when it was looked for.
    pub fn has_unsettled(&self, now: Instant) -> bool {
        self.known.values().any(|known| known.owner.is_none() && !known.is_settled(now))
    }

    /// Where to search, for those in `scope` and for who is new: at the urgent ones first, and of these at the
    /// youngest.
    pub fn tasks(&self, scope: Scope, now: Instant) -> Vec<SearchTask> {
        let is_in_scope = |id: &Id, watched: &WatchedRun| {
            scope == Scope::All || watched.pace == Pace::Fast || watched.searched.is_none() || self.asked.contains(id)
        };
        let mut all: Vec<_> = self.watched.iter().filter(|(id, watched)| is_in_scope(id, watched)).collect();
        all.sort_unstable_by_key(|(id, watched)| (watched.pace != Pace::Fast, std::cmp::Reverse(*id)));
        let task = |id: Id, watched: &WatchedRun| {
            let wanted: Vec<_> = self.known.iter().filter(|(_, known)| watched.wants(known)).collect();
            let has_come = |known: &KnownListener| watched.searched.is_none_or(|searched| searched < known.seen_by);
            let is_due = wanted.iter().any(|(_, known)| has_come(known) || known.is_settled(now));
            let wanted = wanted.into_iter().map(|(listener, _)| listener.inode).collect();
            SearchTask { id, leader: watched.leader, wanted, is_due }
        };
        all.into_iter().map(|(id, watched)| task(*id, watched)).filter(|task| !task.wanted.is_empty()).collect()
    }

    /// Takes what a search that was begun at `begun` has found. What no server could be proven to have is given to
    /// those that can't be looked into. The requested port is given at once: it was free before the server was started.
    /// What is merely new is given when it has settled, and only if there is no second one that waits for a listener.
    pub fn take(&mut self, searched: &Searched, begun: Instant) {
        for id in &searched.complete {
            if let Some(watched) = self.watched.get_mut(id) {
                watched.searched = Some(begun);
                // It may be certain now that another process has it.
                self.touched.extend(watched.requested);
            }
        }
        let hidden: Vec<_> = self.watched.iter().filter(|(id, _)| searched.hidden.contains(id)).collect();
        for (listener, known) in self.known.iter_mut() {
            let before = known.owner;
            if let Some(id) = searched.found.get(&listener.inode).filter(|id| self.watched.contains_key(id)) {
                known.owner = Some(*id);
            } else if before.is_none() {
                let asked_for_it = only(hidden.iter().filter(|(_, watched)| watched.requested == Some(listener.port)));
                let waits_for_one = || {
                    let is_new = |watched: &WatchedRun| known.first_look > watched.first_look;
                    only(hidden.iter().filter(|(_, watched)| watched.pace == Pace::Fast && is_new(watched)))
                };
                let guessed = asked_for_it.or_else(|| known.is_settled(begun).then(waits_for_one).flatten());
                known.owner = guessed.map(|(id, _)| *id);
            }
            if known.owner != before {
                self.touched.insert(listener.port);
            }
        }
    }

    /// Notifies the servers whose listeners have changed, and those that have asked.
    pub fn notify(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let mut concerned = std::mem::take(&mut self.changed);
        concerned.extend(self.asked.iter().copied());
        if !touched.is_empty() {
            let owners = self.known.iter().filter(|(listener, _)| touched.contains(&listener.port));
            concerned.extend(owners.filter_map(|(_, known)| known.owner));
            let given = |watched: &WatchedRun| watched.requested.is_some_and(|port| touched.contains(&port));
            concerned.extend(self.watched.iter().filter(|(_, watched)| given(watched)).map(|(id, _)| *id));
        }
        for id in concerned.iter().copied() {
            let listening = self.listening(id);
            let is_asked = self.asked.remove(&id);
            let Some(watched) = self.watched.get_mut(&id) else { continue };
            if is_asked || listening != watched.published {
                watched.published = listening.clone();
                (watched.notify)(listening);
            }
        }
    }

    fn listening(&self, id: Id) -> Listening {
        let is_own = |known: &KnownListener| known.owner == Some(id);
        let own: Vec<ListeningSocket> =
            self.known.iter().filter(|(_, known)| is_own(known)).map(|(listener, _)| *listener).collect();
        let foreign = || self.known.iter().filter(|(_, known)| !is_own(known));
        let is_shared = |port| foreign().any(|(listener, _)| listener.port == port && is_on_localhost(listener));
        let requested = self.watched.get(&id).and_then(|watched| Some((watched, watched.requested?)));
        let is_foreign = |(watched, port): (&WatchedRun, Port)| {
            own.iter().all(|listener| listener.port != port)
                && foreign().any(|(listener, known)| listener.port == port && !watched.wants(known))
        };
        let given = if requested.is_some_and(is_foreign) { RequestedPort::Foreign } else { RequestedPort::Free };
        let inodes = own.iter().map(|listener| listener.inode).collect();
        Listening { open: ports_of(&own, is_shared), given, inodes }
    }
}

impl WatchedRun {
    /// Whether that may be its listener as far as is known: it has no owner, and this one was not searched for it, or
    /// not yet when it had settled.
    fn wants(&self, known: &KnownListener) -> bool {
        known.owner.is_none() && self.searched.is_none_or(|searched| !known.is_settled(searched))
    }
}

impl KnownListener {
    fn is_settled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen_by) >= SETTLED_AFTER
    }
}

/// The one that there is, if there is no other.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}
