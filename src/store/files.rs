//! A directory of JSON files, each of them whole or not there.
//!
//! Owns: how a file is written, removed, found and set aside. Never: what is in it, beyond the number of its version.
//!
//! A file is written under another name, synced, and renamed; the directory is synced before anyone is told. Whoever
//! looks finds the old one or the new one, at any moment and after any crash. Two writers of one name must not meet: a
//! server's file is written by its supervisor only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::home::{self, Durable, Home, Lost, MEMBER_MAX};
use super::members::Members;
use super::name;
use crate::log;
use crate::os::fs::plain::{Demands, Rejected};
use crate::os::fs::{self, Dir, Kind, Last, Made, Name};

#[cfg(test)]
mod tests;

/// The version of what this servisor writes, and the newest that it can read.
pub const VERSION: u64 = 1;
/// A name that ends in this is a file. No name that ends in `UNFINISHED` or is set aside does.
const FINISHED: &str = ".json";
/// What a crash has left in the middle of a change.
const UNFINISHED: &str = ".json.tmp";

/// The directory.
#[derive(Debug)]
pub struct Files {
    /// Where it is, for sentences.
    path: PathBuf,
    dir: Dir,
    demands: Demands,
    /// The state directory that it is a member of, and its name there.
    home: Option<(Arc<Home>, Name)>,
    /// It was made just now, and a loss of power may still take it back.
    is_new: AtomicBool,
    /// The log says once that the state directory is lost.
    is_lost: AtomicBool,
}

/// Why a file is not used, and the word that its new name gets.
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
    /// The member `member` of the state directory. Removes what a crash has left half done.
    ///
    /// # Errors
    /// It can't be made or read.
    pub fn in_home(home: &Arc<Home>, member: &str) -> io::Result<Files> {
        let member = name(member)?;
        let (dir, made) = home.open_member(&member)?;
        let (path, demands) = (home.path().join(member.as_os_str()), *home.demands());
        Files::of(path, dir, made, demands, Some((Arc::clone(home), member)))
    }

    /// A directory of its own; makes it if there is none.
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
                Some(Kind::Directory) => files.set_aside(&name, &Unfit::Unsafe("it is a directory".into())),
                // The link or the pipe itself. What stays makes the next change fail.
                Some(Kind::File | Kind::Symlink | Kind::Special) | None => drop(files.dir.unlink(&name)),
            }
        }
        Ok(files)
    }

    /// Puts `contents`, whose first member is its `version`, in the place of what `name` had before.
    ///
    /// # Errors
    /// It can't be stored; what was there before still is. See [`home::lost`].
    pub fn put(&self, name: &str, contents: &impl Serialize) -> io::Result<()> {
        // Not indented: a second form of each type that is stored would cost code.
        let mut text = serde_json::to_vec(contents)?;
        text.push(b'\n');
        self.put_text(name, &text)
    }

    fn put_text(&self, name: &str, text: &[u8]) -> io::Result<()> {
        self.check().map_err(io::Error::other)?;
        let (file, unfinished) = self.names(name)?;
        let previous = self.dir.read_plain(&file, &self.demands).ok();
        home::write(&self.dir, &unfinished, text, Durable::Now)?;
        self.dir.rename(&unfinished, &file).inspect_err(|_| drop(self.dir.unlink(&unfinished)))?;
        self.sync().inspect_err(|_| {
            // Nobody may count on the new one, so it must not be the one that is found.
            let _ = match previous {
                Some(previous) => home::write(&self.dir, &unfinished, &previous, Durable::Now)
                    .and_then(|()| self.dir.rename(&unfinished, &file)),
                None => self.dir.unlink(&file),
            };
        })
    }

    /// The same without a sync: a crash of the machine may take it back, but a crash of the daemon does not.
    ///
    /// # Errors
    /// It can't be written; what was there before still is.
    pub fn put_unsynced(&self, name: &str, contents: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(contents)?;
        text.push(b'\n');
        self.check().map_err(io::Error::other)?;
        let (file, unfinished) = self.names(name)?;
        home::write(&self.dir, &unfinished, &text, Durable::Later)?;
        self.dir.rename(&unfinished, &file).inspect_err(|_| drop(self.dir.unlink(&unfinished)))
    }

    /// Removes what `name` has, without a sync.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn discard(&self, name: &str) -> io::Result<()> {
        self.dir.unlink(&self.names(name)?.0)
    }

    /// Removes what `name` has, if it has anything. When the state directory was removed or replaced nothing that is in it
    /// counts any more, and this succeeds.
    ///
    /// # Errors
    /// It can't be removed for good; it is still there then.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let (file, unfinished) = self.names(name)?;
        if let Err(lost) = self.check() {
            if !self.is_lost.swap(true, Ordering::AcqRel) {
                log::error(format_args!("{lost}"));
            }
            // In the directory that was opened, wherever it is by now, if it is anywhere.
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
        // The name does not count any more; if it stays, the next start removes it.
        let _ = self.dir.unlink(&unfinished);
        Ok(())
    }

    /// What `parse` makes of every file, by name, sorted. A file that it can't read, that is torn, that a newer servisor
    /// has written, or that is not safe to read is set aside under another name and reported in the log; nothing is ever
    /// deleted.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn load<T>(&self, parse: impl Fn(&str, Members) -> Result<T, String>) -> io::Result<Vec<T>> {
        let mut all = Vec::new();
        let mut names = self.dir.entries()?;
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (file, _) in names {
            self.load_file(&file, &mut |name, members| {
                all.push(parse(name, members)?);
                Ok(())
            });
        }
        Ok(all)
    }

    /// Gives `parse` what is in `file`, and sets it aside if it can't be used.
    fn load_file(&self, file: &Name, parse: &mut dyn FnMut(&str, Members) -> Result<(), String>) {
        // A name that is no text is none of ours.
        let Some(name) = file.as_os_str().to_str().and_then(|name| name.strip_suffix(FINISHED)) else { return };
        match self.read(file).and_then(|members| parse(name, members).map_err(Unfit::Corrupt)) {
            Ok(()) => {}
            Err(unfit) => self.set_aside(file, &unfit),
        }
    }

    /// What is in a file of a version that is known.
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
        // A directory that a crash takes back would take its files along.
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
