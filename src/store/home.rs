//! Opens, locks and checks the state directory.
//!
//! Owns: its ownership and mode, its locks, the safety of its members, and the check that it still exists. Never: the
//! content of a member.
//!
//! Members are opened relative to a descriptor, and never through a symlink. A member that another user owns, that is
//! not a regular file, or that is too large is set aside: renamed, reported in the log, and not read.
//!
//! Two flock(2) locks exclude a second daemon: one on the directory, which can't be removed separately, and one on the
//! file `lock`, which contains the holder's pid. They are released when the process ends, and with it the children that
//! it was about to spawn, which hold its descriptors until execve(2). `open` waits for those.

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Past, name};
use crate::log;
use crate::os::Pid;
use crate::os::fs::plain::{Demands, Rejected};
use crate::os::fs::{self as system, Dir, FileKind, Last, Made, Name, Stat, own_owner};
use crate::os::proc::Process;
use crate::sync;

pub const LOCK: &str = "lock";
/// The largest member, in bytes. A configuration of 1 MiB, the largest body, takes less.
pub const MEMBER_MAX: u64 = 16 * 1024 * 1024;
/// The content of the lock after a clean end, of the same length as a pid.
const CLEAN: &[u8; 11] = b"clean     \n";
/// The limit of the wait for children of a dead daemon that hold its locks, and the interval of the checks.
const CHILD_LOCK_LIMIT: Duration = Duration::from_secs(2);
const CHILD_LOCK_PAUSE: Duration = Duration::from_millis(1);
/// The mode bits that let other users write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The open state directory.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    dir: Dir,
    identity: (u64, u64),
    demands: Demands,
    /// Locked until this is dropped.
    lock: File,
    /// New files, and directories with new members, that are not synced yet.
    unsynced: Mutex<Vec<PathBuf>>,
}

/// The state directory was removed or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost(String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} while servisor ran; servers run on and can be stopped and deleted, but nothing new is stored: start \
             servisor again to change anything",
            self.0
        )
    }
}

impl std::error::Error for Lost {}

/// Returns the [`Lost`] in an error of [`super::files::Files`].
pub fn lost(error: &io::Error) -> Option<&Lost> {
    error.get_ref()?.downcast_ref()
}

impl Home {
    /// Creates the directory if it is missing, closes it to other users, and locks it.
    ///
    /// # Errors
    /// A sentence for the user: it can't be created or used, belongs to another user, or is in use by another daemon.
    pub fn open(path: &Path) -> Result<(Home, Past), String> {
        let shown = path.display();
        let cant = |what: &str, error: &io::Error| format!("state directory {shown}: {what}: {error}");
        let unsynced = missing_above(path);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| cant("can't be made", &error))?;
        let user = own_owner().0;
        let refused = |what: &str, owner: u32| {
            format!(
                "state directory {shown} {what} to user {owner}, and servisor runs as user {user}; give --state-dir a \
                 directory of its own, or one that it can make"
            )
        };
        // Another user could redirect the symlink.
        let link = system::stat(path, Last::Refuse).map_err(|error| cant("can't be looked at", &error))?;
        if link.kind == FileKind::Symlink && ![user, 0].contains(&link.owner.0) {
            return Err(refused("is a symlink that belongs", link.owner.0));
        }
        let dir = Dir::open(path, Last::Follow).map_err(|error| cant("can't be opened", &error))?;
        let stat = dir.own_stat().map_err(|error| cant("can't be looked at", &error))?;
        if stat.owner.0 != user {
            return Err(refused("belongs", stat.owner.0));
        }
        if stat.mode != 0o700 {
            dir.set_mode(0o700).map_err(|error| cant("can't be closed to other users", &error))?;
        }
        // If others could write here, a file of ours may have another hard link of theirs.
        let one_name = stat.mode & WRITABLE_BY_OTHERS != 0;
        let demands = Demands { max: MEMBER_MAX, owner: Some(user), one_name };
        let held = |holder: Option<Pid>| {
            let holder = holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!("state directory {shown} is in use by another servisor{holder}; stop it or give --state-dir")
        };
        let (lock, past) = lock(path, &dir, &demands).map_err(|failure| match failure {
            LockFailure::Held(holder) => held(holder),
            LockFailure::Io(error) => cant("is not writable", &error),
        })?;
        let (path, identity) = (path.to_owned(), stat.identity);
        Ok((Home { path, dir, identity, demands, lock, unsynced: Mutex::new(unsynced) }, past))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The requirements on its members.
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// Records a clean end. If that fails, the next start searches for processes.
    pub fn end_clean(&self) {
        let _ = self.lock.write_all_at(CLEAN, 0);
    }

