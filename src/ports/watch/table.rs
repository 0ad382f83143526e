//! Which listener belongs to which server, as far as is known.
//!
//! Owns: the servers that are watched, the listeners there are, and what was told. Never: a look at the system; time
//! and facts come in.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::{Id, Notify, Pace};
use crate::model::spec::Port;
use crate::os::Pid;
use crate::os::sockets::Listener;
use crate::ports::choose::{Alone, Listening};
use crate::sorted::{Sorted, SortedSet};

#[cfg(test)]
mod tests;

/// For so long from its start a server with nothing but a debugger's port is one that is still on its way up.
const DEBUGGER_ALONE_AFTER: Duration = Duration::from_secs(5);

/// A server that is watched.
pub struct Watched {
    leader: Pid,
    requested: Option<Port>,
    notify: Notify,
    pace: Pace,
    pace_since: Instant,
    since: Instant,
    /// The first look that was for it too: what was there by then is not new.
    first_look: u64,
    /// Whether its processes were gone through once.
    searched: bool,
    told: Listening,
}

/// Whether something that was seen already can belong to a server that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heirs {
    /// It may have been opened since that server's first process was born, and nobody's so far.
    Possible,
    /// All of it is older, or has an owner.
    None,
}

/// Where to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Who is watched.
    pub id: Id,
    /// Its first process.
    pub leader: Pid,
    /// Whether it waits for a listener.
    pub is_urgent: bool,
    /// Whether strangers' listeners could turn out to be its: nobody has looked yet.
    pub is_new: bool,
}

