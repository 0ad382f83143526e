//! All processes, although they come and go while they are looked at.
//!
//! Owns: the walk through `/proc`, and the proof that nobody was missed. Never: a conclusion from it.
//!
//! A process can end after it was listed and before it is read, or before it has shown what it has, and leave a child that
//! was born after the listing. So they are listed again, until nobody new is listed and nobody's parent has ended: then
//! everybody who lived when that last listing began is known. Who came after it has a parent that is known.

use std::fs;
use std::io;

use crate::os::Pid;
use crate::os::proc::Process;
use crate::sorted::{Sorted, SortedSet};

/// After so many listings in which somebody new was found it is enough. As long as one takes less time to read than to be
/// born, each listing finds fewer of them.
const LISTINGS_MAX: u32 = 16;

/// All processes at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    processes: Sorted<Pid, Process>,
    children: Sorted<i32, Vec<Pid>>,
}

/// Whether a look can be trusted to have seen everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clarity {
    /// It can.
    Clear,
    /// Too much went on meanwhile; another look may be better.
    Blurred,
}

/// What became of a process that was asked what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It has shown it.
    Shown,
    /// It has ended meanwhile, and what it has shown is not worth anything.
    Ended,
}

impl Snapshot {
    /// Looks at each of them once, which may miss some.
    ///
    /// # Errors
    /// `/proc` can't be read, or not to its end: a part of the processes is no answer.
    pub fn take() -> io::Result<Snapshot> {
        let mut processes = Sorted::default();
        for pid in listed()? {
            // One that is not there any more has ended since the listing.
            if let Some(process) = Process::look(pid)? {
                processes.insert(pid, process);
            }
        }
        Ok(Snapshot::of(processes))
    }

    /// Looks until everybody is known who lived at some moment after the call, and has been asked before that moment.
    ///
    /// # Errors
    /// `/proc` can't be read, or asking fails.
    pub fn take_whole(ask: impl FnMut(&Process) -> io::Result<Asked>) -> io::Result<(Snapshot, Clarity)> {
        settle(listed, Process::look, ask)
    }

    fn of(processes: Sorted<Pid, Process>) -> Snapshot {
        let mut children: Sorted<i32, Vec<Pid>> = Sorted::default();
        processes.values().for_each(|process| children.entry(process.parent).push(process.pid));
        Snapshot { processes, children }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// One of them.
    pub fn find(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// The children of `parent`.
    pub fn children(&self, parent: Pid) -> impl Iterator<Item = &Process> {
        let pids = self.children.get(&parent.raw()).map(Vec::as_slice).unwrap_or_default();
        pids.iter().filter_map(|&pid| self.find(pid))
    }
}

fn listed() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::new));
    }
    Ok(pids)
}

fn settle(
    mut list: impl FnMut() -> io::Result<Vec<Pid>>,
    mut look: impl FnMut(Pid) -> io::Result<Option<Process>>,
    mut ask: impl FnMut(&Process) -> io::Result<Asked>,
) -> io::Result<(Snapshot, Clarity)> {
    let mut processes: Sorted<Pid, Process> = Sorted::default();
    let mut orphaned: Vec<Pid> = Vec::new();
    let mut reread: SortedSet<(Pid, i32)> = SortedSet::default();
    for _ in 0..LISTINGS_MAX {
        let mut unread = list()?;
        unread.retain(|pid| !processes.contains_key(pid));
        unread.append(&mut orphaned);
        if unread.is_empty() {
            return Ok((Snapshot::of(processes), Clarity::Clear));
        }
        for pid in unread {
            processes.remove(&pid);
            if let Some(process) = look(pid)?
                && (!process.is_alive() || ask(&process)? == Asked::Shown)
            {
                processes.insert(pid, process);
            }
        }
        // Whose parent has ended has another one by now. Who is read again under the same one has one that is hidden from us.
        let lives = |pid| processes.get(&pid).is_some_and(Process::is_alive);
        let is_orphaned = |process: &&Process| Pid::new(process.parent).is_some_and(|parent| !lives(parent));
        let pairs = processes.values().filter(is_orphaned).map(|process| (process.pid, process.parent));
        orphaned.extend(pairs.filter(|&pair| reread.insert(pair)).map(|(pid, _)| pid));
    }
    Ok((Snapshot::of(processes), Clarity::Blurred))
}

#[cfg(test)]
mod tests;
