//! Every body, field by field: clients count on the names, the units and on what is left out.

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::model::health::{CheckFailure, Health, HealthStatus};
use crate::model::machine::Exit;
use crate::model::overlay::{CopyStatus, OverlayId, OverlaySpec, Strategy, Target};
use crate::model::proxy::{AccessKey, ProxyAccess, ProxyHost, ProxyRules};
use crate::model::spec::{
    CommandLine, DURATION_MAX, HealthCheck, Port, RestartPolicy, RestartRules, ServerSpec, Stdin, WorkDir,
};
use crate::model::status::Status;
use crate::model::stop::{StopMode, StopRules, StopSignal};
use crate::model::view::Activity;
use crate::overlay::progress::Stats;
use crate::sorted::Sorted;

mod full;
mod warnings;

pub(crate) use full::full_answers;

/// 2026-11-24T10:09:13Z, and so many milliseconds more.
fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_514_953_000 + millis)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn minimal() -> ServerView {
    let spec = ServerSpec {
        slug: Slug::parse("web").unwrap(),
        start: CommandLine::parse("node server.js").unwrap(),
        install: None,
        path: WorkDir { original: None, resolved: "/sandbox".into() },
        port: None,
        strict_port: false,
        ignore_ports: Vec::new(),
        environment: Sorted::default(),
        env_file: None,
        restart: RestartRules { policy: RestartPolicy::Never, max: None, delay: ms(1000), delay_max: None },
        stop_timeout: ms(10_000),
        stop: StopRules::default(),
        autostart: true,
        health_check: None,
        overlays: Vec::new(),
        depends_on: Vec::new(),
        stdin: Stdin::Null,
        proxy: Default::default(),
    };
    ServerView {
        spec: Arc::new(spec),
        status: Status::Stopped,
        reason: None,
        pid: None,
        port: None,
        ports: Vec::new(),
        is_listening: false,
        url: None,
        key: None,
        starts_on_visit: false,
        health: None,
        activity: Activity::Stopped,
        overlays: Vec::new(),
        waits_for: Vec::new(),
        restarts: 0,
        exit: None,
        created_at: at(42),
        updated_at: at(1042),
        started_at: None,
        ready_at: None,
        alive_since: None,
        last_run: None,
    }
}

fn minimal_json() -> Value {
    json!({
        "slug": "web", "status": "stopped", "strict_port": false, "ignore_ports": [], "start": "node server.js", "path": "/sandbox",
        "environment": {}, "autostart": true, "restart_policy": "never", "max_restarts": 0, "restart_count": 0,
        "restart_delay": 1_000_000_000_u64, "restart_delay_ms": 1000,
        "stop_timeout": 10_000_000_000_u64, "stop_timeout_ms": 10_000, "stop_signal": "SIGTERM", "stop_mode": "tree", "exit_code": null, "stdin": "null",
        "created_at": "2026-11-24T10:09:13.042Z", "updated_at": "2026-11-24T10:09:14.042Z",
    })
}

