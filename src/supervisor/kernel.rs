//! The kernel and the daemon's shared threads, as a supervisor sees them.
//!
//! Owns: the parts of the process table, the port watcher and the prober that runs share, and the handle of one run's
//! leader. Never: a decision (see `run`, `model::machine`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::launches::Launches;
use super::reader::Reader;
use super::system::{Child, PortWatch, System};
use crate::log::{self, Level};
use crate::logs::SharedLog;
use crate::model::health::{Health, HealthChange};
use crate::model::machine::Exit;
use crate::model::run::Usage;
use crate::model::spec::{HealthCheck, Port, Slug};
use crate::os::child::{self, Plan, Spawned};
use crate::os::pidfd::{self, Signal};
use crate::os::pipe::StopRequest;
use crate::os::proc::{self, Process};
use crate::os::thread::Joined;
use crate::os::{self, Pid};
use crate::ports::{Listening, Pace, Watch, Watcher};
use crate::prober::{Prober, Probing};
use crate::process;
use crate::process::reaper::{Leader, Notice, OrphanWait, Reaper};
use crate::process::tracker::{ProcessTracker, RunMembers, RunTree};
use crate::sorted::SortedSet;
use crate::store::leaders::{LeaderRecord, Leaders};

/// When the tree is gone its pipes are at their end, unless a process outside of it holds one.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);
/// A stopped reader finishes one read and one append.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The services that all supervisors share.
pub struct Kernel {
    /// Detects exits, and reaps.
    pub reaper: Arc<Reaper>,
    /// Knows which process belongs to which run.
    pub tracker: Arc<ProcessTracker>,
    /// Stores the leaders of living runs for the next daemon.
    pub leaders: Leaders,
    pub watcher: Arc<Watcher>,
    pub prober: Arc<Prober>,
    pub launches: Launches,
}

impl System for Kernel {
    type Child = KernelChild;
    type PortWatch = Watch;
    type Probing = Probing;

    fn now(&self) -> Instant {
        Instant::now()
    }

    #[inline(never)]
    fn spawn(
        self: &Arc<Self>,
        slug: &Slug,
        plan: &Plan,
        marker: String,
        notify: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<KernelChild, String> {
        let stop = Arc::new(StopRequest::new().map_err(|error| os::unopened("its log reader's event", &error))?);
        let spawning = self.tracker.begin_spawn();
        let limits = spawning.mark().map(|(_, limits)| limits);
        let launching = spawning.mark().map(|(mark, _)| self.launches.begin(slug, mark));
        let Spawned { pid, is_marked, stdout, stderr, stdin } = child::spawn_marked(plan, limits)?;
        drop(launching);
        let leader = self.reaper.adopt(pid, notify);
        let record = Process::read(pid).and_then(|process| self.leaders.add(pid, process.started));
        let pipes = [&stdout, &stderr].map(|fd| proc::own_pipe(fd.as_fd()).unwrap_or_default());
        let mark = spawning.mark().filter(|_| is_marked).map(|(mark, _)| mark);
        if !is_marked {
            self.leaders.set_unmarked();
        }
        let tree = self.tracker.register(RunTree { leader: pid, mark, marker, pipes });
        drop(spawning);
        Ok(KernelChild {
            kernel: Arc::clone(self),
            slug: slug.clone(),
            leader: Some(leader),
            tree,
            record,
            output: Some((stdout, stderr)),
            reader: None,
            stop,
            _stdin: stdin,
        })
    }

    fn members(&self, tree: &RunTree) -> io::Result<RunMembers> {
        self.tracker.members(tree, Instant::now())
    }

    fn living(&self, pid: Pid) -> Option<Process> {
        Process::read(pid).filter(Process::is_alive)
    }

    fn undying(&self, pid: Pid) -> Option<String> {
        process::undying(pid)
    }

    fn await_orphans(&self, leader: Pid, pids: SortedSet<Pid>) -> OrphanWait {
        self.reaper.await_orphans(leader, pids)
    }

    fn signal(&self, process: &Process, signal: Signal) -> io::Result<()> {
        pidfd::signal(process, signal)
    }

    fn refuses(&self, process: &Process) -> Option<io::Error> {
        pidfd::refuses(process)
    }

    fn watch_ports(
        &self,
        tree: &RunTree,
        requested: Option<Port>,
        born: Instant,
        notify: impl Fn(Listening) + Send + 'static,
    ) -> Watch {
        self.watcher.watch(tree, requested, born, notify)
    }

    fn probe(
        &self,
        address: SocketAddr,
        check: &HealthCheck,
        detected: Instant,
        notify: impl FnMut(Health, HealthChange) + Send + 'static,
    ) -> Probing {
        self.prober.watch(address, check, detected, notify)
    }
}

/// The leader of a run, its pipes, and its places in the shared tables.
pub struct KernelChild {
    kernel: Arc<Kernel>,
    slug: Slug,
    /// `None` once it is reaped.
    leader: Option<Leader>,
    tree: Arc<RunTree>,
    /// Its place among the stored leaders.
    record: Option<LeaderRecord>,
    /// The read ends of its output, until its reader has them.
    output: Option<(OwnedFd, OwnedFd)>,
    reader: Option<Reader>,
    stop: Arc<StopRequest>,
    /// Keeps its standard input open.
    _stdin: Option<OwnedFd>,
}

impl Child for KernelChild {
    fn tree(&self) -> &Arc<RunTree> {
        &self.tree
    }

    fn read_output(&mut self, log: &Arc<SharedLog>) -> Result<(), String> {
        let Some((stdout, stderr)) = self.output.take() else { return Ok(()) };
        let name = format!("log:{}", self.slug);
        let reader = Reader::start(&name, stdout, stderr, Arc::clone(log), Arc::clone(&self.stop));
        self.reader = Some(reader.map_err(|error| format!("no thread for its log reader: {error}"))?);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = &self.leader {
            leader.signal(signal);
        }
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(leader) = &self.leader {
            leader.signal_group(signal);
        }
    }

    fn may_have_siblings(&self) -> bool {
        self.leader.as_ref().is_some_and(Leader::may_have_siblings)
    }

    fn reap(&mut self) -> io::Result<(Exit, Usage)> {
        match self.leader.take() {
            Some(leader) => leader.reap(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl KernelChild {
    /// Takes the rest of the output, within a limit.
    fn close_output(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        if reader.join_by(Instant::now() + DRAIN_LIMIT) == Joined::Late {
            self.stop.raise();
            if reader.join_by(Instant::now() + STOP_LIMIT) == Joined::Late {
                let text = format_args!("its log reader does not end; it is left behind");
                log::server(Level::Warn, &self.slug, text);
            }
        }
    }
}

impl Drop for KernelChild {
    fn drop(&mut self) {
        drop(self.leader.take());
        self.close_output();
        self.kernel.tracker.unregister(self.tree.leader);
        if let Some(record) = self.record.take() {
            self.kernel.leaders.remove(record);
        }
    }
}

impl PortWatch for Watch {
    fn set_pace(&mut self, pace: Pace) {
        Watch::set_pace(self, pace);
    }

    fn look(&self) {
        Watch::look(self);
    }
}
