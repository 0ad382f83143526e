//! Which processes belong to a run, and how to signal one of them without ever hitting a stranger.
//!
//! Owns: the proofs of membership: descent, process group, the marker in the environment, the run's pipes, and being
//! an orphan that can have come from nowhere else. Never: when to signal what.
//!
//! A process can leave its group and its session, and its parent can die; what it can't do is leave all of these
//! at once before someone has looked: a leader's living descendants are found by descent, and an orphan comes to the
//! daemon, the subreaper, with its environment and its open pipes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::inherit::Strangers;
use super::motion::{Motion, Moving};
use super::proc::{self, Process};
use super::snapshot::{Asked, Clarity, Snapshot};
use super::{Pid, check};
use crate::log;
use crate::sorted::{Sorted, SortedSet};

#[cfg(test)]
mod tests;

/// A signal that the daemon sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGCONT, for what was stopped and would not hear SIGTERM.
    Continue,
    /// SIGKILL.
    Kill,
}

impl Signal {
    /// The kernel's number for it.
    pub fn number(self) -> libc::c_int {
        match self {
            Signal::Terminate => libc::SIGTERM,
            Signal::Continue => libc::SIGCONT,
            Signal::Kill => libc::SIGKILL,
        }
    }
}

/// The variable that carries a run's marker in the environment of each of its processes.
pub const MARKER_VARIABLE: &str = "SERVISOR_RUN";

/// What proves that a process belongs to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The first process, and its group's number.
    pub leader: Pid,
    /// The value of [`MARKER_VARIABLE`].
    pub marker: String,
    /// The inodes of the pipes that take its output.
    pub pipes: [u64; 2],
}

/// All runs that may have living processes, and a look at the processes that those who ask at the same time share.
pub struct Forest {
    strangers: Strangers,
    trees: Mutex<Sorted<Pid, Arc<Tree>>>,
    looks: Mutex<Option<Look>>,
    /// Spawns. Until it is another program, a child has all that the daemon has, the pipes of every run among it, and until
    /// it is planted it is nobody's: as long as some spawn goes on, only its marker or its group says whose an unknown child
    /// of the daemon is.
    sowing: Motion,
}

/// A look at the processes.
#[derive(Debug, Clone)]
struct Look {
    begun: Instant,
    snapshot: Arc<Snapshot>,
    /// Of the children of the daemon that lead no run.
    evidence: Arc<Sorted<Pid, Evidence>>,
    clarity: Clarity,
}

/// What an unknown child of the daemon has shown while it lived.
#[derive(Debug, Default)]
struct Evidence {
    marker: Option<String>,
    /// `None` as long as it may be somebody who is just being spawned.
    pipes: Option<Vec<u64>>,
}

/// Whose an orphan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Run(Pid),
    Nobody,
    /// Another look may tell.
    Unclear,
}

/// As often another look is taken for a clear one, at this distance. A spawn takes less than a millisecond.
const LOOKS_MAX: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(1);

impl Forest {
    /// No run yet.
    pub fn new(strangers: Strangers) -> Forest {
        Forest { strangers, trees: Mutex::default(), looks: Mutex::default(), sowing: Motion::default() }
    }

