//! What a server is given: environment, directory, descriptors, signals, limits, a port.

use std::collections::HashMap;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Scratch, free_port, testchild};

/// Runs `testchild report` with `spec` and gives what it says.
fn report(client: &Client, mut spec: Value) -> HashMap<String, String> {
    spec["start"] = json!(format!("{} report", testchild()));
    client.create(&spec).server(201);
    let slug = spec["slug"].as_str().unwrap();
    client.wait_for_status(slug, "stopped");
    let lines = client.logs(slug, "?stream=stdout");
    lines.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn the_environment_is_made_of_layers() {
    let daemon = Daemon::with(
        &[],
        &[
            ("FROM_DAEMON", "daemon"),
            ("OVER", "daemon"),
            ("COMPUTESDK_X", "secret"),
            ("OLDPWD", "/secret"),
            ("SERVISOR_LOG_LEVEL", "debug"),
        ],
    );
    std::fs::write(
        daemon.root.join("vars.env"),
        "\u{feff}export FROM_FILE='file # 1'\nOVER=file\nBOTH=file\nPORT=1\nLONG=\"a\\nb\"\n",
    )
    .unwrap();
    let port = free_port();
    let given = report(
        &daemon.client,
        json!({
            "slug": "app", "port": port, "env_file": "vars.env",
            "environment": {"BOTH": "spec", "FROM_SPEC": "spec", "PORT": "2", "EMPTY": ""},
        }),
    );
    for (name, value) in [
        ("FROM_DAEMON", "daemon"),
        ("FROM_FILE", "file # 1"),
        ("FROM_SPEC", "spec"),
        ("OVER", "file"),
        ("BOTH", "spec"),
        ("PORT", "2"),
        ("EMPTY", ""),
        ("PYTHONUNBUFFERED", "1"),
        ("LONG", "a"),
    ] {
        assert_eq!(given.get(&format!("env.{name}")).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(given.get("env.OLDPWD"), None, "where the daemon's shell was is not the server's affair");
    let mut ours: Vec<_> =
        given.keys().filter(|name| name.starts_with("env.SERVISOR_") || name.starts_with("env.COMPUTESDK_")).collect();
    ours.sort_unstable();
    assert_eq!(ours, ["env.SERVISOR_RUN", "env.SERVISOR_URL"], "the daemon's own variables are its own");
    let reserved = daemon.client.show("app")["port"].clone();
    assert_eq!(given["env.SERVISOR_URL"], format!("http://localhost:{reserved}"));
}

#[test]
fn without_a_port_there_is_no_port() {
    let daemon = Daemon::start();
    let given = report(&daemon.client, json!({"slug": "app"}));
    assert_eq!(given.get("env.PORT"), None);
    assert_eq!(daemon.client.show("app").get("port"), None);
}

#[test]
fn an_env_file_is_read_at_every_start_and_its_absence_is_named() {
    let daemon = Daemon::start();
    let spec = json!({"slug": "app", "start": "echo value=$VALUE", "env_file": ".env"});
    daemon.client.create(&spec).server(201);
    let failed = daemon.client.wait_for_status("app", "failed");
    let reason = failed["status_reason"].as_str().unwrap();
    assert!(reason.contains(".env does not exist"), "{reason}");
    for value in ["1", "2"] {
        std::fs::write(daemon.root.join(".env"), format!("VALUE={value}\n")).unwrap();
        daemon.client.post("/servers/app/start").server(200);
        daemon.client.wait_for_status("app", "stopped");
    }
    assert_eq!(daemon.client.logs("app", ""), "value=1\nvalue=2\n");
    // A pipe in its place must not hold the supervisor.
    std::fs::remove_file(daemon.root.join(".env")).unwrap();
    let path = std::ffi::CString::new(daemon.root.join(".env").display().to_string()).unwrap();
    // SAFETY: `path` is a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    daemon.client.post("/servers/app/start").server(200);
    let reason = daemon.client.wait_for_status("app", "failed")["status_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("not a regular file"), "{reason}");
}

#[test]
fn a_variable_that_the_system_does_not_take_is_named() {
    // The system takes a quarter of the limit on stacks.
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.0.join("root")).unwrap();
    let daemon = Daemon::wrapped(scratch, &["sh", "-c", "ulimit -s 4096; exec \"$@\"", "sh"]);
    let long = format!("SHORT=x\nHUGE={}\n", "x".repeat(200_000));
    let many: String = (0..9).map(|number| format!("V{number}={}\n", "x".repeat(110_000 + number))).collect();
    std::fs::write(daemon.root.join("long.env"), long).unwrap();
    std::fs::write(daemon.root.join("many.env"), &many).unwrap();
    let environment: serde_json::Map<String, Value> =
        (0..9).map(|number| (format!("E{number}"), json!("x".repeat(100_000)))).collect();
    for (slug, file, words) in [
        ("long", "long.env", &["HUGE", "200005 bytes", "131071"][..]),
        ("many", "many.env", &["larger than the system takes", "V8 with 110011"]),
    ] {
        let spec = json!({"slug": slug, "start": "true", "env_file": file, "environment": environment});
        daemon.client.create(&spec).server(201);
        let reason = daemon.client.wait_for_status(slug, "failed")["status_reason"].as_str().unwrap().to_owned();
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    }
}

#[test]
fn a_server_starts_with_a_clean_process() {
    let daemon = Daemon::start();
    std::fs::create_dir(daemon.root.join("sub")).unwrap();
    let given = report(&daemon.client, json!({"slug": "app", "path": "sub"}));
    assert_eq!(given["cwd"], daemon.root.join("sub").display().to_string());
    assert_eq!(given["fds"], "[0, 1, 2]");
    assert_eq!(given["SigBlk"], "0000000000000000");
    // Rust's own start-up ignores SIGPIPE in the program that reports; nothing else may be ignored. The two signals
    // that the C library keeps for itself can't be reset through it, if the parent of the tests ignores them.
    let reserved = 0b11 << 31;
    let ignored = u64::from_str_radix(&given["SigIgn"], 16).unwrap();
    assert_eq!(ignored & !reserved, 1 << (libc::SIGPIPE - 1), "{ignored:x}");
    let daemons: i32 = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert_eq!(given["oom"], (daemons + 300).min(1000).to_string());
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(given["nofile"], limit.rlim_cur.to_string(), "the limit that the daemon was started with");
}

#[test]
fn an_open_stdin_never_ends_and_nothing_comes() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    // What watchers of esbuild, Tailwind and Create React App do in their own languages.
    for (slug, start, shell) in [
        ("cat", "cat", false),
        ("python", "python3 -c 'import sys; sys.stdin.read(); print(\"over\")'", true),
        ("perl", "perl -e 'print \"over\\n\" unless defined <STDIN>'", true),
        ("child", "sh -c 'cat; echo over' && true", true),
    ] {
        let ended = client.create(&json!({"slug": slug, "start": start})).server(201);
        assert_eq!(ended["stdin"], "null");
        assert_eq!(client.wait_for_status(slug, "stopped")["exit_code"], 0, "{slug}");
        assert_eq!(client.logs(slug, "").contains("over"), shell, "{slug}");
        // Install has none to wait for, whatever start has.
        let spec =
            json!({"slug": slug, "start": format!("{start}"), "install": "cat; echo installed", "stdin": "open"});
        assert_eq!(client.create(&spec).server(201)["stdin"], "open");
        let running = client.wait_for_status(slug, "running");
        let input = format!("/proc/{}/fd/0", running["pid"]);
        let target = std::fs::read_link(&input).unwrap().display().to_string();
        assert!(target.starts_with("pipe:"), "{slug}: {target}");
        assert!(client.logs(slug, "").ends_with("installed\n"), "{slug}");
        assert_eq!(client.post(&format!("/servers/{slug}/stop")).server(200)["status"], "stopped");
        client.post(&format!("/servers/{slug}/restart")).server(200);
        client.wait_for_status(slug, "running");
    }
    for wrong in ["closed", "Open", "/dev/null"] {
        let refused = client.create(&json!({"slug": "x", "start": "cat", "stdin": wrong}));
        assert!(refused.error(422).contains("must be one of \"null\", \"open\""));
    }
}

#[test]
fn an_open_stdin_outlives_a_new_life_of_the_daemon_and_its_end_does_not_hang() {
    let mut daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "cat", "stdin": "open"})).server(201);
    daemon.client.wait_for_status("app", "running");
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    let again = daemon.client.wait_for_status("app", "running");
    assert_eq!(again["stdin"], "open");
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn stdin_is_empty() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": format!("{} read-stdin", testchild())})).server(201);
    daemon.client.wait_for_status("app", "stopped");
    assert_eq!(daemon.client.logs("app", ""), "stdin has 0 bytes\n");
}

#[test]
fn a_taken_port_is_refused_or_passed_over() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let strict = json!({"slug": "strict", "start": "sleep 600", "port": port, "strict_port": true});
    let refused = client.create(&strict).error(409);
    let holder = format!("port {port} is held by pid {} (", std::process::id());
    assert!(refused.starts_with(&holder), "{refused}");
    assert_eq!(client.get("/servers/strict").status, 404, "nothing is kept");
    let other =
        client.create(&json!({"slug": "other", "start": "echo $PORT; exec sleep 600", "port": port})).server(201);
    assert_ne!(other["port"], port);
    assert_eq!(other["requested_port"], port);
    crate::support::wait_until("it has said its port", || (!client.logs("other", "").is_empty()).then_some(()));
    assert_eq!(client.logs("other", "").trim(), other["port"].to_string());
    drop(listener);
    client.create(&strict).server(201);
    // Held by a server, though nothing listens on it.
    let held = client.create(&json!({"slug": "third", "start": "true", "port": port, "strict_port": true})).error(409);
    assert!(held.contains("strict"), "{held}");
    client.post("/servers/strict/stop").server(200);
    client.create(&json!({"slug": "third", "start": "sleep 600", "port": port, "strict_port": true})).server(201);
}
