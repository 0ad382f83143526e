//! A machine without processes: what they do is what the test says, and time passes when the test lets it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use super::super::system::System;
use crate::model::health::{CheckOutcome, Checks, Due, Health, HealthChange};
use crate::model::machine::Exit;
use crate::model::spec::{HealthCheck, Port, Slug};
use crate::os::Pid;
use crate::os::child::Plan;
use crate::os::pidfd::Signal;
use crate::os::proc::Process;
use crate::ports::{Listening, Localhost, OpenPort, RequestedPort};
use crate::process::reaper::{Notice, OrphanWait, Orphans};
use crate::process::snapshot::Completeness;
use crate::process::tracker::{RunMembers, RunTree};
use crate::sorted::SortedSet;
use crate::sync::lock;

mod parts;

use parts::{FakeChild, FakeProbing, FakeWatch, process};

/// Above every number that the kernel gives out, so that no real process is meant.
const FIRST_PID: i32 = 5_000_000;

/// What a process does at the stop signal.
#[derive(Debug, Clone, Copy)]
pub enum AtStop {
    Exits(Exit),
    Ignores,
    /// Not even SIGKILL ends it: it hangs in the kernel.
    Hangs,
    /// Belongs to another user: signals to it are refused.
    Refuses,
}

/// Whether a process is in the process group of its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Leaders,
    Own,
}

struct Task {
    pid: Pid,
    leader: Pid,
    group: Group,
    at_stop: AtStop,
    /// `Some` for a leader that is a zombie.
    exit: Option<Exit>,
}

struct Leads {
    pid: Pid,
    notify: Box<dyn Fn(Notice) + Send>,
    is_known: bool,
    awaited: SortedSet<Pid>,
}

struct Watched {
    leader: Pid,
    notify: Box<dyn Fn(Listening) + Send>,
}

struct Probed {
    is_over: Arc<AtomicBool>,
    checks: Checks,
    notify: Box<dyn FnMut(Health, HealthChange) + Send>,
}

struct State {
    now: Instant,
    last: i32,
    tasks: Vec<Task>,
    leads: Vec<Leads>,
    watched: Vec<Watched>,
    probed: Vec<Probed>,
    sent: Vec<(Pid, i32)>,
    spawned: Vec<(Instant, String)>,
    at_stop: AtStop,
    answer: u16,
    spawn_failures: VecDeque<String>,
    look_failures: u32,
    completeness: Completeness,
    panics: bool,
}

/// The fake machine.
pub struct World(Mutex<State>);

