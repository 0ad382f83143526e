//! Which processes belong to a run.
//!
//! Owns: the proofs of membership, and the snapshot of the processes that all who ask at the same time share. Never: when
//! to signal what.
//!
//! Members are, in the order of proof:
//!
//! 1. the leader and all its descendants,
//! 2. every process in the leader's session or process group, whose numbers are in use as long as the leader is not reaped,
//! 3. of the children that the daemon, as subreaper, was given: those whose resource limit carries the mark of the run (see
//!    `model::marker`), then those that can write to the pipes of the run,
//! 4. the descendants of all these.
//!
//! A process can leave its session and its parent can die, and it can change its environment, its user and its output; the
//! limit stays. The marker in the environment counts for a run only if its limit could not be set. What a process is proven
//! to be by an earlier line is not changed by a later one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::in_flight::{InFlight, Operation};
use super::snapshot::{Asked, Clarity, Snapshot};
use crate::model::marker::{Limits, Mark, Marks};
use crate::os::inherit::Strangers;
use crate::os::proc::{self, Process};
use crate::os::{Pid, limits};
use crate::sorted::{Sorted, SortedSet};
use crate::sync::lock;

mod census;
#[cfg(test)]
mod tests;

pub use census::Use;

/// What proves that a process belongs to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTree {
    /// The first process; its number is that of its session and its process group too.
    pub leader: Pid,
    /// The mark in the resource limit of its processes; `None` if it could not be set.
    pub mark: Option<Mark>,
    /// The marker in their environment.
    pub marker: String,
    /// The inodes of the pipes that take their output.
    pub pipes: [u64; 2],
}

/// The processes of a run at one moment.
#[derive(Debug, Clone)]
pub struct Members {
    /// Those that live, the leader among them.
    pub living: Vec<Process>,
    /// Whether these are all.
    pub clarity: Clarity,
    /// Children of the daemon that are not older than the leader and can't be attributed to any run.
    pub unclaimed: Vec<Process>,
}

/// All runs that may have living processes.
pub struct ProcessTracker {
    strangers: Strangers,
    marks: Option<Marks>,
    next_run: AtomicU64,
    trees: Mutex<Sorted<Pid, Arc<RunTree>>>,
    last: Mutex<Option<Look>>,
    /// Spawns. Between its clone and its registration a child is a child of the daemon that no run claims yet. Until it is
    /// another program, it has all that the daemon has, the pipes of every run among it.
    spawns: Arc<InFlight>,
}

/// A spawn from before its clone to its registration.
pub struct Spawning<'a> {
    _operation: Operation<'a>,
    mark: Option<(Mark, Limits)>,
}

impl Spawning<'_> {
    /// The mark of the run, and the resource limits that carry it.
    pub fn mark(&self) -> Option<(Mark, Limits)> {
        self.mark
    }
}

/// A snapshot of the processes, and whose the daemon's children are.
#[derive(Debug, Clone)]
struct Look {
    begun: Instant,
    snapshot: Arc<Snapshot>,
    /// Of the children of the daemon that lead no run.
    owners: Arc<Sorted<Pid, Owner>>,
    clarity: Clarity,
}

/// Whose a child of the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Run(Pid),
    /// It carries a mark of this daemon, of a run that is not registered: one that is being spawned, or is over.
    OtherRun,
    /// Nothing says whose it is.
    Unknown,
    /// Another look may tell.
    Unclear,
}

/// As often another look is taken for a clear one, at this distance. A spawn takes less than a millisecond.
const LOOKS_MAX: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(1);

impl ProcessTracker {
    /// No run yet, and no marks in resource limits.
    pub fn new(strangers: Strangers) -> ProcessTracker {
        ProcessTracker::with_marks(strangers, None, Arc::default(), 0)
    }

    /// The same with marks. `spawns` counts all spawns of the daemon; the first run has the number `first_run`.
    pub fn with_marks(
        strangers: Strangers,
        marks: Option<Marks>,
        spawns: Arc<InFlight>,
        first_run: u64,
    ) -> ProcessTracker {
        let next_run = AtomicU64::new(first_run);
        ProcessTracker { strangers, marks, next_run, trees: Mutex::default(), last: Mutex::default(), spawns }
    }

    /// Begins a spawn, and gives the run a mark. To be kept until the run is registered.
    pub fn begin_spawn(&self) -> Spawning<'_> {
        let mark = self.marks.map(|marks| {
            let mut mark = marks.of_run(self.next_run.fetch_add(1, Ordering::Relaxed));
            // The numbers begin again after a million runs.
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
            *self.last_look() = None;
        }
    }

    /// Returns the processes of `tree` as they were at some moment after `since`.
    ///
    /// # Errors
    /// `/proc` can't be read: nothing but the session is known then. If that is for want of descriptors or memory
    /// (`is_shortage`), another look may succeed.
    pub fn members(&self, tree: &RunTree, mut since: Instant) -> io::Result<Members> {
        for _ in 1..LOOKS_MAX {
            let members = self.try_members(tree, since)?;
            match members.clarity {
                Clarity::Clear => return Ok(members),
                Clarity::Blurred => thread::sleep(LOOK_PAUSE),
            }
            since = Instant::now();
        }
        self.try_members(tree, since)
    }

