//! The record of a server.
//!
//! Owns: the format of its file. Never: the rules of a configuration: it is stored like the body of a request, with all
//! defaults, and read by `api::input`.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::fields::{SpecFields, millis};
use super::files::{Files, VERSION};
use super::members::Members;
use crate::json::Map;
use crate::model::overlay::OverlayId;
use crate::model::proxy::AccessKey;
use crate::model::spec::ServerSpec;

/// Whether the install command has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Install {
    /// Not yet, or there is none.
    Due,
    /// Yes: it is not repeated.
    Succeeded,
}

/// Whether the overlays that a server waits for were complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// Not yet, or there are none.
    Due,
    /// Yes: they are not waited for again.
    Done,
}

/// The stored state of a server beside its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When the configuration was created; stored in milliseconds.
    pub created_at: SystemTime,
    /// The overlays that were created for it so far, in the order of the configuration.
    pub overlays: Vec<OverlayId>,
    /// Whether its overlays were complete.
    pub preparation: Preparation,
    /// Whether its install command has succeeded.
    pub install: Install,
    /// What lets a client visit it, once that was needed.
    pub key: Option<AccessKey>,
    /// Whether a command has stopped it, as far as a visit would start it otherwise.
    pub is_stopped_by_hand: bool,
}

/// Stores a server.
///
/// # Errors
/// It can't be stored; the previous record is unchanged.
#[inline(never)]
pub fn write(files: &Files, spec: &ServerSpec, kept: &Kept) -> io::Result<()> {
    let since = kept.created_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let contents = ServerFile {
        version: VERSION,
        created_at_ms: millis(since),
        overlays: kept.overlays.iter().map(OverlayId::as_str).collect(),
        prepared: kept.preparation == Preparation::Done,
        installed: kept.install == Install::Succeeded,
        access_key: kept.key.as_ref().map(AccessKey::secret),
        stopped_by_hand: kept.is_stopped_by_hand,
        configuration: Configuration::of(spec),
    };
    files.put(spec.slug.as_str(), &contents)
}

/// Takes what is in a file apart: the configuration has the members that a client would send.
///
/// # Errors
/// A sentence that follows the file's name and a colon.
pub fn parse(mut members: Members) -> Result<(Map, Kept), String> {
    let created_at_ms = members.number("created_at_ms")?;
    let created_at = UNIX_EPOCH.checked_add(Duration::from_millis(created_at_ms)).ok_or("its time is none")?;
    // Records of the first version do not have these two.
    let overlays = if members.has("overlays") { members.texts("overlays")? } else { Vec::new() };
    let is_prepared = members.has("prepared") && members.flag("prepared")?;
    let overlays = overlays.into_iter().map(|id| OverlayId::parse(id).ok_or("an id of an overlay is none"));
    let overlays = overlays.collect::<Result<_, _>>()?;
    let preparation = if is_prepared { Preparation::Done } else { Preparation::Due };
    let install = if members.flag("installed")? { Install::Succeeded } else { Install::Due };
    // Records without a proxy do not have these two.
    let key = if members.has("access_key") { AccessKey::parse(members.text("access_key")?) } else { None };
    let is_stopped_by_hand = members.has("stopped_by_hand") && members.flag("stopped_by_hand")?;
    let configuration = members.take_object("configuration")?.into_map();
    Ok((configuration, Kept { created_at, overlays, preparation, install, key, is_stopped_by_hand }))
}

#[derive(Serialize)]
struct ServerFile<'a> {
    version: u64,
    created_at_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlays: Vec<&'a str>,
    prepared: bool,
    installed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stopped_by_hand: bool,
    configuration: Configuration<'a>,
}

/// The fields of `POST /servers`.
#[derive(Serialize)]
struct Configuration<'a> {
    slug: &'a str,
    /// As the client sent it: a relative one is resolved against the root of the daemon that loads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignore_ports: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
    #[serde(flatten)]
    fields: SpecFields<'a>,
}

impl<'a> Configuration<'a> {
    fn of(spec: &'a ServerSpec) -> Configuration<'a> {
        Configuration {
            slug: spec.slug.as_str(),
            path: spec.path.original.as_deref(),
            port: spec.port.map(u16::from),
            ignore_ports: spec.ignore_ports.iter().map(|port| port.get()).collect(),
            depends_on: spec.depends_on.iter().map(OverlayId::as_str).collect(),
            fields: SpecFields::of(spec),
        }
    }
}

/// The configuration as a record has it.
#[cfg(test)]
pub fn recorded(spec: &ServerSpec) -> serde_json::Result<serde_json::Value> {
    serde_json::from_slice(&serde_json::to_vec(&Configuration::of(spec))?)
}
