//! Ending the processes that an earlier life of the daemon has left behind.
//!
//! Owns: the proof that a process is such a leftover, and its end. Never: a signal to a process without that proof.
//!
//! A daemon that was killed leaves its servers without a reader of their output and without restarts. A process is one
//! of theirs if
//!
//! 1. it is a stored leader: its number and its start are those in the file,
//! 2. it is in the session or the process group of such a leader, which is there,
//! 3. its resource limit carries a mark of this state directory (see `model::marker`), it is not older than that
//!    daemon, and it has inherited the mark: the parent of the topmost process with such a mark is the one that
//!    took over the orphans of the daemon,
//! 4. it descends from one of these.
//!
//! Where limits could not be set, a marker in the environment of this state directory and of another life counts
//! instead of the third proof. The processes that this daemon descends from are spared: it may have been started by a
//! shell in one of these servers.

use std::io;
use std::time::{Duration, Instant};

use crate::log;
use crate::model::marker::Marks;
use crate::os::pidfd::{self, Signal};
use crate::os::proc::Process;
use crate::os::{Pid, limits};
use crate::process;
use crate::process::snapshot::{Completeness, Inspected, Snapshot};
use crate::sorted::SortedSet;
use crate::store::leaders::PastRuns;

#[cfg(test)]
mod tests;

/// From SIGTERM to SIGKILL. A database has something to write; no client waits for it for long.
const GRACE: Duration = Duration::from_secs(1);
/// What SIGKILL does not end within this is stuck in the kernel, and the daemon starts all the same.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// An `execve` is complete well within this.
const UNCLEAR_LIMIT: Duration = Duration::from_millis(100);
/// Between two looks at what is left, the first and the longest. They are not children of this daemon, so no SIGCHLD
/// reports their end.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(16);

/// What is known of the earlier life.
pub struct Earlier<'a> {
    /// The name of this state directory.
    pub instance: &'a str,
    /// The name of this life.
    pub life: &'a str,
    /// What was stored; `None` if nothing was, as by versions that did not.
    pub runs: Option<PastRuns>,
    /// Distinguishes the marks of this state directory from others.
    pub marks: Option<Marks>,
}

/// What is left.
struct Leftovers {
    living: Vec<Process>,
    /// Whether a process may be missing: one is just becoming another program and shows no environment, or too many
    /// were started meanwhile.
    is_unclear: bool,
}

