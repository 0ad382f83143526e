//! Every path with every method, and what can be wrong with a target.

use std::collections::BTreeSet;

use super::*;
use crate::error::WARNINGS_MAX;
use crate::testing::Random;

mod sdk;

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn action(method: &str, target: &str) -> ApiAction {
    match route(method, target) {
        Ok(route) => {
            assert_eq!(route.warnings, Vec::<String>::new(), "{method} {target}");
            route.action
        }
        Err(error) => panic!("{method} {target}: {error}"),
    }
}

fn refusal(method: &str, target: &str) -> Error {
    match route(method, target) {
        Ok(route) => panic!("{method} {target} was taken as {route:?}"),
        Err(error) => error,
    }
}

fn gateway(asked: GatewayAction) -> Option<ApiAction> {
    Some(ApiAction::Gateway(asked))
}

/// What each path does with GET, POST, DELETE and PATCH.
fn table() -> Vec<(&'static str, [Option<ApiAction>; 4])> {
    let web = || slug("web");
    let a1 = || OverlayId::parse("a1").unwrap();
    let all_logs = ApiAction::ServerLogs(web(), LogQuery { stream: Selection::Combined, tail: None });
    vec![
        ("/health", [Some(ApiAction::Health), None, None, None]),
        ("/openapi.json", [Some(ApiAction::OpenApi), None, None, None]),
        ("/ui", [Some(ApiAction::Page), None, None, None]),
        ("/ready", [Some(ApiAction::Ready(None)), None, None, None]),
        ("/info", [Some(ApiAction::Info), None, None, None]),
        ("/auth/status", [Some(ApiAction::AuthStatus), None, None, None]),
        ("/events", [Some(ApiAction::Events(EventQuery::default())), None, None, None]),
        ("/logs", [Some(ApiAction::Logs(ManyQuery::default())), None, None, None]),
        ("/metrics", [Some(ApiAction::Metrics), None, None, None]),
        ("/servers/web/runs", [Some(ApiAction::ServerRuns(web(), KEPT)), None, None, None]),
        ("/servers", [Some(ApiAction::ServerList(false)), Some(ApiAction::ServerCreate(Present::Replace)), None, None]),
        (
            "/servers/web",
            [Some(ApiAction::ServerShow(web(), None, false)), None, Some(ApiAction::ServerDelete(web())), None],
        ),
        ("/servers/web/start", [None, Some(ApiAction::ServerStart(web())), None, None]),
        ("/servers/web/stop", [None, Some(ApiAction::ServerStop(web())), None, None]),
        ("/servers/web/restart", [None, Some(ApiAction::ServerRestart(web())), None, None]),
        ("/servers/web/logs", [Some(all_logs), None, None, None]),
        ("/servers/web/status", [None, None, None, Some(ApiAction::ServerMark(web()))]),
        ("/filesystem/overlays", [Some(ApiAction::OverlayList), Some(ApiAction::OverlayCreate), None, None]),
        (
            "/filesystem/overlays/a1",
            [Some(ApiAction::OverlayShow(a1())), None, Some(ApiAction::OverlayDelete(a1(), DeleteFiles::Keep)), None],
        ),
        ("/v1/sandboxes", [None, gateway(GatewayAction::Create), None, None]),
        ("/v1/sandboxes/find", [None, gateway(GatewayAction::Find), None, None]),
        ("/v1/sandboxes/find-or-create", [None, gateway(GatewayAction::FindOrCreate), None, None]),
        (
            "/v1/sandboxes/a1",
            [gateway(GatewayAction::Show("a1".into())), None, gateway(GatewayAction::Delete("a1".into())), None],
        ),
        ("/v1/sandboxes/a1/extend", [None, gateway(GatewayAction::Extend("a1".into())), None, None]),
    ]
}

