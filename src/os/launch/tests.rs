//! A child before its program: signals, the stack, the death of its parent.

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
    let (mut output, input) = io::pipe().unwrap();
    let pid = start(stack, Pid::own().raw(), path, input);
    let mut text = String::new();
    io::Read::read_to_string(&mut output, &mut text).unwrap();
    // SAFETY: the null pointer asks for no status; it is this thread's child.
    unsafe { libc::waitpid(pid.raw(), ptr::null_mut(), 0) };
    text
}

/// Starts `cat` with its output in `input`.
fn start(stack: &Stack, parent: libc::pid_t, path: &CStr, input: io::PipeWriter) -> Pid {
    let nothing = File::open("/dev/null").unwrap();
    let arguments = [c"cat".to_owned(), path.to_owned()];
    let (arguments, environment) = (pointers(&arguments), pointers(&[]));
    let plan = ChildPlan {
        parent,
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
    plan.clone_child(stack).unwrap()
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

#[test]
fn the_child_of_a_process_that_is_gone_runs_no_program() {
    let (mut output, input) = io::pipe().unwrap();
    // Process 1 has not made it.
    let pid = start(&Stack::new().unwrap(), 1, c"/proc/self/status", input);
    let (mut text, mut status) = (String::new(), 0);
    io::Read::read_to_string(&mut output, &mut text).unwrap();
    // SAFETY: `status` is valid for writes; it is this thread's child.
    unsafe { libc::waitpid(pid.raw(), &mut status, 0) };
    assert!(text.is_empty() && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == LOST, "{status:x} {text}");
}

#[test]
fn a_program_outlives_the_thread_that_started_it() {
    let fifo = std::env::temp_dir().join(format!("servisor-launch-{}", std::process::id()));
    let path = CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the path ends with a NUL byte.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let (mut output, input) = io::pipe().unwrap();
    let thread = {
        let path = path.clone();
        std::thread::spawn(move || start(&Stack::new().unwrap(), Pid::own().raw(), &path, input))
    };
    let pid = thread.join().unwrap();
    // It has waited for this.
    fs::write(&fifo, "lives").unwrap();
    let (mut text, mut status) = (String::new(), 0);
    io::Read::read_to_string(&mut output, &mut text).unwrap();
    // SAFETY: `status` is valid for writes; it is a child of this process.
    unsafe { libc::waitpid(pid.raw(), &mut status, 0) };
    fs::remove_file(&fifo).unwrap();
    assert_eq!((text.as_str(), status), ("lives", 0));
}
