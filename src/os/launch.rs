//! From a clone to a new program: what a child does before it is one.
//!
//! Owns: the clone, and the few calls of its child. Never: what is run and why; an allocation, a lock or a panic in the
//! child.
//!
//! The child has the daemon's memory (`CLONE_VM`), and the thread that made it stands still until it is another program or
//! gone (`CLONE_VFORK`): some 50 µs, whatever the daemon's size. It is what `posix_spawn` does too; but that can neither give
//! back a limit nor raise a score, and a shell that did so first would be one more program to run at every start.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use super::{Pid, check, retry};

/// What the child's few calls need is a tenth of this; under glibc the loader may have its turn too.
const STACK: usize = 32 * 1024;
/// To ThreadSanitizer every clone is a fork; in a daemon that it looks at, the child has memory of its own, and what it
/// fails at is not known.
const SHARING: libc::c_int = if cfg!(sanitized) { libc::CLONE_VFORK } else { libc::CLONE_VM | libc::CLONE_VFORK };
/// What a child that could not become another program exits with, as in a shell. Nobody sees it but the one who made it.
const LOST: libc::c_int = 127;

/// What is to become of the child.
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
    /// What goes into its `oom_score_adj`. A system that keeps no scores, or lets none be changed, is no reason to fail.
    pub oom_score: Option<&'a CStr>,
}

/// What failed, and the kernel's number for why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is no new process to be had.
    Process(i32),
    /// The working directory can't be entered.
    Directory(i32),
    /// The program can't be run.
    Program(i32),
}

/// All that the child reads, and the one word that it writes: its maker reads it when the child is gone.
struct Shared {
    program: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    directory: *const libc::c_char,
    streams: [libc::c_int; 3],
    open_files: Option<u64>,
    oom_score: Option<(*const libc::c_void, usize)>,
    directory_errno: AtomicI32,
    program_errno: AtomicI32,
}

impl Launch<'_> {
    /// Makes the child, the leader of a process group of its own with no signal blocked or ignored. It is another program
    /// when this returns.
    ///
    /// # Errors
    /// What failed; nothing is left then.
    pub fn start(&self) -> Result<Pid, Failure> {
        let (arguments, environment) = (pointers(self.arguments), pointers(self.environment));
        let shared = Shared {
            program: self.program.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            directory: self.directory.as_ptr(),
            streams: self.streams.map(|stream| stream.as_raw_fd()),
            open_files: self.open_files,
            oom_score: self.oom_score.map(|text| (text.as_ptr().cast(), text.count_bytes())),
            directory_errno: AtomicI32::new(0),
            program_errno: AtomicI32::new(0),
        };
        let pid = shared.clone_child().map_err(|error| Failure::Process(error.raw_os_error().unwrap_or_default()))?;
        let failure = match (shared.directory_errno.into_inner(), shared.program_errno.into_inner()) {
            (0, 0) => return Ok(pid),
            (0, errno) => Failure::Program(errno),
            (errno, _) => Failure::Directory(errno),
        };
        // It is on its way out, on this thread's own list of children, and known to nobody else.
        let _ = retry(|| {
            // SAFETY: nothing is to be told of it, the rest are plain numbers.
            check(unsafe { libc::waitpid(pid.raw(), ptr::null_mut(), 0) })
        });
        Err(failure)
    }
}

/// As `execve` takes them: up to a null.
fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

impl Shared {
    fn clone_child(&self) -> io::Result<Pid> {
        // Vectors of this are aligned as the kernel and the processor want a stack to be.
        let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
        // SAFETY: the end of an allocation is a valid pointer for it; stacks grow downwards from there.
        let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
        let blocked = Blocked::all()?;
        // SAFETY: `child` has the stack for itself and takes a pointer to this value; both outlive it, since the kernel lets
        // this thread go on only when the child has no more use for this memory (`CLONE_VFORK`). No handler of ours can run
        // in it: all signals are blocked until they have no handlers there. It touches nothing of other threads.
        let pid =
            unsafe { libc::clone(child, top.cast(), SHARING | libc::SIGCHLD, ptr::from_ref(self).cast_mut().cast()) };
        let pid = check(pid);
        drop(blocked);
        Pid::new(pid?).ok_or_else(|| io::Error::other("the system gave it no process number"))
    }

    /// Comes back only when something has failed.
    fn become_program(&self) {
        reset_signals();
        // SAFETY: plain numbers in the first ones, all of which are the child's own affair: its group, its descriptors, its
        // limit. The path is a literal; the text and the strings are whole and outlive the child, which its maker waits for.
        unsafe {
            libc::setpgid(0, 0);
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
                // A failed `open` gives no descriptor to write to, and it is left at that.
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

extern "C" fn child(shared: *mut libc::c_void) -> libc::c_int {
    // SAFETY: this is what `clone_child` passes, which lives as long as the child needs it and is only read from there.
    let shared = unsafe { &*shared.cast::<Shared>() };
    shared.become_program();
    // SAFETY: ends the child at once: what runs at the exit of a process is the daemon's.
    unsafe { libc::_exit(LOST) }
}

/// A handler is the daemon's code, and an ignored signal would stay ignored in the new program. Then nothing is blocked.
fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        match signal {
            // The first two can't be changed, and the third the daemon has never changed.
            libc::SIGKILL | libc::SIGSTOP | libc::SIGABRT => {}
            // SAFETY: the default is always valid; the numbers that libc keeps for itself are refused.
            _ => unsafe {
                libc::signal(signal, libc::SIG_DFL);
            },
        }
    }
    // SAFETY: an all-zero sigset_t is valid memory for sigemptyset, which fills it; the last pointer may be null.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

fn errno() -> libc::c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

/// All signals are blocked on this thread as long as this lives.
struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    fn all() -> io::Result<Blocked> {
        // SAFETY: all-zero sets are valid memory, which these calls fill.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) {
                0 => Ok(Blocked { before }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the same call.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}
