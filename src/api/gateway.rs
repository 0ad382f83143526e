//! The SDK's gateway: this daemon as one sandbox, with an id and perhaps a name.
//!
//! Owns: the present sandbox, the turn to change it, and the order of the steps that replace it. Never:
//! JSON, HTTP (see `handlers::sandbox`), the life of a server.
//!
//! A new sandbox is checked first. Then all servers and overlays of the present one are deleted, and only then are the
//! new ones created: they never run at the same time, and slugs and ports are free. The client gives up after 30 s, so
//! servers that need longer to stop than `GRACE` are killed, as at the end of a container. The file of the sandbox is
//! written twice, before and after: a daemon that is killed in between has no sandbox, and a full disk is detected
//! before anything is stopped.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use self::record::{Sandbox, Stage};
use super::Api;
use super::input::{SandboxName, SandboxSpec};
use super::overlays;
use crate::error::{Code, Error};
use crate::log;
use crate::model::machine::Command;
use crate::model::overlay::OverlaySpec;
use crate::model::spec::ServerSpec;
use crate::os::random;
use crate::overlay::{DeleteError, DeleteFiles};
use crate::registry::{Restored, Unadmitted};
use crate::store::files::Files;
use crate::supervisor::{CommandReply, Origin, Pending};
use crate::sync::{lock, wait_for};

pub mod record;

/// The limit of a request's wait for another one that changes the sandbox.
const TURN_LIMIT: Duration = Duration::from_secs(25);
/// A request that has waited longer than this is too late to stop servers before its client gives up, after 30 s.
const LATE_TURN: Duration = Duration::from_secs(4);
/// The upper bound of each server's `stop_timeout_ms`.
const GRACE: Duration = Duration::from_secs(18);
/// The limit of the wait after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(3);
/// The limit of the wait until new servers are stored.
const STORE_LIMIT: Duration = Duration::from_secs(3);
/// The gateway's part of the state directory.
const DIRECTORY: &str = "sandbox";
/// Sixteen hexadecimal digits.
const ID_BYTES: usize = 8;

pub struct Gateway {
    files: Files,
    /// The URL of the sandbox; by default that by which the client has reached the gateway.
    url: Option<String>,
    state: Mutex<GatewayState>,
    changed: Condvar,
}

struct GatewayState {
    sandbox: Option<Arc<Sandbox>>,
    turn: TurnHolder,
}

/// The holder of the turn to change the sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TurnHolder {
    None,
    /// A request that has the [`Turn`].
    Request,
}

/// The exclusive right to change the sandbox.
struct Turn<'a> {
    gateway: &'a Gateway,
    wanted_at: Instant,
}

impl Turn<'_> {
    /// Checks that enough time is left to stop servers.
    fn require_time(&self) -> Result<(), Error> {
        if self.wanted_at.elapsed() > LATE_TURN { Err(busy()) } else { Ok(()) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.gateway.state().turn = TurnHolder::None;
        self.gateway.changed.notify_one();
    }
}

fn busy() -> Error {
    Error::new(Code::Busy, "another request changes the sandbox; try again later")
}

/// Whether a sandbox was found or created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    Present,
    Made,
}

