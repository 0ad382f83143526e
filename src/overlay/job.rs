//! The thread of one overlay, from its first file to its last status.
//!
//! Owns: the order of the phases and what every way out has to leave behind. Never: the table, a request.
//!
//! First the light part, with placeholders for what is heavy; then all is usable. Then each heavy directory. No way out
//! leaves a placeholder: a template that can be written through one is not safe.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Overlay;
use super::copy::{Attempt, Copy, Task};
use super::crew::Leader;
use super::pair::{Company, Pair, lock};
use super::place;
use super::plan::Plan;
use super::progress::{Halt, Stop};
use super::state::Ended;
use crate::os::fs::data::Ways;
use crate::os::fs::{self, Dir, Last, Made, Moment};

/// The clock of file systems stands still between two ticks of the kernel, which are 10 ms apart at most.
const TICK: Duration = Duration::from_millis(10);
/// Helpers look up after every piece of work.
const DISMISSAL: Duration = Duration::from_secs(10);

/// From when on what comes into being may be the work of an overlay that was created at `created_at`.
pub fn since(created_at: SystemTime) -> Moment {
    let since = created_at.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(TICK);
    // Records have milliseconds.
    Moment(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_millis() * 1_000_000)
}

/// Tells of the end also when the thread panics.
struct Farewell(Arc<Overlay>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.finish(Ended::Failed("servisor failed while copying; its log says more".into()));
        }
    }
}

/// Copies; returns when the overlay is over or was told to stop.
pub fn run(overlay: &Arc<Overlay>, attempt: Attempt) {
    let _farewell = Farewell(Arc::clone(overlay));
    overlay.begin();
    match prepare(overlay, attempt) {
        Ok((copy, source, target, made)) => carry_out(overlay, copy, source, target, made),
        Err(why) => overlay.progress.halt(Halt::Failed(why)),
    }
    match overlay.progress.halted() {
        None => overlay.finish(Ended::Complete),
        Some(Halt::Failed(why)) => overlay.finish(Ended::Failed(why)),
        // Whoever said so knows; at the end of the daemon the record still says that there is something to do.
        Some(Halt::Stopped(Stop::Delete | Stop::ShutDown)) => {}
    }
}

fn prepare(overlay: &Overlay, attempt: Attempt) -> Result<(Copy, Dir, Dir, Made), String> {
    let spec = &overlay.spec;
    let canonical = place::source(&spec.source).map_err(|why| format!("source {why}"))?;
    let source = Dir::open(&canonical, Last::Refuse)
        .map_err(|error| format!("source can't be opened: {}: {error}", canonical.display()))?;
    let (target, made) = place::open(&overlay.root, &spec.target).map_err(|why| format!("target {why}"))?;
    let identity = target.own_stat().map_err(|error| format!("target can't be used: {error}"))?.identity;
    let own = fs::own_owner();
    let copy = Copy {
        id: overlay.id.clone(),
        plan: Plan::new(spec, canonical, &overlay.root),
        progress: Arc::clone(&overlay.progress),
        ways: Ways::default(),
        since: since(overlay.created_at),
        attempt,
        owner: (own.0 == 0).then_some(own),
        target: identity,
        deferred: Mutex::default(),
        temporaries: AtomicU64::new(0),
    };
    Ok((copy, source, target, made))
}

fn carry_out(overlay: &Arc<Overlay>, copy: Copy, source: Dir, target: Dir, made: Made) {
    let copy = Arc::new(copy);
    let crew = Leader::new(&format!("ovl:{}", overlay.id), Arc::clone(&copy));
    let top = source.try_clone().and_then(|from| {
        let to = target.try_clone()?;
        let maker = copy.maker(made, &from.own_stat()?, &to)?;
        Pair::top(from, to, PathBuf::new(), maker, Company::Shared)
    });
    match top {
        Ok(top) => crew.run(Task::Fill(top)),
        Err(error) => copy.progress.fail(Path::new("."), &error),
    }
    let deferred = std::mem::take(&mut *lock(&copy.deferred));
    // Where a heavy directory can be cloned the whole is worth a moment's wait; whoever waits has a limit.
    if !copy.ways.clones() && copy.progress.go_on().is_ok() {
        overlay.usable();
    }
    for heavy in &deferred {
        if copy.progress.go_on().is_err() {
            break;
        }
        heavy.carry_out(&crew, &source, &target);
    }
    for heavy in &deferred {
        heavy.withdraw(&copy, &target);
    }
    for heavy in &deferred {
        heavy.dress_parent(&copy, &target);
    }
    crew.dismiss(Instant::now() + DISMISSAL);
}
