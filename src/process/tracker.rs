//! Which processes belong to a run.
//!
//! Owns: the proofs of membership, and the snapshot that concurrent queries share. Never: when to signal what.
//!
//! Members are, in the order of proof:
//!
//! 1. the leader and all its descendants,
//! 2. every process in the leader's session or process group, whose numbers are in use as long as the leader is not
//!    reaped,
//! 3. of the orphans that the daemon inherits as subreaper: those whose resource limit carries the mark of the run (see
//!    `model::marker`), then those that can write to the pipes of the run,
//! 4. the descendants of all these.
//!
//! A process can leave its session, lose its parent, and change its environment, user and output; the limit stays. The
//! marker in the environment counts for a run only if its limit could not be set. An earlier line wins over a later
//! one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::in_flight::{InFlight, Operation};
use super::snapshot::{Completeness, Inspected, Snapshot};
use crate::model::marker::{Limits, Marks, RunMark};
use crate::os::inherit::Strangers;
use crate::os::proc::{self, Process};
use crate::os::{Pid, limits};
use crate::sorted::{Sorted, SortedSet};
use crate::sync::lock;

mod census;
#[cfg(test)]
mod tests;

pub use census::ResourceUse;

/// What proves that a process belongs to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTree {
    /// The first process; its number is that of its session and its process group too.
    pub leader: Pid,
    /// The mark in the resource limit of its processes; `None` if it could not be set.
    pub mark: Option<RunMark>,
    /// The marker in their environment.
    pub marker: String,
    /// The inodes of the pipes that take their output.
    pub pipes: [u64; 2],
}

/// The processes of a run at one moment.
#[derive(Debug, Clone)]
pub struct RunMembers {
    /// Living processes, with the leader.
    pub living: Vec<Process>,
    pub completeness: Completeness,
    /// Children of the daemon that are not older than the leader and can't be attributed to any run.
    pub unclaimed: Vec<Process>,
}

/// The runs that may have living processes.
pub struct ProcessTracker {
    strangers: Strangers,
    marks: Option<Marks>,
    next_run: AtomicU64,
    trees: Mutex<Sorted<Pid, Arc<RunTree>>>,
    last: Mutex<Option<AttributedSnapshot>>,
    /// Spawns. Between its clone and its registration a child belongs to no run yet. Until its `execve` it has all
    /// descriptors of the daemon, with the pipes of every run.
    spawns: Arc<InFlight>,
}

/// A spawn from before its clone to its registration.
pub struct Spawning<'a> {
    _operation: Operation<'a>,
    mark: Option<(RunMark, Limits)>,
}

impl Spawning<'_> {
    /// The mark of the run, and the resource limits that carry it.
    pub fn mark(&self) -> Option<(RunMark, Limits)> {
        self.mark
    }
}

/// A snapshot of the processes, with the runs that the daemon's children belong to.
#[derive(Debug, Clone)]
struct AttributedSnapshot {
    begun: Instant,
    snapshot: Arc<Snapshot>,
    /// The daemon's children that are no leaders.
    owners: Arc<Sorted<Pid, ChildOwner>>,
    completeness: Completeness,
}

/// The run that a child of the daemon belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChildOwner {
    Run(Pid),
    /// One that is not registered: it has a mark of this daemon, and is being spawned or is over.
    OtherRun,
    /// No proof applies.
    Unknown,
    /// A later snapshot may show it.
    Unclear,
}

/// The limit of tries for a complete snapshot, and the pause between them. A spawn takes less than a millisecond.
const TRIES_MAX: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(1);

impl ProcessTracker {
    /// Without marks in resource limits.
    pub fn new(strangers: Strangers) -> ProcessTracker {
        ProcessTracker::with_marks(strangers, None, Arc::default(), 0)
    }

    /// With marks. `spawns` counts all spawns of the daemon; the first run has the number `first_run`.
    pub fn with_marks(
        strangers: Strangers,
        marks: Option<Marks>,
        spawns: Arc<InFlight>,
        first_run: u64,
    ) -> ProcessTracker {
        let next_run = AtomicU64::new(first_run);
        ProcessTracker { strangers, marks, next_run, trees: Mutex::default(), last: Mutex::default(), spawns }
    }

