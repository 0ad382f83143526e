//! Detecting kills by the kernel's OOM killer.
//!
//! Owns: the counter of such kills. Never: which process it was: the caller has seen a SIGKILL that it did not send.
//!
//! The counter of the daemon's own memory cgroup is certain; without one, that of the whole machine is only an
//! indication.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::model::ending::Oom;
use crate::sync::lock;

/// The counter's file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OomSource {
    Cgroup(PathBuf),
    Machine,
}

/// The counter, with its last value and source.
#[derive(Debug)]
pub struct OomCounter(Mutex<(OomSource, u64)>);

impl OomCounter {
    /// Reads the counter for the first time.
    pub fn new() -> OomCounter {
        OomCounter(Mutex::new(now()))
    }

    /// Discards the kills until now: they hit other processes. Called at each spawn, so it does not read the machine's
    /// counter, which takes the kernel 0.1 ms.
    pub fn refresh(&self) {
        let mut seen = lock(&self.0);
        if let OomSource::Cgroup(file) = &seen.0 {
            seen.1 = read(file).unwrap_or(seen.1);
        }
    }

    /// Whether there was a kill since the last call. The daemon may have been moved to another cgroup.
    pub fn take_kill(&self) -> Oom {
        let now = now();
        let before = std::mem::replace(&mut *lock(&self.0), now.clone());
        let base = if before.0 == now.0 { before.1 } else { 0 };
        match now.0 {
            _ if now.1 <= base => Oom::No,
            OomSource::Cgroup(_) => Oom::Certain,
            OomSource::Machine => Oom::Likely,
        }
    }
}

impl Default for OomCounter {
    fn default() -> OomCounter {
        OomCounter::new()
    }
}

/// The most specific counter, and its value.
fn now() -> (OomSource, u64) {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for file in files(&cgroups) {
        if let Some(count) = read(&file) {
            return (OomSource::Cgroup(file), count);
        }
    }
    (OomSource::Machine, read(&PathBuf::from("/proc/vmstat")).unwrap_or(0))
}

fn read(file: &PathBuf) -> Option<u64> {
    count_in(&fs::read_to_string(file).ok()?)
}

/// The number after `oom_kill`.
fn count_in(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// The files that may have the counter, by `/proc/self/cgroup`: of version 2, then of version 1. In a container the
/// path may be that of the host, and the files are at the root.
fn files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            files.push(PathBuf::from("/sys/fs/cgroup").join(path).join("memory.events"));
            files.push(PathBuf::from("/sys/fs/cgroup/memory.events"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.push(PathBuf::from("/sys/fs/cgroup/memory").join(path).join("memory.oom_control"));
            files.push(PathBuf::from("/sys/fs/cgroup/memory/memory.oom_control"));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_each_version() {
        assert_eq!(count_in("low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n"), Some(3));
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\n"), None);
        let names = |text: &str| files(text).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        assert_eq!(names("0::/a/b\n"), ["/sys/fs/cgroup/a/b/memory.events", "/sys/fs/cgroup/memory.events"]);
        assert_eq!(
            names("4:cpu,memory:/x\n1:name=systemd:/\n"),
            ["/sys/fs/cgroup/memory/x/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        );
    }

    #[test]
    fn without_a_kill_there_is_none() {
        let counter = OomCounter::new();
        counter.refresh();
        assert_eq!(counter.take_kill(), Oom::No);
    }
}