    /// Says that a process is about to be spawned. To be kept until it is planted.
    pub fn sow(&self) -> Moving<'_> {
        self.sowing.begin()
    }

    /// From now on, orphans are held against this run too.
    pub fn plant(&self, tree: Tree) -> Arc<Tree> {
        let tree = Arc::new(tree);
        self.trees().insert(tree.leader, Arc::clone(&tree));
        tree
    }

    /// The run is over. With the last one goes what was seen of the processes of the whole system.
    pub fn fell(&self, leader: Pid) {
        let is_bare = {
            let mut trees = self.trees();
            trees.remove(&leader);
            trees.is_empty()
        };
        if is_bare {
            *self.last_look() = None;
        }
    }

    /// The living processes of `tree`, as they were at some moment after `since`, the leader among them; and whether these
    /// are all.
    ///
    /// # Errors
    /// `/proc` can't be read: nothing but the process group is known then. If that is for want of descriptors or memory
    /// (`is_shortage`), another look may succeed.
    pub fn members(&self, tree: &Tree, mut since: Instant) -> io::Result<(Vec<Process>, Clarity)> {
        for _ in 1..LOOKS_MAX {
            match self.try_members(tree, since)? {
                (members, Clarity::Clear) => return Ok((members, Clarity::Clear)),
                (_, Clarity::Blurred) => thread::sleep(LOOK_PAUSE),
            }
            since = Instant::now();
        }
        self.try_members(tree, since)
    }

    /// The members, and whether there may be more of them.
    fn try_members(&self, tree: &Tree, since: Instant) -> io::Result<(Vec<Process>, Clarity)> {
        let look = self.look(since)?;
        let processes = &look.snapshot;
        let trees: Vec<Arc<Tree>> = self.trees().values().cloned().collect();
        let mut members = SortedSet::default();
        let mut roots = vec![tree.leader];
        roots.extend(processes.all().filter(|process| process.group == tree.leader.raw()).map(|process| process.pid));
        let mut clarity = look.clarity;
        for orphan in processes.children(Pid::own()).filter(|orphan| trees.iter().all(|tree| tree.leader != orphan.pid))
        {
            match self.owner(orphan, &look, &trees) {
                Owner::Run(leader) if leader == tree.leader => roots.push(orphan.pid),
                Owner::Run(_) | Owner::Nobody => {}
                Owner::Unclear => clarity = Clarity::Blurred,
            }
        }
        while let Some(pid) = roots.pop() {
            if members.insert(pid) {
                roots.extend(processes.children(pid).map(|child| child.pid));
            }
        }
        let members = processes.all().filter(|process| members.contains(&process.pid) && process.is_alive());
        Ok((members.cloned().collect(), clarity))
    }

    /// The living processes of every run, by its leader, as they were at some moment after `since`: one pass through the
    /// processes, however many runs there are. A process that could be counted to two runs is counted to the one whose
    /// group it is in.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn census(&self, since: Instant) -> io::Result<Sorted<Pid, Vec<Pid>>> {
        let look = self.look(since)?;
        let processes = &look.snapshot;
        let trees = self.trees().clone();
        let leader_of_group = |process: &Process| Pid::new(process.group).filter(|group| trees.contains_key(group));
        let mut owners: Sorted<Pid, Pid> = processes
            .all()
            .filter_map(|process| {
                let leads = trees.contains_key(&process.pid).then_some(process.pid);
                Some((process.pid, leads.or_else(|| leader_of_group(process))?))
            })
            .collect();
        let all: Vec<Arc<Tree>> = trees.values().cloned().collect();
        for orphan in processes.children(Pid::own()).filter(|orphan| !trees.contains_key(&orphan.pid)) {
            if let Owner::Run(leader) = self.owner(orphan, &look, &all) {
                owners.insert(orphan.pid, leader);
            }
        }
        let mut roots: Vec<(Pid, Pid)> = owners.iter().map(|(pid, leader)| (*pid, *leader)).collect();
        while let Some((pid, leader)) = roots.pop() {
            for child in processes.children(pid) {
                if !owners.contains_key(&child.pid) {
                    owners.insert(child.pid, leader);
                    roots.push((child.pid, leader));
                }
            }
        }
        let mut members: Sorted<Pid, Vec<Pid>> = Sorted::default();
        for (pid, leader) in owners {
            if processes.find(pid).is_some_and(Process::is_alive) {
                members.entry(leader).push(pid);
            }
        }
        Ok(members)
    }

    /// The living processes that have come to the daemon as orphans, with their descendants, and can have come from
    /// nowhere but its servers. Empty where strangers' orphans come too.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn orphans(&self) -> io::Result<Vec<Process>> {
        if self.strangers == Strangers::Possible {
            return Ok(Vec::new());
        }
        let processes = self.look(Instant::now())?.snapshot;
        let mut found = Vec::new();
        let mut roots: Vec<Pid> = {
            let trees = self.trees();
            processes.children(Pid::own()).map(|child| child.pid).filter(|pid| !trees.contains_key(pid)).collect()
        };
        while let Some(pid) = roots.pop() {
            found.extend(processes.find(pid).filter(|process| process.is_alive()).cloned());
            roots.extend(processes.children(pid).map(|child| child.pid));
        }
        Ok(found)
    }

    /// The run that an orphan comes from, if that can be proven.
    fn owner(&self, orphan: &Process, look: &Look, trees: &[Arc<Tree>]) -> Owner {
        // It had ended before it could show anything. Its children are in the look as what they have become: orphans.
        let Some(evidence) = look.evidence.get(&orphan.pid) else { return Owner::Nobody };
        // Another marker proves nothing: a supervisor inside of a server sets its own.
        if let Some(tree) = trees.iter().find(|tree| evidence.marker.as_ref() == Some(&tree.marker)) {
            return Owner::Run(tree.leader);
        }
        if let Some(tree) = trees.iter().find(|tree| tree.leader.raw() == orphan.group) {
            return Owner::Run(tree.leader);
        }
        let Some(pipes) = &evidence.pipes else { return Owner::Unclear };
        if let Some(tree) = trees.iter().find(|tree| tree.pipes.iter().any(|pipe| pipes.contains(pipe))) {
            return Owner::Run(tree.leader);
        }
        match self.strangers {
            Strangers::Possible => Owner::Nobody,
            // It comes from one of the runs that were there when it was born; when that is only one, it is known.
            Strangers::Impossible => {
                let is_older = |pid| look.snapshot.find(pid).is_some_and(|leader| leader.started <= orphan.started);
                let mut older = trees.iter().filter(|tree| is_older(tree.leader));
                match (older.next(), older.next()) {
                    (Some(only), None) => Owner::Run(only.leader),
                    (None | Some(_), _) => Owner::Nobody,
                }
            }
        }
    }

    /// A look at the processes that was begun after `since`; one that somebody else began will do.
    fn look(&self, since: Instant) -> io::Result<Look> {
        let leaders = self.trees().clone();
        let mut last = self.last_look();
        if let Some(look) = &*last
            && look.begun >= since
        {
            return Ok(look.clone());
        }
        let begun = Instant::now();
        let own = Pid::own();
        let mut evidence: Sorted<Pid, Evidence> = Sorted::default();
        let (snapshot, clarity) = Snapshot::take_whole(|process| {
            if process.parent != own.raw() || leaders.contains_key(&process.pid) {
                return Ok(Asked::Shown);
            }
            let shown = self.evidence(process)?;
            // Who ended meanwhile may have had more than it has shown.
            if !process.lives_on()? {
                return Ok(Asked::Ended);
            }
            evidence.insert(process.pid, shown);
            Ok(Asked::Shown)
        })?;
        let look = Look { begun, snapshot: Arc::new(snapshot), evidence: Arc::new(evidence), clarity };
        *last = (!leaders.is_empty()).then(|| look.clone());
        Ok(look)
    }

    fn evidence(&self, child: &Process) -> io::Result<Evidence> {
        // It was there before this moment: when nobody is being spawned now, it has been planted or is an orphan.
        let may_be_a_seed = !self.sowing.is_at_rest();
        let marker = child.marker()?.map(str::to_owned);
        let pipes = if may_be_a_seed { None } else { Some(proc::pipes(child.pid)?) };
        Ok(Evidence { marker, pipes })
    }

    fn last_look(&self) -> MutexGuard<'_, Option<Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trees(&self) -> MutexGuard<'_, Sorted<Pid, Arc<Tree>>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signals `process`, and nobody else: its number may belong to another process by now, so it is opened first, looked
