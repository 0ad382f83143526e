//! Which listener belongs to which server, as far as is known.
//!
//! Owns: the servers that are watched, the listeners there are, and what was told. Never: a look at the system; time
//! and facts come in.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Instant;

use super::{Id, Notify, Pace};
use crate::model::spec::Port;
use crate::os::Pid;
use crate::os::sockets::Listener;
use crate::ports::choose::Listening;

/// A server that is watched.
pub struct Watched {
    leader: Pid,
    requested: Option<Port>,
    notify: Notify,
    pace: Pace,
    pace_since: Instant,
    /// The first look that was for it too: what was there by then is not new.
    first_look: u64,
    told: Listening,
}

impl Watched {
    /// One that listens on nothing yet.
    pub fn new(leader: Pid, requested: Option<Port>, notify: Notify, now: Instant) -> Watched {
        let told = Listening::default();
        Watched { leader, requested, notify, pace: Pace::Fast, pace_since: now, first_look: 0, told }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Not known, or nobody who is watched.
    Unknown,
    Server(Id),
}

struct Known {
    owner: Owner,
    first_look: u64,
}

/// What a search for owners could not see.
#[derive(Debug, Default)]
pub struct Searched {
    /// Servers with a process that can't be looked into.
    pub hidden: HashSet<Id>,
}

/// Servers and listeners.
pub struct Table {
    ephemeral: RangeInclusive<u16>,
    watched: HashMap<Id, Watched>,
    known: HashMap<Listener, Known>,
    /// Whose listeners have changed since they were told.
    changed: HashSet<Id>,
    unsearched: bool,
    looks: u64,
}

impl Table {
    /// Nothing is known.
    pub fn new(ephemeral: RangeInclusive<u16>) -> Table {
        Table {
            ephemeral,
            watched: HashMap::new(),
            known: HashMap::new(),
            changed: HashSet::new(),
            unsearched: false,
            looks: 0,
        }
    }

    /// One more is watched.
    pub fn add(&mut self, id: Id, watched: Watched) {
        self.watched.insert(id, Watched { first_look: self.looks + 1, ..watched });
    }

    /// One less; what it listens on may belong to another that watches the same processes.
    pub fn remove(&mut self, id: Id) {
        self.watched.remove(&id);
        self.changed.remove(&id);
        for known in self.known.values_mut().filter(|known| known.owner == Owner::Server(id)) {
            known.owner = Owner::Unknown;
            self.unsearched = true;
        }
    }

    /// From now on, its changes are this urgent.
    pub fn set_pace(&mut self, id: Id, pace: Pace, now: Instant) {
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.pace = pace;
            watched.pace_since = now;
        }
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
    pub fn misses_some_of(&self, all: &HashSet<Listener>) -> bool {
        self.known.keys().any(|listener| !all.contains(listener))
    }

    /// These are there now, and no others.
    pub fn update(&mut self, all: &HashSet<Listener>) {
        let changed = &mut self.changed;
        self.known.retain(|listener, known| {
            let is_there = all.contains(listener);
            if let (false, Owner::Server(id)) = (is_there, known.owner) {
                changed.insert(id);
            }
            is_there
        });
        for listener in all {
            self.known.entry(*listener).or_insert_with(|| {
                self.unsearched = true;
                Known { owner: Owner::Unknown, first_look: self.looks }
            });
        }
    }

    /// Whether there is a listener whose owner was never looked for; they count as looked for from now on.
    pub fn take_unsearched(&mut self) -> bool {
        std::mem::take(&mut self.unsearched)
    }

    /// The inodes of the listeners that belong to nobody who is watched, as far as is known.
    pub fn unowned(&self) -> HashSet<u64> {
        let unowned = self.known.iter().filter(|(_, known)| known.owner == Owner::Unknown);
        unowned.map(|(listener, _)| listener.inode).collect()
    }

    /// Those who are watched, with their leaders: the urgent ones first, and of these the youngest.
    pub fn in_order_of_pace(&self) -> Vec<(Id, Pid)> {
        let mut all: Vec<_> = self.watched.iter().collect();
        all.sort_unstable_by_key(|(id, watched)| (watched.pace != Pace::Fast, std::cmp::Reverse(**id)));
        all.into_iter().map(|(id, watched)| (*id, watched.leader)).collect()
    }

    /// `id` has it open.
    pub fn own(&mut self, inode: u64, id: Id) {
        for (_, known) in self.known.iter_mut().filter(|(listener, _)| listener.inode == inode) {
            known.owner = Owner::Server(id);
            self.changed.insert(id);
        }
    }

    /// Gives what nobody could be proven to have to those who can't be looked into. The requested port is given at once:
    /// it was free before the server was started. What is merely new is given when the search is over, and only
    /// if there is no second one that waits for a listener.
    pub fn guess(&mut self, searched: &Searched, is_last: bool) {
        let hidden: Vec<_> = self.watched.iter().filter(|(id, _)| searched.hidden.contains(id)).collect();
        for (listener, known) in self.known.iter_mut().filter(|(_, known)| known.owner == Owner::Unknown) {
            let asked_for_it = only(hidden.iter().filter(|(_, watched)| watched.requested == Some(listener.port)));
            let waits_for_one = || {
                let is_new = |watched: &Watched| known.first_look > watched.first_look;
                only(hidden.iter().filter(|(_, watched)| watched.pace == Pace::Fast && is_new(watched)))
            };
            if let Some((id, _)) = asked_for_it.or_else(|| is_last.then(waits_for_one).flatten()) {
                known.owner = Owner::Server(**id);
                self.changed.insert(**id);
            }
        }
    }

    /// Tells everyone whose listeners look different now.
    pub fn tell(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let mut owned: HashMap<Id, Vec<Listener>> = self.changed.drain().map(|id| (id, Vec::new())).collect();
        for (listener, known) in &self.known {
            if let Owner::Server(id) = known.owner
                && let Some(listeners) = owned.get_mut(&id)
            {
                listeners.push(*listener);
            }
        }
        for (id, listeners) in owned {
            let Some(watched) = self.watched.get_mut(&id) else { continue };
            let before = watched.told.chosen.map(|chosen| chosen.port);
            let listening = Listening::of(&listeners, watched.requested, before, &self.ephemeral);
            if listening != watched.told {
                watched.told = listening.clone();
                (watched.notify)(listening);
            }
        }
    }
}

/// The one that there is, if there is no other.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}
