//! The handles that a supervisor has of the fake machine.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::super::system::{Child, PortWatch};
use super::{Group, Task, World};
use crate::logs::{SharedLog, StreamId};
use crate::model::machine::Exit;
use crate::model::run::Usage;
use crate::os::Pid;
use crate::os::pidfd::Signal;
use crate::os::proc::Process;
use crate::ports::Pace;
use crate::process::tracker::RunTree;

/// The process as `/proc` would show it.
pub(super) fn process(task: &Task) -> Process {
    let group = match task.group {
        Group::Leaders => task.leader,
        Group::Own => task.pid,
    };
    let stat = format!("{} (x) S 1 {group} {group} {}1 0 1", task.pid, "0 ".repeat(13));
    Process::parse(task.pid, stat.as_bytes()).unwrap()
}

/// A leader; its drop kills and reaps it as that of a real one does.
pub struct FakeChild {
    pub(super) world: Arc<World>,
    pub(super) tree: Arc<RunTree>,
}

impl Child for FakeChild {
    fn tree(&self) -> &Arc<RunTree> {
        &self.tree
    }

    fn read_output(&mut self, log: &Arc<SharedLog>) -> Result<(), String> {
        log.append(StreamId::Stdout, b"begun\n");
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let mut state = self.world.state();
        // A refusal is no error here, as with the kernel.
        let _ = state.send(self.tree.leader, signal);
        state.sweep();
    }

    fn signal_group(&self, signal: Signal) {
        let mut state = self.world.state();
        let is_in = |task: &&Task| task.leader == self.tree.leader && task.group == Group::Leaders;
        let group: Vec<Pid> = state.tasks.iter().filter(is_in).map(|task| task.pid).collect();
        for pid in group {
            let _ = state.send(pid, signal);
        }
        state.sweep();
    }

    fn may_have_siblings(&self) -> bool {
        false
    }

    fn reap(&mut self) -> io::Result<(Exit, Usage)> {
        let state = self.world.state();
        let exit = state.tasks.iter().find(|task| task.pid == self.tree.leader).and_then(|task| task.exit);
        let exit = exit.ok_or(io::ErrorKind::WouldBlock)?;
        Ok((exit, Usage { cpu: Duration::ZERO, max_rss_bytes: 0 }))
    }
}

impl Drop for FakeChild {
    fn drop(&mut self) {
        self.signal_group(Signal::Kill);
        let (mut state, leader) = (self.world.state(), self.tree.leader);
        state.tasks.retain(|task| task.pid != leader);
        state.leads.retain(|leads| leads.pid != leader);
        state.watched.retain(|watched| watched.leader != leader);
    }
}

pub struct FakeWatch;

impl PortWatch for FakeWatch {
    fn set_pace(&mut self, _: Pace) {}

    fn look(&self) {}
}

pub struct FakeProbing(pub(super) Arc<AtomicBool>);

impl Drop for FakeProbing {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
