//! Processes as `/proc` shows them.
//!
//! Owns: reading and parsing it. Never: a conclusion from it, a signal. It is here and not
//! in `process` because some values need `unsafe` system calls, and a read can hang.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::oneshot::oneshot;
use super::{Pid, is_shortage, thread};
use crate::model::marker::MARKER_VARIABLE;
use crate::sync::lock;

/// The kernel's flag of its own threads (`PF_KTHREAD`).
const KERNEL_THREAD: u32 = 0x0020_0000;
/// The kernel's flag of a process that exits (`PF_EXITING`). It has it before its files are closed.
const EXITING: u32 = 0x0000_0004;

/// A clock tick in milliseconds: Linux shows times in hundredths of a second on x86 and ARM.
const TICK_MS: u64 = 10;

#[derive(Debug, Clone)]
pub struct Process {
    pub pid: Pid,
    /// Its parent's number; 0 for a process that came into the container from outside.
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// The processor time of itself and of the children that it has waited for.
    pub cpu: Duration,
    /// When it was started, in clock ticks since the system was. Together with the number it identifies a process.
    pub started: u64,
    state: u8,
    threads: u32,
    is_kernel: bool,
    is_exiting: bool,
    marker: OnceLock<Option<String>>,
}

impl Process {
    /// Reads one; `None` when there is no such process, or it can't be read now.
    pub fn read(pid: Pid) -> Option<Process> {
        Process::try_read(pid).ok().flatten()
    }

