//! `clone(2)` and `execve(2)`: what a child does before it runs its program.
//!
//! Owns: the clone, and the few calls of its child. Never: what is run and why; an allocation, a lock or a panic in the
//! child.
//!
//! The child shares the daemon's memory (`CLONE_VM`), and the thread that made it is suspended until the child has
//! called `execve(2)` or exited (`CLONE_VFORK`): some 50 µs, whatever the daemon's size. `posix_spawn` does the same
//! but can neither reset a limit nor raise the OOM score, and a shell that does so first would be one more program at
//! every start.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use super::{Pid, check, retry};
use crate::model::marker::Limits;

/// The child's few calls use less than half of this (a test measures it), also when glibc's loader resolves them. A
/// guard page ends the child on overflow.
const STACK: usize = 32 * 1024;
/// ThreadSanitizer takes every clone for a fork; under it the child has memory of its own, and its errors are not
/// reported.
const SHARING: libc::c_int = if cfg!(sanitized) { libc::CLONE_VFORK } else { libc::CLONE_VM | libc::CLONE_VFORK };
/// The exit code of a child whose `execve(2)` failed, as in a shell. Only its parent sees it.
const LOST: libc::c_int = 127;

/// What the child becomes.
pub struct Launch<'a> {
    /// The file to run.
    pub program: &'a CStr,
    /// Its arguments, its own name among them.
    pub arguments: &'a [CString],
    /// Its whole environment, `NAME=VALUE` each.
    pub environment: &'a [CString],
    /// Its working directory. A relative `program` is taken from there.
    pub directory: &'a CStr,
    /// Its standard input, output and error; none of them is 0, 1 or 2 here.
    pub streams: [BorrowedFd<'a>; 3],
    /// Its soft limit on open files, if it is to have another one.
    pub open_files: Option<u64>,
    /// Its limit on file locks, which has no effect but to be inherited, if it is to have another one. One that can't
    /// be set is no reason to fail.
    pub file_locks: Option<Limits>,
    /// What goes into its `oom_score_adj`. A system that keeps no scores, or lets none be changed, is no reason to
    /// fail.
    pub oom_score: Option<&'a CStr>,
}

/// What failed, and the kernel's number for why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchError {
    /// No process can be created.
    Process(i32),
    /// The working directory can't be entered.
    Directory(i32),
    /// The program can't be run.
    Program(i32),
}

/// All that the child reads, and the errors that it writes: its parent reads them after the child is gone.
struct ChildPlan {
    program: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    directory: *const libc::c_char,
    streams: [libc::c_int; 3],
    open_files: Option<u64>,
    file_locks: Option<libc::rlimit>,
    file_locks_errno: AtomicI32,
    oom_score: Option<(*const libc::c_void, usize)>,
    directory_errno: AtomicI32,
    program_errno: AtomicI32,
}

/// A new process.
#[derive(Debug, Clone, Copy)]
pub struct LaunchedChild {
    /// Its number, and that of its session and its process group.
    pub pid: Pid,
    /// Whether its limit on file locks could be set.
    pub has_file_locks: bool,
}

