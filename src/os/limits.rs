//! The resource limit that carries the mark of a run (`RLIMIT_LOCKS`), and the one on open files.
//!
//! Owns: reading them, of this process and the first of others too. Never: what a value means (see `model::marker`).
//!
//! `prlimit(2)` takes less than 1 µs and is allowed for the processes of the same user. `/proc/PID/limits` takes some
//! 25 µs and is allowed for all. Neither touches the memory of the process, so neither waits for a program that does
//! not answer.

use std::fs::File;
use std::io::{self, Read};
use std::ptr;

use super::{Pid, check, is_shortage};
use crate::model::marker::Limits;

pub fn own() -> Limits {
    ask(0, libc::RLIMIT_LOCKS as libc::c_long).unwrap_or(Limits::NONE)
}

/// The number of descriptors that this process may have open; no limit where the system shows none.
pub fn open_files() -> u64 {
    ask(0, libc::RLIMIT_NOFILE as libc::c_long).map_or(u64::MAX, |limits| limits.soft)
}

/// The limits of process `pid`; `None` when there is no such process, or when the system shows no limits.
///
/// # Errors
/// There are no descriptors or memory left to look with (`is_shortage`).
pub fn of(pid: Pid) -> io::Result<Option<Limits>> {
    if let Ok(limits) = ask(pid.raw(), libc::RLIMIT_LOCKS as libc::c_long) {
        return Ok(Some(limits));
    }
    let mut text = [0; 2048];
    match File::open(format!("/proc/{pid}/limits")).and_then(|mut file| file.read(&mut text)) {
        Ok(length) => Ok(parse(&text[..length])),
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

fn ask(pid: libc::pid_t, resource: libc::c_long) -> io::Result<Limits> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads no new limit (the third argument is null) and writes one `rlimit` (two 64-bit numbers
    // here) to `limit`. Each argument is as wide as a register.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            libc::c_long::from(pid),
            resource,
            ptr::null::<libc::rlimit>(),
            &raw mut limit,
        )
    };
    check(returned as libc::c_int)?;
    Ok(Limits { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// A line is `Max file locks            unlimited            unlimited            locks`.
fn parse(text: &[u8]) -> Option<Limits> {
    let text = str::from_utf8(text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    let mut values = line.split_ascii_whitespace();
    let mut next = || match values.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some(Limits { soft: next()?, hard: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_read_say_the_same() {
        let text = std::fs::read("/proc/self/limits").unwrap();
        assert_eq!(parse(&text), Some(own()));
        assert_eq!(of(Pid::own()).unwrap(), Some(own()));
        assert_eq!(of(Pid::new(i32::MAX).unwrap()).unwrap(), None);
    }

    #[test]
    fn a_line_of_limits() {
        let line = "Limit\nMax file locks            8070450532247928833 unlimited            locks     \nMax x 1 2\n";
        let limits = Limits { soft: 8_070_450_532_247_928_833, hard: u64::MAX };
        assert_eq!(parse(line.as_bytes()), Some(limits));
        for torn in ["", "Max file locks", "Max file locks 1", "Max file locks x y"] {
            assert_eq!(parse(torn.as_bytes()), None, "{torn}");
        }
    }
}
