//! Which sockets a process has open.
//!
//! Owns: reading the tables of descriptors of its threads. Never: which processes are worth a look.
//!
//! The threads of a process share one table, unless one has asked for its own (`unshare(CLONE_FILES)`). A process whose
//! main thread has ended shows no table of its own any more; that of any other thread is the same.

use std::ffi::{c_int, c_long};
use std::fs;
use std::io;

use super::super::Pid;
use super::inode_of;
use crate::sorted::SortedSet;

/// As many tables of one process are read. Where the kernel doesn't say which threads share one, each thread counts.
const TABLES_MAX: usize = 64;
/// `KCMP_FILES` of `linux/kcmp.h`: whether two threads have the same table of descriptors.
const KCMP_FILES: c_int = 2;

/// Those of `wanted` that process `pid` has open.
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

/// Those of `wanted` that threads of process `pid` have open in tables other than that of its main thread.
///
/// # Errors
/// None of these tables may be read.
pub fn open_in_threads(pid: Pid, wanted: &SortedSet<u64>) -> io::Result<Vec<u64>> {
    read_threads(pid, wanted).map(|(found, _)| found)
}

/// The same, and how many tables were read.
fn read_threads(pid: Pid, wanted: &SortedSet<u64>) -> io::Result<(Vec<u64>, usize)> {
    let mut found = Vec::new();
    // One thread of each table; that of the main thread first.
    let mut known = vec![pid.raw()];
    for tid in threads(pid) {
        if known.len() > TABLES_MAX || known.iter().any(|other| share_a_table(*other, tid)) {
            continue;
        }
        match read_table(&format!("/proc/{pid}/task/{tid}/fd"), wanted, &mut found) {
            Ok(()) => known.push(tid),
            Err(error) if is_gone(&error) => {}
            Err(error) if known.len() == 1 => return Err(error),
            Err(_) => {}
        }
    }
    Ok((found, known.len() - 1))
}

/// The numbers of the threads of `pid`, the main one included.
fn threads(pid: Pid) -> Vec<c_int> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn read_table(directory: &str, wanted: &SortedSet<u64>, found: &mut Vec<u64>) -> io::Result<()> {
    // A descriptor that was closed since the listing is none, and so are all of a process that has ended since.
    for entry in fs::read_dir(directory)?.filter_map(Result::ok) {
        match fs::read_link(entry.path()) {
            Ok(link) => found.extend(inode_of(&link).filter(|inode| wanted.contains(inode))),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
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
        assert!(open_in_threads(Pid::own(), &wanted).unwrap().contains(&own));
        drop(end);
        thread.join().unwrap();
        assert!(open_in_threads(Pid::own(), &SortedSet::from([own])).unwrap().is_empty());
    }

    #[test]
    fn who_has_ended_has_nothing_open() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::new(child.id().cast_signed()).unwrap();
        child.wait().unwrap();
        assert!(open_sockets(pid, &SortedSet::from([1])).unwrap().is_empty());
        assert!(open_in_threads(pid, &SortedSet::from([1])).unwrap().is_empty());
    }
}
