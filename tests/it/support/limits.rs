//! Taking from a running daemon what it needs, and giving it back.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Daemon;

/// What a daemon may not have more of.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    Descriptors,
    /// Of its user, threads counted.
    Tasks,
}

/// As long as this lives the daemon has less; then it has what it had before.
pub struct Starved {
    pid: i32,
    resource: libc::__rlimit_resource_t,
    before: libc::rlimit,
}

impl Starved {
    /// Leaves the daemon `room` descriptors that are not open now. The one that a waiting `accept` has put aside counts as
    /// open.
    pub fn of_descriptors(daemon: &Daemon, room: usize) -> Starved {
        let open = open_descriptors(daemon.pid());
        let free: Vec<u64> = (0..).filter(|number| !open.contains(number)).take(room + 1).collect();
        Starved::new(daemon.pid(), Limit::Descriptors, free[room])
    }

    pub fn new(pid: i32, limit: Limit, soft: u64) -> Starved {
        let resource = match limit {
            Limit::Descriptors => libc::RLIMIT_NOFILE,
            Limit::Tasks => libc::RLIMIT_NPROC,
        };
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a null pointer means that nothing is to be changed; the other is valid for writes.
        let read = unsafe { libc::prlimit(pid, resource, std::ptr::null(), &mut before) };
        assert_eq!(read, 0, "{}", std::io::Error::last_os_error());
        let starved = Starved { pid, resource, before };
        starved.set(libc::rlimit { rlim_cur: soft, ..before });
        starved
    }

    fn set(&self, limit: libc::rlimit) {
        // SAFETY: a null pointer means that nothing is to be told; the other is valid for reads.
        let set = unsafe { libc::prlimit(self.pid, self.resource, &limit, std::ptr::null_mut()) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.set(self.before);
        }
    }
}

/// The numbers of the descriptors that a process has open.
pub fn open_descriptors(pid: i32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut numbers: Vec<u64> = entries.map(|entry| entry.file_name().to_string_lossy().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// How many threads a user has.
pub fn tasks_of(uid: u32) -> u64 {
    let owned = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|metadata| metadata.uid() == uid);
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(owned);
    processes
        .filter_map(|process| fs::read_dir(process.path().join("task")).ok())
        .map(|tasks| tasks.count() as u64)
        .sum()
}

pub fn is_root() -> bool {
    // SAFETY: a plain question.
    unsafe { libc::geteuid() == 0 }
}
