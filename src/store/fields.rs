//! The fields of a configuration in JSON, for records and for answers.
//!
//! Owns: their names and units, and which are left out. Never: defaults and rules (see `api::input`).
//!
//! Records and answers are written from one list, so that they can't differ. `api::input` has a list of its own, since
//! it reads each field with its limits, its default and its error, and `api/openapi.json` is a static document. Tests
//! hold both equal to this list.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::model::overlay::OverlaySpec;
use crate::model::proxy::ProxyRules;
use crate::model::spec::{HealthCheck, ServerSpec};
use crate::sorted::Sorted;

/// The fields that are the same in a record and in an answer.
#[derive(Debug, Serialize)]
pub struct SpecFields<'a> {
    start: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<&'a str>,
    strict_port: bool,
    environment: &'a Sorted<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env_file: Option<&'a str>,
    autostart: bool,
    restart_policy: &'static str,
    /// 0 is no limit.
    max_restarts: u32,
    restart_delay_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_delay_max_ms: Option<u64>,
    stop_timeout_ms: u64,
    stop_signal: String,
    stop_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<CheckFields<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overlays: Vec<OverlayFields<'a>>,
    stdin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyFields>,
}

#[derive(Debug, Serialize)]
struct ProxyFields {
    host: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<&'static str>,
    start_on_visit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_stop_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct CheckFields<'a> {
    path: &'a str,
    interval_ms: u64,
    timeout_ms: u64,
    delay_ms: u64,
    /// 0 is never.
    restart_after_failures: u32,
}

#[derive(Debug, Serialize)]
struct OverlayFields<'a> {
    source: Cow<'a, str>,
    target: &'a str,
    ignore: &'a [String],
    strategy: &'static str,
}

impl<'a> SpecFields<'a> {
    /// Destructures the spec, so that a new field can't be forgotten.
    pub fn of(spec: &'a ServerSpec) -> SpecFields<'a> {
        let ServerSpec {
            start,
            install,
            strict_port,
            environment,
            env_file,
            restart,
            stop_timeout,
            stop,
            autostart,
            health_check,
            overlays,
            stdin,
            proxy,
            // A record has these as they came, an answer beside what has become of them.
            slug: _,
            path: _,
            port: _,
            ignore_ports: _,
            depends_on: _,
        } = spec;
        SpecFields {
            start: start.as_str(),
            install: install.as_ref().map(|install| install.as_str()),
            strict_port: *strict_port,
            environment,
            env_file: env_file.as_deref(),
            autostart: *autostart,
            restart_policy: restart.policy.as_str(),
            max_restarts: restart.max.map_or(0, u32::from),
            restart_delay_ms: millis(restart.delay),
            restart_delay_max_ms: restart.delay_max.map(millis),
            stop_timeout_ms: millis(*stop_timeout),
            stop_signal: stop.signal.to_string(),
            stop_mode: stop.mode.as_str(),
            health_check: health_check.as_ref().map(CheckFields::of),
            overlays: overlays.iter().map(OverlayFields::of).collect(),
            stdin: stdin.as_str(),
            proxy: (*proxy != ProxyRules::default()).then(|| ProxyFields::of(proxy)),
        }
    }
}

impl<'a> CheckFields<'a> {
    fn of(check: &'a HealthCheck) -> CheckFields<'a> {
        let HealthCheck { path, interval, timeout, delay, restart_after_failures } = check;
        CheckFields {
            path,
            interval_ms: millis(*interval),
            timeout_ms: millis(*timeout),
            delay_ms: millis(*delay),
            restart_after_failures: restart_after_failures.map_or(0, u32::from),
        }
    }
}

impl ProxyFields {
    fn of(rules: &ProxyRules) -> ProxyFields {
        let ProxyRules { host, access, start_on_visit, idle_stop } = rules;
        ProxyFields {
            host: host.as_str(),
            access: access.map(|access| access.as_str()),
            start_on_visit: *start_on_visit,
            idle_stop_ms: idle_stop.map(millis),
        }
    }
}

impl<'a> OverlayFields<'a> {
    fn of(overlay: &'a OverlaySpec) -> OverlayFields<'a> {
        let OverlaySpec { source, target, ignore, strategy } = overlay;
        OverlayFields { source: source.to_string_lossy(), target: target.as_str(), ignore, strategy: strategy.as_str() }
    }
}

/// Whole milliseconds; those of a spec's durations are in range.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