impl Launch<'_> {
    /// Creates the child, the leader of a session and a process group of its own, without a controlling terminal and
    /// with no signal blocked or ignored. It runs its program when this returns.
    ///
    /// # Errors
    /// What failed; no process is left.
    pub fn start(&self) -> Result<LaunchedChild, LaunchError> {
        let (arguments, environment) = (pointers(self.arguments), pointers(self.environment));
        let plan = ChildPlan {
            program: self.program.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            directory: self.directory.as_ptr(),
            streams: self.streams.map(|stream| stream.as_raw_fd()),
            open_files: self.open_files,
            file_locks: self.file_locks.map(|limits| libc::rlimit { rlim_cur: limits.soft, rlim_max: limits.hard }),
            file_locks_errno: AtomicI32::new(0),
            oom_score: self.oom_score.map(|text| (text.as_ptr().cast(), text.count_bytes())),
            directory_errno: AtomicI32::new(0),
            program_errno: AtomicI32::new(0),
        };
        let pid = Stack::new().and_then(|stack| plan.clone_child(&stack));
        let pid = pid.map_err(|error| LaunchError::Process(error.raw_os_error().unwrap_or_default()))?;
        let failure = match (plan.directory_errno.into_inner(), plan.program_errno.into_inner()) {
            (0, 0) => return Ok(LaunchedChild { pid, has_file_locks: plan.file_locks_errno.into_inner() == 0 }),
            (0, errno) => LaunchError::Program(errno),
            (errno, _) => LaunchError::Directory(errno),
        };
        // It has exited or is about to; only this thread knows it.
        let _ = retry(|| {
            // SAFETY: the null pointer asks for no status, the rest are plain numbers.
            check(unsafe { libc::waitpid(pid.raw(), ptr::null_mut(), 0) })
        });
        Err(failure)
    }
}

/// As `execve` takes them: up to a null.
fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

impl ChildPlan {
    fn clone_child(&self, stack: &Stack) -> io::Result<Pid> {
        let blocked = Blocked::all()?;
        // SAFETY: `child` has the stack for itself and takes a pointer to this value; both outlive it, since the kernel
        // resumes this thread only after the child's `execve` or exit (`CLONE_VFORK`). No handler can run in it, not
        // even one of the C library: every signal is blocked by the system call itself until the child has reset all
        // handlers. The child touches no data of other threads.
        let pid =
            unsafe { libc::clone(child, stack.top(), SHARING | libc::SIGCHLD, ptr::from_ref(self).cast_mut().cast()) };
        let pid = check(pid);
        drop(blocked);
        Pid::new(pid?).ok_or_else(|| io::Error::other("clone(2) returned no process number"))
    }

    /// Returns only after an error.
    fn become_program(&self) {
        // First: without its mark it may be taken for a child of another run.
        if let Some(limit) = &self.file_locks {
            // SAFETY: `limit` is valid for reads.
            if unsafe { libc::setrlimit(libc::RLIMIT_LOCKS, limit) } != 0 {
                self.file_locks_errno.store(errno(), Ordering::Relaxed);
            }
        }
        reset_signals();
        // SAFETY: the first calls take plain numbers and change only the child: its session, descriptors and limit. The
        // path is a literal; the pointers of this plan are valid until `execve` or exit, for which the parent is
        // suspended.
        unsafe {
            libc::setsid();
            for (number, stream) in (0..).zip(self.streams) {
                libc::dup2(stream, number);
            }
            if let Some(soft) = self.open_files {
                let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
                    limit.rlim_cur = soft;
                    libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
                }
            }
            if let Some((text, length)) = self.oom_score {
                let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                // After a failed `open` these two fail too, which is ignored.
                libc::write(file, text, length);
                libc::close(file);
            }
            if libc::chdir(self.directory) != 0 {
                self.directory_errno.store(errno(), Ordering::Relaxed);
                return;
            }
            libc::execve(self.program, self.arguments, self.environment);
        }
        self.program_errno.store(errno(), Ordering::Relaxed);
    }
}

extern "C" fn child(plan: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `clone_child` passes a pointer to a `ChildPlan` that outlives the child; its cells are atomics, the rest
    // is only read.
    let plan = unsafe { &*plan.cast::<ChildPlan>() };
    plan.become_program();
    // SAFETY: exits without the daemon's exit handlers.
    unsafe { libc::_exit(LOST) }
}

/// The memory of a child's stack, with a guard page at its lower end: a stack that overflows ends the child and touches
/// nothing of the daemon's.
struct Stack {
    lowest: *mut libc::c_void,
    length: usize,
}

