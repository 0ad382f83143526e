//! Which sockets a process has open.
//!
//! Owns: reading the tables of descriptors of its threads. Never: which processes are worth a look.
//!
//! The threads of a process share one table, unless one has asked for its own (`unshare(CLONE_FILES)`). A process whose
//! main thread has ended shows no table of its own any more; that of any other thread is the same.

use std::ffi::{c_int, c_long};
use std::fs;
use std::io;
use std::time::Instant;

use super::super::Pid;
use super::inode_of;
use crate::sorted::SortedSet;

/// As many tables of one process are read. Where the kernel doesn't say which threads share one, each thread counts.
const TABLES_MAX: usize = 64;
/// After so many descriptors the clock is read.
const ENTRIES_A_CLOCK: usize = 64;
/// `KCMP_FILES` of `linux/kcmp.h`: whether two threads have the same table of descriptors.
const KCMP_FILES: c_int = 2;

/// Returns those of `wanted` that process `pid` has open.
///
/// # Errors
/// It may not be looked into. A process that has ended has none open, which is no error.
pub fn open_sockets(pid: Pid, wanted: &SortedSet<u64>) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    match read_table(&format!("/proc/{pid}/fd"), wanted, &mut found) {
        Ok(()) => Ok(found),
        Err(error) if is_gone(&error) => Ok(found),
        // Its main thread has ended, or it is closed to us, and then so are its threads.
        Err(error) => match read_threads(pid, wanted) {
            Ok((found, 1..)) => Ok(found),
            Ok((_, 0)) | Err(_) => Err(error),
        },
    }
}

/// How long it takes to read the descriptors of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A fraction of a millisecond.
    Small,
    /// Too long to wait for: by [`Descriptors`], in pieces.
    Large,
}

/// Returns whether process `pid` has more than `few` descriptors in its main table, or in those of its threads if that
/// is empty.
pub fn extent(pid: Pid, few: u64) -> Extent {
    let main = format!("/proc/{pid}/fd");
    let is_large = match fs::metadata(&main).map(|found| found.len()) {
        // Before Linux 6.2 all of them are given the size 0.
        Ok(0) => has_more(&main, few) || threads(pid).iter().any(|tid| has_more(&of_thread(pid, *tid), few)),
        Ok(count) => count > few,
        Err(_) => false,
    };
    if is_large { Extent::Large } else { Extent::Small }
}

fn has_more(table: &str, few: u64) -> bool {
    let few = usize::try_from(few).unwrap_or(usize::MAX);
    fs::read_dir(table).is_ok_and(|entries| entries.take(few.saturating_add(1)).count() > few)
}

/// A table of descriptors that is read in pieces. It is open all the time.
#[derive(Debug)]
pub struct Descriptors(fs::ReadDir);

/// Whether all of a table was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdChunk {
    More,
    Last,
}

impl Descriptors {
    /// Opens the table of `pid`, or of its thread `tid`, which has a table of its own.
    ///
    /// # Errors
    /// It may not be looked into, or has ended.
    pub fn open(pid: Pid, tid: Option<c_int>) -> io::Result<Descriptors> {
        fs::read_dir(tid.map_or_else(|| format!("/proc/{pid}/fd"), |tid| of_thread(pid, tid))).map(Descriptors)
    }

    /// Adds to `found` what is in `wanted`, until `deadline` or a little later.
    ///
    /// # Errors
    /// They can't be read any more.
    pub fn read(&mut self, wanted: &SortedSet<u64>, found: &mut Vec<u64>, deadline: Instant) -> io::Result<FdChunk> {
        while Instant::now() < deadline {
            for _ in 0..ENTRIES_A_CLOCK {
                let Some(entry) = self.0.next() else { return Ok(FdChunk::Last) };
                read_entry(entry, wanted, found)?;
            }
        }
        Ok(FdChunk::More)
    }
}

/// The threads of `pid` with tables other than its main one, one of each table, as far as the kernel distinguishes
/// them.
pub fn threads_apart(pid: Pid) -> Vec<c_int> {
    let mut known = vec![pid.raw()];
    for tid in threads(pid) {
        if known.len() <= TABLES_MAX && !known.iter().any(|other| share_a_table(*other, tid)) {
            known.push(tid);
        }
    }
    known.split_off(1)
}

