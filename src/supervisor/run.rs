//! One run: a process tree from its spawn to the moment when nothing is left of it.
//!
//! Owns: the leader, whose child object has the reader of its output (see `kernel`), and the knowledge of which
//! processes of the tree still live. Never: when to end it, or what follows (see `model::machine`).
//!
//! While the leader lives no snapshot is taken, unless a stop is under way: processes outside of the group are looked
//! for after 2 ms. The reaper notifies of the leader's exit. After it, one snapshot has the rest of the tree; the
//! reaper notifies when those are gone, and a rare snapshot covers what it can't see (an orphan's child that its own
//! parent has reaped).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::system::{Child, System};
use crate::log::{self, Level};
use crate::logs::SharedLog;
use crate::model::machine::{Exit, RunId};
use crate::model::spec::Slug;
use crate::model::stop::{StopMode, StopRules};
use crate::os::child::Plan;
use crate::os::pidfd::Signal;
use crate::os::proc::{self, Process};
use crate::os::wait::Usage;
use crate::os::{self, Pid};
use crate::process::reaper::{Notice, OrphanWait, Orphans};
use crate::process::snapshot::Completeness;
use crate::process::tracker::RunTree;
use crate::sorted::SortedSet;

mod signals;
mod states;

pub use states::Progress;
use states::{LeaderStatus, OtherProcesses, Signalled};

/// A group that ends at once on its signal, SIGKILL included, needs no look at the processes; after this, the processes
/// outside of it are looked for.
const OTHERS_AFTER: Duration = Duration::from_millis(2);
/// The first and the longest time between two looks at what is left of a tree.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(1);
/// For so long only a complete snapshot proves that no process is left. It is incomplete when another run spawns while
/// an unmarked orphan is inspected, or when very many processes start.
const INCOMPLETE_FOR: Duration = Duration::from_secs(10);

pub struct Run<S: System> {
    id: RunId,
    slug: Slug,
    system: Arc<S>,
    /// `None` once it is reaped.
    leader: Option<S::Child>,
    tree: Arc<RunTree>,
    signalled: Signalled,
    leader_status: LeaderStatus,
    look_at: Option<Instant>,
    look_every: Duration,
    has_reported_error: bool,
    /// The processes that lived when the leader had ended, as text for messages.
    left_behind: Vec<String>,
    /// Which processes beside the leader had to be killed.
    killed: SortedSet<Pid>,
    /// When an incomplete snapshot first had no process of the run.
    incomplete_since: Option<Instant>,
    /// Which process has refused a signal and lives, as text for messages.
    refusal: Option<(Pid, String)>,
    /// When SIGKILL was sent for the first time.
    killed_at: Option<Instant>,
    /// Which process lives on after that, as text for messages.
    undying: Option<(Pid, String)>,
    /// Which processes the log has named as those that can't be ended.
    refused: SortedSet<Pid>,
    unclaimed: Vec<String>,
}

/// How a run has ended.
pub struct RunOutcome {
    /// The end of its leader.
    pub exit: Exit,
    /// What the leader used.
    pub usage: Option<Usage>,
    /// How many other processes had to be killed.
    pub survivors_killed: u32,
    /// Processes that may be left of it, described: nothing says which run they belong to.
    pub unclaimed: Vec<String>,
}

