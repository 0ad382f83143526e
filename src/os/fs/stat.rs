//! The metadata of an entry, read and set.
//!
//! Owns: kinds, modes, owners and times. Never: a content, a name.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

use crate::os::check;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket or a device.
    Special,
}

impl FileKind {
    /// From the type byte of a directory's entry; not every file system gives one.
    pub(super) fn of_entry(kind: u8) -> Option<FileKind> {
        match kind {
            libc::DT_REG => Some(FileKind::File),
            libc::DT_DIR => Some(FileKind::Directory),
            libc::DT_LNK => Some(FileKind::Symlink),
            libc::DT_UNKNOWN => None,
            _ => Some(FileKind::Special),
        }
    }

    fn of_mode(mode: u32) -> FileKind {
        match mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::File,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Symlink,
            _ => FileKind::Special,
        }
    }
}

/// A moment as file systems keep it: seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64, pub u32);

/// The metadata of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub kind: FileKind,
    /// Its permissions, the set-id and sticky bits included.
    pub mode: u32,
    /// Its owner and group.
    pub owner: (u32, u32),
    /// The file system and the number in it: together they are the thing itself, under whatever name.
    pub identity: (u64, u64),
    /// How many names it has.
    pub links: u32,
    /// Its length in bytes.
    pub size: u64,
    /// The bytes that it takes on the disk; fewer than `size` when it has holes.
    pub allocated: u64,
    /// When its content last changed.
    pub modified: Moment,
    /// When it came into being, if the file system knows.
    pub born: Option<Moment>,
}

pub(super) fn statx(at: libc::c_int, name: &CStr, flags: libc::c_int) -> io::Result<Stat> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::c_ulong::from(libc::STATX_BASIC_STATS | libc::STATX_BTIME);
    let (at, flags) = (libc::c_long::from(at), libc::c_long::from(flags));
    // Not every libc that is linked has a function for it.
    // SAFETY: the name is NUL-terminated, `stat` is memory for one, both live through the call.
    check(unsafe { libc::syscall(libc::SYS_statx, at, name.as_ptr(), flags, mask, stat.as_mut_ptr()) } as libc::c_int)?;
    // SAFETY: all of it was zero, which is valid, and the kernel has filled it in.
    let stat = unsafe { stat.assume_init() };
    let moment = |time: libc::statx_timestamp| Moment(time.tv_sec, time.tv_nsec);
    Ok(Stat {
        kind: FileKind::of_mode(stat.stx_mode.into()),
        mode: u32::from(stat.stx_mode) & 0o7777,
        owner: (stat.stx_uid, stat.stx_gid),
        identity: (u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor), stat.stx_ino),
        links: stat.stx_nlink,
        size: stat.stx_size,
        allocated: stat.stx_blocks.saturating_mul(512),
        modified: moment(stat.stx_mtime),
        born: (stat.stx_mask & libc::STATX_BTIME != 0).then(|| moment(stat.stx_btime)),
    })
}

/// Sets the owner of `fd`, if one is given, its mode and its modification time.
pub(super) fn apply_metadata(
    fd: libc::c_int,
    owner: Option<(u32, u32)>,
    mode: u32,
    modified: Moment,
) -> io::Result<()> {
    let mut mode = mode;
    if let Some((user, group)) = owner {
        // SAFETY: plain numbers; the descriptor is open.
        match check(unsafe { libc::fchown(fd, user, group) }) {
            Ok(_) => {}
            // The root of a user namespace can give only some owners. Without the owner, set-id bits would let a
            // program run as another user than the original.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => mode &= 0o1777,
            Err(error) => return Err(error),
        }
    }
    // After the owner: a change of owner takes the set-id bits away.
    // SAFETY: plain numbers; the descriptor is open.
    check(unsafe { libc::fchmod(fd, mode) })?;
    let times = times(modified);
    // SAFETY: `times` is the two that the call reads; the descriptor is open.
    check(unsafe { libc::futimens(fd, times.as_ptr()) }).map(drop)
}

/// The access time stays as it is.
pub(super) fn times(modified: Moment) -> [libc::timespec; 2] {
    let time = |seconds: i64, nanos: libc::c_long| {
        // SAFETY: zero is a valid timespec; some platforms have padding that can't be named.
        let mut time: libc::timespec = unsafe { MaybeUninit::zeroed().assume_init() };
        time.tv_sec = seconds as _;
        time.tv_nsec = nanos;
        time
    };
    [time(0, libc::UTIME_OMIT), time(modified.0, modified.1 as libc::c_long)]
}
