//! Which listener belongs to which server, as far as is known.
//!
//! Owns: the servers that are watched, the listeners there are, and what was told. Never: a look at the system; time
//! and facts come in.

use std::time::{Duration, Instant};

use super::eye::Scope;
use super::{Id, Notify, Pace};
use crate::model::spec::Port;
use crate::os::Pid;
use crate::os::sockets::ListeningSocket;
use crate::ports::listening::{Given, Listening, is_on_localhost, ports_of};
use crate::sorted::{Sorted, SortedSet};

#[cfg(test)]
mod tests;

/// A listener that has been there for this time was not forked off while the processes were looked at: who has it is found
/// by one search through all servers.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

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
    /// No server that is waited for. It may be one of the others: these are searched on request only.
    Unclaimed,
    /// No server at all, as far as could be found.
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
#[derive(Default)]
pub struct Table {
    watched: Sorted<Id, Watched>,
    known: Sorted<ListeningSocket, Known>,
    /// Whose listeners have changed since they were told.
    changed: SortedSet<Id>,
    /// Ports on which something has changed, no matter whose.
    touched: SortedSet<Port>,
    /// Who is told even if nothing has changed.
    asked: SortedSet<Id>,
    unsearched: bool,
    looks: u64,
}

impl Table {
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
        self.asked.remove(&id);
        for known in self.known.values_mut().filter(|known| known.owner == Owner::Server(id)) {
            known.owner = Owner::Sought;
            self.unsearched = true;
        }
    }

    /// Has it looked into at the next look, and told, whether something has changed or not.
    pub fn ask(&mut self, id: Id) {
        if self.watched.contains_key(&id) {
            self.asked.insert(id);
            self.search_unclaimed();
        }
    }

    /// A server waits for a listener that was not looked into for what has come meanwhile.
    fn search_unclaimed(&mut self) {
        for known in self.known.values_mut().filter(|known| known.owner == Owner::Unclaimed) {
            known.owner = Owner::Sought;
            self.unsearched = true;
        }
    }

    /// From now on, its changes are this urgent.
    pub fn set_pace(&mut self, id: Id, pace: Pace, now: Instant) {
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.pace = pace;
            watched.pace_since = now;
            if pace == Pace::Fast {
                self.search_unclaimed();
            }
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
    pub fn misses_some_of(&self, all: &SortedSet<ListeningSocket>) -> bool {
        self.known.keys().any(|listener| !all.contains(listener))
    }

    /// These are there `now`, and no others.
    pub fn update(&mut self, all: &SortedSet<ListeningSocket>, now: Instant) {
        let (changed, touched) = (&mut self.changed, &mut self.touched);
        self.known.retain(|listener, known| {
            let is_there = all.contains(listener);
            if !is_there {
                touched.insert(listener.port);
            }
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

    /// Whether a listener may belong to a server and it is not known which.
    pub fn has_unknown(&self) -> bool {
        self.known.values().any(|known| matches!(known.owner, Owner::Sought | Owner::Unclaimed))
    }

    /// The inodes of the listeners whose owners are not known yet and are looked for in `scope`.
    pub fn sought(&self, scope: Scope) -> SortedSet<u64> {
        self.inodes(|owner| match owner {
            Owner::Sought => true,
            Owner::Unclaimed => scope == Scope::All,
            Owner::Stranger | Owner::Server(_) => false,
        })
    }

    /// The inodes of all listeners that belong to no server as far as is known.
    pub fn unowned(&self) -> SortedSet<u64> {
        self.inodes(|owner| match owner {
            Owner::Sought | Owner::Unclaimed | Owner::Stranger => true,
            Owner::Server(_) => false,
        })
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
                is_urgent: watched.pace == Pace::Fast || self.asked.contains(id),
                is_new: !watched.searched,
            })
            .collect()
    }

    /// Takes what a search in `scope` has found `now`. What no server could be proven to have is given to those that can't
    /// be looked into. The requested port is given at once: it was free before the server was started. What is merely new is
    /// given when the search is over, and only if there is no second one that waits for a listener.
    pub fn take(&mut self, searched: &Searched, scope: Scope, is_last: bool, now: Instant) {
        let is_reached = |watched: &Watched| scope == Scope::All || watched.pace == Pace::Fast || !watched.searched;
        self.watched.values_mut().filter(|watched| is_reached(watched)).for_each(|watched| watched.searched = true);
        let hidden: Vec<_> = self.watched.iter().filter(|(id, _)| searched.hidden.contains(id)).collect();
        for (listener, known) in self.known.iter_mut() {
            let before = known.owner;
            if let Some(id) = searched.found.get(&listener.inode) {
                known.owner = Owner::Server(*id);
            } else if !matches!(before, Owner::Server(_)) {
                let asked_for_it = only(hidden.iter().filter(|(_, watched)| watched.requested == Some(listener.port)));
                let waits_for_one = || {
                    let is_new = |watched: &Watched| known.first_look > watched.first_look;
                    only(hidden.iter().filter(|(_, watched)| watched.pace == Pace::Fast && is_new(watched)))
                };
                let is_settled = now.saturating_duration_since(known.seen_by) >= SETTLED_AFTER;
                if let Some((id, _)) = asked_for_it.or_else(|| is_last.then(waits_for_one).flatten()) {
                    known.owner = Owner::Server(*id);
                } else if scope == Scope::All && is_settled {
                    known.owner = Owner::Stranger;
                } else if is_last && before == Owner::Sought {
                    known.owner = Owner::Unclaimed;
                }
            }
            if known.owner != before {
                self.touched.insert(listener.port);
            }
        }
    }

    /// Tells everyone whose listeners look different now.
    pub fn tell(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let mut concerned = std::mem::take(&mut self.changed);
        concerned.extend(self.asked.iter().copied());
        if !touched.is_empty() {
            let owners = self.known.iter().filter(|(listener, _)| touched.contains(&listener.port));
            concerned.extend(owners.filter_map(|(_, known)| known.owner.server()));
            let given = |watched: &Watched| watched.requested.is_some_and(|port| touched.contains(&port));
            concerned.extend(self.watched.iter().filter(|(_, watched)| given(watched)).map(|(id, _)| *id));
        }
        for id in concerned.iter().copied() {
            let listening = self.listening(id);
            let is_asked = self.asked.remove(&id);
            let Some(watched) = self.watched.get_mut(&id) else { continue };
            if is_asked || listening != watched.told {
                watched.told = listening.clone();
                (watched.notify)(listening);
            }
        }
    }

    fn listening(&self, id: Id) -> Listening {
        let is_own = |known: &Known| known.owner == Owner::Server(id);
        let own: Vec<ListeningSocket> =
            self.known.iter().filter(|(_, known)| is_own(known)).map(|(listener, _)| *listener).collect();
        let foreign = || self.known.iter().filter(|(_, known)| !is_own(known));
        let is_shared = |port| foreign().any(|(listener, _)| listener.port == port && is_on_localhost(listener));
        let requested = self.watched.get(&id).and_then(|watched| watched.requested);
        let is_foreign = |port| {
            let is_decided = |known: &Known| known.owner != Owner::Sought;
            own.iter().all(|listener| listener.port != port)
                && foreign().any(|(listener, known)| listener.port == port && is_decided(known))
        };
        let given = if requested.is_some_and(is_foreign) { Given::Foreign } else { Given::Free };
        Listening { open: ports_of(&own, is_shared), given }
    }
}

impl Owner {
    fn server(self) -> Option<Id> {
        match self {
            Owner::Server(id) => Some(id),
            Owner::Sought | Owner::Unclaimed | Owner::Stranger => None,
        }
    }
}

/// The one that there is, if there is no other.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}
