//! Spawns in progress, and the end of one that hangs.
//!
//! Owns: which servers have a child that does not run its program yet. Never: when one is ended.
//!
//! The thread of a server is suspended until its child runs the program. If the program is on a file system that does
//! not answer, that thread takes no command, and another one has to end the child.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::log::{self, Level};
use crate::model::marker::RunMark;
use crate::model::spec::Slug;
use crate::os::pidfd::{self, Signal};
use crate::os::{Pid, limits};
use crate::process::snapshot::Snapshot;
use crate::sorted::Sorted;
use crate::sync::lock;

/// A spawn takes less than a millisecond. After this, it hangs.
const STUCK_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Launches(Mutex<Sorted<Slug, (Instant, RunMark)>>);

/// A spawn in progress, dropped when the child runs its program or has failed.
pub struct Launching<'a> {
    launches: &'a Launches,
    slug: Slug,
}

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        lock(&self.launches.0).remove(&self.slug);
    }
}

impl Launches {
    /// A child of `slug` is being spawned, with `mark` in its limits.
    pub fn begin(&self, slug: &Slug, mark: RunMark) -> Launching<'_> {
        lock(&self.0).insert(slug.clone(), (Instant::now(), mark));
        Launching { launches: self, slug: slug.clone() }
    }

    /// Kills the child of `slug` that hangs before its program runs, if there is one, and returns its number.
    pub fn end_stuck(&self, slug: &Slug) -> Option<Pid> {
        let mark = self.stuck(slug)?;
        let snapshot = Snapshot::take().ok()?;
        let own = Pid::own().raw();
        let has_mark = |pid| limits::of(pid).ok().flatten().is_some_and(|limits| mark.is_in(limits));
        let child = snapshot.all().find(|process| process.parent == own && has_mark(process.pid))?;
        // One that runs its program by now is the server's thread's again.
        self.stuck(slug).filter(|now| *now == mark)?;
        log::server(
            Level::Warn,
            slug,
            format_args!("process {} is killed: its program is on a file system that does not answer", child.pid),
        );
        // Its end, or that it lives on, is seen by the caller.
        let _ = pidfd::signal(child, Signal::Kill);
        Some(child.pid)
    }

    fn stuck(&self, slug: &Slug) -> Option<RunMark> {
        lock(&self.0).get(slug).filter(|(begun, _)| begun.elapsed() >= STUCK_AFTER).map(|(_, mark)| *mark)
    }
}
