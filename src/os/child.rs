//! Starting a process.
//!
//! Owns: the spawn and what the shell does before the command. Never: a look at how it ends (see
//! `reaper`), what it is for.
//!
//! `std::process::Command` takes the `vfork` path as long as no code has to run in the child: 50 to 100 µs whatever
//! the daemon's size. So nothing here is a `pre_exec`: the shell that every command goes through sets its own limit and
//! out-of-memory score first. From outside they could be set too late, for a child that has forked by then.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Pid;

/// Added to the daemon's own score, so that the kernel, out of memory, takes a server before the daemon.
const OOM_SCORE_RAISE: i32 = 300;
/// The highest score there is.
const OOM_SCORE_MAX: i32 = 1000;

/// What is to be spawned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The argument of `/bin/sh -c`.
    pub script: String,
    /// The working directory.
    pub directory: PathBuf,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The soft limit on open files to give back.
    pub open_files: Option<u64>,
}

/// A process that was just spawned, the leader of its own process group, not waited for by anyone yet.
#[derive(Debug)]
pub struct Spawned {
    /// Its number, and that of its group.
    pub pid: Pid,
    /// The end from which its standard output is read.
    pub stdout: OwnedFd,
    /// The end from which its standard error is read.
    pub stderr: OwnedFd,
}

/// Spawns `/bin/sh -c` with stdin from `/dev/null`.
///
/// # Errors
/// A sentence for a person: what is missing or was refused.
pub fn spawn(plan: &Plan) -> Result<Spawned, String> {
    check_directory(&plan.directory)?;
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(prefixed(plan))
        .current_dir(&plan.directory)
        .env_clear()
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| explain(&error))?;
    let pid = Pid::new(child.id().cast_signed()).ok_or("the system gave it no process number")?;
    // Both are there: they were asked for above. Dropping the `Child` neither ends nor reaps the process.
    let stdout = child.stdout.take().ok_or("the system gave it no standard output")?;
    let stderr = child.stderr.take().ok_or("the system gave it no standard error")?;
    Ok(Spawned { pid, stdout: stdout.into(), stderr: stderr.into() })
}

/// A missing directory and a missing shell give the same error at the spawn; so the directory is looked at before.
fn check_directory(directory: &Path) -> Result<(), String> {
    let shown = directory.display();
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("the working directory {shown} is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("the working directory {shown} does not exist"))
        }
        Err(error) => Err(format!("the working directory {shown} can't be used: {error}")),
    }
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "there is no /bin/sh on this system".into(),
        Some(libc::EAGAIN) => "the limit on processes is reached".into(),
        Some(libc::EMFILE | libc::ENFILE) => "the limit on open files is reached".into(),
        Some(libc::ENOMEM) => "there is not enough memory for another process".into(),
        Some(libc::E2BIG) => "its command and environment are larger than the system takes".into(),
        _ => format!("/bin/sh could not be run: {error}"),
    }
}

/// The script with what has to be done before it. Failures don't matter: the system may keep no scores, or not let them
/// be changed.
fn prefixed(plan: &Plan) -> String {
    let mut script = String::new();
    if let Some(score) = raised_oom_score() {
        script.push_str(&format!("echo {score} 2>/dev/null >/proc/self/oom_score_adj; "));
    }
    if let Some(soft) = plan.open_files {
        script.push_str(&format!("ulimit -S -n {soft} 2>/dev/null; "));
    }
    script + &plan.script
}

fn raised_oom_score() -> Option<i32> {
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()?;
    Some(own.saturating_add(OOM_SCORE_RAISE).min(OOM_SCORE_MAX))
}