impl Gateway {
    /// Loads the sandbox that is stored below `directory`, if there is one. `url` is its URL for clients.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn open(directory: &Path, url: Option<String>) -> io::Result<Gateway> {
        let files = Files::open(directory.join(DIRECTORY))?;
        let sandbox = record::stored(&files)?.map(Arc::new);
        Ok(Gateway {
            files,
            url,
            state: Mutex::new(GatewayState { sandbox, turn: TurnHolder::None }),
            changed: Condvar::new(),
        })
    }

    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Returns the sandbox `id`.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn find(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        let present = self.state().sandbox.clone();
        present.filter(|sandbox| sandbox.id == id).ok_or_else(|| Error::sandbox_not_found(id))
    }

    pub fn find_name(&self, name: &SandboxName) -> Option<Arc<Sandbox>> {
        self.state().sandbox.clone().filter(|sandbox| sandbox.name.as_ref() == Some(name))
    }

    /// Replaces the present sandbox by one of `spec`, which was checked.
    ///
    /// # Errors
    /// Nothing was changed, unless the present servers can't be ended or the new ones can't be stored.
    pub fn create(&self, api: &Api, spec: SandboxSpec) -> Result<Arc<Sandbox>, Error> {
        let turn = self.turn()?;
        self.replace(&turn, api, spec)
    }

    /// Returns the sandbox of the name in `spec` as it is, or else a new one.
    ///
    /// # Errors
    /// As [`Gateway::create`].
    pub fn find_or_create(&self, api: &Api, spec: SandboxSpec) -> Result<(CreateOutcome, Arc<Sandbox>), Error> {
        let turn = self.turn()?;
        match spec.name.as_ref().and_then(|name| self.find_name(name)) {
            Some(present) => Ok((CreateOutcome::Present, present)),
            None => Ok((CreateOutcome::Made, self.replace(&turn, api, spec)?)),
        }
    }

    /// Deletes all servers and overlays of the sandbox `id`, and then the sandbox.
    ///
    /// # Errors
    /// There is none of that id, a server or overlay can't be deleted, or the deletion can't be stored.
    pub fn delete(&self, api: &Api, id: &str) -> Result<(), Error> {
        let turn = self.turn()?;
        self.find(id)?;
        turn.require_time()?;
        clear(api)?;
        record::remove(&self.files).map_err(|error| Error::storage("that the sandbox is deleted", &error))?;
        self.state().sandbox = None;
        log::info(format_args!("sandbox {id} is deleted"));
        Ok(())
    }

    /// Extends the time-out of the sandbox `id`.
    ///
    /// # Errors
    /// There is none of that id, or it can't be stored.
    pub fn extend(&self, id: &str, more_ms: u64) -> Result<(), Error> {
        let _turn = self.turn()?;
        let mut sandbox = Sandbox::clone(&*self.find(id)?);
        sandbox.timeout_ms = Some(sandbox.timeout_ms.unwrap_or_default().saturating_add(more_ms));
        self.store(&sandbox, Stage::Made)?;
        self.state().sandbox = Some(Arc::new(sandbox));
        Ok(())
    }

    fn replace(&self, turn: &Turn<'_>, api: &Api, spec: SandboxSpec) -> Result<Arc<Sandbox>, Error> {
        turn.require_time()?;
        let SandboxSpec { name, metadata, timeout_ms, overlays, servers } = spec;
        let id = random::hex(ID_BYTES).map_err(|_| Error::internal("making an id"))?;
        let sandbox = Arc::new(Sandbox { id, name, metadata: Arc::new(metadata), timeout_ms });
        self.store(&sandbox, Stage::Begun)?;
        // While neither is complete, none is found.
        let before = self.state().sandbox.take();
        if let Err(error) = self.fill(api, &sandbox, overlays, servers) {
            // The rest of it can still be deleted by its id.
            let _ = match &before {
                Some(before) => record::write(&self.files, before, Stage::Made),
                None => record::remove(&self.files),
            };
            self.state().sandbox = before;
            return Err(error);
        }
        self.state().sandbox = Some(Arc::clone(&sandbox));
        log::info(format_args!("sandbox {} begins with {} servers", sandbox.id, api.registry.count()));
        Ok(sandbox)
    }

    /// Deletes the content of the present sandbox, and creates and stores the new one.
    fn fill(
        &self,
        api: &Api,
        sandbox: &Sandbox,
        overlays: Vec<OverlaySpec>,
        servers: Vec<ServerSpec>,
    ) -> Result<(), Error> {
        clear(api)?;
        let restored = make(api, overlays, servers)?;
        let stored = await_stored(restored).and_then(|()| self.store(sandbox, Stage::Made));
        if stored.is_err() {
            let _ = clear(api);
        }
        stored
    }

    fn store(&self, sandbox: &Sandbox, stage: Stage) -> Result<(), Error> {
        record::write(&self.files, sandbox, stage).map_err(|error| Error::storage("the sandbox", &error))
    }

    fn turn(&self) -> Result<Turn<'_>, Error> {
        let wanted_at = Instant::now();
        let mut state = self.state();
        while state.turn == TurnHolder::Request {
            let left = TURN_LIMIT.saturating_sub(wanted_at.elapsed());
            if left.is_zero() {
                return Err(busy());
            }
            state = wait_for(&self.changed, state, left);
        }
        state.turn = TurnHolder::Request;
        Ok(Turn { gateway: self, wanted_at })
    }

    fn state(&self) -> MutexGuard<'_, GatewayState> {
        lock(&self.state)
    }
}

