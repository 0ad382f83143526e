//! What can't be: a clear refusal that names the field, nothing started, nothing lost.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Daemon, testchild};

fn post(client: &Client, body: &[u8]) -> Answer {
    client.request("POST", "/servers", &[("Content-Type", "application/json")], Some(body))
}

#[test]
fn each_field_wrong_once() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "kept", "start": "sleep 600"})).server(201);
    let wrong: &[(&str, &[Value])] = &[
        (
            "slug",
            &[json!(1), json!(""), json!("a b"), json!("-a"), json!("a".repeat(64)), json!("a\u{0}"), json!(["a"])],
        ),
        ("start", &[json!(1), json!(""), json!("  "), json!("a\u{0}b"), json!({}), json!("x".repeat(140_000))]),
        ("install", &[json!(true), json!(""), json!("a\u{0}b")]),
        ("path", &[json!(1), json!(""), json!("a\u{0}b"), json!("x".repeat(5000)), json!("does/not/exist")]),
        ("port", &[json!("3000"), json!(0), json!(-1), json!(65536), json!(80.5), json!(true)]),
        ("strict_port", &[json!("yes"), json!(1)]),
        (
            "ignore_ports",
            &[
                json!(9229),
                json!("9229"),
                json!({}),
                json!([0]),
                json!([65536]),
                json!(["1"]),
                json!([null]),
                json!([80, 1.5]),
            ],
        ),
        (
            "environment",
            &[json!([]), json!("A=b"), json!({"A": 1}), json!({"": "x"}), json!({"A=B": "x"}), json!({"A": "x\u{0}"})],
        ),
        ("env_file", &[json!(1), json!(""), json!("a\u{0}b")]),
        ("restart_policy", &[json!("sometimes"), json!(1), json!("")]),
        ("max_restarts", &[json!("3"), json!(-1), json!(1.5)]),
        ("restart_delay_ms", &[json!("3"), json!(-1), json!(1e18)]),
        ("restart_delay_max_ms", &[json!("3"), json!(-1)]),
        ("stop_timeout_ms", &[json!("3"), json!(-1)]),
        ("autostart", &[json!("true"), json!(0)]),
        (
            "health_check",
            &[json!("/"), json!({"path": "no-slash"}), json!({"interval_ms": -1}), json!({"timeout_ms": "1"})],
        ),
        ("overlay", &[json!({"source": "/a", "target": "b"})]),
        ("overlays", &[json!([{"source": "/a", "target": "b"}])]),
        ("depends_on", &[json!(["x"])]),
        ("stdin", &[json!(0), json!("closed"), json!("")]),
        ("stop_signal", &[json!(0), json!("SIGSTOP"), json!("CLD"), json!(true), json!("")]),
        ("stop_mode", &[json!(0), json!("process"), json!("")]),
    ];
    for (field, values) in wrong {
        for value in *values {
            let mut spec = json!({"slug": "new", "start": "sleep 600"});
            spec[field] = value.clone();
            let refused = daemon.client.create(&spec);
            let sentence = refused.error(422);
            let fields = refused.json()["fields"].as_object().unwrap().clone();
            assert!(fields.keys().any(|name| name.starts_with(field)), "{field} = {value}: {fields:?}");
            assert!(sentence.contains(field), "{sentence}");
        }
    }
    let several = daemon.client.create(&json!({"port": 0, "autostart": 1, "restart_policy": "on-fialure"}));
    let fields = several.json()["fields"].as_object().unwrap().clone();
    assert_eq!(several.status, 422);
    for name in ["slug", "start", "port", "autostart", "restart_policy"] {
        assert!(fields.contains_key(name), "{name}: {fields:?}");
    }
    assert!(fields["restart_policy"].as_str().unwrap().contains("on-failure"));
    let servers = daemon.client.get("/servers").json();
    assert_eq!(servers["data"]["servers"].as_array().unwrap().len(), 1, "nothing was started, nothing was lost");
    assert_eq!(daemon.descendants().len(), 1);
}

