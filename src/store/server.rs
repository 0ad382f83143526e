//! The record of a server.
//!
//! Owns: the format of its file. Never: the rules of a configuration: it is stored like the body of a request, with all
//! defaults, and read by `api::input`.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value};

use super::files::{Files, VERSION};
use super::members::Members;
use crate::model::overlay::{OverlayId, OverlaySpec};
use crate::model::spec::{HealthCheck, ServerSpec};
use crate::sorted::Sorted;

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
        configuration: Configuration::of(spec),
    };
    files.put(spec.slug.as_str(), &contents)
}

/// Takes what is in a file apart: the configuration has the members that a client would send.
///
/// # Errors
/// A sentence that follows the file's name and a colon.
pub fn parse(mut members: Members) -> Result<(Map<String, Value>, Kept), String> {
    let created_at_ms = members.number("created_at_ms")?;
    let created_at = UNIX_EPOCH.checked_add(Duration::from_millis(created_at_ms)).ok_or("its time is none")?;
    // Records of the first version do not have these two.
    let overlays = if members.has("overlays") { members.texts("overlays")? } else { Vec::new() };
    let is_prepared = members.has("prepared") && members.flag("prepared")?;
    let overlays = overlays.into_iter().map(|id| OverlayId::parse(id).ok_or("an id of an overlay is none"));
    let overlays = overlays.collect::<Result<_, _>>()?;
    let preparation = if is_prepared { Preparation::Done } else { Preparation::Due };
    let install = if members.flag("installed")? { Install::Succeeded } else { Install::Due };
    let configuration = members.take_object("configuration")?.into_map();
    Ok((configuration, Kept { created_at, overlays, preparation, install }))
}

#[derive(Serialize)]
struct ServerFile<'a> {
    version: u64,
    created_at_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlays: Vec<&'a str>,
    prepared: bool,
    installed: bool,
    configuration: Configuration<'a>,
}

/// The fields of `POST /servers`.
#[derive(Serialize)]
struct Configuration<'a> {
    slug: &'a str,
    start: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<&'a str>,
    /// As the client sent it: a relative one is resolved against the root of the daemon that loads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    strict_port: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignore_ports: Vec<u16>,
    environment: &'a Sorted<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<&'a str>,
    restart_policy: &'static str,
    max_restarts: u32,
    restart_delay_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_delay_max_ms: Option<u64>,
    stop_timeout_ms: u64,
    stop_signal: String,
    stop_mode: &'static str,
    autostart: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<Check<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlays: Vec<OverlayMember<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
    stdin: &'static str,
}

#[derive(Serialize)]
struct OverlayMember<'a> {
    source: Cow<'a, str>,
    target: &'a str,
    ignore: &'a [String],
    strategy: &'static str,
}

#[derive(Serialize)]
struct Check<'a> {
    path: &'a str,
    interval_ms: u64,
    timeout_ms: u64,
    delay_ms: u64,
    restart_after_failures: u32,
}

impl<'a> Configuration<'a> {
    /// Destructures the spec, so that a new field can't be forgotten.
    fn of(spec: &'a ServerSpec) -> Configuration<'a> {
        let ServerSpec {
            slug,
            start,
            install,
            path,
            port,
            strict_port,
            ignore_ports,
            environment,
            env_file,
            restart,
            stop_timeout,
            stop,
            autostart,
            health_check,
            overlays,
            depends_on,
            stdin,
        } = spec;
        Configuration {
            slug: slug.as_str(),
            start: start.as_str(),
            install: install.as_ref().map(|install| install.as_str()),
            path: path.original.as_deref(),
            port: port.map(u16::from),
            strict_port: *strict_port,
            ignore_ports: ignore_ports.iter().map(|port| port.get()).collect(),
            environment,
            env_file: env_file.as_deref(),
            restart_policy: restart.policy.as_str(),
            max_restarts: restart.max.map_or(0, u32::from),
            restart_delay_ms: millis(restart.delay),
            restart_delay_max_ms: restart.delay_max.map(millis),
            stop_timeout_ms: millis(*stop_timeout),
            stop_signal: stop.signal.to_string(),
            stop_mode: stop.mode.as_str(),
            autostart: *autostart,
            health_check: health_check.as_ref().map(Check::of),
            overlays: overlays.iter().map(OverlayMember::of).collect(),
            depends_on: depends_on.iter().map(OverlayId::as_str).collect(),
            stdin: stdin.as_str(),
        }
    }
}

impl<'a> Check<'a> {
    fn of(check: &'a HealthCheck) -> Check<'a> {
        let HealthCheck { path, interval, timeout, delay, restart_after_failures } = check;
        Check {
            path,
            interval_ms: millis(*interval),
            timeout_ms: millis(*timeout),
            delay_ms: millis(*delay),
            restart_after_failures: restart_after_failures.map_or(0, u32::from),
        }
    }
}

impl<'a> OverlayMember<'a> {
    fn of(overlay: &'a OverlaySpec) -> OverlayMember<'a> {
        let OverlaySpec { source, target, ignore, strategy } = overlay;
        OverlayMember { source: source.to_string_lossy(), target: target.as_str(), ignore, strategy: strategy.as_str() }
    }
}

/// The milliseconds of a duration in a spec.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