    fn try_members(&self, tree: &RunTree, since: Instant) -> io::Result<Members> {
        let look = self.look(since)?;
        let processes = &look.snapshot;
        let born = processes.find(tree.leader).map_or(0, |leader| leader.started);
        let mut members = SortedSet::default();
        let mut roots = vec![tree.leader];
        roots.extend(processes.all().filter(|process| tree.has_session_of(process)).map(|process| process.pid));
        let (mut clarity, mut unclaimed) = (look.clarity, Vec::new());
        for &(pid, ref owner) in look.owners.iter() {
            match owner {
                Owner::Run(leader) if *leader == tree.leader => roots.push(pid),
                Owner::Run(_) | Owner::OtherRun => {}
                Owner::Unknown => unclaimed
                    .extend(processes.find(pid).filter(|child| child.started >= born && child.is_alive()).cloned()),
                Owner::Unclear => clarity = Clarity::Blurred,
            }
        }
        while let Some(pid) = roots.pop() {
            if members.insert(pid) {
                roots.extend(processes.children(pid).map(|child| child.pid));
            }
        }
        let living = processes.all().filter(|process| members.contains(&process.pid) && process.is_alive());
        Ok(Members { living: living.cloned().collect(), clarity, unclaimed })
    }

    /// Returns the living children of the daemon that lead no run and come from one of its servers, with their descendants.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn orphans(&self) -> io::Result<Vec<Process>> {
        let look = self.look(Instant::now())?;
        let processes = &look.snapshot;
        let is_ours = |owner: &Owner| match (owner, self.strangers) {
            (Owner::Run(_) | Owner::OtherRun, _) | (Owner::Unknown | Owner::Unclear, Strangers::Impossible) => true,
            (Owner::Unknown | Owner::Unclear, Strangers::Possible) => false,
        };
        let mut roots: Vec<Pid> = look.owners.iter().filter(|(_, owner)| is_ours(owner)).map(|(pid, _)| *pid).collect();
        let mut found = Vec::new();
        while let Some(pid) = roots.pop() {
            found.extend(processes.find(pid).filter(|process| process.is_alive()).cloned());
            roots.extend(processes.children(pid).map(|child| child.pid));
        }
        Ok(found)
    }

    /// Returns a look at the processes that was begun after `since`; one that another thread began will do.
    fn look(&self, since: Instant) -> io::Result<Look> {
        let mut last = self.last_look();
        if let Some(look) = &*last
            && look.begun >= since
        {
            return Ok(look.clone());
        }
        let begun = Instant::now();
        let trees = self.trees().clone();
        let own = Pid::own();
        let mut owners: Sorted<Pid, Owner> = Sorted::default();
        let (snapshot, clarity) = Snapshot::take_whole(|process| {
            if process.parent != own.raw() {
                return Ok(Asked::Shown);
            }
            // In this order: a child that was there before an idle moment has been registered or is an orphan.
            let is_idle = self.spawns.idle().is_some();
            if self.trees().contains_key(&process.pid) {
                return Ok(Asked::Shown);
            }
            let owner = self.owner(process, &trees, is_idle)?;
            // Who ended meanwhile may have had more than it has shown.
            if !process.lives_on()? {
                return Ok(Asked::Ended);
            }
            owners.insert(process.pid, owner);
            Ok(Asked::Shown)
        })?;
        if self.strangers == Strangers::Impossible {
            attribute_to_the_only_older_run(&mut owners, &trees, &snapshot);
        }
        let look = Look { begun, snapshot: Arc::new(snapshot), owners: Arc::new(owners), clarity };
        *last = (!trees.is_empty()).then(|| look.clone());
        Ok(look)
    }

    /// Returns the run that a child of the daemon belongs to. What costs more is read only if nothing else decides.
    fn owner(&self, child: &Process, trees: &Sorted<Pid, Arc<RunTree>>, is_idle: bool) -> io::Result<Owner> {
        let find = |is_it: &dyn Fn(&RunTree) -> bool| trees.values().find(|tree| is_it(tree)).map(|tree| tree.leader);
        if let Some(leader) = find(&|tree| tree.has_session_of(child)) {
            return Ok(Owner::Run(leader));
        }
        if let Some(marks) = self.marks
            && let Some(limits) = limits::of(child.pid)?
        {
            // What is in the hard limit can't be changed to another run's mark without privilege.
            let hard = Limits { soft: limits.hard, ..limits };
            for limits in [hard, limits] {
                if let Some(leader) = find(&|tree| tree.mark.is_some_and(|mark| mark.is_in(limits))) {
                    return Ok(Owner::Run(leader));
                }
            }
            if marks.made(limits) {
                return Ok(Owner::OtherRun);
            }
        }
        if !is_idle {
            return Ok(Owner::Unclear);
        }
        let pipes = proc::pipes(child.pid)?;
        if let Some(leader) = find(&|tree| tree.pipes.iter().any(|pipe| pipes.contains(pipe))) {
            return Ok(Owner::Run(leader));
        }
        if trees.values().any(|tree| tree.mark.is_none())
            && let Some(marker) = child.marker()?
            && let Some(leader) = find(&|tree| tree.mark.is_none() && tree.marker == marker)
        {
            return Ok(Owner::Run(leader));
        }
        Ok(Owner::Unknown)
    }

    fn last_look(&self) -> MutexGuard<'_, Option<Look>> {
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

/// An orphan comes from one of the runs that were there when it was born, if no child of the daemon can be anything else;
/// when that is only one, it is known.
fn attribute_to_the_only_older_run(
    owners: &mut Sorted<Pid, Owner>,
    trees: &Sorted<Pid, Arc<RunTree>>,
    snapshot: &Snapshot,
) {
    for (&pid, owner) in owners.iter_mut().filter(|(_, owner)| **owner == Owner::Unknown) {
        let Some(child) = snapshot.find(pid) else { continue };
        // A leader that has ended counts: it is not reaped as long as its run is not over.
        let is_older = |leader: &&Pid| snapshot.find(**leader).is_some_and(|found| found.started <= child.started);
        let mut older = trees.keys().filter(is_older);
        if let (Some(leader), None) = (older.next(), older.next()) {
            *owner = Owner::Run(*leader);
        }
    }
}