#[test]
fn a_body_that_is_no_configuration() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    for body in ["", "{", "nonsense", "{\"slug\": \"a\",}", "\u{0}", "[", &"[".repeat(100_000)] {
        post(client, body.as_bytes()).error(400);
    }
    post(client, b"{\"slug\": \"\xff\", \"start\": \"a\"}").error(400);
    for body in ["null", "[]", "1", "\"a\""] {
        post(client, body.as_bytes()).error(422);
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let body = br#"{"slug":"a","start":"sleep 600"}"#;
        client.request("POST", "/servers", &[("Content-Type", content_type)], Some(body)).error(415);
    }
    let large = json!({"slug": "a", "start": "sleep 600", "note": "x".repeat(1024 * 1024)});
    client.create(&large).error(413);
    assert_eq!(client.get("/servers").json()["data"]["servers"], json!([]));
}

#[test]
fn a_typo_is_warned_of() {
    let daemon = Daemon::start();
    let spec = json!({"slug": "app", "start": "sleep 600", "restart_polcy": "always", "restartPolicy": "always"});
    let created = daemon.client.create(&spec);
    created.server(201);
    let warnings = created.json()["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 2, "{warnings}");
    assert!(warnings[0].as_str().unwrap().contains("restart_policy"), "{warnings}");
}

#[test]
fn warnings_stand_in_the_server_of_the_answer() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let spec = json!({
        "slug": "app", "start": "true && exec sleep 600", "command": "node x", "cwd": "/app", "env": {"A": "b"},
        "healthCheck": {}, "health_check": {"url": "/up"}, "environment": {"discovery.type": "single-node"},
    });
    let created = client.create(&spec);
    let server = created.server(201);
    let warnings = server["warnings"].clone();
    assert_eq!(warnings, created.json()["warnings"]);
    let texts: Vec<&str> = warnings.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for (slip, field) in [
        ("\"command\"", "\"start\""),
        ("\"cwd\"", "\"path\""),
        ("\"env\"", "\"environment\""),
        ("\"healthCheck\"", "\"health_check\""),
        ("health_check \"url\"", "\"path\""),
        ("environment \"discovery.type\"", "does not reach start"),
    ] {
        assert!(texts.iter().any(|text| text.contains(slip) && text.contains(field)), "{slip}: {texts:?}");
    }
    assert_eq!(texts.len(), 6, "{texts:?}");
    // They are about a request: the next answer has its own.
    assert_eq!(client.show("app").get("warnings"), None);
    let odd = client.get("/servers/app?waitfor=ready").json();
    assert_eq!(odd["data"]["server"]["warnings"], odd["warnings"]);
    assert!(odd["warnings"][0].as_str().unwrap().contains("wait_for"));
}

#[test]
fn a_program_that_needs_no_shell_gets_every_variable() {
    let daemon = Daemon::start();
    let spec = |slug: &str, start: String| json!({"slug": slug, "start": start, "environment": {"discovery.type": "single", "a-b": "c", "PLAIN": "x"}});
    let report = format!("{} report", testchild());
    for (slug, start, arrives) in [("plain", report.clone(), true), ("shell", format!("true && {report}"), false)] {
        let created = daemon.client.create(&spec(slug, start)).server(201);
        assert_eq!(created.get("warnings").is_none(), arrives, "{created}");
        daemon.client.wait_for_status(slug, "stopped");
        let reported = daemon.client.logs(slug, "?stream=stdout");
        assert!(reported.contains("env.PLAIN=x"));
        // dash and busybox drop them; bash keeps them.
        let all = ["env.discovery.type=single", "env.a-b=c"].iter().all(|line| reported.contains(line));
        assert!(all == arrives || std::fs::canonicalize("/bin/sh").unwrap().ends_with("bash"), "{slug}: {reported}");
    }
}

#[test]
fn a_command_that_does_not_exist() {
    let daemon = Daemon::start();
    for (slug, start, code, reason) in [
        ("none", "no-such-program --at-all", 127, "command not found"),
        ("data", "./data.txt", 126, "./data.txt is not executable"),
    ] {
        std::fs::write(daemon.root.join("data.txt"), "data").unwrap();
        daemon.client.create(&json!({"slug": slug, "start": start})).server(201);
        let failed = daemon.client.wait_for_status(slug, "failed");
        assert_eq!(failed["exit_code"], code);
        assert!(failed["status_reason"].as_str().unwrap().contains(reason), "{failed}");
        assert!(!daemon.client.logs(slug, "?stream=stderr").is_empty(), "the shell's own words are in the log");
    }
}

