//! The kernel and the shared threads, as a supervisor sees them: time, processes, ports and health checks.
//!
//! Owns: the interface. Never: a decision. [`Kernel`](super::kernel::Kernel) is the real one; unit tests drive a
//! supervisor with a fake one, without a process, a thread or a wait. All is static: the daemon has one instance of the
//! code.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::logs::SharedLog;
use crate::model::health::{Health, HealthChange};
use crate::model::machine::Exit;
use crate::model::run::Usage;
use crate::model::spec::{HealthCheck, Port, Slug};
use crate::os::Pid;
use crate::os::child::Plan;
use crate::os::pidfd::Signal;
use crate::os::proc::Process;
use crate::ports::{Listening, Pace};
use crate::process::reaper::{Notice, OrphanWait};
use crate::process::tracker::{RunMembers, RunTree};
use crate::sorted::SortedSet;

/// The services that a supervisor needs. Callbacks are called on other threads and must not block.
pub trait System: Send + Sync + Sized + 'static {
    /// The first process of a run.
    type Child: Child;
    /// The watch of a run's ports; dropping it ends the watch.
    type PortWatch: PortWatch;
    /// The health checks of one address; dropping it ends them.
    type Probing: Send;

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// Spawns a process with `marker` in its environment. `notify` is called at its end, and at that of awaited
    /// orphans.
    ///
    /// # Errors
    /// A sentence for the user. No process is left then.
    fn spawn(
        self: &Arc<Self>,
        slug: &Slug,
        plan: &Plan,
        marker: String,
        notify: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Self::Child, String>;

    /// The living processes of a run, its leader among them.
    ///
    /// # Errors
    /// The processes can't be read.
    fn members(&self, tree: &RunTree) -> io::Result<RunMembers>;

    /// Reads a process; `None` when it has ended.
    fn living(&self, pid: Pid) -> Option<Process>;

    /// Says why a process lives on after SIGKILL; `None` when it has ended.
    fn undying(&self, pid: Pid) -> Option<String>;

    /// Asks for [`Notice::OrphansGone`] when none of `pids` exists any more.
    fn await_orphans(&self, leader: Pid, pids: SortedSet<Pid>) -> OrphanWait;

    /// Signals one process, unless it has ended.
    ///
    /// # Errors
    /// It belongs to another user.
    fn signal(&self, process: &Process, signal: Signal) -> io::Result<()>;

    /// Whether a signal to `process` would be refused.
    fn refuses(&self, process: &Process) -> Option<io::Error>;

    /// Watches the ports of a run that was spawned after `born`.
    fn watch_ports(
        &self,
        tree: &RunTree,
        requested: Option<Port>,
        born: Instant,
        notify: impl Fn(Listening) + Send + 'static,
    ) -> Self::PortWatch;

    /// Checks the health of what listens on `address` since `detected`.
    fn probe(
        &self,
        address: SocketAddr,
        check: &HealthCheck,
        detected: Instant,
        notify: impl FnMut(Health, HealthChange) + Send + 'static,
    ) -> Self::Probing;
}

/// The leader of a run, and all that the daemon holds of the run. Dropping it kills and reaps the leader if it was not
/// reaped, and removes the run from the tables.
pub trait Child: Send {
    /// What proves that a process belongs to the run.
    fn tree(&self) -> &Arc<RunTree>;

    /// Starts to read the output into `log`.
    ///
    /// # Errors
    /// A sentence for the user: there is no thread for it.
    fn read_output(&mut self, log: &Arc<SharedLog>) -> Result<(), String>;

    /// Signals the leader alone.
    fn signal(&self, signal: Signal);

    /// Signals the leader and its process group.
    fn signal_group(&self, signal: Signal);

    /// Whether the leader may have made siblings of itself (`CLONE_PARENT`).
    fn may_have_siblings(&self) -> bool;

    /// Reaps the leader, which has ended.
    ///
    /// # Errors
    /// It has not ended, or is no child of the daemon.
    fn reap(&mut self) -> io::Result<(Exit, Usage)>;
}

/// The watch of a run's ports.
pub trait PortWatch: Send {
    /// Sets how soon a change is noticed.
    fn set_pace(&mut self, pace: Pace);

    /// Asks for a look, after which `notify` is called in any case.
    fn look(&self);
}
