//! Looking: at the sockets at each tick, at the processes when there is a reason.
//!
//! Owns: reading both, and when it is worth while to look for an owner. Never: what is made of it (see `table`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::{Scope, SearchTask, Searched, WatchTable};
use super::walk::{Part, Walk, WalkItem};
use crate::log;
use crate::os::is_shortage;
use crate::os::proc::Process;
use crate::os::sockets::{Extent, FdChunk, ListeningSocket, ListeningSockets, extent, open_sockets};
use crate::process::tracker::ProcessTracker;
use crate::sorted::SortedSet;

/// A listener whose owner was not found is looked for again after this time, and each time after four times as long:
/// its process may have been forked while the processes were looked at.
const SEARCH_FIRST: Duration = Duration::from_millis(5);
const SEARCH_FACTOR: u32 = 4;
/// After a pause longer than this it is given up: half a second has passed, and the listener is a stranger's.
const SEARCH_LAST: Duration = Duration::from_millis(400);

/// A search is followed by a pause of so many times its duration, up to the limit.
const SEARCH_COOLDOWN: u32 = 2;
const SEARCH_COOLDOWN_MAX: Duration = Duration::from_millis(20);
/// The same for reading the sockets: from `/proc` it can take 15 ms, the more the larger the kernel's tables are.
const READ_COOLDOWN: u32 = 3;
const READ_COOLDOWN_MAX: Duration = Duration::from_millis(50);

/// A process with more descriptors than that is not looked into at once, but on a walk.
const FEW: u64 = 256;

/// Reads the listening sockets, and finds their owners.
pub struct SocketScanner {
    listeners: ListeningSockets,
    tracker: Arc<ProcessTracker>,
    inodes_match: bool,
    /// Older than any server: strangers', and the daemon's own. A process that was spawned just now has these open for
    /// a moment too: the kernel lets its parent continue before it closes them.
    before: SortedSet<u64>,
    /// As they were read last, in the kernel's order.
    seen: Vec<ListeningSocket>,
    /// The pause that the last look requires.
    cooldown: Duration,
    search: Option<Search>,
    walk: Option<Walk>,
    /// Errors that were logged already.
    reported_reading: bool,
    reported_guessing: bool,
}

/// The next search for owners.
#[derive(Debug, Clone, Copy)]
struct Search {
    at: Instant,
    pause: Duration,
}

impl SocketScanner {
    /// Creates a scanner that has seen nothing yet.
    pub fn new(
        listeners: ListeningSockets,
        tracker: Arc<ProcessTracker>,
        inodes_match: bool,
        before: SortedSet<u64>,
    ) -> SocketScanner {
        SocketScanner {
            listeners,
            tracker,
            inodes_match,
            before,
            seen: Vec::new(),
            cooldown: Duration::ZERO,
            search: None,
            walk: None,
            reported_reading: false,
            reported_guessing: false,
        }
    }

    /// A new server may own a known listener: the next scan includes a search, at least a single one.
    pub fn look_again(&mut self, now: Instant) {
        self.search.get_or_insert(Search { at: now, pause: SEARCH_LAST }).at = now;
    }

    /// The pause before the next look, so that waiting for a server does not starve it.
    pub fn cooldown(&self) -> Duration {
        self.cooldown
    }

    /// Whether a walk is under way, which the next look continues.
    pub fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Brings `table` up to date. Returns the moment since which nothing in `scope` was missed; none if a walk still
    /// has to end for that.
    pub fn look(&mut self, table: &mut WatchTable, scope: Scope, now: Instant) -> Option<Instant> {
        table.begin_look();
        match self.read(table) {
            Ok(()) => self.reported_reading = false,
            Err(error) if self.reported_reading => log::debug(format_args!("still: {error}")),
            Err(error) => {
                self.reported_reading = true;
                log::error(format_args!("the ports of servers can't be seen: {error}"));
            }
        }
        if table.take_unsearched() {
            self.search = Some(Search { at: now, pause: SEARCH_FIRST });
        }
        let was_walking = self.is_walking();
        let is_due = self.search.is_some_and(|search| search.at <= now);
        if is_due || scope == Scope::All && !was_walking && table.has_unknown() {
            self.search(table, scope, now);
            self.cooldown = self.cooldown.max((now.elapsed() * SEARCH_COOLDOWN).min(SEARCH_COOLDOWN_MAX));
        }
        match self.proceed(table, now) {
            Some(walk) if walk.scope == Scope::All => Some(walk.begun),
            _ if self.is_walking() => None,
            Some(_) if was_walking => (!table.has_unknown()).then_some(now),
            Some(_) | None => (scope == Scope::All || !table.has_unknown()).then_some(now),
        }
    }

    /// Continues the walk, and returns it when it has ended.
    fn proceed(&mut self, table: &mut WatchTable, now: Instant) -> Option<Walk> {
        let mut walk = self.walk.take()?;
        let begun = Instant::now();
        let piece = walk.proceed();
        self.cooldown = self.cooldown.max(begun.elapsed().min(SEARCH_COOLDOWN_MAX));
        let pause = match piece {
            Ok(FdChunk::More) => {
                self.walk = Some(walk);
                return None;
            }
            Ok(FdChunk::Last) => {
                self.warn_of_hidden(&walk.searched);
                table.take(&walk.searched, walk.begun);
                Duration::ZERO
            }
            Err(error) => {
                log::debug(format_args!("the processes of servers can't be looked into now: {error}"));
                SEARCH_LAST
            }
        };
        // For what has come since it began.
        self.search.get_or_insert(Search { at: now + pause, pause: SEARCH_LAST });
        Some(walk)
    }