/// at again, and signalled by what was opened.
pub fn signal(process: &Process, signal: Signal) {
    match open(process.pid) {
        Ok(opened) => {
            if process.is_still_there() {
                // SAFETY: `opened` is an open descriptor, no details are passed, the rest are longs. A process
                // that has ended meanwhile is ESRCH, which is what was wanted.
                unsafe {
                    libc::syscall(
                        libc::SYS_pidfd_send_signal,
                        libc::c_long::from(opened.as_fd().as_raw_fd()),
                        libc::c_long::from(signal.number()),
                        ptr::null::<libc::siginfo_t>(),
                        NO_FLAGS,
                    )
                };
            }
        }
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
        // A kernel before 5.3, a filter of system calls, or no descriptor left. The number is looked at right before.
        Err(error) => {
            log::debug(format_args!(
                "process {} can't be opened ({error}); it is signalled by its number",
                process.pid
            ));
            if process.is_still_there() {
                // SAFETY: plain numbers; the number is positive and was this process's a moment ago.
                unsafe { libc::kill(process.pid.raw(), signal.number()) };
            }
        }
    }
}

const NO_FLAGS: libc::c_ulong = 0;

fn open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers, each a long.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid.raw()), NO_FLAGS) };
    let fd = check(libc::c_int::try_from(fd).unwrap_or(-1))?;
    // SAFETY: the call has just made this descriptor, nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
