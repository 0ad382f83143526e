//! Assembles the state at the start: stored servers, the setup payload, and processes left by an earlier daemon.
//!
//! Owns: the set of servers at the start. Never: their life afterwards.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::api::input;
use crate::log::{self, Level};
use crate::model::marker::Marks;
use crate::model::overlay::OverlaySpec;
use crate::model::spec::{ServerSpec, Slug};
use crate::os::inherit::Strangers;
use crate::os::{limits, random};
use crate::overlay::Overlays;
use crate::process::in_flight::InFlight;
use crate::process::reaper::Reaper;
use crate::process::tracker::ProcessTracker;
use crate::sorted::Sorted;
use crate::store::files::Files;
use crate::store::leaders::{self, Leaders};
use crate::store::server::{self, Kept};
use crate::store::{Past, Store};
use crate::supervisor::Origin;

mod sweep;
#[cfg(test)]
mod tests;

use sweep::Earlier;

/// Loads the stored servers. An invalid file is renamed and reported in the log.
///
/// # Errors
/// The directory can't be read.
pub fn stored(files: &Files, root: &Path) -> io::Result<Vec<(ServerSpec, Kept)>> {
    files.load(|name, members| {
        let (configuration, kept) = server::parse(members)?;
        let (spec, warnings) = input::stored_server_spec(configuration, root).map_err(|error| error.to_string())?;
        if spec.slug.as_str() != name {
            return Err(format!("it has the configuration of another server, {}", spec.slug));
        }
        for warning in warnings {
            log::server(Level::Warn, &spec.slug, format_args!("in what is stored: {warning}"));
        }
        Ok((spec, kept))
    })
}

/// Merges the stored servers with those of the payload, which win. The same payload comes with every start of a
/// sandbox; a server whose configuration has not changed keeps its stored state, such as its finished install command.
pub fn servers(stored: Vec<(ServerSpec, Kept)>, payload: Vec<ServerSpec>) -> Vec<(Arc<ServerSpec>, Origin)> {
    let of_stored = |(spec, kept): (ServerSpec, Kept)| (spec.slug.clone(), (Arc::new(spec), Origin::Stored(kept)));
    let mut servers: Sorted<Slug, (Arc<ServerSpec>, Origin)> = stored.into_iter().map(of_stored).collect();
    for spec in payload {
        let present = servers.get(&spec.slug);
        if present.is_none_or(|(present, _)| **present != spec) {
            // A key lasts until its server is deleted.
            let key = present.and_then(|(_, origin)| origin.key().cloned());
            servers.insert(spec.slug.clone(), (Arc::new(spec), Origin::Payload(key)));
        }
    }
    servers.into_iter().map(|(_, server)| server).collect()
}

/// Creates the overlays of the payload, unless they exist, and makes each of its servers wait for them.
pub fn with_overlays(servers: Vec<ServerSpec>, specs: Vec<OverlaySpec>, overlays: &Overlays) -> Vec<ServerSpec> {
    let ids = overlays.ensure_all(specs);
    servers.into_iter().map(|spec| spec.waiting_for(&ids)).collect()
}

/// The parts that manage the servers' processes.
pub struct Processes {
    pub reaper: Arc<Reaper>,
    /// Maps processes to runs.
    pub tracker: Arc<ProcessTracker>,
    /// Stores the leaders for the next daemon.
    pub leaders: Leaders,
    /// The prefix of the runs' markers: instance and life of the daemon.
    pub marker: String,
}

/// Kills processes that an earlier life has left, and starts to track those of this one.
///
/// # Errors
/// The system has no random numbers.
pub fn processes(store: &Store, life: &str, strangers: Strangers) -> io::Result<Processes> {
    let marks = Marks::new(store.instance(), limits::own());
    match store.past() {
        Past::Clean => {}
        Past::Unclean => {
            let runs = leaders::past(store.directory());
            Earlier { instance: store.instance(), life, runs, marks }.sweep();
        }
    }
    let ancestors = sweep::lineage();
    let leaders = Leaders::begin(store.directory(), marks.is_some(), ancestors.get(1..).unwrap_or_default());
    let spawns = Arc::new(InFlight::default());
    // Random, so that runs of two lives have different numbers.
    let mut first_run = [0; 8];
    random::fill(&mut first_run)?;
    let first_run = u64::from_ne_bytes(first_run);
    Ok(Processes {
        reaper: Arc::new(Reaper::new(Arc::clone(&spawns))),
        tracker: Arc::new(ProcessTracker::with_marks(strangers, marks, spawns, first_run)),
        leaders,
        marker: format!("{}.{life}", store.instance()),
    })
}