    /// Begins a spawn and assigns its run a mark. Keep the result until the run is registered.
    pub fn begin_spawn(&self) -> Spawning<'_> {
        let mark = self.marks.map(|marks| {
            let mut mark = marks.of_run(self.next_run.fetch_add(1, Ordering::Relaxed));
            // The numbers wrap around after a million runs.
            while self.trees().values().any(|tree| tree.mark == Some(mark)) {
                mark = marks.of_run(self.next_run.fetch_add(1, Ordering::Relaxed));
            }
            (mark, marks.limits(mark))
        });
        Spawning { _operation: self.spawns.begin(), mark }
    }

    /// Registers a run: from now on processes are attributed to it.
    pub fn register(&self, tree: RunTree) -> Arc<RunTree> {
        let tree = Arc::new(tree);
        self.trees().insert(tree.leader, Arc::clone(&tree));
        tree
    }

    /// Removes a run that is over. With the last one the snapshot is dropped.
    pub fn unregister(&self, leader: Pid) {
        let is_empty = {
            let mut trees = self.trees();
            trees.remove(&leader);
            trees.is_empty()
        };
        if is_empty {
            *self.last_snapshot() = None;
        }
    }

    /// Returns the processes of `tree` as they were at some moment after `since`.
    ///
    /// # Errors
    /// `/proc` can't be read, so that only the session is known. In a shortage of descriptors or memory (`is_shortage`)
    /// a retry may succeed.
    pub fn members(&self, tree: &RunTree, mut since: Instant) -> io::Result<RunMembers> {
        for _ in 1..TRIES_MAX {
            let members = self.try_members(tree, since)?;
            match members.completeness {
                Completeness::Complete => return Ok(members),
                Completeness::Incomplete => thread::sleep(LOOK_PAUSE),
            }
            since = Instant::now();
        }
        self.try_members(tree, since)
    }

    fn try_members(&self, tree: &RunTree, since: Instant) -> io::Result<RunMembers> {
        let taken = self.snapshot(since)?;
        let processes = &taken.snapshot;
        let born = processes.find(tree.leader).map_or(0, |leader| leader.started);
        let mut members = SortedSet::default();
        let mut roots = vec![tree.leader];
        roots.extend(processes.all().filter(|process| tree.has_session_of(process)).map(|process| process.pid));
        let (mut completeness, mut unclaimed) = (taken.completeness, Vec::new());
        for &(pid, ref owner) in taken.owners.iter() {
            match owner {
                ChildOwner::Run(leader) if *leader == tree.leader => roots.push(pid),
                ChildOwner::Run(_) | ChildOwner::OtherRun => {}
                ChildOwner::Unknown => unclaimed
                    .extend(processes.find(pid).filter(|child| child.started >= born && child.is_alive()).cloned()),
                ChildOwner::Unclear => completeness = Completeness::Incomplete,
            }
        }
        while let Some(pid) = roots.pop() {
            if members.insert(pid) {
                roots.extend(processes.children(pid).map(|child| child.pid));
            }
        }
        let living = processes.all().filter(|process| members.contains(&process.pid) && process.is_alive());
        Ok(RunMembers { living: living.cloned().collect(), completeness, unclaimed })
    }

    /// Returns the living children of the daemon that lead no run and come from one of its servers, with their
    /// descendants.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn orphans(&self) -> io::Result<Vec<Process>> {
        let taken = self.snapshot(Instant::now())?;
        let processes = &taken.snapshot;
        let is_ours = |owner: &ChildOwner| match (owner, self.strangers) {
            (ChildOwner::Run(_) | ChildOwner::OtherRun, _)
            | (ChildOwner::Unknown | ChildOwner::Unclear, Strangers::Impossible) => true,
            (ChildOwner::Unknown | ChildOwner::Unclear, Strangers::Possible) => false,
        };
        let mut roots: Vec<Pid> =
            taken.owners.iter().filter(|(_, owner)| is_ours(owner)).map(|(pid, _)| *pid).collect();
        let mut found = Vec::new();
        while let Some(pid) = roots.pop() {
            found.extend(processes.find(pid).filter(|process| process.is_alive()).cloned());
            roots.extend(processes.children(pid).map(|child| child.pid));
        }
        Ok(found)
    }

    /// Returns a snapshot that was begun after `since`, perhaps by another thread.
    fn snapshot(&self, since: Instant) -> io::Result<AttributedSnapshot> {
        // Held over the walk, so that concurrent queries share it. `trees` is locked inside; never the other way round.
        let mut last = self.last_snapshot();
        if let Some(taken) = &*last
            && taken.begun >= since
        {
            return Ok(taken.clone());
        }
        let begun = Instant::now();
        let trees = self.trees().clone();
        let own = Pid::own();
        let mut owners: Sorted<Pid, ChildOwner> = Sorted::default();
        let (snapshot, completeness) = Snapshot::take_whole(|process| {
            if process.parent != own.raw() {
                return Ok(Inspected::Read);
            }
            // In this order: a child that is older than an idle moment is registered or an orphan.
            let is_idle = self.spawns.idle().is_some();
            if self.trees().contains_key(&process.pid) {
                return Ok(Inspected::Read);
            }
            let owner = self.owner(process, &trees, is_idle)?;
            // A process that has exited meanwhile may have had more than was read.
            if !process.lives_on()? {
                return Ok(Inspected::Ended);
            }
            owners.insert(process.pid, owner);
            Ok(Inspected::Read)
        })?;
        if self.strangers == Strangers::Impossible {
            attribute_to_the_only_older_run(&mut owners, &trees, &snapshot);
        }
        let taken = AttributedSnapshot { begun, snapshot: Arc::new(snapshot), owners: Arc::new(owners), completeness };
        *last = (!trees.is_empty()).then(|| taken.clone());
        Ok(taken)
    }

    /// Returns the run that a child of the daemon belongs to. Cheap proofs come first.
    fn owner(&self, child: &Process, trees: &Sorted<Pid, Arc<RunTree>>, is_idle: bool) -> io::Result<ChildOwner> {
        let find = |is_it: &dyn Fn(&RunTree) -> bool| trees.values().find(|tree| is_it(tree)).map(|tree| tree.leader);
        if let Some(leader) = find(&|tree| tree.has_session_of(child)) {
            return Ok(ChildOwner::Run(leader));
        }
        if let Some(marks) = self.marks
            && let Some(limits) = limits::of(child.pid)?
        {
            // Raising a hard limit to another run's mark needs privilege.
            let hard = Limits { soft: limits.hard, ..limits };
            for limits in [hard, limits] {
                if let Some(leader) = find(&|tree| tree.mark.is_some_and(|mark| mark.is_in(limits))) {
                    return Ok(ChildOwner::Run(leader));
                }
            }
            if marks.made(limits) {
                return Ok(ChildOwner::OtherRun);
            }
        }
        if !is_idle {
            return Ok(ChildOwner::Unclear);
        }
        let pipes = proc::pipes(child.pid)?;
        if let Some(leader) = find(&|tree| tree.pipes.iter().any(|pipe| pipes.contains(pipe))) {
            return Ok(ChildOwner::Run(leader));
        }
        if trees.values().any(|tree| tree.mark.is_none())
            && let Some(marker) = child.marker()?
            && let Some(leader) = find(&|tree| tree.mark.is_none() && tree.marker == marker)
        {
            return Ok(ChildOwner::Run(leader));
        }
        Ok(ChildOwner::Unknown)
    }

    fn last_snapshot(&self) -> MutexGuard<'_, Option<AttributedSnapshot>> {
        lock(&self.last)
    }

    fn trees(&self) -> MutexGuard<'_, Sorted<Pid, Arc<RunTree>>> {
        lock(&self.trees)
    }
}

impl RunTree {
    fn has_session_of(&self, process: &Process) -> bool {
        process.session == self.leader.raw() || process.group == self.leader.raw()
    }
}

/// Attributes orphans by age, where every child of the daemon comes from a server: an orphan belongs to a run that is
/// older than it, and if there is only one such run, to that.
fn attribute_to_the_only_older_run(
    owners: &mut Sorted<Pid, ChildOwner>,
    trees: &Sorted<Pid, Arc<RunTree>>,
    snapshot: &Snapshot,
) {
    for (&pid, owner) in owners.iter_mut().filter(|(_, owner)| **owner == ChildOwner::Unknown) {
        let Some(child) = snapshot.find(pid) else { continue };
        // A leader that has exited counts: it is not reaped before its run is over.
        let is_older = |leader: &&Pid| snapshot.find(**leader).is_some_and(|found| found.started <= child.started);
        let mut older = trees.keys().filter(is_older);
        if let (Some(leader), None) = (older.next(), older.next()) {
            *owner = ChildOwner::Run(*leader);
        }
    }
}
