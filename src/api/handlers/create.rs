//! Creation of servers.
//!
//! Owns: the checks before a configuration is accepted, and how long a client waits for the first process. Never: the
//! form of a field (see `input`).

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::route::Present;
use super::super::{Api, reply, wire};
use super::{COMMAND_LIMIT, RequestKind, outcome, refusal};
use crate::error::{Code, Error, Wrong};
use crate::handoff::Reply;
use crate::model::spec::{ServerSpec, Slug};
use crate::model::view::ServerView;
use crate::os::deadline;
use crate::overlay::Overlays;
use crate::supervisor::{CommandReply, Pending};

/// A creation is answered when the process is spawned, at the latest after this: clients expect its pid, but give up
/// after 30 s.
const CREATE_LIMIT: Duration = Duration::from_secs(1);

/// The limit of a check on a file system that does not answer.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Creates a server, or reconfigures an inactive one, and starts it.
pub fn create(api: &Api, spec: ServerSpec, present: Present, mut warnings: Vec<String>) -> Result<Reply, Error> {
    warnings.extend(api.registry.warning_about(&spec.slug));
    if present == Present::KeepIfSame
        && let Some(view) = same(api, &spec)?
    {
        return Ok(reply::json(200, &wire::server("the server has this configuration already", &view, &warnings)));
    }
    check(&spec, &api.overlays)?;
    let slug = spec.slug.clone();
    let pending = api.registry.create(spec).map_err(|refused| refusal(&slug, refused))?;
    await_stored(&pending, &slug)?;
    let (_, view) = outcome(&pending, &slug, pending.wait(Instant::now() + CREATE_LIMIT), RequestKind::Create)?;
    Ok(reply::json(201, &wire::server("the server was created", &view, &warnings)))
}

/// The server that has the configuration `spec` already. It is stored then: it may be in the middle of its creation,
/// which can still fail, or come from the setup payload.
fn same(api: &Api, spec: &ServerSpec) -> Result<Option<Arc<ServerView>>, Error> {
    let found = api.registry.find(&spec.slug).filter(|supervisor| *supervisor.view().spec == *spec);
    let Some(supervisor) = found else { return Ok(None) };
    let pending = supervisor.keep_given();
    await_stored(&pending, &spec.slug)?;
    match pending.wait(Instant::now()) {
        CommandReply::Done(view) => Ok(Some(view).filter(|view| *view.spec == *spec)),
        CommandReply::NotStored(error) => Err(Error::storage(&format!("server \"{}\"", spec.slug), &error)),
        CommandReply::Stored
        | CommandReply::Refused(_)
        | CommandReply::PortTaken(_)
        | CommandReply::ShuttingDown
        | CommandReply::Late(_)
        | CommandReply::Lost => Ok(None),
    }
}

/// Waits until the configuration is stored or refused; a creation is not answered earlier.
fn await_stored(pending: &Pending, slug: &Slug) -> Result<(), Error> {
    match pending.wait_stored(Instant::now() + COMMAND_LIMIT) {
        CommandReply::Late(_) => {
            let why = format!(
                "whether server \"{slug}\" can be stored is not known yet, the disk is slow; look for it later"
            );
            Err(Error::new(Code::Busy, why))
        }
        CommandReply::Stored
        | CommandReply::Done(_)
        | CommandReply::Refused(_)
        | CommandReply::PortTaken(_)
        | CommandReply::NotStored(_)
        | CommandReply::ShuttingDown
        | CommandReply::Lost => Ok(()),
    }
}

fn check(spec: &ServerSpec, overlays: &Overlays) -> Result<(), Error> {
    let wrong = faults(spec, overlays, false);
    if wrong.is_empty() { Ok(()) } else { Err(Error::invalid(wrong)) }
}

/// The faults that can be found now; later ones make the server fail with a reason. `waits`: whether it waits for other
/// overlays than its own.
pub(super) fn faults(spec: &ServerSpec, overlays: &Overlays, waits: bool) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut blame = |field: String, why: String| wrong.push(Wrong { field, why });
    for id in spec.depends_on.iter().filter(|id| overlays.find(id).is_none()) {
        let why = format!("names overlay {id}, which does not exist; GET /filesystem/overlays lists those there are");
        blame("depends_on".into(), why);
    }
    for (number, overlay) in spec.overlays.iter().enumerate() {
        for (field, why) in overlays.check(overlay).err().unwrap_or_default() {
            blame(format!("overlays[{number}].{field}"), why);
        }
    }
    if let Err(why) = check_path(spec, waits) {
        blame("path".into(), why);
    }
    wrong
}

/// Checks the working directory, unless an overlay or an install command may create it.
fn check_path(spec: &ServerSpec, waits: bool) -> Result<(), String> {
    let resolved = &spec.path.resolved;
    let shown = resolved.display();
    let path = resolved.clone();
    match deadline::within(LOOK_LIMIT, resolved, move || fs::metadata(path)).flatten() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("must be a directory; {shown} is none")),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(format!("can't be used: {shown}: {error}")),
        Err(_) if spec.install.is_some() || waits || spec.waits_for_overlays() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("must exist; there is no {shown}")),
        Err(error) => Err(format!("can't be used: {shown}: {error}")),
    }
}
