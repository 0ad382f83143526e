//! What the daemon finds when it begins: what is stored, what it was told to have, and what was left behind.
//!
//! Owns: which servers there are at the start, and the end of the processes of an earlier life. Never: a server's life
//! after that, a process that can't be proven to be a leftover.
//!
//! A daemon that was killed leaves its servers without anyone to read their output or to restart them. They carry the
//! name of the state directory and of the life that started them; whatever has the first and not the second is ended
//! before a port is looked at or a server is started. No process number is ever stored, so none can be mistaken. A child
//! that was not even another program yet when its daemon died held the lock of the state directory: it is one by now.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::input;
use crate::log::{self, Level};
use crate::model::overlay::OverlaySpec;
use crate::model::spec::{ServerSpec, Slug};
use crate::os::Pid;
use crate::os::proc::{self, Marked, Process};
use crate::os::tree::{self, Signal};
use crate::overlay::Overlays;
use crate::sorted::{Sorted, SortedSet};
use crate::store::files::Files;
use crate::store::server::{self, Kept};
use crate::supervisor::Origin;

#[cfg(test)]
mod tests;

/// From SIGTERM to SIGKILL. A database has something to write; nobody is left to wait for it for long.
const GRACE: Duration = Duration::from_secs(1);
/// What SIGKILL does not end within this is stuck in the kernel, and the daemon begins without having it ended.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// A process that is becoming another program is through with that long before this.
const UNCLEAR_LIMIT: Duration = Duration::from_millis(100);
/// Between two looks at what is left, the first and the longest. They are nobody's children here: no one tells of their
/// end.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(16);

/// The servers that are stored. A file that is no configuration is set aside and told of in the log.
///
/// # Errors
/// The directory can't be read.
pub fn stored(files: &Files, root: &Path) -> io::Result<Vec<(ServerSpec, Kept)>> {
    files.load(|name, members| {
        let (configuration, kept) = server::parse(members)?;
        let (spec, warnings) = input::server_spec(&configuration, root).map_err(|error| error.to_string())?;
        if spec.slug.as_str() != name {
            return Err(format!("it has the configuration of another server, {}", spec.slug));
        }
        for warning in warnings {
            log::server(Level::Warn, &spec.slug, format_args!("in what is stored: {warning}"));
        }
        Ok((spec, kept))
    })
}

/// The servers to begin with: those that are stored, and those of the payload in the place of theirs. A payload comes
/// with every start of the same sandbox; a server that it has not changed stays as it is, with its install done.
pub fn servers(stored: Vec<(ServerSpec, Kept)>, payload: Vec<ServerSpec>) -> Vec<(Arc<ServerSpec>, Origin)> {
    let of_stored = |(spec, kept): (ServerSpec, Kept)| (spec.slug.clone(), (Arc::new(spec), Origin::Stored(kept)));
    let mut servers: Sorted<Slug, (Arc<ServerSpec>, Origin)> = stored.into_iter().map(of_stored).collect();
    for spec in payload {
        if servers.get(&spec.slug).is_none_or(|(present, _)| **present != spec) {
            servers.insert(spec.slug.clone(), (Arc::new(spec), Origin::Payload));
        }
    }
    servers.into_iter().map(|(_, server)| server).collect()
}

/// The servers of a payload, each of them waiting for the overlays of the payload, which are made if they are not there.
pub fn with_overlays(servers: Vec<ServerSpec>, specs: Vec<OverlaySpec>, overlays: &Overlays) -> Vec<ServerSpec> {
    let ids = overlays.ensure_all(specs);
    servers.into_iter().map(|spec| spec.waiting_for(&ids)).collect()
}

/// Ends the processes that `instance` has left behind in another life than `life`, with a short grace. To be called
/// before the first server is started.
pub fn sweep(instance: &str, life: &str) {
    // Each limit counts from what was done, not from the beginning: a machine may stand still for seconds at any point.
    let (mut unclear_since, mut terminated_at, mut killed_at) = (None, None, None);
    let mut told = SortedSet::default();
    let mut pause = PAUSE;
    loop {
        let (left, unclear) = match leftovers(instance, life) {
            Ok(looked) => looked,
            Err(error) => {
                log::warn(format_args!("what an earlier servisor has left behind can't be looked for: {error}"));
                return;
            }
        };
        let now = Instant::now();
        let has_passed = |limit: Duration, since: &mut Option<Instant>| now - *since.get_or_insert(now) >= limit;
        if left.is_empty() {
            // What was killed in the middle of a spawn has a child that shows its marker in a moment.
            if unclear > 0 && !has_passed(UNCLEAR_LIMIT, &mut unclear_since) {
                std::thread::sleep(PAUSE);
                continue;
            }
            if !told.is_empty() {
                log::info(format_args!("ended {} processes of an earlier servisor", told.len()));
            }
            return;
        }
        if told.is_empty() {
            log::warn(format_args!("an earlier servisor has left {} processes behind; they are ended now", left.len()));
        }
        let is_grace_over = has_passed(GRACE, &mut terminated_at);
        if is_grace_over && has_passed(KILL_LIMIT, &mut killed_at) {
            log::error(format_args!("{} processes of an earlier servisor could not be ended", left.len()));
            return;
        }
        for process in &left {
            if is_grace_over {
                tree::signal(process, Signal::Kill);
            } else if told.insert((process.pid, process.started)) {
                log::debug(format_args!("process {} of an earlier servisor is ended", process.pid));
                tree::signal(process, Signal::Terminate);
                // A stopped process hears nothing before it goes on.
                tree::signal(process, Signal::Continue);
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// What this daemon itself was started from is spared: a shell that runs in one of the servers of its earlier life.
/// Also says how many processes could not be judged yet.
fn leftovers(instance: &str, life: &str) -> io::Result<(Vec<Process>, usize)> {
    let Marked { mut found, unclear } = proc::marked(|marker| is_of_another_life(marker, instance, life))?;
    if !found.is_empty() {
        let own = lineage();
        found.retain(|process| !own.contains(&process.pid));
    }
    Ok((found, unclear))
}

/// A marker is INSTANCE.LIFE.SLUG.RUN, and only the slug can have further dots.
fn is_of_another_life(marker: &str, instance: &str, life: &str) -> bool {
    let mut parts = marker.splitn(3, '.');
    parts.next() == Some(instance) && parts.next().is_some_and(|other| other != life) && parts.next().is_some()
}

/// This process and those that it descends from.
fn lineage() -> SortedSet<Pid> {
    let mut lineage = SortedSet::default();
    let mut next = Some(Pid::own());
    while let Some(pid) = next.filter(|pid| lineage.insert(*pid)) {
        next = Process::read(pid).and_then(|process| Pid::new(process.parent));
    }
    lineage
}
