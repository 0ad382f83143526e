//! Which processes belong to a run.
//!
//! Owns: the policy: the proofs of membership, the snapshot of all processes, and when children are reaped. Never: a
//! system call (see `os`), a server's life-cycle (see `supervisor`).

pub mod in_flight;
pub mod oom;
pub mod orphans;
pub mod reaper;
pub mod snapshot;
pub mod tracker;

use std::io;

use crate::model::signal::signal_name;
use crate::os::Pid;
use crate::os::pidfd::Signal;
use crate::os::proc::{self, Process};

/// Says which process lives although it was killed, and why; `None` if it has ended.
pub fn undying(pid: Pid) -> Option<String> {
    let process = Process::read(pid).filter(Process::is_alive)?;
    let why = match process.state() {
        'D' => "it waits in the kernel for a device or a file system that does not answer",
        _ => "the kernel has not ended it yet",
    };
    Some(format!("{} lives on after SIGKILL: {why} (state {})", proc::describe(pid), process.state()))
}

/// Says which process refuses which signal, and why.
pub fn refusal(process: &Process, signal: Signal, error: &io::Error) -> String {
    let name = signal_name(signal.number());
    format!(
        "{} refuses {name}: {error}; end it by hand, or run servisor as a user who may",
        proc::describe(process.pid)
    )
}
