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
//! A dead leader is noticed without being reaped (`WNOWAIT`). While it is a zombie its number and its group's can't
//! belong to anyone else; it is reaped by its [`Leader`], which is also the only one to signal it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::tree::Signal;
use super::{Pid, check, retry};
use crate::log;
use crate::model::machine::Exit;
use crate::sorted::{Sorted, SortedSet};

/// As long as this, a leader that is dropped alive is waited for after its SIGKILL.
const DROP_LIMIT: Duration = Duration::from_secs(1);
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

/// The table of living leaders and who wants to hear of them.
#[derive(Default)]
pub struct Reaper {
    watches: Mutex<Sorted<Pid, Watch>>,
}

impl Reaper {
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
        let reaped = reap_orphans();
        let mut ended_leaders = Vec::new();
        let mut rid_of_orphans = Vec::new();
        let mut table = self.table();
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
    }

    /// Whether `pid` leads a run.
    pub fn is_leader(&self, pid: Pid) -> bool {
        self.table().contains_key(&pid)
    }

    fn table(&self) -> MutexGuard<'_, Sorted<Pid, Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Its number, which is its group's too, and nobody else's while this value exists unreaped.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals every process of its group.
    pub fn signal_group(&self, signal: Signal) {
        if self.state == LeaderState::Unreaped {
            // SAFETY: plain numbers. While the leader is not reaped the kernel gives its number to no other process and
            // to no group but the one that the leader made: in it is who was born there, or has joined it. If it is empty
            // the error says so, and nothing was to be done.
            unsafe { libc::kill(-self.pid.raw(), signal.number()) };
        }
    }

    /// Reaps it.
    ///
    /// # Errors
    /// It has not ended yet, or the kernel knows no such child.
    pub fn reap(mut self) -> io::Result<Exit> {
        let exit = self.try_reap()?;
        exit.ok_or_else(|| io::Error::new(io::ErrorKind::WouldBlock, format!("process {} has not ended", self.pid)))
    }

    fn try_reap(&mut self) -> io::Result<Option<Exit>> {
        let waited = wait(Wanted::One(self.pid), libc::WEXITED | libc::WNOHANG)?;
        if waited.is_some() {
            self.state = LeaderState::Reaped;
        }
        Ok(waited.map(|(_, exit)| exit))
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
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    One(Pid),
    OwnThreads,
}

/// One call of `waitid`: who has ended, and how; `None` when nobody has.
fn wait(wanted: Wanted, options: libc::c_int) -> io::Result<Option<(Pid, Exit)>> {
    let (kind, id, options) = match wanted {
        Wanted::One(pid) => (libc::P_PID, pid.number(), options),
        Wanted::OwnThreads => (libc::P_ALL, 0, options | libc::__WNOTHREAD),
    };
    // SAFETY: an all-zero siginfo_t is a valid value of that plain structure.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is valid for writes, the rest are plain numbers.
    retry(|| check(unsafe { libc::waitid(kind, id, &mut info, options) }))?;
    // SAFETY: waitid has filled the fields of a child's end, or left all zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(Pid::new(pid).map(|pid| (pid, exit_of(info.si_code, status))))
}

fn exit_of(code: libc::c_int, status: libc::c_int) -> Exit {
    if code == libc::CLD_EXITED { Exit::Code((status & 0xff) as u8) } else { Exit::Signal(status) }
}

fn reap_orphans() -> Vec<Pid> {
    let mut reaped = Vec::new();
    while let Ok(Some((pid, _))) = wait(Wanted::OwnThreads, libc::WEXITED | libc::WNOHANG) {
        reaped.push(pid);
    }
    reaped
}

fn has_exited(pid: Pid) -> bool {
    matches!(wait(Wanted::One(pid), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT), Ok(Some(_)))
}

fn orphans() -> Orphans {
    match wait(Wanted::OwnThreads, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Orphans::None,
        Ok(_) | Err(_) => Orphans::Perhaps,
    }
}

fn exists(pid: Pid) -> bool {
    // SAFETY: signal 0 is only a question.
    unsafe { libc::kill(pid.raw(), 0) == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) }
}

#[cfg(test)]
mod tests;