#[test]
fn every_path_with_every_method() {
    for (path, actions) in table() {
        let mut taken = Vec::new();
        for (method, expected) in ["GET", "POST", "DELETE", "PATCH"].into_iter().zip(actions) {
            match expected {
                Some(expected) => {
                    assert_eq!(action(method, path), expected, "{method} {path}");
                    taken.push(method);
                    if method == "GET" {
                        assert_eq!(action("HEAD", path), expected, "HEAD {path}");
                        taken.push("HEAD");
                    }
                }
                None => assert_eq!(refusal(method, path).code().status(), 405, "{method} {path}"),
            }
        }
        taken.push("OPTIONS");
        let ApiAction::Options { allow } = action("OPTIONS", path) else { panic!("OPTIONS {path}") };
        let mut allowed: Vec<_> = allow.split(", ").collect();
        allowed.sort_unstable();
        taken.sort_unstable();
        assert_eq!(allowed, taken, "{path}");
        for method in ["PUT", "TRACE", "get", "", "G\0T"] {
            let error = refusal(method, path);
            assert_eq!(error.code(), Code::MethodNotAllowed(allow), "{method} {path}");
            assert!(error.sentence().contains(allow) && error.sentence().contains(path), "{error}");
        }
    }
}

#[test]
fn a_few_calls_need_no_token() {
    let gate = |method: &str, path: &str| Gate::of(&route(method, path));
    for (path, actions) in table() {
        for (method, known) in ["GET", "POST", "DELETE", "PATCH"].into_iter().zip(actions) {
            let expected = match path {
                "/health" | "/openapi.json" if known.is_some() => Gate::Open,
                "/ready" | "/auth/status" | "/ui" if known.is_some() => Gate::OwnHost,
                _ => Gate::Guarded,
            };
            assert_eq!(gate(method, path), expected, "{method} {path}");
        }
        assert_eq!(gate("OPTIONS", path), Gate::Open);
    }
    // What is not there is no secret; which servers and overlays there are, and what can't be read, is.
    for path in ["/ws", "/nothing", "/servers/", "/"] {
        for method in ["GET", "OPTIONS", "PUT"] {
            assert_eq!(gate(method, path), Gate::Open, "{method} {path}");
        }
    }
    for path in ["/servers/a b", "/servers/-", "/filesystem/overlays/A", "/servers/%"] {
        assert_eq!([gate("GET", path), gate("PUT", path)], [Gate::Guarded, Gate::Guarded], "{path}");
    }
}

#[test]
fn unknown_paths_are_404() {
    for path in [
        "/",
        "//",
        "/servers/",
        "//servers",
        "/servers//",
        "/servers//logs",
        "/servers/web/",
        "/servers/web//logs",
        "/servers/web/log",
        "/servers/web/logs/x",
        "/Servers",
        "/health/x",
        "/auth",
        "/filesystem",
        "/filesystem/overlays/",
        "/filesystem/overlays/a1/x",
        "/servers%2Fweb",
    ] {
        assert_eq!(refusal("GET", path).code().status(), 404, "{path}");
    }
    assert!(refusal("GET", "/server").sentence().ends_with("did you mean \"/servers\"?"));
    assert!(!refusal("GET", "/filesystem").sentence().contains("did you mean"));
}

#[test]
fn slugs_are_decoded_and_what_can_be_no_slug_is_not_found() {
    assert_eq!(action("GET", "/servers/a%2Db%2e1"), ApiAction::ServerShow(slug("a-b.1"), None, false));
    assert_eq!(action("GET", "/s%65rvers/WEB"), ApiAction::ServerShow(slug("WEB"), None, false));
    for text in ["a%20b", "a%2Fb", "%C3%A4", "-a", "...", "a+b", "a;b", "a%252e", &"a".repeat(64)] {
        for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/stop"), ("GET", "/logs")] {
            let error = refusal(method, &format!("/servers/{text}{path}"));
            assert_eq!(error.code(), Code::ServerNotFound, "{text}");
        }
    }
    assert!(refusal("GET", "/servers/a%20b").sentence().contains("\"a b\""));
}

