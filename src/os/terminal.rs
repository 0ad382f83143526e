//! The terminal of the command line.
//!
//! Owns: its width, its interrupt key, unbuffered writes to stdout, and the way to another program. Never: what is
//! printed.

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub fn is_stdout() -> bool {
    // SAFETY: the call takes a number.
    unsafe { libc::isatty(libc::STDOUT_FILENO) == 1 }
}

pub fn is_stderr() -> bool {
    // SAFETY: the call takes a number.
    unsafe { libc::isatty(libc::STDERR_FILENO) == 1 }
}

/// The number of columns of the terminal that is stdout; `None` if it is none or does not say.
pub fn columns() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize`, which lives through the call.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// From now on SIGINT ends the process with this exit code.
pub fn exit_when_interrupted(code: i32) {
    // On an error SIGINT still ends it by default, and a shell shows the same code.
    let _ = signal_hook::flag::register_conditional_shutdown(libc::SIGINT, code, Arc::new(AtomicBool::new(true)));
}

/// Replaces this process by a program of the PATH with one argument. Returns only when that is not possible. The
/// standard library's way is 20 KiB of code.
pub fn exec(program: &str, argument: &str) -> io::Error {
    let (Ok(program), Ok(argument)) = (CString::new(program), CString::new(argument)) else {
        return io::ErrorKind::InvalidInput.into();
    };
    let arguments = [program.as_ptr(), argument.as_ptr(), ptr::null()];
    // SAFETY: `program` and the members of `arguments` are C strings that live through the call, and a null ends the
    // list.
    unsafe { libc::execvp(program.as_ptr(), arguments.as_ptr()) };
    io::Error::last_os_error()
}

/// Writes all of `bytes` to descriptor 1.
///
/// # Errors
/// EPIPE when the reader is gone; other errors of write(2).
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    write_standard(libc::STDOUT_FILENO, bytes)
}

/// Writes all of `bytes` to descriptor 2. If it is closed, an exit code has to be enough.
pub fn write_stderr(bytes: &[u8]) {
    let _ = write_standard(libc::STDERR_FILENO, bytes);
}

// The handles of `std` come with buffers and locks: 2 KiB.
fn write_standard(number: c_int, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the standard descriptors stay open for the life of the process; `ManuallyDrop` keeps this handle from
    // closing one.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
    file.write_all(bytes)
}
