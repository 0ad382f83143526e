//! The leaders of the living runs, stored for the daemon that starts after this one was killed.
//!
//! Owns: the file `leaders` in the state directory. Never: a signal, a conclusion about a process.
//!
//! Nothing is synced: no process outlives the system, and what is written outlives the daemon without. The file has a
//! head of `HEAD` bytes, two lines of text:
//!
//! ```text
//! 2 BOOT-ID PLACE START MARKED    format, boot, device and inode of the state directory, start of the daemon in clock
//!                                 ticks, whether runs carry marks (0 or 1)
//! PID PID …                   the daemon's ancestors
//! ```
//!
//! Then one record of `RECORD` bytes for each run, `PID START`, blank when its run is over. Of a file that is no such
//! one nothing is read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use crate::log;
use crate::os::Pid;
use crate::os::fs::read_bounded;
use crate::os::proc::Process;
use crate::sync::lock;

const NAME: &str = "leaders";
const UNFINISHED: &str = "leaders.new";
const FORMAT: &str = "2";
const HEAD: usize = 512;
const RECORD: usize = 32;
/// Of a file that is larger, the rest is not read.
const SIZE_MAX: u64 = 1024 * 1024;

/// What the last life of the daemon has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRuns {
    /// The leaders of runs that were not over, each with its start in clock ticks.
    pub leaders: Vec<(Pid, u64)>,
    /// The start of the daemon.
    pub since: u64,
    /// Whether the runs carry marks in a resource limit.
    pub is_marked: bool,
    /// The daemon's ancestors. Orphans of it go to one of them, or to the first process.
    pub ancestors: Vec<i32>,
}

/// The file, open for writing.
pub struct Leaders {
    /// `None`: it can't be written.
    file: Option<File>,
    /// Where the head says whether runs carry marks.
    flag_at: u64,
    /// Which records are in use.
    used: Mutex<Vec<bool>>,
}

/// The place of a leader in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct LeaderRecord(usize);

/// Reads what the last life has stored in the state directory; `None` when there is nothing, the system was started
/// since, or it was stored in another directory: on a copy of it, the leaders are those of the daemon on the original.
pub fn past(directory: &Path) -> Option<PastRuns> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(directory.join(NAME)).ok()?;
    let (found, home) = (file.metadata().ok()?, fs::metadata(directory).ok()?);
    if !found.is_file() || found.uid() != home.uid() {
        return None;
    }
    let text = read_bounded(&file, SIZE_MAX).ok()?;
    parse(str::from_utf8(&text).ok()?, &boot()?, &place(&home))
}

/// What distinguishes a directory from others, copies of it among them.
fn place(directory: &fs::Metadata) -> String {
    format!("{:x}.{:x}", directory.dev(), directory.ino())
}

fn parse(text: &str, boot: &str, place: &str) -> Option<PastRuns> {
    let (head, records) = text.split_at_checked(HEAD)?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split_ascii_whitespace();
    if words.next() != Some(FORMAT) || words.next() != Some(boot) || words.next() != Some(place) {
        return None;
    }
    let since = words.next()?.parse().ok()?;
    let is_marked = words.next()? == "1";
    let ancestors = lines.next()?.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    let record = |line: &str| {
        let (pid, started) = line.trim_end().split_once(' ')?;
        Some((Pid::new(pid.parse().ok()?)?, started.parse().ok()?))
    };
    Some(PastRuns { leaders: records.lines().filter_map(record).collect(), since, is_marked, ancestors })
}

impl Leaders {
    /// Begins a new file in the place of the last life's. `ancestors` are the daemon's, the nearest first. One that
    /// can't be written is logged; the marks of the runs have to do then.
    pub fn begin(directory: &Path, is_marked: bool, ancestors: &[Pid]) -> Leaders {
        let file = create(directory, is_marked, ancestors);
        let file = file.inspect_err(|error| {
            let path = directory.join(NAME);
            log::warn(format_args!(
                "{} can't be written: {error}; after a crash of servisor, processes are found by their marks alone",
                path.display()
            ));
        });
        let (file, flag_at) = file.map_or((None, 0), |(file, flag_at)| (Some(file), flag_at));
        Leaders { file, flag_at, used: Mutex::default() }
    }

    /// Stores that a run carries no mark, so that the markers in environments count.
    pub fn set_unmarked(&self) {
        if let Some(file) = &self.file {
            // It is stored again with the next run.
            let _ = file.write_all_at(b"0", self.flag_at);
        }
    }

    /// Stores a leader. `None` when that is not possible.
    pub fn add(&self, pid: Pid, started: u64) -> Option<LeaderRecord> {
        let file = self.file.as_ref()?;
        let number = {
            let mut used = lock(&self.used);
            let free = used.iter().position(|is_used| !is_used).unwrap_or(used.len());
            match used.get_mut(free) {
                Some(is_used) => *is_used = true,
                None => used.push(true),
            }
            free
        };
        let record = LeaderRecord(number);
        if let Err(error) = write(file, &record, &format!("{pid} {started}")) {
            log::debug(format_args!("process {pid} can't be stored as a leader: {error}"));
        }
        Some(record)
    }