impl Watched {
    /// One that listens on nothing yet and has its processes since `born`, or a little later.
    pub fn new(leader: Pid, requested: Option<Port>, notify: Notify, born: Instant) -> Watched {
        let told = Listening::default();
        Watched {
            leader,
            requested,
            notify,
            pace: Pace::Fast,
            pace_since: born,
            since: born,
            first_look: 0,
            searched: false,
            told,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Not known yet.
    Sought,
    /// Nobody who is watched, as far as could be found.
    Stranger,
    Server(Id),
}

struct Known {
    owner: Owner,
    first_look: u64,
    /// When it was there for certain: the listing that has it was over by then.
    seen_by: Instant,
}

/// What a search for owners has come to.
#[derive(Debug, Default)]
pub struct Searched {
    /// Whose the sockets with these inodes are.
    pub found: Sorted<u64, Id>,
    /// Servers with a process that can't be looked into.
    pub hidden: SortedSet<Id>,
}

/// Servers and listeners.
pub struct Table {
    ephemeral: RangeInclusive<u16>,
    watched: Sorted<Id, Watched>,
    known: Sorted<Listener, Known>,
    /// Whose listeners have changed since they were told.
    changed: SortedSet<Id>,
    /// Whose choice will be another one by the passing of time.
    undecided: SortedSet<Id>,
    unsearched: bool,
    looks: u64,
}

impl Table {
    /// Nothing is known.
    pub fn new(ephemeral: RangeInclusive<u16>) -> Table {
        Table {
            ephemeral,
            watched: Sorted::default(),
            known: Sorted::default(),
            changed: SortedSet::default(),
            undecided: SortedSet::default(),
            unsearched: false,
            looks: 0,
        }
    }

    /// One more is watched.
    pub fn add(&mut self, id: Id, watched: Watched) -> Heirs {
        let is_young = |known: &Known| !matches!(known.owner, Owner::Server(_)) && known.seen_by >= watched.since;
        let heirs = if self.known.values().any(is_young) { Heirs::Possible } else { Heirs::None };
        self.watched.insert(id, Watched { first_look: self.looks + 1, ..watched });
        heirs
    }

    /// One less; what it listens on may belong to another that watches the same processes.
    pub fn remove(&mut self, id: Id) {
        self.watched.remove(&id);
        self.changed.remove(&id);
        self.undecided.remove(&id);
        for known in self.known.values_mut().filter(|known| known.owner == Owner::Server(id)) {
            known.owner = Owner::Sought;
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
        self.changed.extend(std::mem::take(&mut self.undecided));
    }

    /// Whether something that was there is not in `all`.
    pub fn misses_some_of(&self, all: &SortedSet<Listener>) -> bool {
        self.known.keys().any(|listener| !all.contains(listener))
    }

    /// These are there `now`, and no others.
    pub fn update(&mut self, all: &SortedSet<Listener>, now: Instant) {
        let changed = &mut self.changed;
        self.known.retain(|listener, known| {
            let is_there = all.contains(listener);
            if let (false, Owner::Server(id)) = (is_there, known.owner) {
                changed.insert(id);
            }
            is_there
        });
        for listener in all.iter() {
            if !self.known.contains_key(listener) {
                self.known.insert(*listener, Known { owner: Owner::Sought, first_look: self.looks, seen_by: now });
                self.unsearched = true;
            }
        }
    }

    /// Whether there is a listener whose owner was never looked for; they count as looked for from now on.
    pub fn take_unsearched(&mut self) -> bool {
        std::mem::take(&mut self.unsearched)
    }

    /// The inodes of the listeners whose owners are not known yet.
    pub fn sought(&self) -> SortedSet<u64> {
        self.inodes(|owner| owner == Owner::Sought)
    }

    /// The same, with those of strangers.
    pub fn unowned(&self) -> SortedSet<u64> {
        self.inodes(|owner| matches!(owner, Owner::Sought | Owner::Stranger))
    }

    fn inodes(&self, wanted: impl Fn(Owner) -> bool) -> SortedSet<u64> {
        self.known.iter().filter(|(_, known)| wanted(known.owner)).map(|(listener, _)| listener.inode).collect()
    }

    /// Where to search: at the urgent ones first, and of these at the youngest.
    pub fn places(&self) -> Vec<Place> {
        let mut all: Vec<_> = self.watched.iter().collect();
        all.sort_unstable_by_key(|(id, watched)| (watched.pace != Pace::Fast, std::cmp::Reverse(*id)));
        all.into_iter()
            .map(|(id, watched)| Place {
                id: *id,
                leader: watched.leader,
                is_urgent: watched.pace == Pace::Fast,
                is_new: !watched.searched,
            })
            .collect()
    }

    /// Takes what was found. What nobody could be proven to have is given to those who can't be looked into. The
    /// requested port is given at once: it was free before the server was started. What is merely new is given when
    /// the search is over, and only if there is no second one that waits for a listener.
    pub fn take(&mut self, searched: &Searched, is_last: bool) {
        self.watched.values_mut().for_each(|watched| watched.searched = true);
        for (listener, known) in self.known.iter_mut() {
            if let Some(id) = searched.found.get(&listener.inode) {
                known.owner = Owner::Server(*id);
                self.changed.insert(*id);
            }
        }
        let hidden: Vec<_> = self.watched.iter().filter(|(id, _)| searched.hidden.contains(id)).collect();
        for (listener, known) in self.known.iter_mut().filter(|(_, known)| !matches!(known.owner, Owner::Server(_))) {
            let asked_for_it = only(hidden.iter().filter(|(_, watched)| watched.requested == Some(listener.port)));
            let waits_for_one = || {
                let is_new = |watched: &Watched| known.first_look > watched.first_look;
                only(hidden.iter().filter(|(_, watched)| watched.pace == Pace::Fast && is_new(watched)))
            };
            if let Some((id, _)) = asked_for_it.or_else(|| is_last.then(waits_for_one).flatten()) {
                known.owner = Owner::Server(*id);
                self.changed.insert(*id);
            } else if is_last {
                known.owner = Owner::Stranger;
            }
        }
    }

    /// Tells everyone whose listeners look different `now`.
    pub fn tell(&mut self, now: Instant) {
        if self.changed.is_empty() {
            return;
        }
        let mut owned: Sorted<Id, Vec<Listener>> =
            std::mem::take(&mut self.changed).into_iter().map(|id| (id, Vec::new())).collect();
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
            let is_early = now < watched.since + DEBUGGER_ALONE_AFTER;
            let debugger = if is_early { Alone::TooEarly } else { Alone::Counts };
            let listening = Listening::of(&listeners, watched.requested, before, &self.ephemeral, debugger);
            if listening.chosen.is_none() && !listening.ports.is_empty() {
                self.undecided.insert(id);
            }
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
