//! A server in the bodies of responses.
//!
//! Owns: the names and units of its fields. Never: a decision.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::model::health::{Health, HealthStatus};
use crate::model::overlay::{OverlayId, OverlaySpec};
use crate::model::run::ServerStats;
use crate::model::spec::HealthCheck;
use crate::model::time::rfc3339;
use crate::model::view::ServerView;
use crate::runs::form::{RunInfo, WithTail};
use crate::sorted::Sorted;

/// A server.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_port: Option<u16>,
    strict_port: bool,
    ignore_ports: Vec<u16>,
    start: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<&'a str>,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_path: Option<&'a str>,
    environment: &'a Sorted<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<&'a str>,
    autostart: bool,
    restart_policy: &'static str,
    /// 0 is no limit.
    max_restarts: u32,
    restart_count: u32,
    /// In nanoseconds, as `stop_timeout`: the SDK expects it.
    restart_delay: u64,
    restart_delay_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_delay_max_ms: Option<u64>,
    stop_timeout: u64,
    stop_timeout_ms: u64,
    stop_signal: String,
    stop_mode: &'static str,
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<HealthCheckInfo<'a>>,
    /// This and the next two with a health check only.
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthInfo>,
    /// The overlays that are created for it first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlays: Vec<OverlaySpecInfo<'a>>,
    /// The overlays that it waits for, its own included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
    stdin: &'static str,
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
            requested_port: spec.port.map(u16::from),
            strict_port: spec.strict_port,
            ignore_ports: spec.ignore_ports.iter().map(|port| port.get()).collect(),
            start: spec.start.as_str(),
            install: spec.install.as_ref().map(|install| install.as_str()),
            path: spec.path.resolved.to_string_lossy(),
            original_path: spec.path.original.as_deref(),
            environment: &spec.environment,
            env_file: spec.env_file.as_deref(),
            autostart: spec.autostart,
            restart_policy: spec.restart.policy.as_str(),
            max_restarts: spec.restart.max.map_or(0, u32::from),
            restart_count: view.restarts,
            restart_delay: nanos(spec.restart.delay),
            restart_delay_ms: millis(spec.restart.delay),
            restart_delay_max_ms: spec.restart.delay_max.map(millis),
            stop_timeout: nanos(spec.stop_timeout),
            stop_timeout_ms: millis(spec.stop_timeout),
            stop_signal: spec.stop.signal.to_string(),
            stop_mode: spec.stop.mode.as_str(),
            exit_code: view.exit.map(|exit| exit.code()),
            exit_signal: view.exit.and_then(|exit| exit.signal_name()),
            health_check: spec.health_check.as_ref().map(HealthCheckInfo::of),
            healthy: view.health.as_ref().map(is_healthy),
            health_status: view.health.as_ref().map(|health| health.status.as_str()),
            health: view.health.as_ref().map(HealthInfo::of),
            overlays: spec.overlays.iter().map(OverlaySpecInfo::of).collect(),
            depends_on: spec.depends_on.iter().chain(&view.overlays).map(OverlayId::as_str).collect(),
            stdin: spec.stdin.as_str(),
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

#[derive(Debug, Serialize)]
struct OverlaySpecInfo<'a> {
    source: Cow<'a, str>,
    target: &'a str,
    ignore: &'a [String],
    strategy: &'static str,
}

impl<'a> OverlaySpecInfo<'a> {
    fn of(spec: &'a OverlaySpec) -> OverlaySpecInfo<'a> {
        OverlaySpecInfo {
            source: spec.source.to_string_lossy(),
            target: spec.target.as_str(),
            ignore: &spec.ignore,
            strategy: spec.strategy.as_str(),
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

/// The limits on a spec's durations keep both in range.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