impl<S: System> Run<S> {
    /// Spawns the process and the reader of its output. `notify` is called with the reaper's notices.
    ///
    /// # Errors
    /// A sentence for the user. Nothing is left then.
    #[inline(never)]
    pub fn spawn(
        system: &Arc<S>,
        slug: &Slug,
        id: RunId,
        plan: &Plan,
        marker: String,
        log: &Arc<SharedLog>,
        notify: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Box<Run<S>>, String> {
        let leader = system.spawn(slug, plan, marker, notify)?;
        // From here on, dropping the run ends all of its processes.
        let mut run = Box::new(Run {
            id,
            slug: slug.clone(),
            system: Arc::clone(system),
            tree: Arc::clone(leader.tree()),
            leader: Some(leader),
            signalled: Signalled::Nothing,
            leader_status: LeaderStatus::Alive,
            look_at: None,
            look_every: LOOK_FIRST,
            has_reported_error: false,
            left_behind: Vec::new(),
            killed: SortedSet::default(),
            incomplete_since: None,
            refusal: None,
            killed_at: None,
            undying: None,
            refused: SortedSet::default(),
            unclaimed: Vec::new(),
        });
        if let Some(leader) = &mut run.leader {
            leader.read_output(log)?;
        }
        Ok(run)
    }

    pub fn id(&self) -> RunId {
        self.id
    }

    /// What proves that a process belongs to it.
    pub fn tree(&self) -> &RunTree {
        &self.tree
    }

    pub fn pid(&self) -> Pid {
        self.tree.leader
    }

    /// When [`Run::look`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Asks the tree, or the leader alone, to end. Of a tree the group gets the signal first; the rest is looked for
    /// later.
    pub fn terminate(&mut self, rules: StopRules, now: Instant) {
        match (rules.mode, &self.leader) {
            (StopMode::Mixed, Some(leader)) => {
                leader.signal(Signal::Stop(rules.signal));
                self.signalled = Signalled::Terminated;
            }
            (StopMode::Tree, _) | (StopMode::Mixed, None) => {
                self.signal_group(Signal::Stop(rules.signal));
                self.signalled = Signalled::TerminatedGroup(rules.signal);
                self.look_at = Some(now + OTHERS_AFTER);
            }
        }
        // A stopped process takes no signal before it is continued.
        self.signal_group(Signal::Continue);
    }

    /// Ends the whole tree, newcomers since the last time included: its group at once, then who is outside of it. With
    /// a leader they are looked for when the reaper reports its exit, or a moment later: a look takes longer than the
    /// end.
    pub fn kill(&mut self, now: Instant) -> Progress {
        self.signal_group(Signal::Kill);
        self.signalled = Signalled::Killed;
        self.killed_at.get_or_insert(now);
        match self.leader_status {
            LeaderStatus::Alive => {
                self.look_at = Some(now + OTHERS_AFTER);
                Progress::Same
            }
            LeaderStatus::Exited => self.look(now),
        }
    }

    /// Handles a notice of the reaper.
    #[inline(never)]
    pub fn notice(&mut self, notice: Notice, now: Instant) -> Progress {
        match notice {
            Notice::LeaderExited(orphans) => {
                self.leader_status = LeaderStatus::Exited;
                let may_have_siblings = || self.leader.as_ref().is_some_and(Child::may_have_siblings);
                match orphans {
                    Orphans::None if !may_have_siblings() => Progress::Gone,
                    Orphans::None | Orphans::Perhaps => match self.look(now) {
                        Progress::Same => Progress::LeaderExited,
                        other @ (Progress::LeaderExited | Progress::Gone) => other,
                    },
                }
            }
            Notice::OrphansGone => self.look(now),
        }
    }

    /// Looks at what is left of the tree and signals the processes that were not signalled yet.
    #[inline(never)]
    pub fn look(&mut self, now: Instant) -> Progress {
        // Twice at most: a process that exited between the snapshot and the request for a notice is no reason to wait.
        for _ in 0..2 {
            let (left, unclaimed) = match self.others(now) {
                OtherProcesses::Known(left, unclaimed) => (left, unclaimed),
                // Nothing is known, so nothing is over.
                OtherProcesses::Unknown => break,
            };
            self.refusal.take_if(|(pid, _)| left.iter().all(|process| process.pid != *pid));
            match self.signalled {
                Signalled::TerminatedGroup(signal) => self.terminate_outsiders(&left, Signal::Stop(signal)),
                Signalled::Killed => {
                    self.note_leader(Signal::Kill);
                    left.iter().for_each(|process| self.kill_one(process));
                }
                Signalled::Nothing | Signalled::Terminated => {}
            }
            self.note_undying(&left, now);
            match self.leader_status {
                // A notice of its end will follow.
                LeaderStatus::Alive => {
                    self.look_at = self.undying_at().filter(|at| now < *at);
                    return Progress::Same;
                }
                LeaderStatus::Exited if left.is_empty() => {
                    self.unclaimed = unclaimed.iter().map(|process| proc::describe(process.pid)).collect();
                    return Progress::Gone;
                }
                LeaderStatus::Exited if self.left_behind.is_empty() => {
                    self.left_behind = left.iter().map(described).collect();
                    // SIGKILL to their group follows, and may end them before the next look.
                    if self.signalled == Signalled::Nothing {
                        self.killed.extend(left.iter().map(|process| process.pid));
                    }
                }
                LeaderStatus::Exited => {}
            }
            let pids: SortedSet<Pid> = left.iter().map(|process| process.pid).collect();
            if self.system.await_orphans(self.tree.leader, pids) == OrphanWait::Pending {
                break;
            }
        }
        self.look_at = Some(now + self.look_every);
        self.look_every = (self.look_every * 2).min(LOOK_MAX);
        Progress::Same
    }

    /// The processes that lived on when the leader had ended, as a person knows them.
    pub fn left_behind(&self) -> &[String] {
        &self.left_behind
    }

    /// Reaps the leader and takes the last of the output. To be called when the tree is gone.
    #[allow(clippy::boxed_local, reason = "unboxed, it would be moved over the stack")]
    #[inline(never)]
    pub fn finish(mut self: Box<Self>) -> RunOutcome {
        // The leader is taken here only, and this takes the run.
        let mut leader = self.leader.take();
        let (exit, usage) = match leader.as_mut().map(Child::reap) {
            Some(Ok((exit, usage))) => (exit, Some(usage)),
            Some(Err(error)) => {
                self.warn(format_args!("how it ended can't be known: {error}"));
                (Exit::Signal(Signal::Kill.number()), None)
            }
            None => (Exit::Signal(Signal::Kill.number()), None),
        };
        // Takes the last of the output.
        drop(leader);
        let survivors_killed = u32::try_from(self.killed.len()).unwrap_or(u32::MAX);
        RunOutcome { exit, usage, survivors_killed, unclaimed: std::mem::take(&mut self.unclaimed) }
    }

    fn others(&mut self, now: Instant) -> OtherProcesses {
        match self.system.members(&self.tree) {
            Ok(members) => {
                let mut left = members.living;
                left.retain(|process| process.pid != self.tree.leader);
                if left.is_empty() && members.completeness == Completeness::Incomplete {
                    let begun = *self.incomplete_since.get_or_insert(now);
                    if now < begun + INCOMPLETE_FOR {
                        return OtherProcesses::Unknown;
                    }
                }
                OtherProcesses::Known(left, members.unclaimed)
            }
            Err(error) => {
                let is_shortage = os::is_shortage(&error);
                if !std::mem::replace(&mut self.has_reported_error, true) {
                    let what = if is_shortage { "looked for again" } else { "left alone" };
                    self.warn(format_args!(
                        "the processes can't be looked at ({error}); who has left its process group is {what}"
                    ));
                }
                if is_shortage { OtherProcesses::Unknown } else { OtherProcesses::Known(Vec::new(), Vec::new()) }
            }
        }
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(leader) = &self.leader {
            leader.signal_group(signal);
        }
    }

    fn warn(&self, text: std::fmt::Arguments<'_>) {
        log::server(Level::Warn, &self.slug, text);
    }
}

fn described(process: &Process) -> String {
    match process.program() {
        Some(program) => format!("{} ({program})", process.pid),
        None => process.pid.to_string(),
    }
}

impl<S: System> Drop for Run<S> {
    /// After a failed spawn or a panic: kills the whole tree. After [`Run::finish`] there is nothing to do.
    fn drop(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.signal_group(Signal::Kill);
            if let OtherProcesses::Known(left, _) = self.others(self.system.now()) {
                left.iter().for_each(|process| self.signal(process, Signal::Kill));
            }
        }
    }
}