/// Everything that can be there, each value another.
fn full() -> ServerView {
    let (interval, timeout, delay, restart_after_failures) = (ms(2000), ms(1501), ms(7), NonZeroU32::new(3));
    let check = HealthCheck { path: "/up?a=1".into(), interval, timeout, delay, restart_after_failures };
    let (policy, max, delay, delay_max) = (RestartPolicy::OnFailure, NonZeroU32::new(5), ms(250), Some(ms(4000)));
    let spec = ServerSpec {
        slug: Slug::parse("api-1").unwrap(),
        start: CommandLine::parse("npm start -- \"a\"").unwrap(),
        install: Some(CommandLine::parse("npm ci").unwrap()),
        path: WorkDir { original: Some("./app".into()), resolved: "/sandbox/app".into() },
        port: Port::new(3000),
        strict_port: true,
        ignore_ports: [9999, 1].map(|port| Port::new(port).unwrap()).to_vec(),
        environment: [("B", "x=y"), ("A", "1\n")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        env_file: Some(".env".into()),
        restart: RestartRules { policy, max, delay, delay_max },
        stop_timeout: ms(1500),
        stop: StopRules { signal: StopSignal::parse("RTMIN+3").unwrap(), mode: StopMode::Mixed },
        autostart: false,
        health_check: Some(check),
        overlays: Vec::new(),
        depends_on: Vec::new(),
        stdin: Stdin::Open,
        proxy: ProxyRules {
            host: ProxyHost::Public,
            access: Some(ProxyAccess::Key),
            start_on_visit: true,
            idle_stop: Some(ms(60_000)),
        },
    };
    ServerView {
        spec: Arc::new(spec),
        status: Status::Restarting,
        reason: Some("was ended by SIGKILL; waiting for the restart delay".into()),
        pid: Some(4242),
        port: Port::new(3001),
        ports: [3001, 9229].map(|port| Port::new(port).unwrap()).to_vec(),
        is_listening: true,
        url: Some("https://api-1-3001.example.com".into()),
        key: AccessKey::parse("0123456789abcdef0123456789abcdef"),
        starts_on_visit: false,
        health: Some(Health {
            status: HealthStatus::Unhealthy,
            last_check: Some(at(1500)),
            last_status: Some(503),
            last_error: Some(CheckFailure::Status(503)),
            last_took: Some(ms(3)),
            consecutive_failures: 4,
        }),
        activity: Activity::Active,
        overlays: Vec::new(),
        waits_for: Vec::new(),
        restarts: 2,
        exit: Some(Exit::Signal(9)),
        created_at: at(0),
        updated_at: at(60_001),
        started_at: Some(at(999)),
        ready_at: Some(at(1200)),
        alive_since: Some(std::time::Instant::now()),
        last_run: None,
    }
}

fn full_json() -> Value {
    json!({
        "slug": "api-1", "status": "restarting",
        "status_reason": "was ended by SIGKILL; waiting for the restart delay",
        "pid": 4242, "port": 3001, "ports": [3001, 9229], "url": "https://api-1-3001.example.com",
        "access_url": "https://api-1-3001.example.com/?servisor_key=0123456789abcdef0123456789abcdef",
        "proxy": {"host": "public", "access": "key", "start_on_visit": true, "idle_stop_ms": 60_000},
        "requested_port": 3000, "strict_port": true, "ignore_ports": [9999, 1],
        "start": "npm start -- \"a\"", "install": "npm ci", "path": "/sandbox/app", "original_path": "./app",
        "environment": {"A": "1\n", "B": "x=y"}, "env_file": ".env", "autostart": false,
        "restart_policy": "on-failure", "max_restarts": 5, "restart_count": 2,
        "restart_delay": 250_000_000, "restart_delay_ms": 250, "restart_delay_max_ms": 4000,
        "stop_timeout": 1_500_000_000, "stop_timeout_ms": 1500, "stop_signal": "SIGRTMIN+3", "stop_mode": "mixed", "exit_code": 137, "exit_signal": "SIGKILL",
        "health_check": {
            "path": "/up?a=1", "interval_ms": 2000, "timeout_ms": 1501, "delay_ms": 7, "restart_after_failures": 3,
        },
        "healthy": false, "health_status": "unhealthy",
        "health": {
            "last_check": "2026-11-24T10:09:14.500Z", "last_status": 503, "last_error": "answered 503",
            "last_duration_ms": 3, "consecutive_failures": 4,
        },
        "stdin": "open", "created_at": "2026-11-24T10:09:13.000Z", "updated_at": "2026-11-24T10:10:13.001Z",
        "started_at": "2026-11-24T10:09:13.999Z", "ready_at": "2026-11-24T10:09:14.200Z",
    })
}

fn body(answer: impl Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap()
}

fn info_of(view: &ServerView) -> Value {
    body(server("m", view, &[]))["data"]["server"].take()
}

fn with_spec(change: impl FnOnce(&mut ServerSpec)) -> ServerView {
    let mut view = minimal();
    change(Arc::make_mut(&mut view.spec));
    view
}

#[test]
fn a_server_is_shown_with_all_that_is_known_and_no_more() {
    for (view, info) in [(minimal(), minimal_json()), (full(), full_json())] {
        let expected = json!({"status": "success", "message": "it is so", "data": {"server": info}});
        assert_eq!(body(server("it is so", &view, &[])), expected);
        let data = json!({"slug": view.spec.slug.as_str(), "server": info});
        let expected = json!({"status": "success", "message": "it has ended", "data": data});
        assert_eq!(body(stopped("it has ended", &view, &[])), expected);
    }
}

#[test]
fn each_status_and_policy_has_the_word_that_clients_know() {
    for (status, word) in [
        (Status::Installing, "installing"),
        (Status::Starting, "starting"),
        (Status::Running, "running"),
        (Status::Ready, "ready"),
        (Status::Restarting, "restarting"),
        (Status::Stopped, "stopped"),
        (Status::Failed, "failed"),
    ] {
        assert_eq!(info_of(&ServerView { status, ..minimal() })["status"], word);
    }
    for (policy, word) in
        [(RestartPolicy::Never, "never"), (RestartPolicy::OnFailure, "on-failure"), (RestartPolicy::Always, "always")]
    {
        assert_eq!(info_of(&with_spec(|spec| spec.restart.policy = policy))["restart_policy"], word);
    }
}

#[test]
fn an_end_is_a_code_and_only_after_a_signal_a_name() {
    for (exit, code, signal) in [
        (None, Value::Null, None),
        (Some(Exit::Code(0)), json!(0), None),
        (Some(Exit::Code(1)), json!(1), None),
        (Some(Exit::Code(255)), json!(255), None),
        (Some(Exit::Signal(15)), json!(143), Some("SIGTERM")),
        (Some(Exit::Signal(37)), json!(165), Some("SIGRTMIN+3")),
    ] {
        let info = info_of(&ServerView { exit, ..minimal() });
        assert_eq!(info.get("exit_code"), Some(&code), "{exit:?}");
        assert_eq!(info.get("exit_signal").map(|name| name.as_str().unwrap()), signal, "{exit:?}");
    }
}

#[test]
fn times_come_in_nanoseconds_and_milliseconds() {
    for (time, nanos, millis) in [
        (Duration::ZERO, 0, 0),
        (ms(1), 1_000_000, 1),
        (Duration::from_nanos(1_999_999), 1_999_999, 1),
        (DURATION_MAX, 31_536_000_000_000_000, 31_536_000_000),
        // Out of reach for a spec, and still no panic and no small number.
        (Duration::MAX, u64::MAX, u64::MAX),
    ] {
        let info = info_of(&with_spec(|spec| (spec.restart.delay, spec.stop_timeout) = (time, time)));
        for name in ["restart_delay", "stop_timeout"] {
            assert_eq!(info[name].as_u64(), Some(nanos), "{name} {time:?}");
            assert_eq!(info[format!("{name}_ms")].as_u64(), Some(millis), "{name} {time:?}");
        }
    }
}

#[test]
fn no_limit_and_never_are_0() {
    let (interval, timeout, delay) = (ms(100), ms(50), Duration::ZERO);
    let check = HealthCheck { path: "/".into(), interval, timeout, delay, restart_after_failures: None };
    let info = info_of(&with_spec(|spec| spec.health_check = Some(check)));
    assert_eq!(
        info["health_check"],
        json!({"path": "/", "interval_ms": 100, "timeout_ms": 50, "delay_ms": 0, "restart_after_failures": 0})
    );
    assert_eq!(info["max_restarts"], 0);
    let info = info_of(&with_spec(|spec| spec.restart.max = NonZeroU32::new(u32::MAX)));
    assert_eq!(info["max_restarts"], u32::MAX);
}

#[test]
fn a_path_that_is_no_text_is_shown_as_well_as_can_be() {
    let resolved = PathBuf::from(OsStr::from_bytes(b"/sandbox/\xff\xfe/\xc3\xa4"));
    let view = with_spec(|spec| spec.path = WorkDir { original: None, resolved });
    let mut expected = minimal_json();
    expected["path"] = json!("/sandbox/\u{fffd}\u{fffd}/ä");
    assert_eq!(info_of(&view), expected);
    assert_eq!(body(stopped("m", &view, &[]))["data"]["server"], expected);
    assert_eq!(body(server_list(&[Arc::new(view)], &Sorted::default(), &[]))["data"]["servers"], json!([expected]));
}

#[test]
fn a_list_keeps_its_order_and_counts() {
    let (web, api) = (Arc::new(minimal()), Arc::new(full()));
    for (views, message, servers) in [
        (vec![], "0 servers", json!([])),
        (vec![web.clone()], "1 server", json!([minimal_json()])),
        (vec![web.clone(), api.clone()], "2 servers", json!([minimal_json(), full_json()])),
        (vec![api, web], "2 servers", json!([full_json(), minimal_json()])),
    ] {
        let expected = json!({"status": "success", "message": message, "data": {"servers": servers}});
        assert_eq!(body(server_list(&views, &Sorted::default(), &[])), expected);
    }
}

#[test]
fn logs_have_their_stream_and_the_number_of_dropped_bytes() {
    let slug = Slug::parse("web").unwrap();
    // What servers write: colours, ends of lines, a zero, what was no UTF-8, what is no text at all for JSON.
    let text = "\u{1b}[31mred\u{1b}[0m\r\n\0\t\"\\\u{fffd}\u{2028}😀";
    for (word, stream) in Selection::ALL {
        for (dropped_bytes, truncated) in [(0, false), (1, true), (u64::MAX, true)] {
            let answer = body(logs(&slug, stream, LogText { text, dropped_bytes }, &[]));
            let data = json!({
                "slug": "web", "stream": word, "logs": text, "truncated": truncated, "dropped_bytes": dropped_bytes,
            });
            let message = "the newest output that is kept";
            assert_eq!(answer, json!({"status": "success", "message": message, "data": data}));
        }
    }
}

#[test]
fn what_the_daemon_shows_of_itself() {
    assert_eq!(body(health(at(7))), json!({"status": "ok", "timestamp": "2026-11-24T10:09:13.007Z"}));
    let (main_subdomain, sandbox_url) = ("abc", "https://abc.example.com");
    for auth_enabled in [true, false] {
        let about = About { auth_enabled, main_subdomain, sandbox_count: 1, sandbox_url, version: "1.2.3" };
        let data = json!({
            "auth_enabled": auth_enabled, "main_subdomain": "abc", "sandbox_count": 1,
            "sandbox_url": "https://abc.example.com", "version": "1.2.3",
        });
        assert_eq!(
            body(info(&about)),
            json!({"message": "servisor keeps the servers of this sandbox alive", "data": data})
        );
    }
}

#[test]
fn each_caller_learns_whether_its_token_is_good() {
    for (caller, message, data) in [
        (Caller::HasToken, "the access token is right", json!({"authenticated": true, "token_type": "access_token"})),
        (Caller::Anonymous, "no access token came with the request, or a wrong one", json!({"authenticated": false})),
        (Caller::AuthOff, "this daemon asks for no access token", json!({"authenticated": true})),
    ] {
        assert_eq!(body(auth_status(caller)), json!({"message": message, "data": data}));
    }
}

#[test]
fn readiness_shows_no_configuration() {
    let views = [Arc::new(full()), Arc::new(minimal())];
    let readiness = Readiness { reachable: true, healthy: false, recheck_at: None };
    let expected = json!({
        "ready": true, "healthy": false, "overlays": [],
        "servers": [
            {
                "slug": "api-1", "port": 3001, "url": "https://api-1-3001.example.com", "status": "restarting",
                "healthy": false, "health_check": {
                    "last_check": "2026-11-24T10:09:14.500Z", "last_status": 503, "last_error": "answered 503",
                    "last_duration_ms": 3, "consecutive_failures": 4,
                },
            },
            {"slug": "web", "status": "stopped"},
        ],
    });
    assert_eq!(body(ready(readiness, &views, &[])), expected);
}

#[test]
fn a_marked_server_has_its_status() {
    let view = ServerView { status: Status::Ready, ..minimal() };
    let expected = json!({"status": "success", "message": "m", "data": {"slug": "web", "status": "ready"}});
    assert_eq!(body(marked("m", &view, &[])), expected);
}
