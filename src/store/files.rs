//! A directory of JSON records, written atomically.
//!
//! Owns: how a file is written, removed, loaded and set aside. Never: its content, except for the version.
//!
//! A file is written under a temporary name, synced, and renamed; the directory is synced before the call returns. So
//! there is the old or the new file at any time and after any crash. Each name must have one writer: the file of a
//! server is written by its supervisor only, that of its runs by the thread `books`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::home::{self, Durable, Home, Lost, MEMBER_MAX};
use super::members::Members;
use super::name;
use crate::json::ToJson;
use crate::log;
use crate::os::fs::plain::{Demands, Rejected};
use crate::os::fs::{self, Dir, FileKind, Last, Made, Name};

#[cfg(test)]
mod tests;

/// The version of the records that this daemon writes, and the newest that it reads.
pub const VERSION: u64 = 1;
/// The suffix of records. Temporary files and files that were set aside have others.
const FINISHED: &str = ".json";
/// The suffix of temporary files.
const UNFINISHED: &str = ".json.tmp";

/// A directory of records.
#[derive(Debug)]
pub struct Files {
    /// Its path, for sentences.
    path: PathBuf,
    dir: Dir,
    demands: Demands,
    /// The state directory that contains it, and its name there.
    home: Option<(Arc<Home>, Name)>,
    /// Created by this daemon, and not synced yet.
    is_new: AtomicBool,
    /// The loss of the state directory was logged.
    is_lost: AtomicBool,
}

/// What becomes of a torn record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Torn {
    /// Rename it: a person may need what is left of it.
    SetAside,
    Dropped,
}

/// Why a file is not used.
#[derive(Debug)]
enum Unfit {
    Unsafe(String),
    Corrupt(String),
    Newer(u64),
}

impl Unfit {
    fn word(&self) -> &'static str {
        match self {
            Unfit::Unsafe(_) => "unsafe",
            Unfit::Corrupt(_) => "corrupt",
            Unfit::Newer(_) => "newer",
        }
    }

    fn reason(&self) -> String {
        match self {
            Unfit::Unsafe(why) | Unfit::Corrupt(why) => why.clone(),
            Unfit::Newer(version) => format!("a newer servisor wrote it (version {version}, this one knows {VERSION})"),
        }
    }
}

impl Files {
    /// Opens the member `member` of the state directory. Removes temporary files that a crash has left.
    ///
    /// # Errors
    /// It can't be created or read.
    pub fn in_home(home: &Arc<Home>, member: &str) -> io::Result<Files> {
        let member = name(member)?;
        let (dir, made) = home.open_member(&member)?;
        let (path, demands) = (home.path().join(member.as_os_str()), *home.demands());
        Files::of(path, dir, made, demands, Some((Arc::clone(home), member)))
    }

    /// Opens a directory outside of a state directory; creates it if it is missing.
    ///
    /// # Errors
    /// It can't be made or read.
    pub fn open(path: PathBuf) -> io::Result<Files> {
        let above = Dir::open(path.parent().unwrap_or(Path::new("/")), Last::Follow)?;
        let member = path.file_name().and_then(Name::new).ok_or(io::ErrorKind::InvalidFilename)?;
        let made = above.make_dir(&member, 0o700)?;
        let dir = above.open_dir(&member)?;
        let demands = Demands { max: MEMBER_MAX, owner: Some(fs::own_owner().0), one_name: false };
        Files::of(path, dir, made, demands, None)
    }

