//! Killing orphans at the end of a shutdown.
//!
//! Owns: that last search. Never: a process that may not come from a server.

use std::thread;
use std::time::{Duration, Instant};

use super::refusal;
use super::tracker::ProcessTracker;
use crate::log;
use crate::os::pidfd::{self, Signal};
use crate::sorted::SortedSet;

/// The time for which orphans are searched after the first SIGKILL, and the pause between searches.
const LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// Kills the processes that come from servers but could not be attributed to a run.
pub fn kill(tracker: &ProcessTracker) {
    let limit = Instant::now() + LIMIT;
    let mut seen = SortedSet::default();
    while Instant::now() < limit {
        let orphans = match tracker.orphans() {
            Ok(orphans) if orphans.is_empty() => return,
            Ok(orphans) => orphans,
            Err(error) => {
                log::warn(format_args!("processes left behind can't be looked for: {error}"));
                return;
            }
        };
        for orphan in &orphans {
            let is_new = seen.insert(orphan.pid);
            if is_new {
                log::warn(format_args!("killing process {}, which a server has left behind", orphan.pid));
            }
            if let Err(error) = pidfd::signal(orphan, Signal::Kill)
                && is_new
            {
                log::error(format_args!("{}", refusal(orphan, Signal::Kill, &error)));
            }
        }
        thread::sleep(PAUSE);
    }
    log::error(format_args!("some processes could not be ended"));
}