#[test]
fn targets_that_can_not_be_read_are_400() {
    for target in [
        "",
        "servers",
        "*",
        "http://localhost/servers",
        "?tail=1",
        "/servers/%",
        "/servers/%4",
        "/servers/%zz",
        "/servers/%+1",
        "/servers/%ff",
        "/servers/%C3",
        "/servers/%ED%A0%80",
        "/servers/%00",
        "/servers/a%0d%0ab",
        "/servers/%7F",
        "/servers/a b",
        "/servers/ä",
        "/servers#x",
        "/servers/..",
        "/servers/../health",
        "/servers/%2e%2E/health",
        "/./health",
        "/servers/%2e",
        "/servers?%zz=1",
        "/servers?a=%00",
        "/servers?a=%ff",
        "/servers?a#b",
        "/nothing?a=%",
    ] {
        // A query is not looked at before its path is known.
        let expected = if target.starts_with("/nothing") { 404 } else { 400 };
        assert_eq!(refusal("GET", target).code().status(), expected, "{target}");
    }
}

#[test]
fn the_part_of_the_log_is_chosen_by_the_query() {
    let asked = |query: &str| match action("GET", &format!("/servers/web/logs?{query}")) {
        ApiAction::ServerLogs(_, asked) => asked,
        other => panic!("{other:?}"),
    };
    for (word, stream) in Selection::ALL {
        assert_eq!(stream.as_str(), word);
        assert_eq!(asked(&format!("stream={word}")), LogQuery { stream, tail: None });
    }
    assert_eq!(asked("tail=0").tail, Some(0));
    assert_eq!(asked("tail=007").tail, Some(7));
    assert_eq!(asked("t%61il=4294967295").tail, Some(u32::MAX));
    assert_eq!(asked("follow=false&&tail=5&"), LogQuery { stream: Selection::Combined, tail: Some(5) });
    assert_eq!(asked(""), LogQuery::default());
    let followed = action("GET", "/servers/web/logs?follow=true&tail=5&stream=stderr");
    let query = LogQuery { stream: Selection::Stderr, tail: Some(5) };
    assert!(matches!(followed, ApiAction::ServerFollow(_, asked) if asked == query), "{followed:?}");
}

#[test]
fn every_value_of_a_query_that_makes_no_sense_is_named() {
    for (query, field) in [
        ("stream=stdin", "stream"),
        ("stream=", "stream"),
        ("stream=STDOUT", "stream"),
        ("stream", "stream"),
        ("stream=stdout&stream=stdout", "stream"),
        ("tail=", "tail"),
        ("tail=-1", "tail"),
        ("tail=%2B1", "tail"),
        ("tail=+1", "tail"),
        ("tail=1.5", "tail"),
        ("tail=4294967296", "tail"),
        ("tail=all", "tail"),
        ("tail=%D9%A3", "tail"),
        ("follow=true&tail=x", "tail"),
        ("follow=", "follow"),
        ("follow=true&follow=true", "follow"),
        ("follow=yes", "follow"),
    ] {
        let error = refusal("GET", &format!("/servers/web/logs?{query}"));
        assert_eq!(error.code(), Code::Invalid, "{query}");
        assert_eq!(error.wrong().len(), 1, "{query}");
        assert_eq!(error.wrong()[0].field, field, "{query}");
    }
    let all = refusal("GET", "/servers/web/logs?stream=stdotu&tail=x&follow=1");
    assert_eq!(all.wrong().iter().map(|wrong| wrong.field.as_str()).collect::<Vec<_>>(), ["stream", "tail", "follow"]);
    assert!(all.sentence().contains("did you mean \"stdout\"?"), "{all}");
}

#[test]
fn waits_have_a_goal_and_an_end() {
    let limit = Duration::from_millis;
    let shown = |wait| ApiAction::ServerShow(slug("web"), wait, false);
    let waited = |goal, millis| shown(Some(Wait { goal, limit: limit(millis) }));
    for (query, expected) in [
        ("wait_for=ready&timeout_ms=5", waited(Status::Ready, 5)),
        ("wait_for=stopped", waited(Status::Stopped, 25_000)),
        ("wait_for=running&timeout_ms=3600000", waited(Status::Running, 3_600_000)),
        ("timeout_ms=7", shown(None)),
    ] {
        assert_eq!(action("GET", &format!("/servers/web?{query}")), expected, "{query}");
    }
    let all = |millis| ApiAction::Ready(Some(Wait { goal: (), limit: limit(millis) }));
    assert_eq!(action("GET", "/ready?wait=true&timeout_ms=0"), all(0));
    assert_eq!(action("GET", "/ready?wait=true"), all(25_000));
    assert_eq!(action("GET", "/ready?wait=false&timeout_ms=1"), ApiAction::Ready(None));
    for (target, field) in [
        ("/servers/web?wait_for=redy", "wait_for"),
        ("/servers/web?wait_for=", "wait_for"),
        ("/servers/web?wait_for=ready&timeout_ms=3600001", "timeout_ms"),
        ("/servers/web?wait_for=ready&timeout_ms=-1", "timeout_ms"),
        ("/servers/web?timeout_ms=1s", "timeout_ms"),
        ("/ready?wait=yes", "wait"),
        ("/ready?wait", "wait"),
    ] {
        let error = refusal("GET", target);
        let fields: Vec<&str> = error.wrong().iter().map(|wrong| wrong.field.as_str()).collect();
        assert_eq!((error.code(), fields.as_slice()), (Code::Invalid, &[field][..]), "{target}");
    }
}

