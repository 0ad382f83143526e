//! Learning of the end of processes, and reaping them.
//!
//! Owns: the one place where children are waited for. Never: a decision about a run; a signal but through a
//! [`Leader`].
//!
//! The kernel keeps a list of children for each *thread*. A supervisor spawns, so a run's leader stands on its
//! supervisor's list; an orphan that comes to the daemon (as PID 1 or as subreaper) is put on the list of the main
//! thread, which spawns nothing. So `waitid` with `__WNOTHREAD` on the main thread sees orphans only, and can
//! reap every one of them without a table of who is whose; and when it sees none, no tree has lost a process to us.
//!
//! A process made with `CLONE_PARENT` by a leader is on the list of its supervisor: a sibling of the leader. It is told
//! from a leader by the table, and from a leader that is just being spawned by [`InFlight`].
//!
//! A dead leader is noticed without being reaped (`WNOWAIT`). While it is a zombie its number and its group's can't
//! belong to anyone else; it is reaped by its [`Leader`], which is also the only one to signal it.

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
use crate::os::reserve_fd::ReserveFd;
use crate::os::wait::{self, Usage, WaitMode, WaitTarget, ended, exists};
use crate::sorted::{Sorted, SortedSet};
use crate::sync::lock;

/// As long as this, a leader that is dropped alive is waited for after its SIGKILL.
const DROP_LIMIT: Duration = Duration::from_secs(1);
/// Of children that have ended so many are reaped before the news is told: new ones may end all the time.
const REAPED_MAX: usize = 1024;
/// Up to so many awaited orphans are each looked at when one of them has ended.
const RECHECK_MAX: usize = 64;

/// What a supervisor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The leader has ended and is a zombie.
    LeaderExited(Orphans),
    /// None of the processes given to [`Reaper::await_orphans`] exists any more.
    OrphansGone,
}

/// Whether a dead leader can have left something behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// No orphan lives at all: what descended from the leader is gone.
    None,
    /// Some orphan lives; whose it is has to be found out.
    Perhaps,
}

type Notify = Arc<dyn Fn(Notice) + Send + Sync>;

struct Watch {
    notify: Notify,
    told: bool,
    awaited: SortedSet<Pid>,
}

/// Whether all children that have ended and lead no run were reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Siblings {
    Reaped,
    /// A dead leader that is not reaped yet, or a spawn, may hide some.
    Hidden,
}

/// The table of living leaders and who wants to hear of them.
#[derive(Default)]
pub struct Reaper {
    watches: Mutex<Sorted<Pid, Watch>>,
    /// `None`: other threads wait for children of their own, so that none is reaped but orphans and leaders.
    spawns: Option<Arc<InFlight>>,
    has_hidden_siblings: AtomicBool,
    /// A run is over without a look at all processes if its leader has no siblings, which must be seen in a shortage too.
    reserve: ReserveFd,
}

impl Reaper {
    /// No leader yet. `spawns` counts all spawns of the daemon, each until its child is adopted.
    pub fn new(spawns: Arc<InFlight>) -> Reaper {
        Reaper { spawns: Some(spawns), reserve: ReserveFd::new(), ..Reaper::default() }
    }

    /// Takes over a child that was just spawned by the calling thread. `notify` is called on the main thread, or at once
    /// when the child has ended already; it must not block.
    pub fn adopt(self: &Arc<Self>, pid: Pid, notify: impl Fn(Notice) + Send + Sync + 'static) -> Leader {
        let notify: Notify = Arc::new(notify);
        let mut table = self.table();
        // Looked at under the lock: either the sweep sees the entry, or this sees the death.
        let told = has_exited(pid);
        table.insert(pid, Watch { notify: Arc::clone(&notify), told, awaited: SortedSet::default() });
        drop(table);
        if told {
            notify(Notice::LeaderExited(Orphans::Perhaps));
        }
        Leader { pid, reaper: Arc::clone(self), state: LeaderState::Unreaped }
    }

