//! Which of a server's ports is its own, and which ones are checked to find that out.
//!
//! Owns: the rank of each port, the choice, and what time and the results of checks change about it. Never: a clock, a
//! socket; facts come in, each with the present moment.
//!
//! Helpers listen too: Vite's middleware mode on 24678 before the application's own port, debugpy and wrangler on an
//! ephemeral one, Node's inspectors on 9229 and up. So a port has a rank: the requested one, then ordinary ones, the
//! lowest first, then those of helpers and the ephemeral range.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::listening::OpenPort;
use crate::model::machine::Demand;
use crate::model::spec::Port;

#[cfg(test)]
mod tests;

/// Where helpers listen: Node's inspectors, Vite's update channel, debugpy.
const HELPERS: [RangeInclusive<u16>; 3] = [9229..=9329, 24678..=24777, 5678..=5678];
/// An ordinary port counts when the requested one has not opened within this time of it.
const REQUESTED_WITHIN: Duration = Duration::from_secs(1);
/// A port of a better rank that opens this long after the start of the run, or sooner, takes the place of an ordinary
/// one.
const BETTER_WITHIN: Duration = Duration::from_secs(10);
/// A port of the last rank counts when for this time no better one was open.
const ALONE_FOR: Duration = Duration::from_secs(5);
/// The limit of ports that are checked at the same time.
const CHECKED_MAX: usize = 16;

/// What the choice depends on beside what is open.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The port that the server was given.
    pub requested: Option<Port>,
    /// Ports of helpers, by the server's specification.
    pub ignored: Vec<Port>,
    /// The range from which the system takes the ports of those who ask for none in particular.
    pub ephemeral: RangeInclusive<u16>,
    /// Whether checks decide.
    pub demand: Demand,
}

/// A port to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckTarget {
    pub port: Port,
    /// Where it can be connected to.
    pub probe: SocketAddr,
    /// When it was first seen.
    pub since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Requested,
    Ordinary,
    Last,
}

#[derive(Debug, Clone, Copy)]
struct SeenPort {
    open: OpenPort,
    rank: Rank,
    since: Instant,
    /// A check of it has failed, has passed or takes longer than its limit: it no longer holds back the checks of
    /// others.
    is_judged: bool,
    /// Whether its checks have failed for so long that it is not tried beside a port that has passed.
    has_failed_too_long: bool,
    /// Whether it was open at the same time as the requested one, so that one did open in its time and is not waited
    /// for any more.
    has_met_requested: bool,
}

impl SeenPort {
    fn checked(&self) -> CheckTarget {
        CheckTarget { port: self.open.port, probe: self.open.probe, since: self.since }
    }
}

/// The choice for one run.
#[derive(Debug)]
pub struct Choice {
    rules: Rules,
    born: Instant,
    /// By port.
    seen: Vec<SeenPort>,
    chosen: Option<Port>,
    /// Whether a check has passed on the chosen port.
    has_passed: bool,
    /// When a port that is not of the last rank was last open.
    better_until: Option<Instant>,
}

impl Choice {
    /// Nothing is open. The run was spawned at `born` or a moment later.
    pub fn new(rules: Rules, born: Instant) -> Choice {
        Choice { rules, born, seen: Vec::new(), chosen: None, has_passed: false, better_until: None }
    }

    /// Takes what is open `now`, in place of what was.
    pub fn take(&mut self, open: &[OpenPort], now: Instant) {
        if self.has_better() {
            self.better_until = Some(now);
        }
        let before = std::mem::take(&mut self.seen);
        self.seen = open
            .iter()
            .map(|open| match before.iter().find(|seen| seen.open.port == open.port) {
                Some(seen) => {
                    SeenPort { open: *open, is_judged: seen.is_judged && seen.open.probe == open.probe, ..*seen }
                }
                None => SeenPort {
                    open: *open,
                    rank: self.rank(open.port),
                    since: now,
                    is_judged: false,
                    has_failed_too_long: false,
                    has_met_requested: false,
                },
            })
            .collect();
        if self.seen.iter().any(|seen| seen.rank == Rank::Requested) {
            self.seen.iter_mut().for_each(|seen| seen.has_met_requested = true);
        }
        if self.current().is_none() {
            self.choose(None);
        }
        self.decide(now);
    }

