//! The thread of one overlay.
//!
//! Owns: the order of the steps, and the clean-up on every path. Never: the table, a request.
//!
//! First the light files, with placeholders for heavy directories; from then on everything is usable. Then each heavy
//! directory. No path leaves a placeholder behind, because writes through one change the template.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Overlay;
use super::copy::{Attempt, CopyTask, TreeCopy};
use super::pair::{Pair, Visibility};
use super::place;
use super::plan::CopyPlan;
use super::progress::{Halt, StopCause};
use super::state::CopyResult;
use super::workers::WorkerPool;
use crate::os::fs::copy_file::Ways;
use crate::os::fs::{self, Dir, Last, Made, Moment};
use crate::sync::lock;

/// The resolution of time stamps in file systems: a tick of the kernel, at most 10 ms.
const TICK: Duration = Duration::from_millis(10);
/// The limit of the wait for helpers, which check for the end after every task.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// The earliest birth time of files that an overlay, created at `created_at`, has copied.
pub fn since(created_at: SystemTime) -> Moment {
    let since = created_at.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(TICK);
    // Records store milliseconds.
    Moment(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_millis() * 1_000_000)
}

/// Marks the overlay as failed if the thread panics.
struct CompletionGuard(Arc<Overlay>);

impl Drop for CompletionGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.finish(CopyResult::Failed("servisor failed while copying; its log says more".into()));
        }
    }
}

/// Copies until the overlay is complete, has failed or is stopped.
pub fn run(overlay: &Arc<Overlay>, attempt: Attempt) {
    let _guard = CompletionGuard(Arc::clone(overlay));
    overlay.begin();
    match prepare(overlay, attempt) {
        Ok((copy, source, target, made)) => carry_out(overlay, copy, source, target, made),
        Err(why) => overlay.progress.halt(Halt::Failed(why)),
    }
    match overlay.progress.halted() {
        None => overlay.finish(CopyResult::Complete),
        Some(Halt::Failed(why)) => overlay.finish(CopyResult::Failed(why)),
        // The record of a copy that a shutdown stopped still says `in_progress`, so the next daemon resumes it.
        Some(Halt::Stopped(StopCause::Delete | StopCause::ShutDown)) => {}
    }
}

fn prepare(overlay: &Overlay, attempt: Attempt) -> Result<(TreeCopy, Dir, Dir, Made), String> {
    let spec = &overlay.spec;
    let canonical = place::source(&spec.source).map_err(|why| format!("source {why}"))?;
    let source = Dir::open(&canonical, Last::Refuse)
        .map_err(|error| format!("source can't be opened: {}: {error}", canonical.display()))?;
    let (target, made) = place::open(&overlay.root, &spec.target).map_err(|why| format!("target {why}"))?;
    let identity = target.own_stat().map_err(|error| format!("target can't be used: {error}"))?.identity;
    let own = fs::own_owner();
    let copy = TreeCopy {
        id: overlay.id.clone(),
        plan: CopyPlan::new(spec, canonical, &overlay.root),
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

fn carry_out(overlay: &Arc<Overlay>, copy: TreeCopy, source: Dir, target: Dir, made: Made) {
    let copy = Arc::new(copy);
    let pool = WorkerPool::new(&format!("ovl:{}", overlay.id), Arc::clone(&copy));
    let top = source.try_clone().and_then(|from| {
        let to = target.try_clone()?;
        let maker = copy.maker(made, &from.own_stat()?, &to)?;
        Pair::top(from, to, PathBuf::new(), maker, Visibility::Shared)
    });
    match top {
        Ok(top) => pool.run(CopyTask::Fill(top)),
        Err(error) => copy.progress.fail(Path::new("."), &error),
    }
    let deferred = std::mem::take(&mut *lock(&copy.deferred));
    // On file systems with clones, heavy directories take a moment only: wait for them. Waiting clients have a limit.
    if !copy.ways.clones() && copy.progress.check_stop().is_ok() {
        overlay.usable();
    }
    for heavy in &deferred {
        if copy.progress.check_stop().is_err() {
            break;
        }
        heavy.carry_out(&pool, &source, &target);
    }
    for heavy in &deferred {
        heavy.withdraw(&copy, &target);
    }
    for heavy in &deferred {
        heavy.restore_parent_metadata(&copy, &target);
    }
    pool.join_by(Instant::now() + JOIN_LIMIT);
}