    fn of(path: PathBuf, dir: Dir, made: Made, demands: Demands, home: Option<(Arc<Home>, Name)>) -> io::Result<Files> {
        let (is_new, is_lost) = (AtomicBool::new(made == Made::New), AtomicBool::new(false));
        let files = Files { path, dir, demands, home, is_new, is_lost };
        for (name, kind) in files.dir.entries()? {
            if !name.as_os_str().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
                continue;
            }
            match kind {
                Some(FileKind::Directory) => files.set_aside(&name, &Unfit::Unsafe("it is a directory".into())),
                // Unlinks a symlink or pipe itself. If that fails, the next change fails.
                Some(FileKind::File | FileKind::Symlink | FileKind::Special) | None => drop(files.dir.unlink(&name)),
            }
        }
        Ok(files)
    }

    /// Stores `contents`, whose first member is its `version`, under `name`; replaces the previous record.
    ///
    /// # Errors
    /// It can't be stored; the previous record is unchanged. See [`home::lost`].
    pub fn put(&self, name: &str, contents: &dyn ToJson) -> io::Result<()> {
        let text = line(contents)?;
        self.check().map_err(io::Error::other)?;
        let (file, unfinished) = self.names(name)?;
        let previous = self.dir.read_plain(&file, &self.demands).ok();
        home::write(&self.dir, &unfinished, &text, Durable::Now)?;
        self.dir.rename(&unfinished, &file).inspect_err(|_| drop(self.dir.unlink(&unfinished)))?;
        self.sync().inspect_err(|_| {
            // The caller will report a failure, so the new record must not be loaded later.
            let _ = match previous {
                Some(previous) => home::write(&self.dir, &unfinished, &previous, Durable::Now)
                    .and_then(|()| self.dir.rename(&unfinished, &file)),
                None => self.dir.unlink(&file),
            };
        })
    }

    /// As [`Files::put`] without a sync: survives a crash of the daemon, but not of the system.
    ///
    /// # Errors
    /// It can't be written; the previous record is unchanged.
    pub fn put_unsynced(&self, name: &str, contents: &dyn ToJson) -> io::Result<()> {
        let text = line(contents)?;
        self.check().map_err(io::Error::other)?;
        let (file, unfinished) = self.names(name)?;
        home::write(&self.dir, &unfinished, &text, Durable::Later)?;
        self.dir.rename(&unfinished, &file).inspect_err(|_| drop(self.dir.unlink(&unfinished)))
    }

    /// Removes the record `name` without a sync.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn discard(&self, name: &str) -> io::Result<()> {
        self.dir.unlink(&self.names(name)?.0)
    }

    /// Removes the record `name`, if it exists. Succeeds if the state directory was removed or replaced, since its
    /// records do not matter then.
    ///
    /// # Errors
    /// It can't be removed durably, and still exists.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let (file, unfinished) = self.names(name)?;
        if let Err(lost) = self.check() {
            if !self.is_lost.swap(true, Ordering::AcqRel) {
                log::error(format_args!("{lost}"));
            }
            // In the opened directory, wherever it was moved.
            let _ = self.dir.unlink(&file);
            return Ok(());
        }
        match self.dir.rename(&file, &unfinished) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.sync(),
            Err(error) => return Err(error),
        }
        self.sync().inspect_err(|_| {
            let _ = self.dir.rename(&unfinished, &file);
        })?;
        // If this fails, the next start removes the temporary name.
        let _ = self.dir.unlink(&unfinished);
        Ok(())
    }

    /// Loads all records with `parse`, sorted by name. A file that is invalid, incomplete, unsafe, or of a newer
    /// version is set aside under another name and reported in the log; no record is deleted.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn load<T>(&self, parse: impl Fn(&str, Members) -> Result<T, String>) -> io::Result<Vec<T>> {
        self.load_with(Torn::SetAside, parse)
    }

    /// As [`Files::load`] for records that are worth nothing when they are torn: these are removed and reported.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn load_history<T>(&self, parse: impl Fn(&str, Members) -> Result<T, String>) -> io::Result<Vec<T>> {
        self.load_with(Torn::Dropped, parse)
    }

    fn load_with<T>(&self, torn: Torn, parse: impl Fn(&str, Members) -> Result<T, String>) -> io::Result<Vec<T>> {
        let mut all = Vec::new();
        self.load_each(torn, &mut |name, members| {
            all.push(parse(name, members)?);
            Ok(())
        })?;
        Ok(all)
    }

    // Not generic from here on.
    #[inline(never)]
    fn load_each(&self, torn: Torn, parse: &mut dyn FnMut(&str, Members) -> Result<(), String>) -> io::Result<()> {
        let mut names = self.dir.entries()?;
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        names.iter().for_each(|(file, _)| self.load_file(file, torn, parse));
        Ok(())
    }

    /// Parses `file`; sets it aside or removes it if that fails.
    fn load_file(&self, file: &Name, torn: Torn, parse: &mut dyn FnMut(&str, Members) -> Result<(), String>) {
        // Records have names in UTF-8.
        let Some(name) = file.as_os_str().to_str().and_then(|name| name.strip_suffix(FINISHED)) else { return };
        match self.read(file).and_then(|members| parse(name, members).map_err(Unfit::Corrupt)) {
            Ok(()) => {}
            Err(Unfit::Corrupt(why)) if torn == Torn::Dropped && self.dir.unlink(file).is_ok() => {
                log::error(format_args!("{} is dropped: {why}", self.path.join(file.as_os_str()).display()));
            }
            Err(unfit) => self.set_aside(file, &unfit),
        }
    }

    /// Reads a record of a known version.
    fn read(&self, file: &Name) -> Result<Members, Unfit> {
        let text = self.dir.read_plain(file, &self.demands).map_err(|rejected| match rejected {
            Rejected::Unfit(why) => Unfit::Unsafe(why),
            Rejected::Failed(error) => Unfit::Corrupt(format!("it can't be read: {error}")),
        })?;
        let corrupt = |why| Unfit::Corrupt(format!("it is torn or was not written by servisor: {why}"));
        let members = Members::read(&text).map_err(corrupt)?;
        match members.number("version").map_err(corrupt)? {
            1..=VERSION => Ok(members),
            0 => Err(Unfit::Corrupt("there is no version 0".into())),
            newer => Err(Unfit::Newer(newer)),
        }
    }

    fn set_aside(&self, file: &Name, unfit: &Unfit) {
        home::report(&self.path, file, &unfit.reason(), home::set_aside(&self.dir, file, unfit.word()));
    }

    fn names(&self, of: &str) -> io::Result<(Name, Name)> {
        Ok((name(&format!("{of}{FINISHED}"))?, name(&format!("{of}{UNFINISHED}"))?))
    }

    /// Looks whether this is still the directory that the next daemon will read.
    fn check(&self) -> Result<(), Lost> {
        match &self.home {
            Some((home, member)) => home.check().and_then(|()| home.check_member(member, &self.dir)),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        if let Some((home, _)) = &self.home {
            home.sync_new()?;
        }
        // If the new directory were lost in a crash, its files would be too.
        if self.is_new.load(Ordering::Acquire) {
            match &self.home {
                Some((home, _)) => home.dir().sync()?,
                None => Dir::open(self.path.parent().unwrap_or(Path::new("/")), Last::Follow)?.sync()?,
            }
            self.is_new.store(false, Ordering::Release);
        }
        self.dir.sync()
    }
}

/// `contents` as the line that a record is.
fn line(contents: &dyn ToJson) -> io::Result<Vec<u8>> {
    let mut text = contents.to_json().map_err(io::Error::other)?;
    text.push(b'\n');
    Ok(text)
}
