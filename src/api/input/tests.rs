//! Each field right, each field wrong in every way that it can be, and bodies that are nothing at all.

use serde_json::{Value, json};

use super::*;
use crate::error::Wrong;
use crate::testing::Random;

mod many;
mod visits;
mod warnings;

const ROOT: &str = "/sandbox";

fn read(body: &[u8]) -> Result<(ServerSpec, Vec<String>), Error> {
    server_spec(body, Path::new(ROOT))
}

/// The smallest configuration with `more` put over it.
fn with(more: Value) -> Vec<u8> {
    let mut body = json!({"slug": "web", "start": "node server.js"});
    more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body.to_string().into_bytes()
}

fn good(more: Value) -> ServerSpec {
    match read(&with(more.clone())) {
        Ok((spec, warnings)) => {
            assert_eq!(warnings, Vec::<String>::new(), "{more}");
            spec
        }
        Err(error) => panic!("{more}: {error}"),
    }
}

fn bad(more: Value) -> Error {
    match read(&with(more.clone())) {
        Ok(_) => panic!("{more} was taken"),
        Err(error) => {
            assert_eq!(error.code(), Code::Invalid, "{more}");
            error
        }
    }
}

fn fields(error: &Error) -> Vec<&str> {
    error.wrong().iter().map(|wrong| wrong.field.as_str()).collect()
}

#[test]
fn the_defaults_are_those_that_were_promised() {
    let spec = good(json!({}));
    assert_eq!((spec.slug.as_str(), spec.start.as_str()), ("web", "node server.js"));
    assert_eq!((spec.install, spec.port, spec.env_file, spec.health_check), (None, None, None, None));
    assert_eq!(spec.path, WorkDir { original: None, resolved: ROOT.into() });
    assert_eq!((spec.strict_port, spec.autostart, spec.environment.len()), (false, true, 0));
    assert_eq!((spec.stdin, spec.stop), (Stdin::Null, StopRules::default()));
    let delay = Duration::from_millis(1000);
    assert_eq!(spec.restart, RestartRules { policy: RestartPolicy::Never, max: None, delay, delay_max: None });
    assert_eq!(spec.stop_timeout, Duration::from_millis(10_000));
    let check = good(json!({"health_check": {}})).health_check.unwrap();
    let (interval, timeout) = (Duration::from_millis(2000), Duration::from_millis(1500));
    let delay = Duration::ZERO;
    assert_eq!(check, HealthCheck { path: "/".into(), interval, timeout, delay, restart_after_failures: None });
}

