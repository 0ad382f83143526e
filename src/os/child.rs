//! Starting a process.
//!
//! Owns: what a new process receives (program, environment, streams), and the sentence of a failure. Never: the clone
//! itself (see `launch`), its end (see `process::reaper`), its purpose.
//!
//! A command is run by `/bin/sh -c`, unless it is certainly only a program and its arguments: such a one is run
//! directly, a millisecond sooner, and also on systems without a shell. If that fails the shell runs it, so that every
//! refusal has the form that a shell gives it.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::launch::{Launch, LaunchError};
use super::{Pid, unopened};
use crate::model::marker::Limits;
use crate::model::spec::Stdin;

/// Added to the daemon's own score, so that the kernel, out of memory, takes a server before the daemon.
const OOM_SCORE_RAISE: i32 = 300;
const OOM_SCORE_MAX: i32 = 1000;

/// The longest argument or variable, in bytes: `MAX_ARG_STRLEN` without its NUL.
const ARGUMENT_MAX: usize = 131_071;

const SHELL: &CStr = c"/bin/sh";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The argument of `/bin/sh -c`.
    pub script: String,
    /// A program and its arguments that are the same as `script`, if that is certain.
    pub words: Option<Vec<String>>,
    pub directory: PathBuf,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The soft limit on open files to give back.
    pub open_files: Option<u64>,
    /// What it reads from its standard input.
    pub stdin: Stdin,
}

/// A process that was just spawned, the leader of its own session, not waited for yet.
#[derive(Debug)]
pub struct Spawned {
    /// Its number, and that of its session and its process group.
    pub pid: Pid,
    /// Whether the limits that were asked for could be set.
    pub is_marked: bool,
    /// The end from which its standard output is read.
    pub stdout: OwnedFd,
    /// The end from which its standard error is read.
    pub stderr: OwnedFd,
    /// The end of a pipe that keeps its standard input open, with [`Stdin::Open`]. Nothing is ever written to it.
    pub stdin: Option<OwnedFd>,
}

/// Spawns the process.
///
/// # Errors
/// A sentence for a person: what is missing or was refused.
pub fn spawn(plan: &Plan) -> Result<Spawned, String> {
    spawn_marked(plan, None)
}

/// The same, with `mark` as its limit on file locks.
///
/// # Errors
/// As [`spawn`].
#[inline(never)]
pub fn spawn_marked(plan: &Plan, mark: Option<Limits>) -> Result<Spawned, String> {
    let (stdin, child_stdin): (Option<OwnedFd>, OwnedFd) = match plan.stdin {
        Stdin::Null => (None, File::open("/dev/null").map_err(|error| unopened("/dev/null", &error))?.into()),
        Stdin::Open => {
            let (reader, writer) = io::pipe().map_err(|error| unopened("a pipe for its input", &error))?;
            (Some(writer.into()), reader.into())
        }
    };
    let (stdout, child_stdout) = io::pipe().map_err(|error| unopened("a pipe for its output", &error))?;
    let (stderr, child_stderr) = io::pipe().map_err(|error| unopened("a pipe for its output", &error))?;
    let environment: Vec<CString> = plan.environment.iter().map(variable).collect::<Result<_, _>>()?;
    let directory = text(plan.directory.as_os_str())?;
    let oom_score = raised_oom_score();
    let launch = |program: &CStr, arguments: &[CString]| {
        let streams = [child_stdin.as_fd(), child_stdout.as_fd(), child_stderr.as_fd()];
        let (environment, directory, oom_score) = (&*environment, &*directory, oom_score.as_deref());
        let open_files = plan.open_files;
        Launch { program, arguments, environment, directory, streams, open_files, file_locks: mark, oom_score }.start()
    };
    let child = match without_shell(plan)? {
        Some((program, arguments)) => launch(&program, &arguments).ok(),
        None => None,
    };
    let child = match child {
        Some(child) => child,
        None => {
            let arguments = [c"sh".into(), c"-c".into(), text(OsStr::new(&plan.script))?];
            launch(SHELL, &arguments).map_err(|failure| explain(failure, plan))?
        }
    };
    let is_marked = mark.is_some() && child.has_file_locks;
    Ok(Spawned { pid: child.pid, is_marked, stdout: stdout.into(), stderr: stderr.into(), stdin })
}