/// Deletes all servers and overlays; files stay.
fn clear(api: &Api) -> Result<(), Error> {
    let supervisors = api.registry.supervisors();
    let pending: Vec<Pending> = supervisors.iter().map(|supervisor| supervisor.command(Command::Delete)).collect();
    let grace = Instant::now() + GRACE;
    for (place, supervisor) in supervisors.iter().enumerate() {
        if pending.get(place).is_some_and(|pending| is_late(pending, grace)) {
            let text =
                format_args!("it needs longer than {} s to stop, and its sandbox is over: killing it", GRACE.as_secs());
            log::server(log::Level::Warn, supervisor.slug(), text);
            drop(supervisor.command(Command::Kill));
        }
    }
    let killed = Instant::now() + KILL_LIMIT;
    for pending in &pending {
        ended(pending, killed)?;
    }
    for overlay in api.overlays.views() {
        match api.overlays.delete(&overlay.id, DeleteFiles::Keep) {
            Ok(()) | Err(DeleteError::Unknown) => {}
            Err(undeleted) => return Err(overlays::undeleted(&overlay.id, undeleted)),
        }
    }
    Ok(())
}

fn is_late(pending: &Pending, deadline: Instant) -> bool {
    matches!(pending.wait(deadline), CommandReply::Late(_))
}

/// Waits until a server is deleted.
fn ended(pending: &Pending, deadline: Instant) -> Result<(), Error> {
    let slug = &pending.view().spec.slug;
    match pending.wait(deadline) {
        CommandReply::Done(_) | CommandReply::Refused(_) | CommandReply::PortTaken(_) | CommandReply::Lost => Ok(()),
        CommandReply::NotStored(error) => Err(Error::storage(&format!("that server \"{slug}\" is deleted"), &error)),
        CommandReply::ShuttingDown => Err(Error::shutting_down()),
        CommandReply::Stored | CommandReply::Late(_) => {
            let view = pending.view();
            let why = view.reason.as_deref().unwrap_or("it does not end");
            let sentence = format!(
                "server \"{slug}\" of the present sandbox can't be ended: {why}; the sandbox stays, try again later"
            );
            Err(Error::new(Code::Busy, sentence))
        }
    }
}

/// Creates the overlays, and the servers, which wait for all overlays.
fn make(api: &Api, specs: Vec<OverlaySpec>, servers: Vec<ServerSpec>) -> Result<Restored, Error> {
    let ids = api.overlays.ensure_all(specs);
    let servers = servers.into_iter().map(|spec| (Arc::new(spec.waiting_for(&ids)), Origin::Payload(None))).collect();
    api.registry.restore(servers).map_err(|unadmitted| match unadmitted {
        Unadmitted::ShuttingDown => Error::shutting_down(),
        Unadmitted::SlugInUse(_) => Error::new(
            Code::Busy,
            "another client has created a server of the same slug in between; create the sandbox again",
        ),
    })
}

/// Starts the servers, and waits until all are stored.
fn await_stored(restored: Restored) -> Result<(), Error> {
    let deadline = Instant::now() + STORE_LIMIT;
    for pending in restored.start().keep() {
        let slug = &pending.view().spec.slug;
        let why = match pending.wait(deadline) {
            CommandReply::Done(_) | CommandReply::Refused(_) | CommandReply::PortTaken(_) => continue,
            CommandReply::NotStored(error) => {
                return Err(Error::storage(&format!("server \"{slug}\""), &error));
            }
            CommandReply::ShuttingDown => return Err(Error::shutting_down()),
            CommandReply::Stored | CommandReply::Late(_) => "the disk is slow",
            CommandReply::Lost => "the system has no thread for it",
        };
        return Err(Error::new(Code::Busy, format!("server \"{slug}\" can't be made: {why}; try again later")));
    }
    Ok(())
}
