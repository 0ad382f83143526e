//! Overlays through the API.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Client, Daemon, LIMIT, Scratch, median_and_max, wait_until};

#[track_caller]
fn post(client: &Client, spec: &Value) -> Answer {
    let body = serde_json::to_vec(spec).unwrap();
    client.request("POST", "/filesystem/overlays", &[("Content-Type", "application/json")], Some(&body))
}

#[track_caller]
fn created(client: &Client, spec: &Value) -> Value {
    let answer = post(client, spec);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

#[track_caller]
fn show(client: &Client, id: &Value) -> Value {
    let answer = client.get(&format!("/filesystem/overlays/{}", id.as_str().unwrap()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// As the client waits: it asks until there is nothing to wait for.
#[track_caller]
fn over(client: &Client, id: &Value) -> Value {
    wait_until("the overlay is over", || {
        let overlay = show(client, id);
        matches!(overlay["copy_status"].as_str(), Some("complete" | "failed")).then_some(overlay)
    })
}

fn file(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A project of `light` files, and `heavy` ones in its `node_modules`.
fn template(scratch: &Scratch, light: usize, heavy: usize) -> PathBuf {
    let top = scratch.0.join("template");
    for number in 0..light {
        file(&top.join(format!("src/d{}/f{number}.js", number % 20)), format!("// {number}\n").repeat(50));
    }
    for number in 0..heavy {
        let path = format!("node_modules/p{}/lib/f{number}.js", number / 25);
        file(&top.join(path), format!("exports.n = {number}\n").repeat(number % 100));
    }
    top
}

#[test]
fn an_overlay_from_its_creation_to_its_end() {
    let daemon = Daemon::start();
    let scratch = Scratch::new();
    let source = template(&scratch, 40, 200);
    file(&source.join(".git/HEAD"), "ref");
    file(&source.join("x.log"), "");
    let spec = json!({"source": source, "target": "app", "ignore": ["*.log"], "waitForCompletion": true});
    let overlay = created(&daemon.client, &spec);
    assert_eq!(overlay["strategy"], "smart");
    assert_eq!((&overlay["source"], &overlay["target"]), (&json!(source), &json!("app")));
    assert_eq!(overlay["resolved_target"], json!(daemon.root.join("app")));
    assert!(overlay["created_at"].as_str().unwrap().ends_with('Z') && overlay.get("warnings").is_none());
    assert_eq!(fs::read_dir(daemon.root.join("app/node_modules")).unwrap().count(), 8, "usable at once");
    let done = over(&daemon.client, &overlay["id"]);
    assert_eq!((&done["copy_status"], done.get("copy_error")), (&json!("complete"), None));
    assert_eq!(done["stats"]["copied_files"], 240);
    assert_eq!(done["stats"]["skipped"], json!([".git", "x.log"]));
    let heavy = fs::symlink_metadata(daemon.root.join("app/node_modules")).unwrap();
    assert!(heavy.is_dir(), "no placeholder is left");

    let copy = created(&daemon.client, &json!({"source": source, "target": "copy", "strategy": "copy"}));
    over(&daemon.client, &copy["id"]);
    let list = daemon.client.get("/filesystem/overlays").json();
    let ids: Vec<_> = list["overlays"].as_array().unwrap().iter().map(|overlay| overlay["id"].clone()).collect();
    assert_eq!(ids, [overlay["id"].clone(), copy["id"].clone()]);

    let path = format!("/filesystem/overlays/{}", overlay["id"].as_str().unwrap());
    let gone = daemon.client.delete(&path);
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    assert!(daemon.root.join("app/src").is_dir());
    daemon.client.get(&path).error(404);
    daemon.client.delete(&path).error(404);
    let path = format!("/filesystem/overlays/{}?delete_files=true", copy["id"].as_str().unwrap());
    file(&daemon.root.join("copy/src/mine.js"), "mine");
    assert_eq!(daemon.client.delete(&path).status, 204);
    assert!(!daemon.root.join("copy/node_modules").exists());
    assert_eq!(fs::read(daemon.root.join("copy/src/mine.js")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(daemon.root.join("copy")).unwrap().count(), 1);
    assert!(source.join("node_modules/p0/lib/f1.js").is_file());
}

#[test]
fn what_can_not_be_is_refused_with_every_field() {
    let daemon = Daemon::start();
    let scratch = Scratch::new();
    let source = template(&scratch, 1, 0);
    std::os::unix::fs::symlink(&scratch.0, daemon.root.join("out")).unwrap();
    for (spec, fields) in [
        (json!({}), &["source", "target"][..]),
        (json!({"source": "templates", "target": "../x", "strategy": "fast"}), &["source", "target", "strategy"]),
        (json!({"source": source.join("missing"), "target": "a"}), &["source"]),
        (json!({"source": source.join("src/d0/f0.js"), "target": "a"}), &["source"]),
        (json!({"source": source, "target": "out/a"}), &["target"]),
        (json!({"source": source.join("missing"), "target": "out/a"}), &["source", "target"]),
        (json!({"source": source, "target": source.join("inner")}), &["target"]),
        (json!({"source": source, "target": "a", "ignore": "*.log"}), &["ignore"]),
    ] {
        let answer = post(&daemon.client, &spec);
        answer.error(422);
        let mut named: Vec<_> = answer.json()["fields"].as_object().unwrap().keys().cloned().collect();
        let mut fields = fields.to_vec();
        named.sort();
        fields.sort_unstable();
        assert_eq!(named, fields, "{}", answer.text());
    }
    for (method, path, status) in [
        ("GET", "/filesystem/overlays/0123456789", 404),
        ("GET", "/filesystem/overlays/NoSuch", 404),
        ("DELETE", "/filesystem/overlays/0123456789", 404),
        ("DELETE", "/filesystem/overlays/0123456789?delete_files=maybe", 422),
        ("PUT", "/filesystem/overlays", 405),
        ("POST", "/filesystem/overlays/0123456789", 405),
        ("GET", "/filesystem", 404),
        ("POST", "/filesystem/overlays", 415),
    ] {
        daemon.client.request(method, path, &[], None).error(status);
    }
    assert_eq!(daemon.client.get("/filesystem/overlays").json(), json!({"overlays": []}));
    let warned = created(&daemon.client, &json!({"source": source, "target": "a", "ignroe": []}));
    assert!(warned["warnings"][0].as_str().unwrap().contains("ignore"), "{warned}");
    let stranger = Client { token: None, ..daemon.client.clone() };
    stranger.get("/filesystem/overlays").error(401);
}

#[test]
fn a_file_that_is_too_large_for_the_disk_fails_the_overlay_and_not_the_daemon() {
    let daemon = Daemon::start();
    let scratch = Scratch::new();
    let source = template(&scratch, 5, 5);
    file(&source.join("node_modules/big/blob"), vec![1; 3 << 20]);
    // Stands for a full disk: writes beyond a megabyte fail.
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the daemon is ours and not reaped; `limit` lives through the call.
    let set = unsafe { libc::prlimit(daemon.pid(), libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    for strategy in ["smart", "copy"] {
        let overlay = created(&daemon.client, &json!({"source": source, "target": strategy, "strategy": strategy}));
        let done = over(&daemon.client, &overlay["id"]);
        assert_eq!(done["copy_status"], "failed");
        let why = done["copy_error"].as_str().unwrap();
        assert!(why.contains("node_modules/big/blob") && why.contains("too large"), "{why}");
        assert!(!daemon.root.join(strategy).join("node_modules/big/blob").exists());
        assert!(!fs::symlink_metadata(daemon.root.join(strategy).join("node_modules")).is_ok_and(|it| it.is_symlink()));
        let names: Vec<_> =
            fs::read_dir(daemon.root.join(strategy)).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".servisor")), "{names:?}");
    }
}

#[test]
fn a_full_disk_fails_the_overlay_and_no_other() {
    let scratch = Scratch::new();
    let root = scratch.0.join("root");
    fs::create_dir_all(&root).unwrap();
    let templates = Scratch::new();
    let source = template(&templates, 5, 5);
    file(&source.join("node_modules/big/blob"), vec![1; 3 << 20]);
    let before = list(&source);
    let mount = format!("mount -t tmpfs -o size=1m none {} && exec \"$@\"", root.display());
    let allowed = Command::new("unshare").args(["-rm", "sh", "-c", &mount, "sh", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("not here: a file system of its own can't be mounted");
        return;
    }
    let daemon = Daemon::wrapped(scratch, &["unshare", "-rm", "sh", "-c", &mount, "sh"]);
    let client = &daemon.client;
    client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    let pid = client.wait_for_status("web", "running")["pid"].clone();
    for strategy in ["smart", "copy"] {
        let overlay = created(client, &json!({"source": source, "target": strategy, "strategy": strategy}));
        let done = over(client, &overlay["id"]);
        assert_eq!(done["copy_status"], "failed");
        let why = done["copy_error"].as_str().unwrap();
        // Mostly the large one, but a small one may come when there is no room just then.
        let (name, what) = why.split_once(": ").unwrap();
        assert!(source.join(name).is_file() && what.contains("No space left"), "{why}");
        let spec = json!({"slug": "late", "start": "sleep 600", "depends_on": [overlay["id"]]});
        client.create(&spec).server(201);
        let reason = client.wait_for_status("late", "failed")["status_reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("No space left"), "{reason}");
        // What was half written is gone: there is room again.
        let spec = json!({"slug": "room", "start": "head -c 600000 /dev/zero > room && rm room"});
        client.create(&spec).server(201);
        client.wait_for_status("room", "stopped");
    }
    let web = client.show("web");
    assert_eq!((&web["pid"], &web["status"], &web["restart_count"]), (&pid, &json!("running"), &json!(0)));
    assert_eq!(list(&source), before);
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    use std::os::unix::process::CommandExt;
    let scratch = Scratch::new();
    let source = template(&scratch, 3, 0);
    fs::set_permissions(source.join("src/d1/f1.js"), PermissionsExt::from_mode(0o000)).unwrap();
    let (root, state) = (scratch.0.join("root"), scratch.0.join("state"));
    let binary = scratch.0.join("servisor");
    fs::copy(env!("CARGO_BIN_EXE_servisor"), &binary).unwrap();
    let socket = state.join("s");
    let mut command = Command::new(&binary);
    command.args(["serve", "--no-auth", "--listen", &format!("unix:{}", socket.display())]);
    command.arg("--root").arg(&root).arg("--state-dir").arg(&state).stderr(std::process::Stdio::null());
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for directory in [&root, &state] {
        fs::create_dir(directory).unwrap();
        if is_root {
            std::os::unix::fs::chown(directory, Some(65534), Some(65534)).unwrap();
        }
    }
    if is_root {
        // Root reads everything.
        command.uid(65534).gid(65534);
    }
    let mut process = command.spawn().unwrap();
    let ask = |method: &str, target: &str, body: &str| {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let json = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(format!("{head}{json}").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str::<Value>(answer.split_once("\r\n\r\n")?.1).ok()
    };
    let spec = json!({"source": source, "target": "app"}).to_string();
    let overlay = wait_until("it answers", || ask("POST", "/filesystem/overlays", &spec));
    let path = format!("/filesystem/overlays/{}", overlay["id"].as_str().unwrap());
    let done = wait_until("it is over", || ask("GET", &path, "").filter(|it| it["copy_status"] != "in_progress"));
    let why = done["copy_error"].as_str().unwrap().to_owned();
    let _ = process.kill();
    let _ = process.wait();
    assert_eq!(done["copy_status"], "failed");
    assert!(why.starts_with("src/d1/f1.js: Permission denied"), "{why}");
}

#[test]
fn the_daemon_ends_in_the_middle_of_a_copy() {
    let mut daemon = Daemon::start();
    let scratch = Scratch::new();
    let source = template(&scratch, 10, 5000);
    let before = list(&source);
    created(&daemon.client, &json!({"source": source, "target": "app"}));
    created(&daemon.client, &json!({"source": source, "target": "copy", "strategy": "copy"}));
    daemon.signal(libc::SIGTERM);
    let started = Instant::now();
    assert!(daemon.wait().success());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!fs::symlink_metadata(daemon.root.join("app/node_modules")).is_ok_and(|it| it.is_symlink()));
    assert_eq!(list(&source), before);
}

#[test]
fn a_killed_daemon_is_followed_by_one_that_continues() {
    let mut daemon = Daemon::start();
    let scratch = Scratch::new();
    let source = template(&scratch, 20, 4000);
    let before = list(&source);
    let smart = created(&daemon.client, &json!({"source": source, "target": "smart", "ignore": ["f3.js"]}));
    let copy = created(&daemon.client, &json!({"source": source, "target": "copy", "strategy": "copy"}));
    wait_until("some files are copied", || {
        show(&daemon.client, &copy["id"])["stats"]["copied_files"].as_u64().filter(|&count| count > 50)
    });
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    for (overlay, target) in [(&smart, "smart"), (&copy, "copy")] {
        let done = over(&daemon.client, &overlay["id"]);
        assert_eq!(done["copy_status"], "complete", "{done}");
        for field in ["source", "target", "created_at", "strategy", "ignore"] {
            assert_eq!(done[field], overlay[field], "{field}");
        }
        let ignored = |line: &String| target == "smart" && line.split(' ').next().unwrap().ends_with("/f3.js");
        let expected: Vec<_> = before.iter().filter(|line| !ignored(line)).cloned().collect();
        let directories = |lines: &[String]| lines.iter().filter(|line| line.contains(" d ")).count();
        let files = |lines: Vec<String>| lines.into_iter().filter(|line| !line.contains(" d ")).collect::<Vec<_>>();
        let there = list(&daemon.root.join(target));
        assert_eq!(directories(&there), directories(&expected));
        assert!(files(there) == files(expected), "{target} is not the same as its template");
    }
    let done = show(&daemon.client, &smart["id"]);
    fs::remove_file(daemon.root.join("smart/src/d1/f1.js")).unwrap();
    daemon.client.delete(&format!("/filesystem/overlays/{}", copy["id"].as_str().unwrap()));
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    assert_eq!(daemon.client.get("/filesystem/overlays").json(), json!({"overlays": [done]}));
    assert!(!daemon.root.join("smart/src/d1/f1.js").exists(), "a complete overlay is not copied again");
    assert_eq!(list(&source), before);
}

/// All paths of a tree, with their sizes, by `find`.
fn list(top: &Path) -> Vec<String> {
    let output = Command::new("find").arg(top).args(["-printf", "%P %y %s %T@\n"]).output().unwrap();
    let mut lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

mod timed {
    use super::*;

    #[test]
    fn a_large_template_is_usable_at_once_and_copied_as_fast_as_cp_does() {
        let daemon = Daemon::start();
        let scratch = Scratch::new();
        let source = template(&scratch, 400, 19_600);
        let mut ratios = Vec::new();
        let (mut answers, mut asks) = (Vec::new(), Vec::new());
        for round in 0..2 {
            let started = Instant::now();
            let status = Command::new("cp").arg("-a").arg(&source).arg(scratch.0.join(format!("cp{round}"))).status();
            assert!(status.unwrap().success());
            let cp = started.elapsed();

            let started = Instant::now();
            let spec = json!({"source": source, "target": format!("copy{round}"), "strategy": "copy"});
            let copy = created(&daemon.client, &spec);
            loop {
                let asked = Instant::now();
                let status = show(&daemon.client, &copy["id"])["copy_status"].clone();
                asks.push(asked.elapsed());
                match status.as_str() {
                    Some("complete") => break,
                    Some("in_progress" | "pending") => std::thread::sleep(Duration::from_millis(5)),
                    other => panic!("{other:?}"),
                }
                assert!(started.elapsed() < LIMIT);
            }
            let copied = started.elapsed();
            ratios.push(cp.as_secs_f64() / copied.as_secs_f64());
            println!("20,000 files: cp -a {cp:?}, copy {copied:?}, {:.2} times as fast", ratios[round]);

            let started = Instant::now();
            let smart = created(&daemon.client, &json!({"source": source, "target": format!("smart{round}")}));
            answers.push(started.elapsed());
            over(&daemon.client, &smart["id"]);
            println!("smart: answered after {:?}, complete after {:?}", answers[round], started.elapsed());
        }
        let (answer, _) = median_and_max(&mut answers);
        let (ask, slowest) = median_and_max(&mut asks);
        println!("asked meanwhile: median {ask:?}, at most {slowest:?}");
        let expected =
            Command::new("find").arg(&source).output().unwrap().stdout.iter().filter(|&&byte| byte == b'\n').count();
        for copy in ["copy0", "smart1"] {
            assert_eq!(list(&daemon.root.join(copy)).len(), expected, "{copy}");
        }
        assert!(answer < Duration::from_secs(1), "a smart overlay was answered after {answer:?}");
        assert!(ask < Duration::from_millis(250), "the API answered after {ask:?} while a copy ran");
        let best = ratios.iter().copied().fold(0.0, f64::max);
        assert!(best > 0.4, "a copy takes {:.1} times as long as cp -a", 1.0 / best);
    }
}
