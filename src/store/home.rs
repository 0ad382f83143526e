//! The state directory itself: open, locked, and its owner's alone.
//!
//! Owns: who may have a state directory, its lock, its members' safety, and the look whether it is still there. Never: what
//! is in a member.
//!
//! Everything in it is reached by descriptors and never over a symlink. A member that another user owns, that is no plain
//! file, or that is too large is set aside: it is renamed, reported in the log, and never read.
//!
//! Two locks keep a second daemon out: one on the directory, which nobody can remove without the directory, and one on the
//! file `lock`, which says whose it is. What holds them ends with the process, and with the children that it was just about
//! to make: until a child has become another program it holds all that its parent held. Those are waited for.

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Past, name};
use crate::log;
use crate::os::Pid;
use crate::os::fs::plain::{Demands, Rejected};
use crate::os::fs::{self as system, Dir, Kind, Last, Made, Name, Stat, own_owner};
use crate::os::proc::Process;

/// The lock that keeps a second daemon out.
pub const LOCK: &str = "lock";
/// The longest member. A configuration comes in at most 1 MiB; as text of ours it can take more, but not this much.
pub const MEMBER_MAX: u64 = 16 * 1024 * 1024;
/// What stands in the lock after a clean end, as long as the number of a process.
const CLEAN: &[u8; 11] = b"clean     \n";
/// From the death of a daemon to the end of what it was about to spawn, and between two looks for that.
const HEIR_LIMIT: Duration = Duration::from_secs(2);
const HEIR_PAUSE: Duration = Duration::from_millis(1);
/// What others may do with a directory in which they could put something.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The open state directory.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    dir: Dir,
    identity: (u64, u64),
    demands: Demands,
    /// Held as long as this is open.
    lock: File,
    /// New files, and directories that have a new member, which a loss of power may still take back.
    unsynced: Mutex<Vec<PathBuf>>,
}

/// The state directory is not what it was when the daemon began.
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

/// The [`Lost`] in an error of [`super::files::Files`], if that is what it says.
pub fn lost(error: &io::Error) -> Option<&Lost> {
    error.get_ref()?.downcast_ref()
}

impl Home {
    /// Makes the directory if there is none, closes it to others, and locks it.
    ///
    /// # Errors
    /// A sentence for a person: it can't be made or used, it is another user's, or another daemon has it.
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
        // A link that another user may change leads where that user wants.
        let link = system::stat(path, Last::Refuse).map_err(|error| cant("can't be looked at", &error))?;
        if link.kind == Kind::Symlink && ![user, 0].contains(&link.owner.0) {
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
        // Where others could write, a file of ours may be one that they have linked to.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// What its members have to be.
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// Says that nothing is left behind, so that the next start need not look. If that can't be said it looks.
    pub fn end_clean(&self) {
        let _ = self.lock.write_all_at(CLEAN, 0);
    }

    /// Looks whether the directory and its lock are still those that were opened.
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
            // That it can't be looked at is found out by whoever writes.
            Err(_) => return Ok(()),
        }
        let own = system::data::stat(&self.lock).map(|own| own.identity);
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

    /// Looks whether the member `name` still is the directory `dir`.
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

    /// Waits until all that is new here and above is on the disk. To be called before anything that lasts is answered for: a
    /// start with a new directory does not wait for the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync_new(&self) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(path) = unsynced.last() {
            system::sync(path)?;
            unsynced.pop();
        }
        Ok(())
    }

    /// Opens the member directory `name` and closes it to others; makes it if there is none. What is there and is no
    /// directory of the daemon's user is set aside.
    ///
    /// # Errors
    /// The system's.
    pub fn open_member(&self, name: &Name) -> io::Result<(Dir, Made)> {
        for _ in 0..2 {
            let made = self.dir.make_dir(name, 0o700)?;
            let stat = self.dir.stat(name)?;
            let why = match (stat.kind, self.demands.owner) {
                (Kind::Directory, Some(user)) if stat.owner.0 != user => {
                    format!("it belongs to user {}, not to user {user}", stat.owner.0)
                }
                (Kind::Directory, _) => {
                    let dir = self.dir.open_dir(name)?;
                    if dir.own_stat()?.mode != 0o700 {
                        dir.set_mode(0o700)?;
                    }
                    return Ok((dir, made));
                }
                (Kind::File | Kind::Symlink | Kind::Special, _) => "it is no directory".into(),
            };
            report(&self.path, name, &why, set_aside(&self.dir, name, "unsafe"));
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Writes the new member `name`, whole or not at all, in the place of what has that name.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, name: &Name, unfinished: &Name, text: &[u8], durable: Durable) -> io::Result<()> {
        if self.dir.stat(unfinished).is_ok_and(|stat| stat.kind == Kind::Directory) {
            report(&self.path, unfinished, "it is a directory", set_aside(&self.dir, unfinished, "unsafe"));
        }
        write(&self.dir, unfinished, text, durable)?;
        self.dir.rename(unfinished, name)?;
        match durable {
            Durable::Now => self.sync_new().and_then(|()| self.dir.sync()),
            Durable::Never => Ok(()),
            Durable::Later => {
                let new = [self.path.clone(), self.path.join(name.as_os_str())];
                self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
                Ok(())
            }
        }
    }
}

/// When a new file has to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// Before the call returns.
    Now,
    /// With [`Home::sync_new`].
    Later,
    /// Not at all: it means nothing after this life of the daemon.
    Never,
}

/// The directories that get a new member when `path` is made with all that is missing above it, the topmost last.
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

/// Takes both locks. The number of the process that has them stands in the file, and stays there unless that ends clean. If
/// the file was removed from a directory that was in use before, nothing can be said.
fn lock(path: &Path, dir: &Dir, demands: &Demands) -> Result<(File, Past), LockFailure> {
    let (name, instance) = (name(LOCK)?, name(super::INSTANCE)?);
    let (is_there, is_known) = (dir.stat(&name).is_ok(), dir.stat(&instance).is_ok());
    let begun = Instant::now();
    let may_wait = |holder: Option<Pid>| {
        let lives = holder.and_then(Process::read).is_some_and(|process| process.is_alive());
        let waits = !lives && begun.elapsed() < HEIR_LIMIT;
        if waits {
            std::thread::sleep(HEIR_PAUSE);
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
            // Not every file system locks directories; the file has to do there.
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

/// The number that the daemon in the directory has put there, for people and to find out whether it lives.
fn holder(text: &[u8]) -> Option<Pid> {
    Pid::new(str::from_utf8(text).ok()?.trim().parse().ok()?)
}

/// Writes the file `name`, which is new: what has that name is removed, and never written to.
///
/// # Errors
/// The system's; nothing has that name then.
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

/// Writes to the log what has become of the member `name` of `directory`, which is not used because of `why`.
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