#[test]
fn a_path_that_is_a_file_or_is_made_too_late() {
    let daemon = Daemon::start();
    std::fs::write(daemon.root.join("file"), "").unwrap();
    let refused = daemon.client.create(&json!({"slug": "app", "start": "sleep 600", "path": "file"}));
    assert!(refused.error(422).contains("directory"));
    // With an install command the directory may be expected to come; here it does not.
    let spec = json!({"slug": "app", "start": "sleep 600", "install": "true", "path": "later"});
    daemon.client.create(&spec).server(201);
    let failed = daemon.client.wait_for_status("app", "failed");
    assert!(failed["status_reason"].as_str().unwrap().contains("does not exist"), "{failed}");
    assert_eq!(daemon.client.get("/servers/app/logs?tail=x").status, 422);
}

#[test]
fn why_a_program_that_is_there_can_not_be_run_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start();
    let client = &daemon.client;
    let put = |name: &str, content: &[u8], mode: u32| {
        let path = daemon.root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    put("gone", b"#!/opt/none/bin/python3\nprint(1)\n", 0o755);
    put("windows", b"#!/bin/sh\r\necho hi\r\n", 0o755);
    put("windows-env", b"#!/usr/bin/env sh\r\necho hi\r\n", 0o755);
    put("env", b"#!/usr/bin/env no-such-interpreter\n", 0o755);
    put("plain", b"#!/bin/sh\n", 0o644);
    put("through", format!("#!{}/gone\n", daemon.root.display()).as_bytes(), 0o755);
    put("bin/in-path", b"#!/opt/none/bin/ruby\n", 0o755);
    // The own program with another loader.
    let mut elf = std::fs::read("/bin/sleep").unwrap();
    let loader = elf.windows(4).position(|bytes| bytes == b"/lib").unwrap();
    elf[loader..loader + 4].copy_from_slice(b"/bil");
    put("loader", &elf, 0o755);
    let path = format!("{}:/usr/bin:/bin", daemon.root.join("bin").display());
    for (slug, start, words) in [
        ("gone", "./gone", &["./gone names the interpreter /opt/none/bin/python3, which does not exist"][..]),
        ("windows", "./windows", &["the first line of ./windows ends in CR", "\"/bin/sh\"", "LF"]),
        ("windows-env", "./windows-env --x", &["the first line of ./windows-env ends in CR", "env sh"]),
        ("env", "./env", &["./env names the interpreter no-such-interpreter, which is not in PATH"]),
        ("plain", "./plain", &["./plain is not executable; chmod +x"]),
        ("through", "./through", &["an interpreter that can't be run", "/opt/none/bin/python3"]),
        ("in-path", "in-path a b", &["in-path names the interpreter /opt/none/bin/ruby"]),
        ("loader", "./loader 1", &["./loader needs the loader /bil", "which does not exist"]),
        ("chain", "cd bin && A=b ./in-path 'x y' || exit", &["/opt/none/bin/ruby"]),
        ("directory", "./bin", &["./bin is a directory"]),
    ] {
        client.create(&json!({"slug": slug, "start": start, "environment": {"PATH": path}})).server(201);
        let failed = client.wait_for_status(slug, "failed");
        let reason = failed["status_reason"].as_str().unwrap();
        assert!([126, 127].map(|code| json!(code)).contains(&failed["exit_code"]), "{failed}");
        assert!(words.iter().all(|word| reason.contains(word)), "{slug}: {reason}");
    }
    let install = json!({"slug": "install", "install": "./gone", "start": "true"});
    client.create(&install).server(201);
    let reason = client.wait_for_status("install", "failed")["status_reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("install exited with code 127 (./gone names the interpreter"), "{reason}");
    // What a program says by such a code itself is left as it is, and what is missing is missing.
    for (slug, start) in [("own", "sh -c 'exit 127'"), ("none", "./none"), ("after", "true; exit 127")] {
        client.create(&json!({"slug": slug, "start": start})).server(201);
        let failed = client.wait_for_status(slug, "failed");
        assert_eq!(failed["status_reason"], "exited with code 127 (command not found)", "{slug}");
    }
}
