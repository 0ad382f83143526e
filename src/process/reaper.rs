//! Detecting the exit of processes, and reaping them.
//!
//! Owns: all waits for children. Never: a decision about a run; a signal other than through a [`Leader`].
//!
//! The kernel keeps a list of children for each *thread*. A supervisor spawns, so a run's leader is on its supervisor's
//! list; an orphan that the daemon inherits (as PID 1 or as subreaper) is on the list of the main thread, which spawns
//! nothing. So `waitid` with `__WNOTHREAD` on the main thread sees orphans only, and can reap every one of them without
//! a table; and when it sees none, no run has orphans.
//!
//! A process that a leader has made with `CLONE_PARENT` is on the list of its supervisor: a sibling of the leader. The
//! table distinguishes it from a leader, [`InFlight`] from a leader that is being spawned.
//!
//! A dead leader is detected without being reaped (`WNOWAIT`). While it is a zombie its number and that of its group
//! can't be reused; only its [`Leader`] reaps and signals it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use crate::log;
use crate::model::machine::Exit;
use crate::os::Pid;
use crate::os::pidfd::Signal;
use crate::os::wait::{self, Usage, WaitMode, WaitTarget, ended, exists};
use crate::sorted::{Sorted, SortedSet};
use crate::sync::lock;

/// The limit of the wait for a leader that is dropped alive, after its SIGKILL.
const DROP_LIMIT: Duration = Duration::from_secs(1);
/// The exited children that are reaped before supervisors are notified: new ones may exit all the time.
const REAPED_MAX: usize = 1024;
/// Up to so many awaited orphans are each checked in a sweep.
const RECHECK_MAX: usize = 64;

/// A notice to a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The leader has exited and is a zombie.
    LeaderExited(Orphans),
    /// None of the processes given to [`Reaper::await_orphans`] exists any more.
    OrphansGone,
}

/// Whether a dead leader can have left orphans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// No orphan lives at all.
    None,
    /// Some orphan lives, of this run or another.
    Perhaps,
}

type NoticeFn = Arc<dyn Fn(Notice) + Send + Sync>;

struct LeaderEntry {
    notify: NoticeFn,
    is_notified: bool,
    awaited: SortedSet<Pid>,
}

/// Whether all exited children that are not leaders were reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Siblings {
    Reaped,
    /// A dead leader that is not reaped yet, or a spawn, may hide some.
    Hidden,
}

/// The table of leaders and the supervisors to notify.
#[derive(Default)]
pub struct Reaper {
    watches: Mutex<Sorted<Pid, LeaderEntry>>,
    /// `None` in tests where other threads wait for children of their own: only orphans and leaders are reaped.
    spawns: Option<Arc<InFlight>>,
    has_hidden_siblings: AtomicBool,
}

impl Reaper {
    /// `spawns` counts all spawns of the daemon, each until its child is adopted.
    pub fn new(spawns: Arc<InFlight>) -> Reaper {
        Reaper { spawns: Some(spawns), ..Reaper::default() }
    }

    /// Takes over a child that was just spawned by the calling thread. `notify` is called on the main thread, or at
    /// once if the child has exited already; it must not block.
    pub fn adopt(self: &Arc<Self>, pid: Pid, notify: impl Fn(Notice) + Send + Sync + 'static) -> Leader {
        let notify: NoticeFn = Arc::new(notify);
        let mut table = self.table();
        // Under the lock: either the sweep sees the entry, or this sees the exit.
        let is_notified = has_exited(pid);
        table.insert(pid, LeaderEntry { notify: Arc::clone(&notify), is_notified, awaited: SortedSet::default() });
        drop(table);
        if is_notified {
            notify(Notice::LeaderExited(Orphans::Perhaps));
        }
        Leader { pid, reaper: Arc::clone(self), state: LeaderState::Unreaped }
    }

    /// Requests [`Notice::OrphansGone`] for when none of `pids` exists any more, unless that is so already.
    pub fn await_orphans(&self, leader: Pid, pids: SortedSet<Pid>) -> OrphanWait {
        let mut table = self.table();
        let Some(watch) = table.get_mut(&leader) else { return OrphanWait::Gone };
        watch.awaited = pids;
        // One of them may have been reaped since the snapshot.
        watch.awaited.retain(|&pid| exists(pid));
        if watch.awaited.is_empty() { OrphanWait::Gone } else { OrphanWait::Pending }
    }

    /// Reaps every exited orphan, and notifies the supervisor of every exited leader. Call it on the main thread for
    /// each SIGCHLD.
    pub fn sweep(&self) {
        while self.sweep_some() >= REAPED_MAX {}
    }

    /// Sweeps a part, and returns how many children were reaped.
    fn sweep_some(&self) -> usize {
        let mut reaped = reap_orphans();
        let siblings = self.reap_siblings(&mut reaped);
        let mut ended_leaders = Vec::new();
        let mut rid_of_orphans = Vec::new();
        let mut table = self.table();
        if siblings == Siblings::Hidden {
            // Awaited orphans are known by their numbers. None of them is a leader.
            let awaited = table.values().filter(|watch| watch.awaited.len() <= RECHECK_MAX);
            let awaited =
                awaited.flat_map(|watch| watch.awaited.iter().copied()).filter(|&pid| reap(WaitTarget::One(pid)));
            reaped.extend(awaited);
        }
        for (&pid, watch) in table.iter_mut() {
            if !watch.is_notified && has_exited(pid) {
                watch.is_notified = true;
                ended_leaders.push(Arc::clone(&watch.notify));
            }
            if !watch.awaited.is_empty() && reaped.iter().any(|pid| watch.awaited.remove(pid)) {
                for pid in &reaped {
                    watch.awaited.remove(pid);
                }
                if watch.awaited.len() <= RECHECK_MAX {
                    watch.awaited.retain(|&pid| exists(pid));
                }
                if watch.awaited.is_empty() {
                    rid_of_orphans.push(Arc::clone(&watch.notify));
                }
            }
        }
        drop(table);
        if !ended_leaders.is_empty() {
            // After the exits were seen: the kernel reparents the children of a dying process before it can be waited
            // for, so orphans of these leaders are on our list by now.
            let orphans = orphans();
            ended_leaders.iter().for_each(|notify| notify(Notice::LeaderExited(orphans)));
        }
        rid_of_orphans.iter().for_each(|notify| notify(Notice::OrphansGone));
        reaped.len()
    }

