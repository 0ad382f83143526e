//! Detecting kills by the kernel's OOM killer.
//!
//! Owns: the counter of such kills. Never: which process it was: the caller has seen a SIGKILL that it did not send.
//!
//! The counter of the daemon's own memory cgroup is certain; without one, that of the whole machine is only an
//! indication.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::model::ending::Oom;
use crate::sync::lock;

/// Which cgroups this process belongs to.
const GROUPS: &str = "/proc/self/cgroup";
/// The list of cgroups is compared up to this many bytes; a longer one is read as a new one each time.
const GROUPS_MAX: usize = 1024;
/// A counter's file has at most six lines of a name and a number.
const COUNTER_MAX: usize = 256;

/// The counter's file. It stays open: a death is answered with a restart, and to open a file of a cgroup takes as long
/// as the rest of the look.
#[derive(Debug)]
enum OomSource {
    Cgroup(PathBuf, File),
    Machine,
}

/// The counter, with its last value and source.
#[derive(Debug)]
pub struct OomCounter(Mutex<SeenKills>);

#[derive(Debug)]
struct SeenKills {
    source: OomSource,
    count: u64,
    /// The list of cgroups by which the source was chosen.
    groups: GroupList,
}

/// The open list of cgroups, and what it was. The daemon may be moved to another cgroup.
#[derive(Debug)]
struct GroupList {
    file: Option<File>,
    text: Vec<u8>,
}

impl OomCounter {
    /// Reads the counter for the first time.
    pub fn new() -> OomCounter {
        let mut groups = GroupList { file: File::open(GROUPS).ok(), text: Vec::new() };
        groups.has_changed();
        let (source, count) = now();
        OomCounter(Mutex::new(SeenKills { source, count, groups }))
    }

    /// Discards the kills until now: they hit other processes. Called at each spawn, so it does not read the machine's
    /// counter, which takes the kernel 0.1 ms.
    pub fn refresh(&self) {
        let mut seen = lock(&self.0);
        if let OomSource::Cgroup(_, file) = &seen.source {
            seen.count = read(file).unwrap_or(seen.count);
        }
    }

    /// Whether there was a kill since the last call.
    pub fn take_kill(&self) -> Oom {
        let mut seen = lock(&self.0);
        let same = match &seen.source {
            OomSource::Cgroup(_, file) => read(file),
            OomSource::Machine => None,
        };
        let before = seen.count;
        let base = match same.filter(|_| !seen.groups.has_changed()) {
            Some(count) => {
                seen.count = count;
                before
            }
            None => {
                let (source, count) = now();
                let base = if source.is_like(&seen.source) { before } else { 0 };
                (seen.source, seen.count) = (source, count);
                base
            }
        };
        match &seen.source {
            _ if seen.count <= base => Oom::No,
            OomSource::Cgroup(..) => Oom::Certain,
            OomSource::Machine => Oom::Likely,
        }
    }
}

impl OomSource {
    fn is_like(&self, other: &OomSource) -> bool {
        match (self, other) {
            (OomSource::Cgroup(one, _), OomSource::Cgroup(other, _)) => one == other,
            (OomSource::Machine, OomSource::Machine) => true,
            (OomSource::Cgroup(..), OomSource::Machine) | (OomSource::Machine, OomSource::Cgroup(..)) => false,
        }
    }
}

impl GroupList {
    /// Whether the list differs from the one of the last call.
    fn has_changed(&mut self) -> bool {
        let mut text = vec![0; GROUPS_MAX];
        let read = self.file.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        text.truncate(read.unwrap_or(0));
        let is_same = text == self.text && (1..GROUPS_MAX).contains(&text.len());
        self.text = text;
        !is_same
    }
}

impl Default for OomCounter {
    fn default() -> OomCounter {
        OomCounter::new()
    }
}

/// The most specific counter, and its value.
fn now() -> (OomSource, u64) {
    let cgroups = fs::read_to_string(GROUPS).unwrap_or_default();
    for path in files(&cgroups) {
        if let Ok(file) = File::open(&path)
            && let Some(count) = read(&file)
        {
            return (OomSource::Cgroup(path, file), count);
        }
    }
    (OomSource::Machine, fs::read_to_string("/proc/vmstat").ok().and_then(|text| count_in(&text)).unwrap_or(0))
}

fn read(file: &File) -> Option<u64> {
    let mut text = [0; COUNTER_MAX];
    let length = file.read_at(&mut text, 0).ok()?;
    count_in(std::str::from_utf8(&text[..length]).ok()?)
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