    fn read(&mut self, table: &mut WatchTable) -> io::Result<()> {
        let begun = Instant::now();
        let mut now = Vec::with_capacity(self.seen.len());
        self.listeners.read(&mut now)?;
        self.cooldown = (begun.elapsed() * READ_COOLDOWN).min(READ_COOLDOWN_MAX);
        if now == self.seen {
            return Ok(());
        }
        let mut sorted = now.clone();
        sorted.sort_unstable();
        let mut all: SortedSet<ListeningSocket> = sorted.into_iter().collect();
        if table.misses_some_of(&all) {
            // A list that the kernel gives in pieces can lack what was there all the time; no such thing happens twice.
            let mut again = Vec::new();
            self.listeners.read(&mut again)?;
            all.extend(again);
        }
        all.retain(|listener| !self.before.contains(&listener.inode));
        table.update(&all, Instant::now());
        self.seen = now;
        Ok(())
    }

    fn search(&mut self, table: &mut WatchTable, scope: Scope, now: Instant) {
        let tasks = table.tasks(scope, now);
        let pause = self.search.map_or(SEARCH_LAST, |search| search.pause);
        let gives_up = pause * SEARCH_FACTOR > SEARCH_LAST;
        let is_over = match self.search_processes(table, &tasks, scope, now) {
            Ok(()) => table.tasks(scope, now).is_empty() || gives_up && !table.has_unsettled(now),
            Err(error) => {
                log::debug(format_args!("the processes of servers can't be looked at now: {error}"));
                self.search = Some(Search { at: now + pause, pause });
                return;
            }
        };
        let next = if gives_up { pause } else { pause * SEARCH_FACTOR };
        self.search = (!is_over).then(|| Search { at: now + pause, pause: next });
    }

    /// Looks into the small tables of `tasks` for the listeners that each of them may have, and begins a walk through
    /// the rest if that is due.
    ///
    /// # Errors
    /// The system has nothing left to look with: what was not found may be there all the same.
    fn search_processes(
        &mut self,
        table: &mut WatchTable,
        tasks: &[SearchTask],
        scope: Scope,
        now: Instant,
    ) -> io::Result<()> {
        let mut wanted: SortedSet<u64> = tasks.iter().flat_map(|task| task.wanted.iter().copied()).collect();
        let mut searched = Searched::default();
        if wanted.is_empty() {
            return Ok(());
        }
        let census = match self.inodes_match.then(|| self.tracker.census(now)) {
            Some(Ok(census)) => census,
            Some(Err(error)) if is_shortage(&error) => return Err(error),
            // No process can be inspected.
            unseen @ (None | Some(Err(_))) => {
                if let Some(Err(error)) = unseen {
                    log::debug(format_args!("the processes of servers can't be looked at: {error}"));
                }
                searched.hidden.extend(tasks.iter().map(|task| task.id));
                searched.complete.extend(tasks.iter().map(|task| task.id));
                table.take(&searched, now);
                return Ok(());
            }
        };
        // The tables of threads that have their own, which few programs have, are looked into last.
        let mut items = [Vec::new(), Vec::new()];
        for task in tasks {
            for &pid in census.get(&task.leader).map(Vec::as_slice).unwrap_or_default() {
                if wanted.is_empty() {
                    break;
                }
                items[1].push(WalkItem { id: task.id, pid, part: Part::Threads });
                if extent(pid, FEW) == Extent::Large {
                    items[0].push(WalkItem { id: task.id, pid, part: Part::Main });
                    continue;
                }
                match open_sockets(pid, &wanted) {
                    Ok(found) => {
                        for inode in found {
                            wanted.remove(&inode);
                            searched.found.insert(inode, task.id);
                        }
                    }
                    Err(error) if is_shortage(&error) => return Err(error),
                    // One that is about to end can't be looked into either, and has nothing open.
                    Err(_) if !Process::read(pid).is_some_and(|process| process.is_alive()) => {}
                    Err(error) => {
                        log::debug(format_args!("process {pid} can't be looked into: {error}"));
                        searched.hidden.insert(task.id);
                    }
                }
            }
        }
        self.warn_of_hidden(&searched);
        table.take(&searched, now);
        if self.walk.is_none() && !wanted.is_empty() && tasks.iter().any(|task| task.is_due) {
            searched.complete.extend(tasks.iter().map(|task| task.id));
            let items = items.into_iter().flatten().rev().collect();
            self.walk = Some(Walk::new(scope, now, searched, wanted, items));
        }
        Ok(())
    }

    fn warn_of_hidden(&mut self, searched: &Searched) {
        if !searched.hidden.is_empty() && !std::mem::replace(&mut self.reported_guessing, true) {
            log::warn(format_args!(
                "some processes of servers can't be looked into; what they listen on is guessed from what was asked for \
                 and from what is new"
            ));
        }
    }
}
