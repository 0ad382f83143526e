//! A directory of JSON files, each of them whole or not there.
//!
//! Owns: how a file is written, removed, found and set aside. Never: what is in it, beyond the number of its version.
//!
//! A file is written under another name, synced, and renamed; the directory is synced before anyone is told. Whoever
//! looks finds the old one or the new one, at any moment and after any crash. Two writers of one name must not meet: a
//! server's file is written by its supervisor only.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::members::Members;
use crate::log;

#[cfg(test)]
mod tests;

/// The version of what this servisor writes, and the newest that it can read.
pub const VERSION: u64 = 1;
/// A configuration comes in at most 1 MiB; as text of ours it can take more, but not this much.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// A name that ends in this is a file. No name that ends in `UNFINISHED` or is set aside does.
const FINISHED: &str = ".json";
/// What a crash has left in the middle of a change.
const UNFINISHED: &str = ".json.tmp";

/// The directory.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    /// It was made just now, and a loss of power may still take it back.
    is_new: AtomicBool,
}

/// Why a file is not used, and the word that its new name gets.
#[derive(Debug)]
enum Unfit {
    Corrupt(String),
    Newer(u64),
}

impl Unfit {
    fn word(&self) -> &'static str {
        match self {
            Unfit::Corrupt(_) => "corrupt",
            Unfit::Newer(_) => "newer",
        }
    }

    fn reason(&self) -> String {
        match self {
            Unfit::Corrupt(why) => why.clone(),
            Unfit::Newer(version) => format!("a newer servisor wrote it (version {version}, this one knows {VERSION})"),
        }
    }
}

impl Files {
    /// Makes the directory if there is none, for its owner only, and removes what a crash has left half done.
    ///
    /// # Errors
    /// It can't be made or read.
    pub fn open(directory: PathBuf) -> io::Result<Files> {
        let is_new = match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(UNFINISHED.as_bytes())) {
                // One that stays is overwritten at the next change.
                let _ = fs::remove_file(path);
            }
        }
        Ok(Files { directory, is_new: AtomicBool::new(is_new) })
    }

    /// Puts `contents`, whose first member is its `version`, in the place of what `name` had before.
    ///
    /// # Errors
    /// It can't be stored; what was there before still is.
    pub fn put(&self, name: &str, contents: &impl Serialize) -> io::Result<()> {
        let (path, unfinished) = self.paths(name);
        let mut text = serde_json::to_vec_pretty(contents)?;
        text.push(b'\n');
        let previous = fs::read(&path).ok();
        let put = write(&unfinished, &text).and_then(|()| fs::rename(&unfinished, &path));
        if put.is_err() {
            let _ = fs::remove_file(&unfinished);
            return put;
        }
        self.sync().inspect_err(|_| {
            // Nobody may count on the new one, so it must not be the one that is found.
            let _ = match previous {
                Some(previous) => write(&unfinished, &previous).and_then(|()| fs::rename(&unfinished, &path)),
                None => fs::remove_file(&path),
            };
        })
    }

    /// Removes what `name` has, if it has anything.
    ///
    /// # Errors
    /// It can't be removed for good; it is still there then.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let (path, unfinished) = self.paths(name);
        match fs::rename(&path, &unfinished) {
            Ok(()) => {}
            // Gone already, but not if the whole directory is: then nothing is known.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.sync(),
            Err(error) => return Err(error),
        }
        self.sync().inspect_err(|_| {
            let _ = fs::rename(&unfinished, &path);
        })?;
        // The name does not count any more; if it stays, the next start removes it.
        let _ = fs::remove_file(&unfinished);
        Ok(())
    }

    /// What `parse` makes of every file, by name, sorted. A file that it can't read, that is torn, or that a newer
    /// servisor has written is set aside under another name and told of in the log; nothing is ever deleted.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn load<T>(&self, parse: impl Fn(&str, Members) -> Result<T, String>) -> io::Result<Vec<T>> {
        let mut all = Vec::new();
        let paths: io::Result<Vec<PathBuf>> = fs::read_dir(&self.directory)?.map(|entry| Ok(entry?.path())).collect();
        let mut paths = paths?;
        paths.sort_unstable();
        for path in paths {
            load_path(&path, &mut |name, members| {
                all.push(parse(name, members)?);
                Ok(())
            });
        }
        Ok(all)
    }

    fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{name}{FINISHED}")), self.directory.join(format!("{name}{UNFINISHED}")))
    }

    fn sync(&self) -> io::Result<()> {
        // A directory that a crash takes back would take its files along.
        if self.is_new.load(Ordering::Acquire) {
            sync(self.directory.parent().unwrap_or(Path::new("/")))?;
            self.is_new.store(false, Ordering::Release);
        }
        sync(&self.directory)
    }
}

/// Gives `parse` what is in the file at `path`, and sets it aside if it can't be used.
fn load_path(path: &Path, parse: &mut dyn FnMut(&str, Members) -> Result<(), String>) {
    // A name that is no text is none of ours.
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(FINISHED));
    let Some(name) = name else { return };
    let unfit = match read(path).and_then(|members| parse(name, members).map_err(Unfit::Corrupt)) {
        Ok(()) => return,
        Err(unfit) => unfit,
    };
    let (shown, reason) = (path.display(), unfit.reason());
    match set_aside(path, unfit.word()) {
        Ok(aside) => log::error(format_args!("{shown} is not used: {reason}; it is kept as {}", aside.display())),
        Err(error) => log::error(format_args!("{shown} is not used: {reason}; it can't be set aside: {error}")),
    }
}

/// A file system that can't sync a directory has nothing to sync there, or gives no promise at all: not our refusal.
fn sync(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// What is in a file of a version that is known.
fn read(path: &Path) -> Result<Members, Unfit> {
    let text = read_bounded(path).map_err(|error| Unfit::Corrupt(format!("it can't be read: {error}")))?;
    let corrupt = |why| Unfit::Corrupt(format!("it is torn or was not written by servisor: {why}"));
    let members = Members::read(&text).map_err(corrupt)?;
    match members.number("version").map_err(corrupt)? {
        1..=VERSION => Ok(members),
        0 => Err(Unfit::Corrupt("there is no version 0".into())),
        newer => Err(Unfit::Newer(newer)),
    }
}

/// A named pipe in the place of a file would hold the daemon for ever: it is not even opened.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_MAX} bytes")));
    }
    Ok(text)
}

/// Renames to the first of `PATH.WORD-1`, `PATH.WORD-2`, … that does not exist. Nobody else makes such names: the state
/// directory is locked.
fn set_aside(path: &Path, word: &str) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{word}-{number}"));
        let aside = PathBuf::from(name);
        if fs::symlink_metadata(&aside).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return fs::rename(path, &aside).map(|()| aside);
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}
