//! The processes of all runs at once, and what they use.
//!
//! Owns: the attribution of every process in one pass, and the sums over a run. Never: a proof of membership, a number
//! of a run.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::{AttributedSnapshot, ChildOwner, ProcessTracker};
use crate::os::Pid;
use crate::os::proc::{self, Process};
use crate::sorted::Sorted;

/// The resource use of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceUse {
    /// Processor time of its processes, with that of the children they have waited for.
    pub cpu: Duration,
    /// Resident memory that they share with no file or other process, in bytes.
    pub private: u64,
    /// Resident memory, in bytes; shared pages count once for each process.
    pub resident: u64,
    pub processes: u32,
}

impl ProcessTracker {
    /// Returns the living processes of every run, by its leader, as they were at some moment after `since`: one pass
    /// over the processes for all runs.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn census(&self, since: Instant) -> io::Result<Sorted<Pid, Vec<Pid>>> {
        let (taken, owners) = self.attributed(since)?;
        let mut members: Sorted<Pid, Vec<Pid>> = Sorted::default();
        for (pid, leader) in owners {
            if taken.snapshot.find(pid).is_some_and(Process::is_alive) {
                members.entry(leader).push(pid);
            }
        }
        Ok(members)
    }

    /// Returns what every run with a living process uses, by its leader, and the time of the snapshot, which is after
    /// `since`.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn used(&self, since: Instant) -> io::Result<(SystemTime, Sorted<Pid, ResourceUse>)> {
        let (taken, owners) = self.attributed(since)?;
        let at = SystemTime::now() - taken.begun.elapsed();
        let mut used: Sorted<Pid, ResourceUse> = Sorted::default();
        for (pid, leader) in owners {
            let Some(process) = taken.snapshot.find(pid) else { continue };
            let sum = used.entry(leader);
            // The time of a zombie is added to its parent's when it is reaped.
            sum.cpu += process.cpu;
            if process.is_alive() {
                let (resident, shared) = proc::memory(pid);
                sum.resident += resident;
                sum.private += resident.saturating_sub(shared);
                sum.processes += 1;
            }
        }
        used.retain(|_, sum| sum.processes > 0);
        Ok((at, used))
    }

    /// Returns a snapshot that was begun after `since`, and the leader of the run of each process in it.
    fn attributed(&self, since: Instant) -> io::Result<(AttributedSnapshot, Sorted<Pid, Pid>)> {
        let taken = self.snapshot(since)?;
        let processes = &taken.snapshot;
        let trees = self.trees().clone();
        let leader_of_session = |process: &Process| {
            let numbers = [process.session, process.group];
            numbers.into_iter().filter_map(Pid::new).find(|number| trees.contains_key(number))
        };
        let mut owners: Sorted<Pid, Pid> = processes
            .all()
            .filter_map(|process| {
                let leads = trees.contains_key(&process.pid).then_some(process.pid);
                Some((process.pid, leads.or_else(|| leader_of_session(process))?))
            })
            .collect();
        for &(pid, ref owner) in taken.owners.iter() {
            if let ChildOwner::Run(leader) = owner {
                owners.insert(pid, *leader);
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
        Ok((taken, owners))
    }
}
