//! What a request means and how its answer looks.
//!
//! Owns: routes, access, JSON on the wire, and tiny_http, which reads the heads of requests. Never: a thread of its own (all
//! but the reading runs on the client's), a server's life (see `registry`), a stranger's connection (see the module `http` beside this one).

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::overlay::Overlays;
use crate::registry::Registry;

pub mod access;
pub mod events;
pub mod follow;
pub mod gateway;
pub mod handlers;
pub mod http;
pub mod input;
pub mod many;
pub mod metrics;
pub mod overlays;
pub mod page;
pub mod places;
pub mod reply;
pub mod route;
#[cfg(test)]
mod tests;
mod text;
pub mod wire;

/// What every request is answered from.
pub struct Api {
    /// The servers.
    pub registry: Arc<Registry>,
    /// The overlays.
    pub overlays: Arc<Overlays>,
    /// Relative paths are taken from here.
    pub root: PathBuf,
    /// Who may ask.
    pub access: access::Access,
    /// The SDK's gateway, if the daemon is one.
    pub gateway: Option<gateway::Gateway>,
    /// Where the daemon is reached, as a URL.
    pub address: String,
    /// The logs that are followed.
    pub streams: places::Places,
    /// Readers of events.
    pub event_readers: places::Places,
    /// This life of the daemon, in the ids of events.
    pub epoch: String,
    /// Owners that wait.
    pub waits: places::Places,
    /// Clients without the token that wait for everything.
    pub open_waits: places::Places,
    /// Whoever reads a body has this.
    pub reading: Mutex<()>,
}