    /// Acts on the deadline if it has passed.
    pub fn decide(&mut self, now: Instant) {
        let best = self.counted(now).min_by_key(|seen| (seen.rank, seen.open.port));
        match (self.current(), best) {
            (None, Some(best)) => self.choose(Some(best.open.port)),
            (Some(current), Some(best)) if best.rank < current.rank && self.yields(current, best) => {
                self.choose(Some(best.open.port));
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Takes that a check of `port` has passed: it is the server's port.
    pub fn passed(&mut self, port: Port) {
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.open.port == port) {
            seen.is_judged = true;
            self.choose(Some(port));
            self.has_passed = true;
        }
    }

    /// Takes that a check of `port` has failed, or has not ended within its limit.
    pub fn failed(&mut self, port: Port) {
        self.seen.iter_mut().filter(|seen| seen.open.port == port).for_each(|seen| seen.is_judged = true);
    }

    /// Takes that checks of `port` have done nothing but fail for too long.
    pub fn failed_too_long(&mut self, port: Port) {
        self.seen.iter_mut().filter(|seen| seen.open.port == port).for_each(|seen| seen.has_failed_too_long = true);
    }

    /// The server's port.
    pub fn chosen(&self) -> Option<OpenPort> {
        self.current().map(|seen| seen.open)
    }

    /// The ports to be checked `now`, the chosen one first. As long as none has passed, the others follow in their
    /// order, each as soon as the one before is judged.
    pub fn checked(&self, now: Instant) -> Vec<CheckTarget> {
        let Some(current) = self.current().filter(|_| self.rules.demand == Demand::Health) else { return Vec::new() };
        let has_better = self.has_better();
        let mut all: Vec<&SeenPort> = self
            .counted(now)
            .filter(|seen| seen.open.port != current.open.port)
            .filter(|seen| !self.has_passed || self.may_replace(current, seen))
            .collect();
        all.sort_unstable_by_key(|seen| (seen.rank, seen.open.port));
        if current.rank != Rank::Last || !has_better {
            all.insert(0, current);
        }
        let judged = all.iter().take_while(|seen| seen.is_judged).count();
        all.into_iter().take((judged + 1).min(CHECKED_MAX)).map(SeenPort::checked).collect()
    }

    /// The other ports that may be the server's by now, if its port no longer answers.
    pub fn others(&self, now: Instant) -> Vec<CheckTarget> {
        let mut all: Vec<&SeenPort> = self.counted(now).filter(|seen| self.chosen != Some(seen.open.port)).collect();
        all.sort_unstable_by_key(|seen| (seen.rank, seen.open.port));
        all.into_iter().take(CHECKED_MAX).map(SeenPort::checked).collect()
    }

    /// When [`Choice::decide`] wants to be called, if ever.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let others = self.seen.iter().filter(|seen| self.chosen != Some(seen.open.port));
        others.map(|seen| self.counts_at(seen)).filter_map(|at| at.filter(|at| *at > now)).min()
    }

    /// Until when a better port than the chosen one may open and take its place. `None` if there can't be a better one.
    pub fn better_until(&self) -> Option<Instant> {
        let best = if self.rules.requested.is_some() { Rank::Requested } else { Rank::Ordinary };
        self.current().is_none_or(|current| current.rank > best).then(|| self.born + BETTER_WITHIN)
    }

    fn current(&self) -> Option<&SeenPort> {
        self.seen.iter().find(|seen| self.chosen == Some(seen.open.port))
    }

    fn choose(&mut self, port: Option<Port>) {
        if self.chosen != port {
            self.chosen = port;
            self.has_passed = false;
        }
    }

    fn yields(&self, current: &SeenPort, best: &SeenPort) -> bool {
        match current.rank {
            Rank::Last => true,
            // The better one is checked beside it, and takes its place when it passes.
            Rank::Ordinary | Rank::Requested => self.is_early(best) && !self.has_passed,
        }
    }

    /// Whether `seen` takes the place of `current` when it passes, although that has passed too.
    fn may_replace(&self, current: &SeenPort, seen: &SeenPort) -> bool {
        seen.rank < current.rank && self.is_early(seen) && !seen.has_failed_too_long
    }

    fn is_early(&self, seen: &SeenPort) -> bool {
        seen.since <= self.born + BETTER_WITHIN
    }

    fn counted(&self, now: Instant) -> impl Iterator<Item = &SeenPort> {
        self.seen.iter().filter(move |seen| self.counts_at(seen).is_some_and(|at| at <= now))
    }

    /// From when on a port can be the server's, as things are.
    fn counts_at(&self, seen: &SeenPort) -> Option<Instant> {
        match seen.rank {
            Rank::Requested => Some(seen.since),
            Rank::Ordinary if self.waits_for_requested() && !seen.has_met_requested => {
                Some(seen.since + REQUESTED_WITHIN)
            }
            Rank::Ordinary => Some(seen.since),
            Rank::Last if self.has_better() => None,
            Rank::Last => Some(self.better_until.map_or(seen.since, |until| until.max(seen.since)) + ALONE_FOR),
        }
    }

    fn waits_for_requested(&self) -> bool {
        self.rules.requested.is_some() && self.seen.iter().all(|seen| seen.rank != Rank::Requested)
    }

    fn has_better(&self) -> bool {
        self.seen.iter().any(|seen| seen.rank != Rank::Last)
    }

    fn rank(&self, port: Port) -> Rank {
        let is_helper =
            || HELPERS.iter().any(|range| range.contains(&port.get())) || self.rules.ignored.contains(&port);
        if self.rules.requested == Some(port) {
            Rank::Requested
        } else if is_helper() || self.rules.ephemeral.contains(&port.get()) {
            Rank::Last
        } else {
            Rank::Ordinary
        }
    }
}
