//! From a spec to a process that can be spawned.
//!
//! Owns: the environment of a server, layer by layer, and the form of its command. Never: the spawn.
//!
//! The environment is built from scratch at every start: the daemon's own (without its secrets), the defaults, the
//! `env_file` as it is now, the spec's variables, and the run's marker last, which no other can override.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::Context;
use super::system::System;
use crate::model::ending::Reason;
use crate::model::machine::{Job, RunId};
use crate::model::marker::MARKER_VARIABLE;
use crate::model::spec::{Port, ServerSpec, Stdin};
use crate::model::{dotenv, marker, shell};
use crate::os::child::Plan;
use crate::os::fs::plain::read_named;
use crate::sorted::Sorted;

/// Why a run has no process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    pub reason: Reason,
    /// A sentence for a person.
    pub why: String,
}

impl From<String> for NotStarted {
    fn from(why: String) -> NotStarted {
        NotStarted { reason: Reason::SpawnFailed, why }
    }
}

/// The largest `env_file`. More than this the system would not take as an environment anyway.
const ENV_FILE_MAX: u64 = 1024 * 1024;
/// Where the command is run, for those who don't ask the system; shells set it too.
const DIRECTORY_VARIABLE: &str = "PWD";
/// The beginnings of names that are the daemon's own business: its token is among them.
const OWN_PREFIXES: [&str; 2] = ["SERVISOR_", "COMPUTESDK_"];

const URL_VARIABLE: &str = "SERVISOR_URL";

/// Where the shell that started the daemon was before: `cd -` in a server would lead there.
const FORMER_DIRECTORY_VARIABLE: &str = "OLDPWD";

/// The part of the daemon's environment that servers may see.
pub fn visible(environment: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let is_own = |name: &OsStr| {
        name == FORMER_DIRECTORY_VARIABLE
            || OWN_PREFIXES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
    };
    environment.filter(|(name, _)| !is_own(name)).collect()
}

/// The marker of one run.
pub fn marker<S: System>(context: &Context<S>, spec: &ServerSpec, run: RunId) -> String {
    marker::of_run(&context.marker, &spec.slug, run)
}

/// Returns what to spawn for `job`.
///
/// # Errors
/// What is wrong with the `env_file` or the working directory.
#[inline(never)]
pub fn plan<S: System>(
    context: &Context<S>,
    spec: &ServerSpec,
    job: Job,
    port: Option<Port>,
    marker: &str,
) -> Result<Plan, NotStarted> {
    let directory = directory(spec, job)?;
    let is_missing = directory != spec.path.resolved;
    let mut environment: Sorted<OsString, OsString> = context.environment.iter().cloned().collect();
    environment.insert("PYTHONUNBUFFERED".into(), "1".into());
    environment.insert(DIRECTORY_VARIABLE.into(), directory.clone().into());
    if let Some(port) = port {
        environment.insert("PORT".into(), port.to_string().into());
    }
    if let Some(url) = context.public_url.before_start(port, &spec.slug, context.proxy.is_some()) {
        environment.insert(URL_VARIABLE.into(), url.into());
    }
    // In a directory that is not there yet is no file yet; install may make both.
    if let Some(name) = spec.env_file.as_ref().filter(|name| !is_missing || Path::new(name).is_absolute()) {
        let read = read_env_file(&spec.path.resolved.join(name));
        for (name, value) in read.map_err(|why| NotStarted { reason: Reason::EnvFile, why })? {
            environment.insert(name.into(), value.into());
        }
    }
    for (name, value) in &spec.environment {
        environment.insert(name.into(), value.into());
    }
    environment.insert(MARKER_VARIABLE.into(), marker.into());
    let command = match (job, &spec.install) {
        (Job::Install, Some(install)) => install,
        (Job::Install, None) | (Job::Start, _) => &spec.start,
    };
    let value = |name: &str| environment.get(OsStr::new(name)).and_then(|value| value.to_str());
    Ok(Plan {
        words: shell::words(command.as_str(), value),
        script: shell::exec_form(command.as_str()).into(),
        directory,
        environment: environment.into_iter().collect(),
        open_files: context.open_files,
        stdin: match job {
            Job::Install => Stdin::Null,
            Job::Start => spec.stdin,
        },
    })
}

/// Where `job` runs. Install may be what makes the working directory (`git clone` into it): it runs in the nearest one
/// above that is there then.
fn directory(spec: &ServerSpec, job: Job) -> Result<PathBuf, String> {
    let wanted = &spec.path.resolved;
    match job {
        Job::Install => Ok(wanted.ancestors().find(|place| place.is_dir()).unwrap_or(wanted).to_owned()),
        Job::Start if spec.install.is_some() && !wanted.exists() => {
            Err(format!("the working directory {} does not exist: install has not made it", wanted.display()))
        }
        Job::Start => Ok(wanted.clone()),
    }
}

fn read_env_file(path: &Path) -> Result<Vec<(String, String)>, String> {
    let shown = path.display();
    let text = read_named(path, ENV_FILE_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("env_file {shown} does not exist"),
        _ => format!("env_file {shown} can't be read: {error}"),
    })?;
    let variables = dotenv::parse(&text);
    match variables.iter().find(|(_, value)| value.contains('\0')) {
        Some((name, _)) => Err(format!("env_file {shown}: the value of {name} has a NUL byte in it")),
        None => Ok(variables),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_own_variables_are_not_for_servers() {
        let all = [
            "PATH",
            "OLDPWD",
            "SERVISOR_ACCESS_TOKEN",
            "COMPUTESDK_SETUP_B64",
            "SERVISOR_",
            "MY_SERVISOR_X",
            "servisor_x",
        ];
        let seen: Vec<OsString> =
            visible(all.iter().map(|name| ((*name).into(), "x".into()))).into_iter().map(|(name, _)| name).collect();
        assert_eq!(seen, ["PATH", "MY_SERVISOR_X", "servisor_x"]);
    }
}