impl Stack {
    fn new() -> io::Result<Stack> {
        // SAFETY: a plain number.
        let page = check(unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as libc::c_int)?.unsigned_abs() as usize;
        let length = page + STACK.next_multiple_of(page);
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: without an address the kernel chooses free memory for the mapping.
        let lowest = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, kind, -1, 0) };
        if lowest == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Stack { lowest, length };
        // SAFETY: all but the lowest page of the mapping that was just made, which nothing uses yet.
        check(unsafe { libc::mprotect(lowest.byte_add(page), length - page, libc::PROT_READ | libc::PROT_WRITE) })?;
        Ok(stack)
    }

    /// The end of the mapping: it grows downwards from there, and a page is aligned as the processor wants a stack to
    /// be.
    fn top(&self) -> *mut libc::c_void {
        // SAFETY: one past the end of the mapping is a valid pointer for it.
        unsafe { self.lowest.byte_add(self.length) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and the child that used it is another program or gone.
        unsafe { libc::munmap(self.lowest, self.length) };
    }
}

/// The number of signals, and the size of a set of them in bytes, as the kernel has both on the processors that
/// servisor is built for. The C library's calls refuse the numbers that it keeps for itself: 32 and 33 in glibc, 34 too
/// in musl.
const SIGNALS: libc::c_int = 64;
const SET_BYTES: usize = size_of::<u64>();

/// Gives each signal its default action and blocks none: a handler is the daemon's code, and an ignored signal would
/// stay ignored in the new program.
fn reset_signals() {
    // No handler, no flags, an empty mask; the kernel's structure is no larger.
    let default = [0_u64; 8];
    let set_bytes = SET_BYTES;
    for signal in 1..=SIGNALS {
        // SAFETY: `default` is valid for reads of the kernel's structure, and zero is `SIG_DFL`. SIGKILL and SIGSTOP,
        // which can't be changed, are EINVAL. The child has a table of handlers of its own (no `CLONE_SIGHAND`).
        unsafe {
            let none = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, libc::c_long::from(signal), default.as_ptr(), none, set_bytes)
        };
    }
    let _ = set_mask(0);
}

/// Blocks the signals of `set`, and no other, on the calling thread; gives the set before. By the kernel's own call:
/// the C library's leaves out the signals that it keeps for itself.
fn set_mask(set: u64) -> io::Result<u64> {
    let mut before = 0_u64;
    let (how, set_bytes) = (libc::c_long::from(libc::SIG_SETMASK), SET_BYTES);
    // SAFETY: both sets have the size that is passed; one is valid for reads, the other for writes.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, &raw mut before, set_bytes) };
    if done == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}

fn errno() -> libc::c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

/// All signals are blocked on this thread as long as this lives.
struct Blocked {
    before: u64,
}