#[test]
fn a_part_of_a_query_that_means_nothing_is_warned_of() {
    let warned = route("GET", "/servers/web/logs?tial=5&stream=stdout").unwrap();
    assert!(matches!(warned.action, ApiAction::ServerLogs(_, LogQuery { stream: Selection::Stdout, tail: None })));
    assert_eq!(warned.warnings, ["unknown query parameter \"tial\" was ignored; did you mean \"tail\"?"]);
    assert_eq!(route("GET", "/health?x=1").unwrap().warnings.len(), 1);
    let many: String = (0..100).map(|n| format!("x{n}=1&")).collect();
    assert_eq!(route("GET", &format!("/servers?{many}")).unwrap().warnings.len(), WARNINGS_MAX);
}

#[test]
fn no_target_makes_it_panic() {
    const PIECES: [&str; 24] = [
        "/",
        "servers",
        "web",
        "logs",
        "stop",
        "health",
        "%",
        "%2",
        "%2f",
        "%00",
        "%ff",
        "%e4",
        "..",
        ".",
        "?",
        "&",
        "=",
        "tail",
        "stream",
        "follow=true",
        "#",
        "ä",
        "\0",
        "+",
    ];
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut next = |below: usize| random.below(below);
    for _ in 0..100_000 {
        let target: String = (0..next(10)).map(|_| PIECES[next(PIECES.len())]).collect();
        let method = ["GET", "POST", "OPTIONS", "x"][next(4)];
        if let Err(error) = route(method, &target) {
            assert!((400..=422).contains(&error.code().status()), "{method} {target:?}: {error}");
            assert!(!error.sentence().bytes().any(|byte| byte.is_ascii_control()), "{error:?}");
        }
    }
}

/// Every path as a document writes it. A new resource does not compile before it stands here.
pub(crate) fn templates() -> BTreeSet<&'static str> {
    let paths = table().into_iter().map(|(path, _)| path);
    let resource = |path| Resource::find(&segments(path).unwrap()).unwrap().unwrap();
    paths
        .map(|path| match resource(path) {
            Resource::Health
            | Resource::OpenApi
            | Resource::Page
            | Resource::Ready
            | Resource::Info
            | Resource::AuthStatus
            | Resource::Events
            | Resource::AllLogs
            | Resource::Metrics
            | Resource::Servers
            | Resource::Overlays => path,
            Resource::Server(_) => "/servers/{slug}",
            Resource::Status(_) => "/servers/{slug}/status",
            Resource::Start(_) => "/servers/{slug}/start",
            Resource::Stop(_) => "/servers/{slug}/stop",
            Resource::Restart(_) => "/servers/{slug}/restart",
            Resource::Runs(_) => "/servers/{slug}/runs",
            Resource::Logs(_) => "/servers/{slug}/logs",
            Resource::Overlay(_) => "/filesystem/overlays/{id}",
            Resource::Sandboxes | Resource::SandboxFind | Resource::SandboxFindOrCreate => path,
            Resource::Sandbox(_) => "/v1/sandboxes/{id}",
            Resource::SandboxExtend(_) => "/v1/sandboxes/{id}/extend",
            Resource::Snapshots | Resource::GatewayElsewhere | Resource::Unsupported(_) => panic!("{path}"),
        })
        .collect()
}