    /// Checks that the directory and its lock are those that were opened.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self) -> Result<(), Lost> {
        let shown = self.path.display();
        let lost = |what: String| Err(Lost(what));
        match system::stat(&self.path, Last::Follow) {
            Ok(found) if found.identity == self.identity => {}
            Ok(_) => return lost(format!("the state directory {shown} was replaced by another one")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return lost(format!("the state directory {shown} was removed"));
            }
            // The next write will report this error.
            Err(_) => return Ok(()),
        }
        let own = system::copy_file::stat(&self.lock).map(|own| own.identity);
        match (name(LOCK).and_then(|name| self.dir.stat(&name)), own) {
            (Ok(found), Ok(own)) if found.identity != own => {
                lost(format!("the file \"{LOCK}\" in the state directory {shown} was replaced by another one"))
            }
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
                lost(format!("the file \"{LOCK}\" was removed from the state directory {shown}"))
            }
            (Ok(_) | Err(_), _) => Ok(()),
        }
    }

    /// Checks that the member `name` is the opened directory `dir`.
    ///
    /// # Errors
    /// It is not.
    pub fn check_member(&self, name: &Name, dir: &Dir) -> Result<(), Lost> {
        let identity = |stat: io::Result<Stat>| stat.map(|stat| stat.identity).ok();
        let own = identity(dir.own_stat());
        if own.is_none() || identity(self.dir.stat(name)) == own {
            return Ok(());
        }
        let (member, shown) = (name.as_os_str().display(), self.path.display());
        Err(Lost(format!("\"{member}\" in the state directory {shown} was removed or replaced")))
    }

    /// Syncs everything new here and above. Called before a durable change is answered, since the start with a new
    /// directory does not wait for the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync_new(&self) -> io::Result<()> {
        let mut unsynced = sync::lock(&self.unsynced);
        while let Some(path) = unsynced.last() {
            system::sync(path)?;
            unsynced.pop();
        }
        Ok(())
    }

    /// Opens the member directory `name` and closes it to other users; creates it if it is missing. Anything but a
    /// directory of the daemon's user is set aside.
    ///
    /// # Errors
    /// The system's.
    pub fn open_member(&self, name: &Name) -> io::Result<(Dir, Made)> {
        for _ in 0..2 {
            let made = self.dir.make_dir(name, 0o700)?;
            let stat = self.dir.stat(name)?;
            let why = match (stat.kind, self.demands.owner) {
                (FileKind::Directory, Some(user)) if stat.owner.0 != user => {
                    format!("it belongs to user {}, not to user {user}", stat.owner.0)
                }
                (FileKind::Directory, _) => {
                    let dir = self.dir.open_dir(name)?;
                    if dir.own_stat()?.mode != 0o700 {
                        dir.set_mode(0o700)?;
                    }
                    return Ok((dir, made));
                }
                (FileKind::File | FileKind::Symlink | FileKind::Special, _) => "it is no directory".into(),
            };
            report(&self.path, name, &why, set_aside(&self.dir, name, "unsafe"));
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Writes the member `name` atomically; replaces the previous one.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, name: &Name, unfinished: &Name, text: &[u8], durable: Durable) -> io::Result<()> {
        if self.dir.stat(unfinished).is_ok_and(|stat| stat.kind == FileKind::Directory) {
            report(&self.path, unfinished, "it is a directory", set_aside(&self.dir, unfinished, "unsafe"));
        }
        write(&self.dir, unfinished, text, durable)?;
        self.dir.rename(unfinished, name)?;
        match durable {
            Durable::Now => self.sync_new().and_then(|()| self.dir.sync()),
            Durable::Never => Ok(()),
            Durable::Later => {
                let new = [self.path.clone(), self.path.join(name.as_os_str())];
                sync::lock(&self.unsynced).extend(new);
                Ok(())
            }
        }
    }
}

/// When a new file is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// Before the call returns.
    Now,
    /// Its directory with [`Home::sync_new`], its content when the kernel writes it.
    Later,
    /// Not at all: it means nothing after this life of the daemon.
    Never,
}