impl Blocked {
    fn all() -> io::Result<Blocked> {
        set_mask(u64::MAX).map(|before| Blocked { before })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = set_mask(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    /// A set of signals from the `status` of a process or thread.
    fn set(status: &str, name: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }

    fn bits(signals: impl IntoIterator<Item = libc::c_int>) -> u64 {
        signals.into_iter().fold(0, |set, signal| set | 1 << (signal - 1))
    }

    #[test]
    fn no_handler_of_the_c_library_can_run_in_the_child() {
        let status = || fs::read_to_string("/proc/thread-self/status").unwrap();
        let before = set(&status(), "SigBlk");
        let blocked = Blocked::all().unwrap();
        assert_eq!(set(&status(), "SigBlk"), !bits([libc::SIGKILL, libc::SIGSTOP]), "all that can be, 32 to 34 too");
        drop(blocked);
        assert_eq!(set(&status(), "SigBlk"), before);
    }

    /// Starts `cat` with its output in a pipe; gives what it has written.
    fn cat(stack: &Stack, path: &CStr) -> String {
        let nothing = File::open("/dev/null").unwrap();
        let (mut output, input) = io::pipe().unwrap();
        let arguments = [c"cat".to_owned(), path.to_owned()];
        let (arguments, environment) = (pointers(&arguments), pointers(&[]));
        let plan = ChildPlan {
            program: c"/bin/cat".as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            directory: c"/".as_ptr(),
            streams: [nothing.as_fd(), input.as_fd(), nothing.as_fd()].map(|stream| stream.as_raw_fd()),
            open_files: Some(100),
            file_locks: Some(libc::rlimit { rlim_cur: 9, rlim_max: 9 }),
            file_locks_errno: AtomicI32::new(0),
            oom_score: Some((c"1000".as_ptr().cast(), 4)),
            directory_errno: AtomicI32::new(0),
            program_errno: AtomicI32::new(0),
        };
        let pid = plan.clone_child(stack).unwrap();
        drop(input);
        let mut text = String::new();
        io::Read::read_to_string(&mut output, &mut text).unwrap();
        // SAFETY: the null pointer asks for no status; it is this thread's child.
        unsafe { libc::waitpid(pid.raw(), ptr::null_mut(), 0) };
        text
    }

    #[test]
    fn an_inherited_handler_or_ignored_signal_is_the_default_in_the_program() {
        // A parent may have ignored what the C library refuses to change.
        let kept = [32, 33, 34];
        let set_bytes = SET_BYTES;
        let mut before = [[0_u64; 8]; 3];
        for (signal, before) in kept.iter().zip(&mut before) {
            let mut ignored = [0_u64; 8];
            ignored[0] = libc::SIG_IGN as u64;
            // SAFETY: both are at least as large as the kernel's structure; nothing here sends these signals.
            let done = unsafe {
                let signal = libc::c_long::from(*signal);
                libc::syscall(libc::SYS_rt_sigaction, signal, ignored.as_ptr(), before.as_mut_ptr(), set_bytes)
            };
            assert_eq!(done, 0);
        }
        let status = cat(&Stack::new().unwrap(), c"/proc/self/status");
        for (signal, before) in kept.iter().zip(&before) {
            // SAFETY: what the kernel gave is what it takes.
            unsafe {
                let (signal, none) = (libc::c_long::from(*signal), ptr::null_mut::<u64>());
                libc::syscall(libc::SYS_rt_sigaction, signal, before.as_ptr(), none, set_bytes)
            };
        }
        for name in ["SigBlk", "SigIgn", "SigCgt"] {
            assert_eq!(set(&status, name), 0, "{name}");
        }
    }

    #[test]
    fn half_of_the_stack_is_enough() {
        let stack = Stack::new().unwrap();
        assert!(cat(&stack, c"/proc/self/status").contains("Name:\tcat"));
        // SAFETY: the lower half above the guard page is mapped, and no child uses it any more.
        let lower = unsafe {
            let page = stack.length - STACK;
            std::slice::from_raw_parts(stack.lowest.byte_add(page).cast::<u8>(), STACK / 2)
        };
        assert!(lower.iter().all(|byte| *byte == 0), "the child has used more than half of its stack");
    }

    #[test]
    fn a_stack_that_overflows_ends_the_child_and_nothing_else() {
        extern "C" fn overflow(lowest: *mut libc::c_void) -> libc::c_int {
            // SAFETY: that it must not be written to is what this test is about.
            unsafe { lowest.cast::<u8>().write_volatile(1) };
            0
        }
        let stack = Stack::new().unwrap();
        // The last byte of the guard page, where an overflow writes.
        let below = stack.lowest.wrapping_byte_add(stack.length - STACK - 1);
        let blocked = Blocked::all().unwrap();
        let mut status = 0;
        // SAFETY: as in `clone_child`; the child does nothing but to fail.
        unsafe {
            let pid = libc::clone(overflow, stack.top(), SHARING | libc::SIGCHLD, below);
            assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        }
        drop(blocked);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:x}");
    }
}