    /// Removes a leader whose run is over.
    pub fn remove(&self, record: LeaderRecord) {
        if let Some(file) = &self.file {
            // The start of a process is stored with its number: what can't be removed is no other process's.
            let _ = write(file, &record, "");
        }
        let mut used = lock(&self.used);
        if let Some(is_used) = used.get_mut(record.0) {
            *is_used = false;
        }
    }
}

fn write(file: &File, record: &LeaderRecord, text: &str) -> io::Result<()> {
    const WIDTH: usize = RECORD - 1;
    let line = format!("{text:<WIDTH$}\n");
    file.write_all_at(line.as_bytes(), (HEAD + record.0 * RECORD) as u64)
}

fn create(directory: &Path, is_marked: bool, ancestors: &[Pid]) -> io::Result<(File, u64)> {
    let boot = boot().ok_or_else(|| io::Error::other("the system has no boot id"))?;
    let since = Process::read(Pid::own()).map_or(0, |own| own.started);
    let place = place(&fs::metadata(directory)?);
    let mut head = format!("{FORMAT} {boot} {place} {since} {}\n", u8::from(is_marked));
    let flag_at = head.len() as u64 - 2;
    for ancestor in ancestors {
        let word = format!("{ancestor} ");
        // The most distant ones do not matter as much.
        if head.len() + word.len() < HEAD {
            head.push_str(&word);
        }
    }
    const WIDTH: usize = HEAD - 1;
    let head = format!("{head:<WIDTH$}\n");
    let unfinished = directory.join(UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&unfinished)?;
    file.write_all_at(head.as_bytes(), 0)?;
    fs::rename(unfinished, directory.join(NAME))?;
    Ok((file, flag_at))
}

fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn pid(number: i32) -> Pid {
        Pid::new(number).unwrap()
    }

    #[test]
    fn what_is_stored_is_found_and_what_is_over_is_not() {
        let scratch = Scratch::new();
        assert_eq!(past(&scratch.0), None);
        let leaders = Leaders::begin(&scratch.0, true, &[pid(7), pid(1)]);
        let first = leaders.add(pid(100), 5).unwrap();
        let _second = leaders.add(pid(2_000_000_000), u64::MAX).unwrap();
        leaders.remove(first);
        assert_eq!(past(&scratch.0).unwrap().leaders, [(pid(2_000_000_000), u64::MAX)]);
        assert_eq!(leaders.add(pid(300), 6), Some(LeaderRecord(0)), "a place is used again");
        let found = past(&scratch.0).unwrap();
        assert_eq!(found.leaders, [(pid(300), 6), (pid(2_000_000_000), u64::MAX)]);
        assert_eq!((found.ancestors, found.is_marked), (vec![7, 1], true));
        assert_eq!(found.since, Process::read(Pid::own()).unwrap().started);
        leaders.set_unmarked();
        assert!(!past(&scratch.0).unwrap().is_marked);
        // The next life begins with an empty one.
        let _leaders = Leaders::begin(&scratch.0, false, &[]);
        let found = past(&scratch.0).unwrap();
        assert_eq!((found.leaders, found.is_marked), (Vec::new(), false));
    }

    #[test]
    fn of_another_boot_or_another_format_nothing_is_read() {
        let scratch = Scratch::new();
        let leaders = Leaders::begin(&scratch.0, true, &[]);
        leaders.add(pid(100), 5).unwrap();
        let text = fs::read_to_string(scratch.0.join(NAME)).unwrap();
        let boot = boot().unwrap();
        let place = place(&fs::metadata(&scratch.0).unwrap());
        assert!(parse(&text, &boot, &place).is_some());
        assert_eq!(parse(&text, "another", &place), None);
        assert_eq!(parse(&text, &boot, "another"), None);
        assert_eq!(parse(&text.replacen('2', "1", 1), &boot, &place), None);
        for torn in 0..HEAD {
            assert_eq!(parse(&text[..torn], &boot, &place), None);
        }
    }

    #[test]
    fn in_a_copy_of_the_directory_nothing_is_read() {
        let [scratch, copy] = ["original", "copy"].map(|_| Scratch::new());
        Leaders::begin(&scratch.0, true, &[]).add(pid(100), 5).unwrap();
        assert_eq!(past(&scratch.0).unwrap().leaders.len(), 1);
        fs::copy(scratch.0.join(NAME), copy.0.join(NAME)).unwrap();
        assert_eq!(past(&copy.0), None);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let scratch = Scratch::new();
        let _leaders = Leaders::begin(&scratch.0, true, &[]);
        fs::rename(scratch.0.join(NAME), scratch.0.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", scratch.0.join(NAME)).unwrap();
        assert_eq!(past(&scratch.0), None);
        fs::remove_file(scratch.0.join(NAME)).unwrap();
        fs::create_dir(scratch.0.join(NAME)).unwrap();
        assert_eq!(past(&scratch.0), None);
        // Nothing can be put there, and nothing is lost but that.
        assert_eq!(Leaders::begin(&scratch.0, true, &[]).add(pid(1), 1), None);
    }
}
