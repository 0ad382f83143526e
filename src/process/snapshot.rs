//! A complete snapshot of all processes, although they start and exit while it is taken.
//!
//! Owns: the walk through `/proc`, and the proof that no process was missed. Never: a conclusion from it.
//!
//! A process can exit after it was listed and before it is read or inspected, and leave a child that was born after the
//! listing. So they are listed again, until no new process is listed and no parent has exited: then every process that
//! lived when that last listing began is known. A process that was born later has a parent that is known.

use std::fs;
use std::io;

use crate::os::Pid;
use crate::os::proc::Process;
use crate::sorted::{Sorted, SortedSet};

/// The limit of listings that find new processes. As long as a process takes less time to read than to start, each
/// listing finds fewer.
const LISTINGS_MAX: u32 = 16;

/// All processes at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    processes: Sorted<Pid, Process>,
    children: Sorted<i32, Vec<Pid>>,
}

/// Whether a snapshot has all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    Complete,
    /// Too many processes started meanwhile; another snapshot may be complete.
    Incomplete,
}

/// The result of inspecting a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    Read,
    /// The process has exited meanwhile, so what was read is invalid.
    Ended,
}

impl Snapshot {
    /// Reads each process once, which may miss some.
    ///
    /// # Errors
    /// `/proc` can't be read completely.
    pub fn take() -> io::Result<Snapshot> {
        let mut processes = Sorted::default();
        for pid in listed()? {
            // One that is missing has exited since the listing.
            if let Some(process) = Process::try_read(pid)? {
                processes.insert(pid, process);
            }
        }
        Ok(Snapshot::of(processes))
    }

    /// Repeats until every process is known that lived at some moment after the call, and `inspect` was called for each
    /// before that moment.
    ///
    /// # Errors
    /// `/proc` can't be read, or `inspect` fails.
    pub fn take_whole(inspect: impl FnMut(&Process) -> io::Result<Inspected>) -> io::Result<(Snapshot, Completeness)> {
        settle(listed, Process::try_read, inspect)
    }

    fn of(processes: Sorted<Pid, Process>) -> Snapshot {
        let mut children: Sorted<i32, Vec<Pid>> = Sorted::default();
        processes.values().for_each(|process| children.entry(process.parent).push(process.pid));
        Snapshot { processes, children }
    }

    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    pub fn find(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(&pid)
    }

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
    mut read: impl FnMut(Pid) -> io::Result<Option<Process>>,
    mut inspect: impl FnMut(&Process) -> io::Result<Inspected>,
) -> io::Result<(Snapshot, Completeness)> {
    let mut processes: Sorted<Pid, Process> = Sorted::default();
    let mut orphaned: Vec<Pid> = Vec::new();
    let mut reread: SortedSet<(Pid, i32)> = SortedSet::default();
    for _ in 0..LISTINGS_MAX {
        let mut unread = list()?;
        unread.retain(|pid| !processes.contains_key(pid));
        unread.append(&mut orphaned);
        if unread.is_empty() {
            return Ok((Snapshot::of(processes), Completeness::Complete));
        }
        for pid in unread {
            processes.remove(&pid);
            if let Some(process) = read(pid)?
                && (!process.is_alive() || inspect(&process)? == Inspected::Read)
            {
                processes.insert(pid, process);
            }
        }
        // A process whose parent has exited has another one by now. One that still shows the same has a parent that is
        // hidden from the daemon.
        let lives = |pid| processes.get(&pid).is_some_and(Process::is_alive);
        let is_orphaned = |process: &&Process| Pid::new(process.parent).is_some_and(|parent| !lives(parent));
        let pairs = processes.values().filter(is_orphaned).map(|process| (process.pid, process.parent));
        orphaned.extend(pairs.filter(|&pair| reread.insert(pair)).map(|(pid, _)| pid));
    }
    Ok((Snapshot::of(processes), Completeness::Incomplete))
}

#[cfg(test)]
mod tests;