    /// Asks for [`Notice::OrphansGone`] when none of `pids` exists any more; or says that it is so already.
    pub fn await_orphans(&self, leader: Pid, pids: SortedSet<Pid>) -> Awaited {
        let mut table = self.table();
        let Some(watch) = table.get_mut(&leader) else { return Awaited::GoneAlready };
        watch.awaited = pids;
        // One of them may have been reaped between the look at the processes and now.
        watch.awaited.retain(|&pid| exists(pid));
        if watch.awaited.is_empty() { Awaited::GoneAlready } else { Awaited::WillBeTold }
    }

    /// Reaps every orphan that has ended and tells of every leader that has. To be called on the main thread, for
    /// each SIGCHLD.
    pub fn sweep(&self) {
        while self.sweep_some() >= REAPED_MAX {}
    }

    /// Does a part of it, and returns how many were reaped.
    fn sweep_some(&self) -> usize {
        let mut reaped = reap_orphans();
        let siblings = self.reap_siblings(&mut reaped);
        let mut ended_leaders = Vec::new();
        let mut rid_of_orphans = Vec::new();
        let mut table = self.table();
        if siblings == Siblings::Hidden {
            // Those that are waited for are known by their numbers. None of them leads a run.
            let awaited = table.values().filter(|watch| watch.awaited.len() <= RECHECK_MAX);
            let awaited =
                awaited.flat_map(|watch| watch.awaited.iter().copied()).filter(|&pid| reap(WaitTarget::One(pid)));
            reaped.extend(awaited);
        }
        for (&pid, watch) in table.iter_mut() {
            if !watch.told && has_exited(pid) {
                watch.told = true;
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
            // Asked after the deaths were seen: the kernel hands a dying process's children on before it can be
            // waited for, so what these leaders left is on our list by now.
            let orphans = orphans();
            ended_leaders.iter().for_each(|notify| notify(Notice::LeaderExited(orphans)));
        }
        rid_of_orphans.iter().for_each(|notify| notify(Notice::OrphansGone));
        reaped.len()
    }

    /// Reaps the children that have ended, whatever thread's they are, but for leaders.
    fn reap_siblings(&self, reaped: &mut Vec<Pid>) -> Siblings {
        let Some(spawns) = &self.spawns else { return Siblings::Reaped };
        let siblings = loop {
            if reaped.len() >= REAPED_MAX {
                break Siblings::Hidden;
            }
            // A child of a spawn that began and ended within these lines must not be taken for a sibling.
            let Some(idle) = spawns.idle() else { break Siblings::Hidden };
            let Ok(Some((pid, _))) = ended(WaitTarget::Any, WaitMode::Leave) else { break Siblings::Reaped };
            if self.is_leader(pid) || !spawns.is_idle_since(idle) {
                break Siblings::Hidden;
            }
            // An orphan that has ended since the others were reaped: its SIGCHLD is on its way, as those of all the next are.
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

    /// Reaps what a dead leader, or a spawn, has hidden from the last sweep.
    fn reap_hidden_siblings(&self) {
        if self.has_hidden_siblings.load(Ordering::SeqCst) {
            self.reap_siblings(&mut Vec::new());
        }
    }

    /// Whether `pid` leads a run.
    pub fn is_leader(&self, pid: Pid) -> bool {
        self.table().contains_key(&pid)
    }

    fn table(&self) -> MutexGuard<'_, Sorted<Pid, Watch>> {
        lock(&self.watches)
    }
}

/// The answer to [`Reaper::await_orphans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// A notice will come.
    WillBeTold,
    /// None is left; no notice will come.
    GoneAlready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaderState {
    Unreaped,
    Reaped,
}

/// A run's leader, from its spawn to its reaping: the only way to signal its group and the only way to reap it. Dropped
/// before it is reaped, it takes its group with it.
pub struct Leader {
    pid: Pid,
    reaper: Arc<Reaper>,
    state: LeaderState,
}

impl Leader {
    /// Its number, which is its session's and its group's too, and no other process's while this value exists unreaped.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether the process has children that the calling thread, which has spawned the leader, sees beside it: the leader
    /// has made them with `CLONE_PARENT`. What can't be seen may be.
    pub fn may_have_siblings(&self) -> bool {
        self.reaper.reserve.open_with(|| wait::has_other_children(self.pid)).unwrap_or(true)
    }

    /// Signals it and every process of its group.
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
    /// It has not ended yet, or the kernel knows no such child.
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

/// Reaps the child that is wanted if there is one and it has ended.
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