#[test]
fn every_field_arrives() {
    let spec = good(json!({
        "slug": "api-1", "start": "npm start", "install": "npm ci", "path": "app", "port": 3000, "strict_port": true,
        "environment": {"A": "1", "B": "x=y"}, "env_file": ".env", "restart_policy": "on-failure", "max_restarts": 5,
        "restart_delay_ms": 250, "restart_delay_max_ms": 4000, "stop_timeout_ms": 0, "autostart": false,
        "health_check": {"path": "/up?a=%20", "interval_ms": 100, "timeout_ms": 50, "delay_ms": 7, "restart_after_failures": 3},
    }));
    assert_eq!((spec.slug.as_str(), spec.start.as_str()), ("api-1", "npm start"));
    assert_eq!(spec.install.as_ref().map(CommandLine::as_str), Some("npm ci"));
    assert_eq!(spec.path, WorkDir { original: Some("app".into()), resolved: "/sandbox/app".into() });
    assert_eq!((spec.port.map(Port::get), spec.strict_port, spec.autostart), (Some(3000), true, false));
    assert_eq!(spec.environment, [("A", "1"), ("B", "x=y")].map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    assert_eq!(spec.env_file.as_deref(), Some(".env"));
    let ms = Duration::from_millis;
    let (policy, max) = (RestartPolicy::OnFailure, NonZeroU32::new(5));
    assert_eq!(spec.restart, RestartRules { policy, max, delay: ms(250), delay_max: Some(ms(4000)) });
    assert_eq!(spec.stop_timeout, Duration::ZERO);
    let path = "/up?a=%20".to_owned();
    let restart_after_failures = NonZeroU32::new(3);
    let check = HealthCheck { path, interval: ms(100), timeout: ms(50), delay: ms(7), restart_after_failures };
    assert_eq!(spec.health_check, Some(check));
}

#[test]
fn paths_are_taken_from_the_root() {
    for (sent, resolved) in [
        ("/app", "/app"),
        ("app", "/sandbox/app"),
        (".", "/sandbox"),
        ("./a//b/", "/sandbox/a/b"),
        ("../x", "/sandbox/../x"),
        ("a b/ä", "/sandbox/a b/ä"),
    ] {
        let path = good(json!({"path": sent})).path;
        // As text: paths are equal when only their spelling differs.
        assert_eq!(path.resolved.to_str(), Some(resolved), "{sent}");
        assert_eq!(path.original.as_deref(), Some(sent));
    }
}

#[test]
fn each_field_wrong_once() {
    let long = "x".repeat(4096);
    let huge = "x".repeat(131_001);
    let year = 365_u64 * 24 * 60 * 60 * 1000;
    let times = || vec![json!(-1), json!(0.5), json!("5"), json!(true), json!([]), json!(year + 1), json!(1e300)];
    let counts = || vec![json!(-1), json!(1.5), json!("5"), json!(4_294_967_296_u64), json!({})];
    let texts = || vec![json!(5), json!(true), json!(["x"]), json!({"x": "y"}), json!("")];
    let with_more = |mut values: Vec<Value>, more: &[&str]| {
        values.extend(more.iter().map(|text| json!(text)));
        values
    };
    let flags = || vec![json!(1), json!("true"), json!([])];
    let table = [
        ("slug", with_more(texts(), &["a b", "-x", "a\0", "ä", &"a".repeat(64)])),
        ("start", with_more(texts(), &["  ", "a\0b", &huge])),
        ("install", with_more(texts(), &["  ", "a\0b", &huge])),
        ("path", with_more(texts(), &["a\0b", &long])),
        ("env_file", with_more(texts(), &["a\0b", &long])),
        ("port", vec![json!(0), json!(-1), json!(65536), json!(3000.5), json!("3000"), json!(true), json!([3000])]),
        ("strict_port", flags()),
        ("autostart", flags()),
        ("environment", vec![json!("A=1"), json!(["A=1"]), json!(1)]),
        ("restart_policy", with_more(texts(), &["on_failure", "Always", "no"])),
        ("max_restarts", counts()),
        ("restart_delay_ms", times()),
        ("restart_delay_max_ms", [times(), vec![json!(999)]].concat()),
        ("stop_timeout_ms", times()),
        ("health_check", vec![json!(true), json!("/"), json!([])]),
        ("overlay", vec![json!([]), json!("/a"), json!(1)]),
        ("overlays", vec![json!({}), json!("/a")]),
        ("depends_on", vec![json!("id"), json!({})]),
        ("stdin", with_more(texts(), &["Open", "pipe", "/dev/null"])),
        (
            "stop_signal",
            vec![json!(0), json!(65), json!(3.5), json!("SIGSTOP"), json!(18), json!("TREM"), json!(["TERM"])],
        ),
        ("stop_mode", with_more(texts(), &["Tree", "group", "process"])),
    ];
    for (field, values) in table {
        for value in values {
            let error = bad(json!({field: value}));
            assert_eq!(fields(&error), [field], "{value}");
            assert!(error.sentence().starts_with(&format!("{field} ")) && error.sentence().len() < 400, "{error}");
        }
    }
    let nested = [
        ("path", with_more(texts(), &["health", "/a b", "/a\r\nX: y", "/ä", "/#a", &format!("/{long}")])),
        ("interval_ms", [times(), vec![json!(0)]].concat()),
        ("timeout_ms", [times(), vec![json!(0)]].concat()),
        ("delay_ms", times()),
        ("restart_after_failures", counts()),
    ];
    for (field, values) in nested {
        for value in values {
            let error = bad(json!({"health_check": {field: value}}));
            assert_eq!(fields(&error), [format!("health_check.{field}")], "{value}");
        }
    }
}

#[test]
fn the_edges_of_each_range_are_in_it() {
    assert_eq!(good(json!({"port": 1})).port.map(Port::get), Some(1));
    assert_eq!(good(json!({"port": 65535})).port.map(Port::get), Some(65535));
    assert_eq!(good(json!({"port": 3e3})).port.map(Port::get), Some(3000));
    assert_eq!(good(json!({"max_restarts": 0})).restart.max, None);
    assert_eq!(good(json!({"max_restarts": u32::MAX})).restart.max, NonZeroU32::new(u32::MAX));
    assert_eq!(good(json!({"restart_delay_ms": 0})).restart.delay, Duration::ZERO);
    assert_eq!(good(json!({"restart_delay_max_ms": 1000})).restart.delay_max, Some(Duration::from_secs(1)));
    let year = crate::model::spec::DURATION_MAX;
    assert_eq!(good(json!({"stop_timeout_ms": year.as_millis() as u64})).stop_timeout, year);
    for (word, policy) in RestartPolicy::ALL {
        assert_eq!(good(json!({"restart_policy": word})).restart.policy, policy);
    }
    for (word, mode) in StopMode::ALL {
        assert_eq!(good(json!({"stop_mode": word})).stop.mode, mode);
    }
    for same in [json!("SIGQUIT"), json!("quit"), json!("3"), json!(3)] {
        assert_eq!(good(json!({"stop_signal": same})).stop.signal.number(), 3);
    }
    for (word, stdin) in Stdin::ALL {
        assert_eq!(good(json!({"stdin": word})).stdin, stdin);
    }
    good(json!({"start": "x".repeat(131_000), "path": "x".repeat(4095)}));
    good(json!({"environment": {"A": "x".repeat(130_998)}}));
}

#[test]
fn every_wrong_field_is_listed() {
    let body = json!({"slug": "-", "start": 1, "port": "x", "restart_policy": "allways", "health_check": {"path": "x", "timeout_ms": 0}});
    let error = read(body.to_string().as_bytes()).unwrap_err();
    let all = ["slug", "start", "port", "restart_policy", "health_check.path", "health_check.timeout_ms"];
    assert_eq!(fields(&error), all);
    assert!(error.sentence().contains("did you mean \"always\"?"), "{error}");
    assert!(error.sentence().ends_with("and 1 more, listed in \"fields\""), "{error}");
}

#[test]
fn what_is_missing_is_named_with_what_may_have_been_meant() {
    let error = read(br#"{"strat": "npm start", "slug": null}"#).unwrap_err();
    assert_eq!(fields(&error), ["slug", "start"]);
    assert_eq!(error.wrong()[0].why, "is required");
    assert_eq!(error.wrong()[1].why, "is required; did you mean it by \"strat\"?");
}

/// Found by the fuzzer: a name with a line end, as long as one likes, was repeated as it was.
#[test]
fn a_name_that_was_sent_is_shown_short_and_in_one_line() {
    let error = read(b"{\"slug\": \"a\", \"star\\n\": \"x\"}").unwrap_err();
    assert_eq!(error.sentence(), r#"start is required; did you mean it by "star\n"?"#);
    let long = format!("{{\"slug\": \"a\", \"start{}\": \"x\"}}", "[".repeat(500));
    assert_eq!(read(long.as_bytes()).unwrap_err().sentence(), "start is required");
}

#[test]
fn null_and_empty_lists_are_not_given() {
    let nothing = json!({
        "install": null, "path": null, "port": null, "strict_port": null, "environment": null, "env_file": null,
        "restart_policy": null, "max_restarts": null, "restart_delay_ms": null, "restart_delay_max_ms": null,
        "stop_timeout_ms": null, "autostart": null, "health_check": null, "overlay": null, "overlays": [], "depends_on": [],
        "stdin": null, "stop_signal": null, "stop_mode": null,
    });
    assert_eq!(good(nothing), good(json!({})));
}

#[test]
fn variables_are_texts_and_are_never_shown() {
    for (name, value) in [
        ("N", json!(42_4242)),
        ("N", json!(null)),
        ("N", json!(true)),
        ("N", json!(["424242"])),
        ("N", json!("424242\0")),
        ("N", json!(format!("424242{}", "x".repeat(131_000)))),
    ] {
        let error = bad(json!({"environment": {name: value, "GOOD": "1"}}));
        assert_eq!(fields(&error), ["environment.N"]);
        assert!(!error.sentence().contains("4242"), "{error}");
    }
    for name in ["", "A=B", "A\0"] {
        let error = bad(json!({"environment": {name: "424242"}}));
        assert_eq!(fields(&error), [format!("environment.{name:?}").replace("\"A=B\"", "A=B")]);
        assert!(!error.sentence().contains("4242"), "{error}");
    }
    let many: serde_json::Map<_, _> = (0..180).map(|n| (format!("N{n:03}"), json!(n))).collect();
    let error = bad(json!({"environment": many, "port": 0}));
    assert_eq!(error.wrong().len(), 101);
    assert_eq!(error.wrong()[100], Wrong { field: "*".into(), why: "stands for 81 more that are wrong".into() });
    assert!(error.sentence().ends_with("; and more, listed in \"fields\""), "{error}");
    assert_eq!(good(json!({"environment": {"npm_config_x y": "", "é": "\n"}})).environment.len(), 2);
}

#[test]
fn what_is_no_json_is_400_and_names_the_place() {
    for (body, place) in [
        (r#"{"slug": "web", "start" "x"}"#, "line 1 column 25"),
        ("{\"slug\":\n 'web'}", "line 2 column 2"),
        (r#"{"slug": "web""#, "line 1 column 14"),
        (r#"{"slug": "web"} x"#, "line 1 column 17"),
        (r#"{"port": 1e999}"#, "line 1 column 14"),
        ("{\"slug\": \"a\nb\"}", "line 2 column 0"),
        ("\u{1}", "line 1 column 1"),
    ] {
        let error = read(body.as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::Malformed, "{body}");
        assert!(error.sentence().ends_with(place), "{error}");
    }
    for body in [&b""[..], b" \r\n", b"\xEF\xBB\xBF", b"{\"a\":\"\xff\"}", b"\xff\xfe{\0}\0"] {
        assert_eq!(read(body).unwrap_err().code(), Code::Malformed, "{body:?}");
    }
    for body in ["[]", "null", "1", "\"web\"", "true"] {
        assert_eq!(read(body.as_bytes()).unwrap_err().code(), Code::Invalid, "{body}");
    }
    assert!(read(b"\xEF\xBB\xBF{\"slug\":\"a\",\"start\":\"b\"}").is_ok());
}

#[test]
fn a_deep_body_does_no_harm_on_a_small_stack() {
    let deep = |depth: usize| format!(r#"{{"slug":"a","start":"b","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    // Half of what a client's thread has.
    let small = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
        assert!(read(deep(31).as_bytes()).is_ok());
        for depth in [32, 200, 500_000] {
            assert_eq!(read(deep(depth).as_bytes()).unwrap_err().code(), Code::Malformed);
        }
        assert_eq!(read("[".repeat(1_000_000).as_bytes()).unwrap_err().code(), Code::Malformed);
    });
    small.unwrap().join().unwrap();
    // Brackets in a text are no depth.
    good(json!({"start": format!("\\\"{}", "[{".repeat(100))}));
}

#[test]
fn only_json_is_taken() {
    for good in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
        "application/json; v=1",
    ] {
        assert!(require_json(Some(good)).is_ok(), "{good}");
    }
    for bad in
        ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/json; charset=latin1"]
    {
        assert_eq!(require_json(Some(bad)).unwrap_err().code(), Code::UnsupportedMediaType, "{bad}");
    }
    assert_eq!(require_json(None).unwrap_err().code(), Code::UnsupportedMediaType);
}

#[test]
fn a_log_is_plain_only_for_those_who_prefer_it() {
    for (accept, form) in [
        ("text/plain", LogForm::Plain),
        ("Text/Plain; charset=utf-8, */*;q=0.5", LogForm::Plain),
        ("text/plain, */*", LogForm::Plain),
        ("text/plain;q=0.9, application/json;q=0.8", LogForm::Plain),
        ("", LogForm::Json),
        ("*/*", LogForm::Json),
        ("application/json, text/plain, */*", LogForm::Json),
        ("text/plain;q=0.1, */*", LogForm::Json),
        ("text/plain;q=0", LogForm::Json),
        ("text/plain;q=x", LogForm::Json),
        ("text/html,application/xhtml+xml,*/*;q=0.8", LogForm::Json),
        (";;,,q=", LogForm::Json),
    ] {
        assert_eq!(log_form(Some(accept)), form, "{accept}");
    }
    assert_eq!(log_form(None), LogForm::Json);
}

#[test]
fn events_are_sent_to_those_who_ask_for_them() {
    for (accept, form) in [
        ("text/event-stream", Form::Events),
        ("Text/Event-Stream; q=0.5, */*", Form::Events),
        ("text/event-stream, text/plain", Form::Events),
        ("text/event-stream;q=0.5, text/plain", Form::Plain),
        ("text/event-stream;q=0", Form::Plain),
        ("*/*", Form::Plain),
        ("application/json", Form::Plain),
    ] {
        assert_eq!(stream_form(Some(accept)), form, "{accept}");
    }
    assert_eq!(stream_form(None), Form::Plain);
}

#[test]
fn no_bytes_make_it_panic() {
    let seeds = [with(
        json!({"environment": {"A": "b"}, "health_check": {"path": "/"}, "port": 3000, "restart_delay_ms": 1e3}),
    )];
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut next = |below: usize| random.below(below);
    for _ in 0..50_000 {
        let mut body = seeds[0].clone();
        for _ in 0..=next(4) {
            let place = next(body.len().max(1));
            match next(4) {
                _ if body.is_empty() => break,
                0 => body[place] = next(256) as u8,
                1 => body.insert(place, b"{}[]\",:0-e\\nu\0\xff"[next(15)]),
                2 => drop(body.remove(place)),
                _ => body.truncate(place),
            }
        }
        if let Err(error) = read(&body) {
            assert!(matches!(error.code(), Code::Malformed | Code::Invalid), "{error}");
            assert!(!error.sentence().is_empty() && error.sentence().len() < 4000, "{error}");
        }
    }
}

/// The names that each object of a request may have.
pub(crate) fn known() -> [(&'static str, Vec<&'static str>); 5] {
    let names = |read: &dyn Fn(&mut Fields)| {
        let mut fields = Fields::read(b"{}").unwrap();
        read(&mut fields);
        fields.known().to_vec()
    };
    [
        ("ServerConfig", names(&|fields| drop(server(fields, Path::new("/"))))),
        ("HealthCheck", names(&|fields| drop(health_check(fields)))),
        ("ProxyRules", names(&|fields| _ = proxy_rules(fields))),
        ("OverlayConfig", names(&|fields| drop(overlay(fields)))),
        ("Mark", names(&|fields| assert_eq!(mark(fields), None))),
    ]
}
