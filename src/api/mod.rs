//! The meaning of requests, and the form of responses.
//!
//! Owns: routes, JSON on the wire, and tiny_http, which parses heads. Never: a thread of its own (except the
//! parsers', all of it runs on the connections'), a server's life-cycle (see `registry`), a connection (see
//! `crate::http`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::access::Access;
use crate::overlay::Overlays;
use crate::proxy::Proxy;
use crate::registry::Registry;

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
pub mod permits;
pub mod reply;
pub mod route;
#[cfg(test)]
mod tests;
mod text;
pub mod wire;

/// The state that handlers use.
pub struct Api {
    pub registry: Arc<Registry>,
    pub overlays: Arc<Overlays>,
    /// The base of relative paths.
    pub root: PathBuf,
    pub access: Access,
    /// The SDK's gateway, if the daemon is one.
    pub gateway: Option<gateway::Gateway>,
    /// The URL of the daemon.
    pub address: String,
    /// For clients that follow a log.
    pub streams: permits::Permits,
    /// For readers of events.
    pub event_readers: permits::Permits,
    /// Distinguishes this start of the daemon in the ids of events.
    pub epoch: String,
    /// For clients with the token that wait.
    pub waits: permits::Permits,
    /// For clients without the token that wait for readiness.
    pub open_waits: permits::Permits,
    /// Held while a body is parsed: one at a time.
    pub reading: Mutex<()>,
    pub proxy: Option<Arc<Proxy>>,
}
