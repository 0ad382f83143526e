//! Entries that were just made, in a directory that other processes may write to.
//!
//! Owns: the check that a name still refers to the entry that was made, before it gets an owner or a mode: another
//! process may have replaced it. Never: a step that trusts the name alone.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use super::stat::{statx, times};
use super::{Dir, FileKind, Moment, Name, open, own_owner, read_link};
use crate::os::check;

/// What a directory that was made for its owner only does not have.
const FOR_OTHERS: u32 = 0o077;

impl Dir {
    /// Whether this can be a directory that was made a moment ago for its owner only: one in which something is, or
    /// that others may enter, is another one.
    ///
    /// # Errors
    /// The system's.
    pub fn is_fresh(&self) -> io::Result<bool> {
        Ok(self.own_stat()?.mode & FOR_OTHERS == 0 && self.entries()?.is_empty())
    }

    /// Sets the time of the symlink `name`, which was made with `text` in it, and its owner if one is given. Changes
    /// nothing if another entry has that name by now.
    ///
    /// # Errors
    /// The system's.
    pub fn set_symlink_metadata(
        &self,
        name: &Name,
        text: &OsStr,
        owner: Option<(u32, u32)>,
        modified: Moment,
    ) -> io::Result<()> {
        let link = open(self.raw(), &name.0, libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC, 0)?;
        let fd = link.as_raw_fd();
        let stat = statx(fd, c"", libc::AT_EMPTY_PATH)?;
        if stat.kind != FileKind::Symlink || stat.links != 1 || read_link(fd, c"")? != text.as_bytes() {
            return Ok(());
        }
        let empty = c"".as_ptr();
        if let Some((user, group)) = owner.filter(|_| stat.owner.0 == own_owner().0) {
            // SAFETY: the name is a NUL-terminated text that lives through the call; the descriptor is open.
            check(unsafe { libc::fchownat(fd, empty, user, group, libc::AT_EMPTY_PATH) })?;
        }
        match set_time(fd, c"", libc::AT_EMPTY_PATH, modified) {
            // A kernel before 5.8 takes a path here only.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let own = CString::new(format!("/proc/self/fd/{fd}"))?;
                set_time(libc::AT_FDCWD, &own, 0, modified)
            }
            set => set,
        }
    }
}

fn set_time(at: libc::c_int, name: &CStr, flags: libc::c_int, modified: Moment) -> io::Result<()> {
    let times = times(modified);
    // SAFETY: the name is a NUL-terminated text, and `times` the two that the call reads; both live through it.
    check(unsafe { libc::utimensat(at, name.as_ptr(), times.as_ptr(), flags) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::Last;
    use super::*;

    #[test]
    fn only_the_symlink_that_was_made_gets_an_owner_and_a_time() {
        let directory = crate::testing::Scratch::new();
        let scratch = &directory.0;
        let dir = Dir::open(scratch, Last::Refuse).unwrap();
        let is_root = own_owner().0 == 0;
        let owner = is_root.then_some((1234, 4321));
        let name = |text: &str| Name::new(OsStr::new(text)).unwrap();
        let apply = |of: &str| dir.set_symlink_metadata(&name(of), OsStr::new("text"), owner, Moment(5, 6)).unwrap();
        let seen = |of: &str| fs::symlink_metadata(scratch.join(of)).unwrap();
        symlink("text", scratch.join("own")).unwrap();
        apply("own");
        assert_eq!((seen("own").mtime(), seen("own").mtime_nsec()), (5, 6));
        assert!(!is_root || (seen("own").uid(), seen("own").gid()) == (1234, 4321));
        // What has been put in its place: a file, another link, a second name of some link.
        fs::write(scratch.join("file"), "x").unwrap();
        symlink("other", scratch.join("other")).unwrap();
        symlink("text", scratch.join("twice")).unwrap();
        fs::hard_link(scratch.join("twice"), scratch.join("second")).unwrap();
        for of in ["file", "other", "twice"] {
            apply(of);
            assert!(seen(of).mtime() != 5 && seen(of).uid() == own_owner().0, "{of}");
        }
        fs::create_dir(scratch.join("directory")).unwrap();
        let inner = dir.open_dir(&name("directory")).unwrap();
        fs::set_permissions(scratch.join("directory"), PermissionsExt::from_mode(0o700)).unwrap();
        assert!(inner.is_fresh().unwrap());
        fs::write(scratch.join("directory/x"), "").unwrap();
        assert!(!inner.is_fresh().unwrap());
        fs::remove_file(scratch.join("directory/x")).unwrap();
        fs::set_permissions(scratch.join("directory"), PermissionsExt::from_mode(0o750)).unwrap();
        assert!(!inner.is_fresh().unwrap());
    }
}
