//! Taking from a running daemon what it needs, and giving it back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{Daemon, wait_until};

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
    /// Leaves the daemon `room` descriptors that are not open now. The one that a waiting `accept` has put aside counts
    /// as open.
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
        let before = limit_of(pid, limit);
        let starved = Starved { pid, resource, before };
        starved.set(libc::rlimit { rlim_cur: soft, ..before });
        starved
    }

    /// By a process of the same user: root may be without the right to do that to others.
    fn set(&self, limit: libc::rlimit) {
        let owner = fs::metadata(format!("/proc/{}", self.pid)).unwrap().uid();
        let option = if self.resource == libc::RLIMIT_NOFILE { "nofile" } else { "nproc" };
        let infinite = |value: u64| if value == libc::RLIM_INFINITY { "unlimited".into() } else { value.to_string() };
        let mut command = Command::new("prlimit");
        command.arg(format!("--pid={}", self.pid));
        command.arg(format!("--{option}={}:{}", infinite(limit.rlim_cur), infinite(limit.rlim_max)));
        if is_root() {
            command.uid(owner).gid(owner);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.set(self.before);
        }
    }
}

/// A daemon in which no number is free below that of the descriptor which the accepting thread keeps to give up. At the
/// start other threads open and close files, so now and then it gets a number behind a gap; a limit at the gap would
/// make it useless, which no shortage of a running daemon does.
pub fn without_gaps() -> Daemon {
    for _ in 0..50 {
        let daemon = Daemon::start();
        let directory = format!("/proc/{}/fd", daemon.pid());
        let spare = wait_until("the accepting thread has its descriptor", || {
            let named = open_descriptors(daemon.pid())
                .into_iter()
                .filter_map(|number| Some((number, fs::read_link(format!("{directory}/{number}")).ok()?)));
            let named: Vec<_> = named.collect();
            // The listener, the one that wakes the thread, and the one to give up are one socket.
            let socket = named.iter().find(|(_, link)| {
                named.iter().filter(|(_, other)| other == link).count() == 3
                    && link.to_string_lossy().starts_with("socket:")
            });
            let socket = &socket?.1;
            named.iter().rev().find(|(_, link)| link == socket).map(|(number, _)| *number)
        });
        let open = open_descriptors(daemon.pid());
        if (0..spare).all(|number| open.contains(&number)) {
            return daemon;
        }
    }
    panic!("each of 50 daemons has a gap in its descriptors");
}

/// What `/proc` says, which needs no right.
fn limit_of(pid: i32, limit: Limit) -> libc::rlimit {
    let name = match limit {
        Limit::Descriptors => "Max open files",
        Limit::Tasks => "Max processes",
    };
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(libc::RLIM_INFINITY));
    libc::rlimit { rlim_cur: numbers.next().unwrap(), rlim_max: numbers.next().unwrap() }
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