/// The directories that get a new member when `path` and its missing ancestors are created, the topmost last.
fn missing_above(path: &Path) -> Vec<PathBuf> {
    let missing = path.ancestors().take_while(|path| fs::symlink_metadata(path).is_err());
    missing.filter_map(Path::parent).map(Path::to_owned).collect()
}

enum LockFailure {
    Held(Option<Pid>),
    Io(io::Error),
}

impl From<io::Error> for LockFailure {
    fn from(error: io::Error) -> LockFailure {
        LockFailure::Io(error)
    }
}

/// Takes both locks. The file contains the holder's pid, until a clean end. If the file was removed from a directory
/// that was in use before, the last end counts as unclean.
fn lock(path: &Path, dir: &Dir, demands: &Demands) -> Result<(File, Past), LockFailure> {
    let (name, instance) = (name(LOCK)?, name(super::INSTANCE)?);
    let (is_there, is_known) = (dir.stat(&name).is_ok(), dir.stat(&instance).is_ok());
    let begun = Instant::now();
    let may_wait = |holder: Option<Pid>| {
        let lives = holder.and_then(Process::read).is_some_and(|process| process.is_alive());
        let waits = !lives && begun.elapsed() < CHILD_LOCK_LIMIT;
        if waits {
            std::thread::sleep(CHILD_LOCK_PAUSE);
        }
        waits
    };
    let read_holder = || Some(dir.read_plain(&name, demands).ok()?).as_deref().and_then(holder);
    loop {
        match dir.try_lock() {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let holder = read_holder();
                if !may_wait(holder) {
                    return Err(LockFailure::Held(holder));
                }
            }
            // Some file systems do not lock directories; the file is enough there.
            Err(_) => break,
        }
    }
    let file = match dir.open_plain(&name, demands) {
        Err(Rejected::Unfit(why)) => {
            report(path, &name, &why, set_aside(dir, &name, "unsafe"));
            dir.open_plain(&name, demands).map_err(io::Error::from)?
        }
        opened => opened.map_err(io::Error::from)?,
    };
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder();
                if !may_wait(holder) {
                    return Err(LockFailure::Held(holder));
                }
            }
            Err(TryLockError::Error(error)) => return Err(LockFailure::Io(error)),
        }
    }
    let mut before = [0; CLEAN.len()];
    let is_clean = file.read_exact_at(&mut before, 0).is_ok() && before == *CLEAN;
    let past = if is_clean || !is_there && !is_known { Past::Clean } else { Past::Unclean };
    let number = format!("{:<10}\n", std::process::id());
    file.write_all_at(number.as_bytes(), 0)?;
    Ok((file, past))
}

/// Parses the pid in the lock file.
fn holder(text: &[u8]) -> Option<Pid> {
    Pid::new(str::from_utf8(text).ok()?.trim().parse().ok()?)
}

/// Creates and writes the file `name`; an existing file is removed first, never written to.
///
/// # Errors
/// The system's; no file has that name then.
pub fn write(dir: &Dir, name: &Name, text: &[u8], durable: Durable) -> io::Result<()> {
    let made = match dir.create_file(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            dir.unlink(name)?;
            dir.create_file(name)
        }
        made => made,
    };
    let mut file = made?;
    let written = file.write_all(text).and_then(|()| match durable {
        Durable::Now => file.sync_all(),
        Durable::Later | Durable::Never => Ok(()),
    });
    written.inspect_err(|_| {
        let _ = dir.unlink(name);
    })
}

/// Renames the member `name` to the first of `NAME.WORD-1`, `NAME.WORD-2`, … that does not exist.
///
/// # Errors
/// The system's.
pub fn set_aside(dir: &Dir, name: &Name, word: &str) -> io::Result<Name> {
    for number in 1_u32.. {
        let mut aside = name.as_os_str().to_owned();
        aside.push(format!(".{word}-{number}"));
        let aside = Name::new(&aside).ok_or(io::ErrorKind::InvalidFilename)?;
        match dir.rename_new(name, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Logs that the member `name` of `directory` is not used because of `why`, and whether it was set aside.
pub fn report(directory: &Path, name: &Name, why: &str, aside: io::Result<Name>) {
    let path = directory.join(name.as_os_str());
    let shown = path.display();
    match aside {
        Ok(aside) => {
            let aside = directory.join(aside.as_os_str());
            log::error(format_args!("{shown} is not used: {why}; it is kept as {}", aside.display()));
        }
        Err(error) => log::error(format_args!("{shown} is not used: {why}; it can't be set aside: {error}")),
    }
}
