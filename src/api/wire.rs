//! The bodies of the answers that are no errors.
//!
//! Owns: the names and units of everything that clients read. Never: a decision, a header. What is not known is left
//! out; the one exception is `exit_code`, which clients expect to be `null`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::access::Caller;
use super::route::Stream;
use crate::model::spec::{HealthCheck, Slug};
use crate::model::status::ServerView;
use crate::model::time::rfc3339;

mod overlay;
#[cfg(test)]
mod tests;

pub use overlay::{overlay, overlay_list};

/// The envelope of the answers about servers.
#[derive(Debug, Serialize)]
pub struct Envelope<'a, Data> {
    status: &'static str,
    message: Cow<'a, str>,
    data: Data,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

impl<'a, Data> Envelope<'a, Data> {
    fn new(message: impl Into<Cow<'a, str>>, data: Data, warnings: &'a [String]) -> Self {
        Envelope { status: "success", message: message.into(), data, warnings }
    }
}

/// `message`, and how the server is.
pub fn server<'a>(message: &'a str, view: &'a ServerView, warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        server: ServerInfo<'a>,
    }
    Envelope::new(message, Data { server: ServerInfo::of(view) }, warnings)
}

/// `message`, and how the server is, in the shape of an answer to a stop.
pub fn stopped<'a>(message: &'a str, view: &'a ServerView, warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        slug: &'a str,
        server: ServerInfo<'a>,
    }
    let data = Data { slug: view.spec.slug.as_str(), server: ServerInfo::of(view) };
    Envelope::new(message, data, warnings)
}

/// How all servers are, in the given order.
pub fn server_list<'a>(views: &'a [Arc<ServerView>], warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        servers: Vec<ServerInfo<'a>>,
    }
    let message = match views.len() {
        1 => "1 server".to_owned(),
        count => format!("{count} servers"),
    };
    let servers = views.iter().map(|view| ServerInfo::of(view)).collect();
    Envelope::new(message, Data { servers }, warnings)
}

/// A part of what a server wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogText<'a> {
    /// The output; bytes that are no UTF-8 have been replaced.
    pub text: Cow<'a, str>,
    /// How many bytes were written before it and are not kept any more.
    pub dropped_bytes: u64,
}

/// What a server wrote.
pub fn logs<'a>(slug: &'a Slug, stream: Stream, log: LogText<'a>, warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        slug: &'a str,
        stream: &'static str,
        logs: Cow<'a, str>,
        truncated: bool,
        dropped_bytes: u64,
    }
    let data = Data {
        slug: slug.as_str(),
        stream: stream.word(),
        logs: log.text,
        truncated: log.dropped_bytes > 0,
        dropped_bytes: log.dropped_bytes,
    };
    Envelope::new("the newest output that is kept", data, warnings)
}

/// The daemon lives, and this is its clock.
pub fn health(now: SystemTime) -> impl Serialize {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        timestamp: String,
    }
    Health { status: "ok", timestamp: rfc3339(now) }
}

/// What the daemon tells of itself.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct About<'a> {
    /// Whether a token is asked for.
    pub auth_enabled: bool,
    /// The name under which the sandbox is reached.
    pub main_subdomain: &'a str,
    /// How many sandboxes it serves.
    pub sandbox_count: usize,
    /// Where it is reached.
    pub sandbox_url: &'a str,
    /// Which servisor this is.
    pub version: &'a str,
}

/// What the daemon is.
pub fn info<'a>(about: &'a About<'a>) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Info<'a> {
        message: &'static str,
        data: &'a About<'a>,
    }
    Info { message: "servisor keeps the servers of this sandbox alive", data: about }
}

/// Whether the caller's token is good.
pub fn auth_status(caller: Caller) -> impl Serialize {
    #[derive(Serialize)]
    struct Data {
        authenticated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_type: Option<&'static str>,
    }
    #[derive(Serialize)]
    struct AuthStatus {
        message: &'static str,
        data: Data,
    }
    let (message, authenticated, token_type) = match caller {
        Caller::HasToken => ("the access token is right", true, Some("access_token")),
        Caller::Anonymous => ("no access token came with the request, or a wrong one", false, None),
        Caller::AuthOff => ("this daemon asks for no access token", true, None),
    };
    AuthStatus { message, data: Data { authenticated, token_type } }
}

/// A server as clients see it.
#[derive(Debug, Serialize)]
struct ServerInfo<'a> {
    slug: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_port: Option<u16>,
    strict_port: bool,
    start: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<&'a str>,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_path: Option<&'a str>,
    environment: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<&'a str>,
    autostart: bool,
    restart_policy: &'static str,
    /// 0 is no limit.
    max_restarts: u32,
    restart_count: u32,
    /// In nanoseconds, as `stop_timeout`: clients count on it.
    restart_delay: u64,
    restart_delay_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_delay_max_ms: Option<u64>,
    stop_timeout: u64,
    stop_timeout_ms: u64,
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<HealthCheckInfo<'a>>,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct HealthCheckInfo<'a> {
    path: &'a str,
    interval_ms: u64,
    timeout_ms: u64,
    delay_ms: u64,
    /// 0 is never.
    restart_after_failures: u32,
}

impl<'a> ServerInfo<'a> {
    fn of(view: &'a ServerView) -> ServerInfo<'a> {
        let spec = view.spec.as_ref();
        ServerInfo {
            slug: spec.slug.as_str(),
            status: view.status.word(),
            status_reason: view.reason.as_deref(),
            pid: view.pid,
            port: view.port.map(u16::from),
            requested_port: spec.port.map(u16::from),
            strict_port: spec.strict_port,
            start: spec.start.as_str(),
            install: spec.install.as_ref().map(|install| install.as_str()),
            path: spec.path.resolved.to_string_lossy(),
            original_path: spec.path.original.as_deref(),
            environment: &spec.environment,
            env_file: spec.env_file.as_deref(),
            autostart: spec.autostart,
            restart_policy: spec.restart.policy.word(),
            max_restarts: spec.restart.max.map_or(0, u32::from),
            restart_count: view.restarts,
            restart_delay: nanos(spec.restart.delay),
            restart_delay_ms: millis(spec.restart.delay),
            restart_delay_max_ms: spec.restart.delay_max.map(millis),
            stop_timeout: nanos(spec.stop_timeout),
            stop_timeout_ms: millis(spec.stop_timeout),
            exit_code: view.exit.map(|exit| exit.code()),
            exit_signal: view.exit.and_then(|exit| exit.signal_name()),
            health_check: spec.health_check.as_ref().map(HealthCheckInfo::of),
            created_at: rfc3339(view.created_at),
            updated_at: rfc3339(view.updated_at),
            started_at: view.started_at.map(rfc3339),
        }
    }
}

impl<'a> HealthCheckInfo<'a> {
    fn of(check: &'a HealthCheck) -> HealthCheckInfo<'a> {
        HealthCheckInfo {
            path: &check.path,
            interval_ms: millis(check.interval),
            timeout_ms: millis(check.timeout),
            delay_ms: millis(check.delay),
            restart_after_failures: check.restart_after_failures.map_or(0, u32::from),
        }
    }
}

/// The limit of a spec's durations keeps both far from the end of their range.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
