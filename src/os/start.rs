//! The start of the process: from the C library's `main` to a function of the program.
//!
//! Owns: what `std` would do before its `main`. Never: what an argument means.
//!
//! `std`'s own start also installs handlers that print a line when a stack overflows, which ends the process with or
//! without them. They are 6 KiB of code, and cost each thread five calls of the system.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::panic::catch_unwind;

/// The exit code after a panic, as `std` has it.
const PANICKED: c_int = 101;

/// Makes `$run`, which takes the arguments without the program's name and returns the exit code, the program's `main`.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(count: std::ffi::c_int, words: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: the C library calls this with the arguments, before there is any other thread.
            unsafe { $crate::os::start::start(count, words, $run) }
        }
    };
}

/// Opens the standard descriptors, ignores SIGPIPE, and calls `run`.
///
/// # Safety
/// `words` has `count` addresses of C strings that live as long as the process, which has one thread.
pub unsafe fn start(count: c_int, words: *const *const c_char, run: fn(Vec<OsString>) -> u8) -> c_int {
    open_standard();
    // SAFETY: this disposition is always valid.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let word = |number: usize| {
        // SAFETY: the caller's promise.
        let word = unsafe { CStr::from_ptr(*words.add(number)) };
        OsStr::from_bytes(word.to_bytes()).to_owned()
    };
    let arguments = (1..usize::try_from(count).unwrap_or(0)).map(word).collect();
    catch_unwind(|| run(arguments)).map_or(PANICKED, c_int::from)
}

/// Opens `/dev/null` in the place of a standard descriptor that is closed: the next file would take its number, and be
/// read or written as what it is not.
fn open_standard() {
    for number in libc::STDIN_FILENO..=libc::STDERR_FILENO {
        // SAFETY: the calls take numbers and a C string. The lowest number that is free is the one looked at.
        unsafe {
            if libc::fcntl(number, libc::F_GETFD) < 0 && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) != number {
                libc::abort();
            }
        }
    }
}
