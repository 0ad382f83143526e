//! The end of the daemon, and its thread `control`, which waits for it.
//!
//! Owns: the order in which everything ends, and the limits of that; and, as the thread waits anyway, the moment at
//! which what the payload has brought is stored. Never: how one server ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::fronts::Fronts;
use super::{FRONT_LIMIT, ShutdownResult};
use crate::control::Control;
use crate::log;
use crate::os::RecvError;
use crate::os::inbox::Inbox;
use crate::os::signals;
use crate::os::thread;
use crate::overlay::Overlays;
use crate::process::orphans;
use crate::registry::{Registry, Started};
use crate::supervisor::{Context, Supervisor};

/// What the payload brings is stored when all servers had the time to start: a start takes half a millisecond, and the
/// first of them would else write while the last ones wait for a processor. No client waits for it, and what is lost until
/// then comes with the next start too. What can't be stored is logged.
const KEEP_AFTER: Duration = Duration::from_millis(100);
const KEEP_AFTER_EACH: Duration = Duration::from_millis(1);
/// Past its stop timeout a server has been sent SIGKILL; what still lives after this can't be ended.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// A copy checks for its stop between files and between pieces of large ones. Servers stop in the same time.
const OVERLAY_LIMIT: Duration = Duration::from_secs(2);
/// The last of the servers' output, and how their runs ended, are written within this; a disk that takes longer does not
/// hold the end.
const FILES_LIMIT: Duration = Duration::from_secs(2);
/// Idle threads end at once.
const THREAD_LIMIT: Duration = Duration::from_secs(1);

/// What the end of the daemon has to go through.
pub struct Shutdown {
    /// The servers that the daemon began with, until those of the payload are stored.
    pub unkept: Option<Started>,
    pub control: Inbox<Control>,
    pub registry: Arc<Registry>,
    pub overlays: Arc<Overlays>,
    pub context: Arc<Context>,
    pub fronts: Fronts,
    pub closer: signals::SignalCloser,
    pub result: Arc<AtomicU8>,
}

/// Ends the main thread on every way out of the control thread.
struct Release(signals::SignalCloser);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shutdown {
    /// Works from the start of the servers to the end of the daemon, on a thread of its own.
    pub fn carry_out(mut self) {
        let _release = Release(self.closer.clone());
        let count = self.unkept.as_ref().map_or(0, Started::count);
        let keep_at = Instant::now() + KEEP_AFTER + KEEP_AFTER_EACH * u32::try_from(count).unwrap_or(u32::MAX);
        // Supervisors end whenever a server is deleted; only a signal ends this wait.
        let signal = loop {
            match self.control.recv_by(self.unkept.as_ref().map(|_| keep_at)) {
                Ok(Control::Terminate { signal }) => break signal,
                Ok(Control::SupervisorEnded(_)) => {}
                Err(RecvError::Timeout) => drop(self.unkept.take().map(Started::keep)),
                Err(RecvError::Disconnected) => break "the loss of the main thread",
            }
        };
        drop(self.unkept.take().map(Started::keep));
        let supervisors = self.registry.close();
        log::info(format_args!("{signal}: stopping {} servers", supervisors.len()));
        supervisors.iter().for_each(|supervisor| supervisor.shut_down());
        self.overlays.close();
        let copies_until = Instant::now() + OVERLAY_LIMIT;
        // Before the copies are joined: this reads the inbox, and a second signal kills at once.
        let ended = self.await_supervisors(&supervisors);
        self.overlays.join_by(copies_until);
        orphans::kill(&self.context.system.tracker);
        // Followers of a log have received its end.
        supervisors.iter().for_each(|supervisor| supervisor.log().end());
        self.context.books.finish(Instant::now() + FILES_LIMIT);
        if let Some(files) = &self.context.log_files {
            files.finish(Instant::now() + FILES_LIMIT);
        }
        self.fronts.close(Instant::now() + FRONT_LIMIT);
        self.context.system.prober.close(Instant::now() + THREAD_LIMIT);
        self.context.system.watcher.close(Instant::now() + THREAD_LIMIT);
        match ended {
            ShutdownResult::Clean => log::info(format_args!("all servers are stopped")),
            ShutdownResult::LeftBehind => log::error(format_args!("some processes may be left behind")),
        }
        self.result.store(ended as u8, Ordering::SeqCst);
    }

    /// Waits for all of them under one limit. A second signal kills, a third one does not wait.
    fn await_supervisors(&self, supervisors: &[Arc<Supervisor>]) -> ShutdownResult {
        let grace = supervisors.iter().map(|supervisor| supervisor.view().spec.stop_timeout).max().unwrap_or_default();
        let mut deadline = Instant::now() + grace + KILL_LIMIT;
        let mut signals = 1;
        // Sorted by slug. Each notice takes one out, so that the time for all is linear in their number.
        let mut left: Vec<_> = supervisors.iter().collect();
        loop {
            // A thread ends shortly after its `EndNotice`; one without a notice is checked by `join_by`.
            while left.pop_if(|last| last.join_by(Instant::now()) != thread::Joined::Late).is_some() {}
            if left.is_empty() {
                return ShutdownResult::Clean;
            }
            match self.control.recv_by(Some(deadline)) {
                Ok(Control::SupervisorEnded(slug)) => {
                    if let Ok(place) = left.binary_search_by_key(&&slug, |supervisor| supervisor.slug())
                        && left[place].join_by(deadline) != thread::Joined::Late
                    {
                        left.remove(place);
                    }
                }
                Ok(Control::Terminate { signal }) => {
                    signals += 1;
                    if signals > 2 {
                        log::warn(format_args!("{signal} for the third time: ending without waiting for the servers"));
                        return ShutdownResult::LeftBehind;
                    }
                    log::warn(format_args!("{signal} again: killing what is left"));
                    supervisors.iter().for_each(|supervisor| supervisor.kill());
                    deadline = Instant::now() + KILL_LIMIT;
                }
                Err(_) => return ShutdownResult::LeftBehind,
            }
        }
    }
}