/// The program that is run without a shell, and its arguments; `None` if there is none, or none to be found.
fn without_shell(plan: &Plan) -> Result<Option<(CString, Vec<CString>)>, String> {
    let Some(words) = &plan.words else { return Ok(None) };
    let Some(program) = words.first().and_then(|name| find(name, plan)) else { return Ok(None) };
    let arguments = words.iter().map(|word| text(OsStr::new(word))).collect::<Result<_, _>>()?;
    Ok(Some((text(program.as_os_str())?, arguments)))
}

/// The file that a shell would run for `name`: a path as it is, anything else from `PATH`.
pub fn find(name: &str, plan: &Plan) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let (_, path) = plan.environment.iter().find(|(name, _)| name == "PATH")?;
    let folders = path.as_bytes().split(|&byte| byte == b':').map(|folder| Path::new(OsStr::from_bytes(folder)));
    // An empty one, or a relative one, is in the working directory.
    let mut files = folders.map(|folder| plan.directory.join(folder).join(name));
    files.find(|file| fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
}

fn variable((name, value): &(OsString, OsString)) -> Result<CString, String> {
    let mut both = name.as_bytes().to_vec();
    both.push(b'=');
    both.extend_from_slice(value.as_bytes());
    text(&OsString::from_vec(both))
}

fn text(text: &OsStr) -> Result<CString, String> {
    CString::new(text.as_bytes()).map_err(|_| format!("{} has a NUL byte in it", text.display()))
}

fn explain(failure: LaunchError, plan: &Plan) -> String {
    let shown = plan.directory.display();
    match failure {
        LaunchError::Directory(libc::ENOENT) => format!("the working directory {shown} does not exist"),
        LaunchError::Directory(libc::ENOTDIR) => format!("the working directory {shown} is not a directory"),
        LaunchError::Directory(errno) => {
            format!("the working directory {shown} can't be used: {}", io::Error::from_raw_os_error(errno))
        }
        LaunchError::Program(libc::ENOENT) => "there is no /bin/sh on this system".into(),
        LaunchError::Program(libc::E2BIG) => too_large(plan),
        LaunchError::Process(libc::EAGAIN) => "the limit on processes is reached".into(),
        LaunchError::Process(libc::ENOMEM) | LaunchError::Program(libc::ENOMEM) => {
            "there is not enough memory for another process".into()
        }
        LaunchError::Process(errno) => format!("no process can be made: {}", io::Error::from_raw_os_error(errno)),
        LaunchError::Program(errno) => format!("/bin/sh could not be run: {}", io::Error::from_raw_os_error(errno)),
    }
}

/// Why the system takes no such environment. The kernel does not say which of its two limits was passed.
fn too_large(plan: &Plan) -> String {
    let size = |(name, value): &(OsString, OsString)| name.len() + 1 + value.len();
    let total: usize = plan.environment.iter().map(size).sum();
    match plan.environment.iter().max_by_key(|variable| size(variable)) {
        Some(largest) if size(largest) > ARGUMENT_MAX => format!(
            "the variable {} is {} bytes long with its name; the system takes {ARGUMENT_MAX}",
            largest.0.display(),
            size(largest)
        ),
        Some(largest) => format!(
            "its command and environment are larger than the system takes: the variables have {total} bytes together, \
             the largest is {} with {}",
            largest.0.display(),
            size(largest)
        ),
        None => "its command is larger than the system takes".into(),
    }
}

fn raised_oom_score() -> Option<CString> {
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()?;
    CString::new(own.saturating_add(OOM_SCORE_RAISE).min(OOM_SCORE_MAX).to_string()).ok()
}

#[cfg(test)]
mod tests;
