//! Why a command could not be run, where an exit code says no more than that.
//!
//! Owns: what is looked at in the file of a program: its mode, its first line, its loader. Never: a decision about the
//! life-cycle, a write.
//!
//! A shell says `not found` of a script whose interpreter is missing, though the script is there. The command is read
//! loosely here: a finding is reported only if a file that it names has a fault that keeps any shell from running it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::os::child::{Plan, find};
use crate::os::fs::read_bounded;

/// The loader's name stands in the first few hundred bytes.
const HEAD_MAX: u64 = 4096;
/// The number of interpreters of interpreters that are looked at; kernels take five.
const DEPTH_MAX: usize = 5;
/// The kernel's number of this machine's kind, as in `e_machine`.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};
/// Words before a program that are none themselves, as far as it matters here.
const BEFORE: [&str; 9] = ["exec", "command", "nohup", "env", "if", "then", "do", "else", "!"];

/// Returns what keeps one of the programs of `command` from being run with `plan`.
pub fn of(command: &str, plan: &Plan) -> Option<String> {
    let mut plan = plan.clone();
    let unquoted = |word: &'_ str| word.trim_matches(['"', '\'']).to_owned();
    for part in command.split(['\n', ';', '&', '|', '(', ')']) {
        let is_before = |word: &&str| BEFORE.contains(word) || word.contains('=');
        let mut words = part.split_ascii_whitespace().skip_while(is_before).map(unquoted);
        let Some(word) = words.next() else { continue };
        if word == "cd" {
            plan.directory.push(words.next().unwrap_or_default());
        } else if let Some(why) = file_of(&word, &plan).and_then(|file| fault(&word, &file, &plan, DEPTH_MAX)) {
            return Some(why);
        }
    }
    None
}

/// The file that `name` stands for, also one that can't be run.
fn file_of(name: &str, plan: &Plan) -> Option<PathBuf> {
    if name.contains('/') { Some(plan.directory.join(name)) } else { find(name, plan) }
}

/// Returns what is wrong with `file`, which is called `shown`; `None` if it isn't there.
fn fault(shown: &str, file: &Path, plan: &Plan, depth: usize) -> Option<String> {
    let metadata = fs::metadata(file).ok()?;
    if metadata.is_dir() {
        return Some(format!("{shown} is a directory"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Some(format!("{shown} is not executable; chmod +x makes it so"));
    }
    if !metadata.is_file() || depth == 0 {
        return None;
    }
    // A pipe that has taken its place must not be waited for.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file).ok()?;
    let head = read_bounded(&opened, HEAD_MAX).ok()?;
    match head.strip_prefix(b"#!") {
        Some(rest) => fault_of_script(shown, rest, plan, depth),
        None => fault_of_program(shown, &head),
    }
}

fn fault_of_script(shown: &str, after_mark: &[u8], plan: &Plan, depth: usize) -> Option<String> {
    let line = after_mark.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let (line, ends_in_cr) = match line.strip_suffix(b"\r") {
        Some(line) => (line, true),
        None => (line, false),
    };
    let line = String::from_utf8_lossy(line.trim_ascii());
    let mut words = line.split_ascii_whitespace();
    let interpreter = words.next()?;
    if ends_in_cr {
        return Some(format!(
            "the first line of {shown} ends in CR, a Windows line end, which the system takes for a part of \"{line}\"; \
             convert the file to LF"
        ));
    }
    let path = plan.directory.join(interpreter);
    if fs::metadata(&path).is_err() {
        return Some(format!("{shown} names the interpreter {interpreter}, which does not exist"));
    }
    let inner = if path.file_name() == Some(OsStr::new("env")) {
        let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        let Some(file) = file_of(name, plan).filter(|file| file.exists()) else {
            return Some(format!("{shown} names the interpreter {name}, which is not in PATH"));
        };
        fault(name, &file, plan, depth - 1)
    } else {
        fault(interpreter, &path, plan, depth - 1)
    };
    inner.map(|why| format!("{shown} names an interpreter that can't be run: {why}"))
}

fn fault_of_program(shown: &str, head: &[u8]) -> Option<String> {
    if !head.starts_with(b"\x7fELF") {
        // A text is a script of the shell's own.
        let is_text = !head.contains(&0);
        return (!is_text).then(|| format!("{shown} is no program for this system"));
    }
    let number = |place: usize, length: usize| -> Option<u64> {
        let bytes = head.get(place..place.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    // Only programs of 64 bits in little endian are looked into: those of the machines that servisor is made for.
    if head.get(4..6) != Some(&[2, 1]) {
        return None;
    }
    let machine = number(18, 2)?;
    if MACHINE.is_some_and(|own| u64::from(own) != machine) {
        return Some(format!("{shown} is a program for another kind of machine"));
    }
    let (headers, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for header in 0..count {
        let at = usize::try_from(headers.checked_add(header * size)?).ok()?;
        // PT_INTERP
        if number(at, 4)? != 3 {
            continue;
        }
        let (place, length) = (usize::try_from(number(at + 8, 8)?).ok()?, usize::try_from(number(at + 32, 8)?).ok()?);
        let loader = head.get(place..place.checked_add(length)?)?;
        let loader = Path::new(OsStr::from_bytes(loader.strip_suffix(b"\0").unwrap_or(loader)));
        return fs::metadata(loader).is_err().then(|| {
            let name = loader.display();
            format!("{shown} needs the loader {name}, which does not exist: it was built for another C library")
        });
    }
    None
}
