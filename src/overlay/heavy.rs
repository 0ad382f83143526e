//! Heavy directories: a placeholder first, replaced by the copy later.
//!
//! Owns: the replacement, and the removal of every placeholder. Never: how a tree is copied.
//!
//! A directory can't be renamed over a symlink. So both are exchanged in one step (`RENAME_EXCHANGE`), and the symlink
//! is removed from the temporary name. If that is not our symlink, a user has replaced it in the meantime: the exchange
//! is reverted and the copy removed.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::copy::{CopyTask, Deferred, Stands, TreeCopy};
use super::pair::{Maker, Pair, Visibility, descend};
use super::progress::{Halt, StopCause};
use super::remove;
use super::workers::WorkerPool;
use crate::os::fs::{Dir, FileKind, Made, Name, is_unsupported};

/// Whether a copy has replaced its placeholder.
enum Placed {
    Yes,
    /// A user has replaced the placeholder.
    Taken,
}

impl Deferred {
    /// Copies the directory and replaces the placeholder. Errors stop the copy.
    pub fn carry_out(&self, pool: &WorkerPool<TreeCopy>, source: &Dir, target: &Dir) {
        let copy = pool.work();
        let path = self.directory.join(self.name.as_os_str());
        if let Err(error) = self.try_to(pool, source, target, &path) {
            copy.progress.fail(&path, &error);
        }
    }

    fn try_to(&self, pool: &WorkerPool<TreeCopy>, source: &Dir, target: &Dir, path: &Path) -> io::Result<()> {
        let copy = pool.work();
        let from = match descend(source, path) {
            // Removed from the template since it was listed; its placeholder is removed later.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                copy.progress.skip(path);
                return Ok(());
            }
            other => other?,
        };
        let parent = match descend(target, &self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The user has removed its parent.
                copy.progress.skip(path);
                return Ok(());
            }
            other => other?,
        };
        match self.stands {
            Stands::Directory => {
                let to = parent.open_dir(&self.name)?;
                let maker = copy.maker(Made::Present, &from.own_stat()?, &to)?;
                pool.run(CopyTask::Fill(Pair::top(from, to, path.to_owned(), maker, Visibility::Shared)?));
                Ok(())
            }
            Stands::Placeholder => {
                let temporary = copy.temporary()?;
                parent.make_dir(&temporary, 0o700)?;
                let to = parent.open_dir(&temporary)?;
                if !to.is_fresh()? {
                    return Err(io::Error::other("another directory was put in the place of its copy"));
                }
                let pair = Pair::top(from, to, path.to_owned(), Maker::Us, Visibility::Private)?;
                pool.run(CopyTask::Fill(pair));
                let placed = copy.progress.check_stop().and_then(|()| self.take_place(copy, &parent, &temporary));
                if let Ok(Placed::Yes) = placed {
                    copy.progress.directory();
                    return Ok(());
                }
                // During a shutdown there is no time for it; the next daemon removes it.
                if copy.progress.halted() != Some(Halt::Stopped(StopCause::ShutDown)) {
                    remove::tree(&parent, &temporary, Some(FileKind::Directory), copy.since)?;
                }
                placed.map(|_| copy.progress.skip(path))
            }
        }
    }

    fn take_place(&self, copy: &TreeCopy, parent: &Dir, temporary: &Name) -> io::Result<Placed> {
        if !self.is_placeholder(copy, parent, &self.name) {
            return Ok(Placed::Taken);
        }
        match parent.exchange(temporary, &self.name) {
            Ok(()) if self.is_placeholder(copy, parent, temporary) => {
                parent.unlink(temporary)?;
                Ok(Placed::Yes)
            }
            Ok(()) => {
                parent.exchange(temporary, &self.name)?;
                Ok(Placed::Taken)
            }
            // Not supported: two steps, between which neither exists.
            Err(error) if is_unsupported(&error) => {
                parent.unlink(&self.name)?;
                match parent.rename_new(temporary, &self.name) {
                    Ok(()) => Ok(Placed::Yes),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Placed::Taken),
                    Err(error) => Err(error),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Placed::Taken),
            Err(error) => Err(error),
        }
    }

    fn is_placeholder(&self, copy: &TreeCopy, parent: &Dir, name: &Name) -> bool {
        let placeholder = copy.plan.placeholder(&self.directory.join(self.name.as_os_str()));
        parent.read_link(name).is_ok_and(|text| text == placeholder.as_os_str().as_bytes())
    }

    /// Removes a placeholder that no copy will replace, so that no write through it changes the template.
    pub fn withdraw(&self, copy: &TreeCopy, target: &Dir) {
        if let Ok(parent) = descend(target, &self.directory)
            && self.is_placeholder(copy, &parent, &self.name)
        {
            let _ = parent.unlink(&self.name);
        }
    }

    /// Restores the mode and times of the parent, which the replacement has changed.
    pub fn restore_parent_metadata(&self, copy: &TreeCopy, target: &Dir) {
        if let Some((stat, identity)) = &self.metadata {
            let applied = descend(target, &self.directory).and_then(|parent| match parent.own_stat()?.identity {
                same if same == *identity => parent.apply_metadata(copy.owner(stat), stat.mode, stat.modified),
                // Replaced by another directory.
                _ => Ok(()),
            });
            match applied {
                Err(error) if error.kind() != io::ErrorKind::NotFound => copy.progress.fail(&self.directory, &error),
                Ok(()) | Err(_) => {}
            }
        }
    }
}
