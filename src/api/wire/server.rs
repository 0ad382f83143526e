//! A server in the bodies of responses.
//!
//! Owns: the names and units of its fields. Never: a decision.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::model::health::{Health, HealthStatus};
use crate::model::overlay::OverlayId;
use crate::model::run::ServerStats;
use crate::model::time::rfc3339;
use crate::model::view::ServerView;
use crate::runs::form::{RunInfo, WithTail};
use crate::store::fields::{SpecFields, millis};

#[derive(Debug, Serialize)]
pub struct ServerInfo<'a> {
    slug: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// All its listening ports; `port` is one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    /// The URL with the access key, if one is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_port: Option<u16>,
    ignore_ports: Vec<u16>,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_path: Option<&'a str>,
    #[serde(flatten)]
    fields: SpecFields<'a>,
    restart_count: u32,
    /// In nanoseconds, as `stop_timeout`: the SDK expects it.
    restart_delay: u64,
    stop_timeout: u64,
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<String>,
    /// Present with a health check only, as the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthInfo>,
    /// The overlays that it waits for, its own included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_at: Option<String>,
    /// The newest run that is over, without its last lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<RunInfo<'a>>,
    /// Its resource use, if requested and running.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<StatsInfo>,
    /// Warnings about the request. They are outside of the server too, where some clients don't look.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

impl<'a> ServerInfo<'a> {
    /// All of it, with `warnings` about the request.
    pub fn of(view: &'a ServerView, warnings: &'a [String]) -> ServerInfo<'a> {
        let spec = view.spec.as_ref();
        ServerInfo {
            slug: spec.slug.as_str(),
            status: view.status.as_str(),
            status_reason: view.reason.as_deref(),
            pid: view.pid,
            port: view.port.map(u16::from),
            ports: view.ports.iter().map(|port| port.get()).collect(),
            url: view.url.as_deref(),
            access_url: view.access_url(),
            requested_port: spec.port.map(u16::from),
            ignore_ports: spec.ignore_ports.iter().map(|port| port.get()).collect(),
            path: spec.path.resolved.to_string_lossy(),
            original_path: spec.path.original.as_deref(),
            fields: SpecFields::of(spec),
            restart_count: view.restarts,
            restart_delay: nanos(spec.restart.delay),
            stop_timeout: nanos(spec.stop_timeout),
            exit_code: view.exit.map(|exit| exit.code()),
            exit_signal: view.exit.and_then(|exit| exit.signal_name()),
            healthy: view.health.as_ref().map(is_healthy),
            health_status: view.health.as_ref().map(|health| health.status.as_str()),
            health: view.health.as_ref().map(HealthInfo::of),
            depends_on: spec.depends_on.iter().chain(&view.overlays).map(OverlayId::as_str).collect(),
            created_at: rfc3339(view.created_at),
            updated_at: rfc3339(view.updated_at),
            started_at: view.started_at.map(rfc3339),
            ready_at: view.ready_at.map(rfc3339),
            last_exit: view.last_run.as_ref().map(|run| RunInfo::ended(run, WithTail::No)),
            stats: None,
            warnings,
        }
    }

    /// Adds its resource use.
    pub fn with_stats(self, stats: Option<ServerStats>) -> ServerInfo<'a> {
        let stats = stats.map(|ServerStats { run, cpu, memory_bytes, rss_bytes, processes, at }| StatsInfo {
            run,
            cpu_ms: millis(cpu),
            memory_bytes,
            rss_bytes,
            processes,
            at: rfc3339(at),
        });
        ServerInfo { stats, ..self }
    }
}

#[derive(Debug, Serialize)]
struct StatsInfo {
    run: u64,
    cpu_ms: u64,
    memory_bytes: u64,
    rss_bytes: u64,
    processes: u32,
    at: String,
}

fn is_healthy(health: &Health) -> bool {
    match health.status {
        HealthStatus::Healthy => true,
        HealthStatus::Checking | HealthStatus::Unhealthy => false,
    }
}

/// The result of the health checks.
#[derive(Debug, Serialize)]
struct HealthInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_duration_ms: Option<u64>,
    consecutive_failures: u32,
}

impl HealthInfo {
    fn of(health: &Health) -> HealthInfo {
        HealthInfo {
            last_check: health.last_check.map(rfc3339),
            last_status: health.last_status,
            last_error: health.last_error.as_ref().map(ToString::to_string),
            last_duration_ms: health.last_took.map(millis),
            consecutive_failures: health.consecutive_failures,
        }
    }
}

/// A server in the response about readiness, which needs no token: without its configuration.
#[derive(Debug, Serialize)]
pub struct ServerBrief<'a> {
    slug: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
    /// The health, by the name that clients expect here.
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<HealthInfo>,
}

impl<'a> ServerBrief<'a> {
    /// What is visible without the token.
    pub fn of(view: &'a ServerView) -> ServerBrief<'a> {
        ServerBrief {
            slug: view.spec.slug.as_str(),
            port: view.port.map(u16::from),
            url: view.url.as_deref(),
            status: view.status.as_str(),
            healthy: view.health.as_ref().map(is_healthy),
            health_check: view.health.as_ref().map(HealthInfo::of),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