    /// Reaps the exited children of all threads, except leaders.
    fn reap_siblings(&self, reaped: &mut Vec<Pid>) -> Siblings {
        let Some(spawns) = &self.spawns else { return Siblings::Reaped };
        let siblings = loop {
            if reaped.len() >= REAPED_MAX {
                break Siblings::Hidden;
            }
            // The child of a spawn that begins and ends within these lines must not be taken for a sibling.
            let Some(idle) = spawns.idle() else { break Siblings::Hidden };
            let Ok(Some((pid, _))) = ended(WaitTarget::Any, WaitMode::Leave) else { break Siblings::Reaped };
            if self.is_leader(pid) || !spawns.is_idle_since(idle) {
                break Siblings::Hidden;
            }
            // An orphan that has exited since the others were reaped: its SIGCHLD follows, as those of all others.
            if reap(WaitTarget::OwnOne(pid)) {
                reaped.push(pid);
                break Siblings::Reaped;
            }
            if !reap(WaitTarget::One(pid)) {
                break Siblings::Hidden;
            }
            reaped.push(pid);
        };
        self.has_hidden_siblings.store(siblings == Siblings::Hidden, Ordering::SeqCst);
        siblings
    }

    /// Reaps siblings that a dead leader, or a spawn, has hidden from the last sweep.
    fn reap_hidden_siblings(&self) {
        if self.has_hidden_siblings.load(Ordering::SeqCst) {
            self.reap_siblings(&mut Vec::new());
        }
    }

    pub fn is_leader(&self, pid: Pid) -> bool {
        self.table().contains_key(&pid)
    }

    fn table(&self) -> MutexGuard<'_, Sorted<Pid, LeaderEntry>> {
        lock(&self.watches)
    }
}

/// The result of [`Reaper::await_orphans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrphanWait {
    /// A notice will follow.
    Pending,
    /// None is left; no notice follows.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaderState {
    Unreaped,
    Reaped,
}

/// A run's leader, from its spawn to its reaping: the only way to signal its group and to reap it. Dropping it earlier
/// kills its group.
pub struct Leader {
    pid: Pid,
    reaper: Arc<Reaper>,
    state: LeaderState,
}

impl Leader {
    /// Its number, which is that of its session and group too, and can't be reused while this value exists.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether the calling thread, which has spawned the leader, has other children: the leader has made them with
    /// `CLONE_PARENT`. One that has exited counts: it may have left a child after the reaper has looked for orphans.
    /// Where the list can't be read, it counts only as long as it lives.
    pub fn may_have_siblings(&self) -> bool {
        wait::has_other_children(self.pid).or_else(|_| wait::has_living_child()).unwrap_or(true)
    }

    /// Signals its whole process group.
    pub fn signal_group(&self, signal: Signal) {
        if self.state == LeaderState::Unreaped {
            wait::signal_group(self.pid, signal);
        }
    }

    /// Signals it alone.
    pub fn signal(&self, signal: Signal) {
        if self.state == LeaderState::Unreaped {
            wait::signal_child(self.pid, signal);
        }
    }

    /// Reaps it.
    ///
    /// # Errors
    /// It has not exited yet, or the kernel knows no such child.
    pub fn reap(mut self) -> io::Result<(Exit, Usage)> {
        let reaped = self.try_reap()?;
        reaped.ok_or_else(|| io::Error::new(io::ErrorKind::WouldBlock, format!("process {} has not ended", self.pid)))
    }

    fn try_reap(&mut self) -> io::Result<Option<(Exit, Usage)>> {
        let reaped = wait::reap_with_usage(self.pid)?;
        if reaped.is_some() {
            self.state = LeaderState::Reaped;
        }
        Ok(reaped)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.state == LeaderState::Unreaped {
            self.signal_group(Signal::Kill);
            let limit = Instant::now() + DROP_LIMIT;
            while let Ok(None) = self.try_reap() {
                if Instant::now() >= limit {
                    log::error(format_args!("process {} did not end after SIGKILL; it is left behind", self.pid));
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.reaper.table().remove(&self.pid);
        self.reaper.reap_hidden_siblings();
    }
}

fn reap_orphans() -> Vec<Pid> {
    let mut reaped = Vec::new();
    while reaped.len() < REAPED_MAX
        && let Ok(Some((pid, _))) = ended(WaitTarget::OwnThread, WaitMode::Reap)
    {
        reaped.push(pid);
    }
    reaped
}

/// Reaps a child of `wanted` that has exited, if there is one.
fn reap(wanted: WaitTarget) -> bool {
    matches!(ended(wanted, WaitMode::Reap), Ok(Some(_)))
}

fn has_exited(pid: Pid) -> bool {
    matches!(ended(WaitTarget::One(pid), WaitMode::Leave), Ok(Some(_)))
}

fn orphans() -> Orphans {
    match ended(WaitTarget::OwnThread, WaitMode::Leave) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Orphans::None,
        Ok(_) | Err(_) => Orphans::Perhaps,
    }
}

#[cfg(test)]
mod tests;