/// What threads have open in tables of their own, and how many tables were read.
fn read_threads(pid: Pid, wanted: &SortedSet<u64>) -> io::Result<(Vec<u64>, usize)> {
    let (mut found, mut count) = (Vec::new(), 0);
    for tid in threads_apart(pid) {
        match read_table(&of_thread(pid, tid), wanted, &mut found) {
            Ok(()) => count += 1,
            Err(error) if is_gone(&error) => {}
            Err(error) if count == 0 => return Err(error),
            Err(_) => {}
        }
    }
    Ok((found, count))
}

/// The numbers of the threads of `pid`, the main one included.
fn threads(pid: Pid) -> Vec<c_int> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn of_thread(pid: Pid, tid: c_int) -> String {
    format!("/proc/{pid}/task/{tid}/fd")
}

fn read_table(directory: &str, wanted: &SortedSet<u64>, found: &mut Vec<u64>) -> io::Result<()> {
    fs::read_dir(directory)?.try_for_each(|entry| read_entry(entry, wanted, found))
}

/// A descriptor that was closed since the listing is none, and so are all of a process that has ended since.
fn read_entry(entry: io::Result<fs::DirEntry>, wanted: &SortedSet<u64>, found: &mut Vec<u64>) -> io::Result<()> {
    let Ok(entry) = entry else { return Ok(()) };
    match fs::read_link(entry.path()) {
        Ok(link) => found.extend(inode_of(&link).filter(|inode| wanted.contains(inode))),
        Err(error) if is_gone(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether the process or the thread has ended.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// Whether two threads share a table, as far as the kernel says: not every kernel has the call, and a filter of system
/// calls may refuse it.
fn share_a_table(one: c_int, other: c_int) -> bool {
    let (one, other) = (c_long::from(one), c_long::from(other));
    // SAFETY: plain numbers; the call changes nothing.
    one == other
        || unsafe { libc::syscall(libc::SYS_kcmp, one, other, c_long::from(KCMP_FILES), 0_usize, 0_usize) } == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    fn in_threads(wanted: &SortedSet<u64>) -> Vec<u64> {
        read_threads(Pid::own(), wanted).unwrap().0
    }

    fn inode(listener: &TcpListener) -> u64 {
        inode_of(&fs::read_link(format!("/proc/thread-self/fd/{}", listener.as_raw_fd())).unwrap()).unwrap()
    }

    #[test]
    fn the_tables_of_a_process_and_of_its_threads() {
        let shared = TcpListener::bind("127.0.0.1:0").unwrap();
        let (sender, own) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: plain numbers; from here on the descriptors of this thread are its own.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            sender.send(inode(&listener)).unwrap();
            let _ = ended.recv();
        });
        let (shared, own) = (inode(&shared), own.recv().unwrap());
        let wanted = SortedSet::from([shared, own]);
        assert_eq!(open_sockets(Pid::own(), &wanted).unwrap(), [shared]);
        assert!(in_threads(&wanted).contains(&own));
        drop(end);
        thread.join().unwrap();
        assert!(in_threads(&SortedSet::from([own])).is_empty());
    }

    #[test]
    fn who_has_ended_has_nothing_open() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::new(child.id().cast_signed()).unwrap();
        child.wait().unwrap();
        assert!(open_sockets(pid, &SortedSet::from([1])).unwrap().is_empty());
        assert!(threads_apart(pid).is_empty());
        assert!(is_gone(&Descriptors::open(pid, None).unwrap_err()));
        assert_eq!(extent(pid, 0), Extent::Small);
    }

    #[test]
    fn a_large_table_is_read_in_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let copies: Vec<_> = (0..400).map(|_| listener.try_clone().unwrap()).collect();
        let own = Pid::own();
        assert_eq!((extent(own, 300), extent(own, 1 << 20)), (Extent::Large, Extent::Small));
        assert!(has_more("/proc/self/fd", 300) && !has_more("/proc/self/fd", 1 << 20));
        let (wanted, mut found) = (SortedSet::from([inode(&listener)]), Vec::new());
        let mut table = Descriptors::open(own, None).unwrap();
        let past = Instant::now();
        assert_eq!(table.read(&wanted, &mut found, past).unwrap(), FdChunk::More);
        assert!(found.is_empty());
        let later = past + Duration::from_secs(60);
        assert_eq!(table.read(&wanted, &mut found, later).unwrap(), FdChunk::Last);
        assert_eq!(found, vec![inode(&listener); copies.len() + 1]);
    }
}