impl World {
    pub fn new() -> Arc<World> {
        Arc::new(World(Mutex::new(State {
            now: Instant::now(),
            last: FIRST_PID,
            tasks: Vec::new(),
            leads: Vec::new(),
            watched: Vec::new(),
            probed: Vec::new(),
            sent: Vec::new(),
            spawned: Vec::new(),
            at_stop: AtStop::Exits(Exit::Signal(libc::SIGTERM)),
            answer: 200,
            spawn_failures: VecDeque::new(),
            look_failures: 0,
            completeness: Completeness::Complete,
            panics: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic on purpose is one of the stories.
        lock(&self.0)
    }

    /// What leaders that are spawned from now on do at the stop signal.
    pub fn at_stop(&self, at_stop: AtStop) {
        self.state().at_stop = at_stop;
    }

    /// What the health checks get as status from now on.
    pub fn answer(&self, status: u16) {
        self.state().answer = status;
    }

    pub fn fail_spawns(&self, count: usize, why: &str) {
        self.state().spawn_failures.extend(std::iter::repeat_n(why.to_owned(), count));
    }

    /// So many looks at the processes fail for want of descriptors.
    pub fn fail_looks(&self, count: u32) {
        self.state().look_failures = count;
    }

    pub fn completeness(&self, completeness: Completeness) {
        self.state().completeness = completeness;
    }

    /// The next spawn panics.
    pub fn panic_once(&self) {
        self.state().panics = true;
    }

    /// When each process was spawned, and what it runs.
    pub fn spawned(&self) -> Vec<(Instant, String)> {
        self.state().spawned.clone()
    }

    /// The signals since the last call, each with its receiver.
    pub fn take_sent(&self) -> Vec<(Pid, i32)> {
        std::mem::take(&mut self.state().sent)
    }

    pub fn count(&self) -> usize {
        self.state().tasks.iter().filter(|task| task.exit.is_none()).count()
    }

    /// The living leader.
    pub fn leader(&self) -> Pid {
        self.state().leads.last().expect("nothing runs").pid
    }

    /// The leader makes another process.
    pub fn fork(&self, group: Group, at_stop: AtStop) -> Pid {
        let leader = self.leader();
        let mut state = self.state();
        state.last += 1;
        let pid = Pid::new(state.last).unwrap();
        state.tasks.push(Task { pid, leader, group, at_stop, exit: None });
        pid
    }

    /// A process ends by itself.
    pub fn exit(&self, pid: Pid, exit: Exit) {
        let mut state = self.state();
        state.end(pid, exit);
        state.sweep();
    }

    /// The run listens on these ports of the loopback address.
    pub fn listen(&self, ports: &[u16]) {
        let leader = self.leader();
        let open = |&port| OpenPort {
            port: Port::new(port).unwrap(),
            probe: SocketAddr::from(([127, 0, 0, 1], port)),
            localhost: Localhost::Here,
        };
        let state = self.state();
        let watched = state.watched.iter().find(|watched| watched.leader == leader).unwrap();
        let open = ports.iter().map(open).collect();
        (watched.notify)(Listening { open, given: RequestedPort::Free, inodes: Vec::new() });
    }

    /// When the next health check is due.
    pub fn alarm(&self) -> Option<Instant> {
        let state = self.state();
        let probed = state.probed.iter().filter(|probed| !probed.is_over.load(Ordering::SeqCst));
        probed.map(|probed| probed.checks.deadline()).min()
    }

    /// Sets the clock and makes the health checks that are due then. Each is answered at once.
    pub fn set_clock(&self, now: Instant) {
        let mut state = self.state();
        state.now = now;
        let (answer, day) = (state.answer, SystemTime::now());
        for probed in state.probed.iter_mut().filter(|probed| !probed.is_over.load(Ordering::SeqCst)) {
            while probed.checks.deadline() <= now {
                let change = match probed.checks.timeout(now, day) {
                    Due::Nothing => break,
                    Due::Begin => probed.checks.outcome(CheckOutcome::Answered(answer), now, day),
                    Due::GiveUp(change) | Due::Report(change) => change,
                };
                (probed.notify)(probed.checks.health().clone(), change);
            }
        }
    }
}

impl State {
    fn end(&mut self, pid: Pid, exit: Exit) {
        let is_leader = self.leads.iter().any(|leads| leads.pid == pid);
        for task in self.tasks.iter_mut().filter(|task| task.pid == pid && task.exit.is_none()) {
            task.exit = Some(exit);
        }
        self.tasks.retain(|task| task.pid != pid || is_leader);
    }

    fn send(&mut self, pid: Pid, signal: Signal) -> io::Result<()> {
        let Some(task) = self.tasks.iter().find(|task| task.pid == pid && task.exit.is_none()) else { return Ok(()) };
        match (task.at_stop, signal) {
            (AtStop::Refuses, _) => return Err(io::Error::from_raw_os_error(libc::EPERM)),
            (AtStop::Hangs, _) => {}
            (_, Signal::Kill) => self.end(pid, Exit::Signal(libc::SIGKILL)),
            (AtStop::Exits(exit), Signal::Stop(_) | Signal::Terminate) => self.end(pid, exit),
            (AtStop::Exits(_) | AtStop::Ignores, _) => {}
        }
        self.sent.push((pid, signal.number()));
        Ok(())
    }

    fn exists(&self, pid: Pid) -> bool {
        self.tasks.iter().any(|task| task.pid == pid)
    }

    /// Reports what has ended, as the reaper does.
    fn sweep(&mut self) {
        let orphan = |task: &Task| task.pid != task.leader;
        let orphans = if self.tasks.iter().any(orphan) { Orphans::Perhaps } else { Orphans::None };
        let existing: SortedSet<Pid> = self.tasks.iter().map(|task| task.pid).collect();
        let has_ended = |pid| self.tasks.iter().any(|task| task.pid == pid && task.exit.is_some());
        let ended: Vec<Pid> = self.leads.iter().map(|leads| leads.pid).filter(|&pid| has_ended(pid)).collect();
        for leads in &mut self.leads {
            if ended.contains(&leads.pid) && !std::mem::replace(&mut leads.is_known, true) {
                (leads.notify)(Notice::LeaderExited(orphans));
            }
            if !leads.awaited.is_empty() {
                leads.awaited.retain(|pid| existing.contains(pid));
                if leads.awaited.is_empty() {
                    (leads.notify)(Notice::OrphansGone);
                }
            }
        }
    }
}

impl System for World {
    type Child = FakeChild;
    type PortWatch = FakeWatch;
    type Probing = FakeProbing;

    fn now(&self) -> Instant {
        self.state().now
    }

    fn spawn(
        self: &Arc<Self>,
        _: &Slug,
        plan: &Plan,
        marker: String,
        notify: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<FakeChild, String> {
        let mut state = self.state();
        assert!(!std::mem::take(&mut state.panics), "on purpose");
        if let Some(why) = state.spawn_failures.pop_front() {
            return Err(why);
        }
        state.last += 1;
        let (pid, now, at_stop) = (Pid::new(state.last).unwrap(), state.now, state.at_stop);
        state.spawned.push((now, plan.script.clone()));
        state.tasks.push(Task { pid, leader: pid, group: Group::Leaders, at_stop, exit: None });
        let awaited = SortedSet::default();
        state.leads.push(Leads { pid, notify: Box::new(notify), is_known: false, awaited });
        let tree = Arc::new(RunTree { leader: pid, mark: None, marker, pipes: [0; 2] });
        Ok(FakeChild { world: Arc::clone(self), tree })
    }

    fn members(&self, tree: &RunTree) -> io::Result<RunMembers> {
        let mut state = self.state();
        if state.look_failures > 0 {
            state.look_failures -= 1;
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let members = state.tasks.iter().filter(|task| task.leader == tree.leader && task.exit.is_none());
        let living = members.map(process).collect();
        Ok(RunMembers { living, completeness: state.completeness, unclaimed: Vec::new() })
    }

    fn living(&self, pid: Pid) -> Option<Process> {
        self.state().tasks.iter().find(|task| task.pid == pid && task.exit.is_none()).map(process)
    }

    fn undying(&self, pid: Pid) -> Option<String> {
        self.living(pid).map(|_| format!("process {pid} lives on after SIGKILL"))
    }

    fn await_orphans(&self, leader: Pid, mut pids: SortedSet<Pid>) -> OrphanWait {
        let mut state = self.state();
        pids.retain(|pid| state.exists(*pid));
        let is_empty = pids.is_empty();
        state.leads.iter_mut().filter(|leads| leads.pid == leader).for_each(|leads| leads.awaited = pids.clone());
        if is_empty { OrphanWait::Gone } else { OrphanWait::Pending }
    }

    fn signal(&self, process: &Process, signal: Signal) -> io::Result<()> {
        let mut state = self.state();
        state.send(process.pid, signal)?;
        state.sweep();
        Ok(())
    }

    fn refuses(&self, process: &Process) -> Option<io::Error> {
        let state = self.state();
        let refuses = |task: &Task| task.pid == process.pid && matches!(task.at_stop, AtStop::Refuses);
        state.tasks.iter().any(refuses).then(|| io::Error::from_raw_os_error(libc::EPERM))
    }

    fn watch_ports(
        &self,
        tree: &RunTree,
        _: Option<Port>,
        _: Instant,
        notify: impl Fn(Listening) + Send + 'static,
    ) -> FakeWatch {
        self.state().watched.push(Watched { leader: tree.leader, notify: Box::new(notify) });
        FakeWatch
    }

    fn probe(
        &self,
        _: SocketAddr,
        check: &HealthCheck,
        detected: Instant,
        notify: impl FnMut(Health, HealthChange) + Send + 'static,
    ) -> FakeProbing {
        let mut state = self.state();
        let (checks, is_over) = (Checks::new(check, detected), Arc::new(AtomicBool::new(false)));
        state.probed.retain(|probed| !probed.is_over.load(Ordering::SeqCst));
        state.probed.push(Probed { is_over: Arc::clone(&is_over), checks, notify: Box::new(notify) });
        FakeProbing(is_over)
    }
}