    /// Reads one; `None` when there is no such process.
    ///
    /// # Errors
    /// A shortage of descriptors or memory, so that nothing is known.
    pub fn try_read(pid: Pid) -> io::Result<Option<Process>> {
        // Up to the start time there are at most 470 bytes; what follows is not parsed.
        let mut buffer = [0; 512];
        let length = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut buffer));
        Ok(known(length)?.and_then(|length| Process::parse(pid, &buffer[..length])))
    }

    /// A zombie is not alive, but one whose first thread has ended before its others is.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X') || self.threads > 1
    }

    /// Its state as the kernel names it: `D` for one that waits in a system call that no signal ends.
    pub fn state(&self) -> char {
        char::from(self.state)
    }

    /// Whether its first thread exits or has exited.
    pub fn is_exiting(&self) -> bool {
        self.is_exiting
    }

    /// Whether it is a thread of the kernel, which no signal reaches.
    pub fn is_kernel(&self) -> bool {
        self.is_kernel
    }

    pub fn is_still_there(&self) -> bool {
        Process::read(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Whether it is alive now.
    ///
    /// # Errors
    /// A shortage of descriptors or memory.
    pub fn lives_on(&self) -> io::Result<bool> {
        Ok(Process::try_read(self.pid)?.is_some_and(|now| now.started == self.started && now.is_alive()))
    }

    /// The run's marker in its environment, read when first asked for; `None` if it has none or may not be looked into.
    ///
    /// # Errors
    /// A shortage of descriptors or memory.
    pub fn marker(&self) -> io::Result<Option<&str>> {
        if let Some(marker) = self.marker.get() {
            return Ok(marker.as_deref());
        }
        let marker = known(environment(self.pid))?.and_then(|environment| marker_in(&environment).map(str::to_owned));
        Ok(self.marker.get_or_init(|| marker).as_deref())
    }

    /// Whether its environment reads as empty: in the middle of an `execve(2)` a process has none.
    pub fn shows_nothing(&self) -> bool {
        environment(self.pid).is_ok_and(|environment| environment.is_empty())
    }

    /// The name of the program that it runs, without its directory. What a process calls itself (`comm`, its arguments)
    /// is not asked: Node's first thread is a `MainThread`.
    pub fn program(&self) -> Option<String> {
        let path = fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        let name = path.file_name()?.to_string_lossy();
        // What was replaced by an update while it runs.
        Some(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned())
    }

    /// Parses `/proc/PID/stat`, which is `pid (name) state ppid pgrp session …`, and the name may hold anything,
    /// parentheses too. `None` if it is torn.
    pub fn parse(pid: Pid, stat: &[u8]) -> Option<Process> {
        let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let rest = str::from_utf8(&stat[after_name..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        // From here, the flags are the 9th field of the line, the times the 14th to 17th, `threads` the 20th, the start
        // time the 22nd; the session was the 6th.
        let flags: u32 = fields.nth(2)?.parse().ok()?;
        let mut ticks: u64 = fields.nth(4)?.parse().ok()?;
        for _ in 0..3 {
            ticks += fields.next()?.parse::<i64>().ok()?.unsigned_abs();
        }
        let cpu = Duration::from_millis(ticks * TICK_MS);
        let threads = fields.nth(2)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        let (is_kernel, is_exiting) = (flags & KERNEL_THREAD != 0, flags & EXITING != 0);
        let marker = OnceLock::new();
        Some(Process { pid, parent, group, session, cpu, started, state, threads, is_kernel, is_exiting, marker })
    }
}

/// `None` for a process that is gone or may not be read; an error in a shortage, when nothing is known of it.
fn known<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The limit on a read of `/proc/PID/environ`. It blocks for as long as the process's memory is locked, for example by
/// a file system that does not answer, so each read has a thread of its own.
const ENVIRONMENT_LIMIT: Duration = Duration::from_millis(200);
/// The processes whose environment was not read within the limit: it is not tried again before the first read has
/// ended. So one of them costs one thread and one wait, whatever looks for it how often.
static STUCK: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// As many of them may be there at most.
const STUCK_MAX: usize = 4;

/// Reads the environment of a process.
///
/// # Errors
/// It can't be read, or not within `ENVIRONMENT_LIMIT` (`TimedOut`).
fn environment(pid: Pid) -> io::Result<Vec<u8>> {
    let is_stuck = |stuck: &[Pid]| stuck.len() >= STUCK_MAX || stuck.contains(&pid);
    if is_stuck(&lock(&STUCK)) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (read, reading) = oneshot();
    let path = format!("/proc/{pid}/environ");
    let body = move || {
        read.send(fs::read(path).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)));
        // In this order: one that is not found here yet will find the result.
        lock(&STUCK).retain(|stuck| *stuck != pid);
    };
    thread::spawn("environ", thread::SMALL_STACK, body)?;
    let read = reading.recv_deadline(Instant::now() + ENVIRONMENT_LIMIT).or_else(|late| {
        lock(&STUCK).push(pid);
        // It may have ended just before.
        reading.recv_deadline(Instant::now()).inspect(|_| lock(&STUCK).retain(|stuck| *stuck != pid)).map_err(|_| late)
    });
    match read {
        Ok(environment) => environment.map_err(io::Error::from_raw_os_error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The name and the user of a process, for people. The memory of the process is not needed for that.
pub fn describe(pid: Pid) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or("?");
    // Real, effective, saved and file system user.
    let user = field("Uid:").split_ascii_whitespace().next().unwrap_or("?");
    format!("process {pid} ({}) of user {user}", field("Name:"))
}

/// The resident memory of a process, and the part of it that is shared with files or other processes, in bytes; 0 for
/// one that is gone.
pub fn memory(pid: Pid) -> (u64, u64) {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields = statm.split_ascii_whitespace().skip(1).map(|field| field.parse().unwrap_or(0) * page_size());
    (fields.next().unwrap_or(0), fields.next().unwrap_or(0))
}

fn page_size() -> u64 {
    // SAFETY: a plain number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Resource use of the daemon's own process.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Processor time of its own threads.
    pub cpu: Option<Duration>,
    pub resident: u64,
    pub open_fds: Option<usize>,
    pub started: Option<SystemTime>,
}

/// Reads it.
pub fn own() -> Own {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for a write.
    let is_known = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } == 0;
    let cpu = u64::try_from(time.tv_sec).ok().zip(u32::try_from(time.tv_nsec).ok()).filter(|_| is_known);
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = uptime.split_once('.').and_then(|(seconds, rest)| {
        Some(
            Duration::from_secs(seconds.parse().ok()?)
                + Duration::from_millis(rest.get(..2)?.parse::<u64>().ok()? * 10),
        )
    });
    let started = Process::read(Pid::own()).map(|own| Duration::from_millis(own.started * TICK_MS));
    let age = uptime.zip(started).and_then(|(uptime, started)| uptime.checked_sub(started));
    Own {
        cpu: cpu.map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        resident: memory(Pid::own()).0,
        // The one that the list is read by is not counted.
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1)),
        started: age.and_then(|age| SystemTime::now().checked_sub(age)),
    }
}

