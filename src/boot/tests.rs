use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::model::spec::WorkDir;
use crate::store::server::Install;
use crate::testing::Scratch;

const ROOT: &str = "/srv";

fn spec(body: &str) -> ServerSpec {
    input::server_spec(body.as_bytes(), Path::new(ROOT)).unwrap().0
}

fn kept(created_at_ms: u64, install: Install) -> Kept {
    let created_at = std::time::UNIX_EPOCH + Duration::from_millis(created_at_ms);
    Kept {
        created_at,
        overlays: Vec::new(),
        preparation: crate::store::server::Preparation::Due,
        install,
        key: None,
        is_stopped_by_hand: false,
    }
}

impl Scratch {
    fn files(&self) -> Files {
        Files::open(self.0.clone()).unwrap()
    }
}

#[test]
fn what_is_stored_comes_back_as_it_was() {
    let full = r#"{"slug": "Web.1_x-y", "start": "node \"server\".js\n", "install": "npm ci", "path": "./app//x/..",
        "port": 65535, "strict_port": true, "ignore_ports": [65535, 1, 1], "environment": {"A": "", "B": "\u0001ä\n=\"", "": null},
        "env_file": ".env", "restart_policy": "on-failure", "max_restarts": 4294967295, "restart_delay_ms": 0,
        "restart_delay_max_ms": 31536000000, "stop_timeout_ms": 0, "autostart": false,
        "proxy": {"host": "public", "access": "key", "start_on_visit": true, "idle_stop_ms": 5},
        "health_check": {"path": "/h?a=b", "interval_ms": 1, "timeout_ms": 2, "delay_ms": 3,
        "restart_after_failures": 4}}"#
        .replace(", \"\": null", "");
    let bare = r#"{"slug": "a", "start": "true"}"#;
    let absolute = r#"{"slug": "b", "start": "true", "path": "/elsewhere", "health_check": {}, "max_restarts": 0}"#;
    let scratch = Scratch::absent();
    let mut written = Vec::new();
    for (number, body) in [full.as_str(), bare, absolute].into_iter().enumerate() {
        let install = if number == 0 { Install::Succeeded } else { Install::Due };
        let one = (spec(body), kept(1_700_000_000_123 + number as u64, install));
        server::write(&scratch.files(), &one.0, &one.1).unwrap();
        written.push(one);
    }
    assert_eq!(written[0].0.path, WorkDir { original: Some("./app//x/..".into()), resolved: "/srv/app/x/..".into() });
    assert_eq!(stored(&scratch.files(), Path::new(ROOT)).unwrap(), written);
    // What was given relative to the root follows the root, as a sandbox that is mounted elsewhere needs it.
    let moved = stored(&scratch.files(), Path::new("/new")).unwrap();
    assert_eq!(moved[0].0.path.resolved, PathBuf::from("/new/app/x/.."));
    assert_eq!(moved[2].0.path.resolved, PathBuf::from("/elsewhere"));
}

#[test]
fn a_doctored_file_makes_no_server() {
    let scratch = Scratch::absent();
    server::write(&scratch.files(), &spec(r#"{"slug": "good", "start": "true"}"#), &kept(1, Install::Due)).unwrap();
    let good = fs::read_to_string(scratch.0.join("good.json")).unwrap();
    let doctored = [
        ("other", good.clone()),
        ("slug", good.replace("\"good\"", "\"../slug\"")),
        ("start", good.replace("\"true\"", "\"\"").replace("good", "start")),
        ("before", good.replace("\"created_at_ms\":1", "\"created_at_ms\":-1").replace("good", "before")),
        ("bare", r#"{"version": 1, "created_at_ms": 1, "installed": true}"#.to_owned()),
    ];
    for (name, text) in &doctored {
        assert!(*text != good || *name == "other", "{name} is as it was");
        fs::write(scratch.0.join(format!("{name}.json")), text).unwrap();
    }
    let loaded = stored(&scratch.files(), Path::new(ROOT)).unwrap();
    assert_eq!(loaded.iter().map(|(spec, _)| spec.slug.as_str()).collect::<Vec<_>>(), ["good"]);
    for (name, text) in doctored {
        assert_eq!(fs::read_to_string(scratch.0.join(format!("{name}.json.corrupt-1"))).unwrap(), text);
    }
}

#[test]
fn a_payload_replaces_what_it_changes_and_nothing_else() {
    let (a, b, c) =
        (r#"{"slug": "a", "start": "1"}"#, r#"{"slug": "b", "start": "1"}"#, r#"{"slug": "c", "start": "1"}"#);
    let key = crate::model::proxy::AccessKey::parse(&"0f".repeat(16));
    let old = Kept { key: key.clone(), is_stopped_by_hand: true, ..kept(5, Install::Succeeded) };
    let begin = servers(
        vec![(spec(a), old.clone()), (spec(b), old.clone())],
        vec![spec(c), spec(b), spec(&a.replace("\"1\"", "\"2\""))],
    );
    let seen: Vec<_> =
        begin.iter().map(|(spec, origin)| (spec.slug.as_str(), spec.start.as_str(), origin.clone())).collect();
    assert_eq!(
        seen,
        [("a", "2", Origin::Payload(key)), ("b", "1", Origin::Stored(old)), ("c", "1", Origin::Payload(None))]
    );
}