impl Earlier<'_> {
    /// Ends what is left, with a short grace. To be called before the first server is started.
    pub fn sweep(&self) {
        // Each limit counts from what was done, not from the beginning: a machine may stand still for seconds at any
        // point.
        let (mut unclear_since, mut terminated_at, mut killed_at) = (None, None, None);
        let (mut seen, mut refused) = (SortedSet::default(), SortedSet::default());
        let mut pause = PAUSE;
        loop {
            let Leftovers { living: mut left, is_unclear } = match self.leftovers() {
                Ok(found) => found,
                Err(error) => {
                    log::warn(format_args!("what an earlier servisor has left behind can't be looked for: {error}"));
                    return;
                }
            };
            let now = Instant::now();
            let has_passed = |limit: Duration, since: &mut Option<Instant>| now - *since.get_or_insert(now) >= limit;
            // What refuses to be signalled is logged, and not waited for.
            left.retain(|process| !refused.contains(&process.pid));
            if left.is_empty() {
                if is_unclear && !has_passed(UNCLEAR_LIMIT, &mut unclear_since) {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                if !seen.is_empty() {
                    log::info(format_args!("ended {} processes of an earlier servisor", seen.len() - refused.len()));
                }
                return;
            }
            unclear_since = None;
            if seen.is_empty() {
                log::warn(format_args!(
                    "an earlier servisor has left {} processes behind; they are ended now",
                    left.len()
                ));
            }
            let is_grace_over = has_passed(GRACE, &mut terminated_at);
            if is_grace_over && has_passed(KILL_LIMIT, &mut killed_at) {
                log::error(format_args!("{} processes of an earlier servisor could not be ended", left.len()));
                return;
            }
            for process in &left {
                let is_new = seen.insert((process.pid, process.started));
                let (signal, sent) = match (is_grace_over, is_new) {
                    (true, _) => (Signal::Kill, pidfd::signal(process, Signal::Kill)),
                    (false, true) => {
                        log::debug(format_args!("process {} of an earlier servisor is ended", process.pid));
                        let sent = pidfd::signal(process, Signal::Terminate);
                        // A stopped process handles signals only when it is continued.
                        (Signal::Terminate, sent.and_then(|()| pidfd::signal(process, Signal::Continue)))
                    }
                    (false, false) => continue,
                };
                if let Err(error) = sent {
                    refused.insert(process.pid);
                    log::error(format_args!(
                        "left by an earlier servisor: {}",
                        process::refusal(process, signal, &error)
                    ));
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Looks at each process before it can exit unseen and leave a child: shells start a command in several steps, each
    /// of which lives for a moment.
    fn leftovers(&self) -> io::Result<Leftovers> {
        let since = self.runs.as_ref().map_or(0, |runs| runs.since);
        let counts_markers = self.runs.as_ref().is_none_or(|runs| !runs.is_marked);
        let (mut carriers, mut with_marker) = (SortedSet::default(), SortedSet::default());
        let mut is_unclear = false;
        let (snapshot, completeness) = Snapshot::take_whole(|process| {
            // What was read of an earlier process of this number, or of its parent, counts no more.
            carriers.remove(&process.pid);
            with_marker.remove(&process.pid);
            let may_carry = self.marks.filter(|_| process.started >= since);
            if process.is_kernel() || may_carry.is_none() && !counts_markers {
                return Ok(Inspected::Read);
            }
            if let Some(marks) = may_carry
                && limits::of(process.pid)?.is_some_and(|limits| marks.made(limits))
            {
                carriers.insert(process.pid);
            }
            if counts_markers {
                match process.marker()? {
                    Some(marker) if is_of_another_life(marker, self.instance, self.life) => {
                        with_marker.insert(process.pid);
                    }
                    Some(_) => {}
                    None => is_unclear |= process.shows_nothing(),
                }
            }
            Ok(if process.lives_on()? { Inspected::Read } else { Inspected::Ended })
        })?;
        carriers.retain(|pid| snapshot.find(*pid).is_some());
        with_marker.retain(|pid| snapshot.find(*pid).is_some());
        let mut roots = self.of_stored_leaders(&snapshot);
        roots.extend(self.inherited(&snapshot, &carriers, &roots));
        roots.extend(with_marker.iter().copied());
        let mut members = SortedSet::default();
        while let Some(pid) = roots.pop() {
            if members.insert(pid) {
                roots.extend(snapshot.children(pid).map(|child| child.pid));
            }
        }
        let own: SortedSet<Pid> = lineage().into_iter().collect();
        let living = snapshot.all().filter(|process| process.is_alive() && members.contains(&process.pid));
        let living = living.filter(|process| !own.contains(&process.pid)).cloned().collect();
        Ok(Leftovers { living, is_unclear: is_unclear || completeness == Completeness::Incomplete })
    }

    /// The stored leaders that are still there, with their sessions and groups.
    fn of_stored_leaders(&self, snapshot: &Snapshot) -> Vec<Pid> {
        let leaders = self.leaders(snapshot);
        let is_of_one = |number: i32| Pid::new(number).is_some_and(|number| leaders.contains(&number));
        let all = snapshot.all();
        all.filter(|process| is_of_one(process.session) || is_of_one(process.group) || leaders.contains(&process.pid))
            .map(|process| process.pid)
            .collect()
    }

    fn leaders(&self, snapshot: &Snapshot) -> SortedSet<Pid> {
        let stored = self.runs.iter().flat_map(|runs| &runs.leaders);
        let is_there = |pid: Pid, started: u64| snapshot.find(pid).is_some_and(|found| found.started == started);
        stored.filter(|(pid, started)| is_there(*pid, *started)).map(|(pid, _)| *pid).collect()
    }

    /// Returns those of `carriers`, which have a mark of this state directory, that have inherited it. `proven` are
    /// known to be left.
    fn inherited(&self, snapshot: &Snapshot, carriers: &SortedSet<Pid>, proven: &[Pid]) -> Vec<Pid> {
        let adopters = self.adopters(snapshot);
        let has_inherited = |pid: &Pid| {
            let mut parent = snapshot.find(*pid).map_or(0, |process| process.parent);
            while let Some(above) = Pid::new(parent).filter(|pid| carriers.contains(pid)) {
                parent = snapshot.find(above).map_or(0, |process| process.parent);
            }
            let is_proven = Pid::new(parent).is_some_and(|parent| proven.contains(&parent));
            is_proven || parent == 0 || adopters.as_ref().is_none_or(|adopters| adopters.contains(&parent))
        };
        carriers.iter().copied().filter(has_inherited).collect()
    }

    /// The processes that may have taken over the orphans of the earlier daemon: the one that has taken over a stored
    /// leader, or else any ancestor of the daemon. `None`: nothing is known.
    fn adopters(&self, snapshot: &Snapshot) -> Option<SortedSet<i32>> {
        let runs = self.runs.as_ref()?;
        let leaders = self.leaders(snapshot);
        let parents: SortedSet<i32> =
            leaders.iter().filter_map(|leader| snapshot.find(*leader)).map(|leader| leader.parent).collect();
        if !parents.is_empty() {
            return Some(parents);
        }
        Some(runs.ancestors.iter().copied().chain([1]).collect())
    }
}

/// A marker is INSTANCE.LIFE.SLUG.RUN, and only the slug can have further dots.
fn is_of_another_life(marker: &str, instance: &str, life: &str) -> bool {
    let mut parts = marker.splitn(3, '.');
    parts.next() == Some(instance) && parts.next().is_some_and(|other| other != life) && parts.next().is_some()
}

/// Returns this process and those that it descends from, from below.
pub fn lineage() -> Vec<Pid> {
    let mut lineage = Vec::new();
    let mut next = Some(Pid::own());
    while let Some(pid) = next.filter(|pid| !lineage.contains(pid)) {
        lineage.push(pid);
        next = Process::read(pid).and_then(|process| Pid::new(process.parent));
    }
    lineage
}