fn marker_in(environment: &[u8]) -> Option<&str> {
    environment.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(MARKER_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        str::from_utf8(value).ok()
    })
}

/// The inodes of the pipes that a process can write to; none if it may not be looked into.
///
/// # Errors
/// A shortage of descriptors or memory.
pub fn pipes(pid: Pid) -> io::Result<Vec<u64>> {
    /// The permissions of the link say how it is open.
    const FOR_WRITING: u32 = 0o200;
    let Some(open) = known(fs::read_dir(format!("/proc/{pid}/fd")))? else { return Ok(Vec::new()) };
    let inode = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let inode = pipe_inode(&fs::read_link(entry.path()).ok()?)?;
        (entry.metadata().ok()?.permissions().mode() & FOR_WRITING != 0).then_some(inode)
    };
    Ok(open.filter_map(inode).collect())
}

/// The inode of the pipe at the other end of one of the daemon's own descriptors.
pub fn own_pipe(fd: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
    use std::os::fd::AsRawFd;
    pipe_inode(&fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?)
}

fn pipe_inode(link: &std::path::Path) -> Option<u64> {
    link.to_str()?.strip_prefix("pipe:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Process> {
        Process::parse(Pid::new(7)?, line.as_bytes())
    }

    #[test]
    fn a_line_of_stat_whatever_the_name() {
        for name in ["sh", "a b", "a) S 1 2 3", "((", ""] {
            let line = format!("7 ({name}) S 3 5 5 0 -1 4194304 1 0 0 0 11 12 0 0 20 0 4 0 987654 1000 2 18446\n");
            let process = parse(&line).unwrap();
            assert_eq!((process.parent, process.group, process.started, process.threads), (3, 5, 987_654, 4), "{name}");
            assert_eq!(process.cpu, Duration::from_millis(230), "{name}");
            assert!(process.is_alive());
        }
        for torn in ["", "7 (sh", "7 (sh)", "7 (sh) S 3", "7 (sh) S x 5 5 0 -1 4194304 1 0 0 0 11 12 0 0 20 0 4 0 9"] {
            assert!(parse(torn).is_none(), "{torn:?}");
        }
    }

    #[test]
    fn a_zombie_is_dead_unless_it_has_other_threads() {
        let line = |threads: u32| format!("7 (x) Z 3 5 5 0 -1 4194304 1 0 0 0 11 12 0 0 20 0 {threads} 0 9 1000 2");
        assert!(!parse(&line(1)).unwrap().is_alive());
        assert!(parse(&line(2)).unwrap().is_alive());
    }

    #[test]
    fn a_process_is_described_for_people() {
        let own = describe(Pid::own());
        assert!(own.starts_with(&format!("process {} (", std::process::id())) && own.contains(") of user "), "{own}");
        assert_eq!(describe(Pid::new(i32::MAX).unwrap()), format!("process {} (?) of user ?", i32::MAX));
    }

    #[test]
    fn a_marker_is_a_whole_entry() {
        assert_eq!(marker_in(b"A=1\0SERVISOR_RUN=x.1.web.3\0B=2\0"), Some("x.1.web.3"));
        assert_eq!(marker_in(b"SERVISOR_RUN=x"), Some("x"));
        assert_eq!(marker_in(b"XSERVISOR_RUN=x\0SERVISOR_RUNS=y\0"), None);
        assert_eq!(marker_in(b""), None);
    }
}
