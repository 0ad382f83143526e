//! What servers write, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, Finish, Scratch, testchild, wait_until};

fn with_log_dir(directory: &Path, options: &[&str]) -> Daemon {
    Daemon::with(&[&["--log-dir", directory.to_str().unwrap()], options].concat(), &[])
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

#[track_caller]
fn wait_for(path: &Path, text: &str) {
    wait_until(&format!("{} is {text:?}", path.display()), || (read(path) == text).then_some(()));
}

/// The soft limit on the size of files that the daemon writes: to it, a full disk that does not fill the machine's.
fn limit_file_size(daemon: &Daemon, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is valid for reads, and the old one is not asked for.
    let result = unsafe { libc::prlimit(daemon.pid(), libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// How often the thread that writes files has waited so far.
fn waits_of_the_writer(daemon: &Daemon) -> u64 {
    let tasks = fs::read_dir(PathBuf::from(format!("/proc/{}/task", daemon.pid()))).unwrap().flatten();
    let writer = tasks.map(|task| task.path()).find(|task| read(&task.join("comm")).trim() == "files").unwrap();
    let status = read(&writer.join("status"));
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn both_streams_have_files_that_outlive_server_and_daemon() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("deep/logs");
    let (out, err) = (directory.join("app.stdout.log"), directory.join("app.stderr.log"));
    let spec = json!({"slug": "app", "install": "echo install", "start": "echo out; echo bad >&2"});
    {
        let daemon = with_log_dir(&directory, &[]);
        daemon.client.create(&spec).server(201);
        daemon.client.wait_for_status("app", "stopped");
        wait_for(&out, "install\nout\n");
        wait_for(&err, "bad\n");
        for (path, mode) in [(&directory, 0o700), (&out, 0o600), (&err, 0o600)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
        }
        assert_eq!(daemon.client.delete("/servers/app").status, 204);
        daemon.client.create(&spec).server(201);
        wait_for(&out, "install\nout\ninstall\nout\n");
        // Idle means without wake-ups.
        daemon.client.wait_for_status("app", "stopped");
        wait_for(&err, "bad\nbad\n");
        wait_until("the writer sleeps through more than one time to try again", || {
            let before = waits_of_the_writer(&daemon);
            std::thread::sleep(Duration::from_millis(1500));
            (waits_of_the_writer(&daemon) == before).then_some(())
        });
    }
    let mut daemon = with_log_dir(&directory, &[]);
    let spec = json!({"slug": "app", "start": format!("exec {} drain 20 say out stay", testchild())});
    daemon.client.create(&spec).server(201);
    wait_for(&out, "install\nout\ninstall\nout\nout\n");
    // The last words are written before the daemon ends.
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(read(&out), "install\nout\ninstall\nout\nout\ndraining\ndrained\n");
}

#[test]
fn files_are_set_aside_by_size_and_hold_every_line_of_a_flood() {
    const LINES: usize = 300_000;
    let scratch = Scratch::new();
    let daemon = with_log_dir(&scratch.0, &["--log-file-bytes", "2500000"]);
    daemon.client.create(&json!({"slug": "app", "start": format!("{} lines {LINES}", testchild())})).server(201);
    daemon.client.wait_for_status("app", "stopped");
    let (now, before) = (scratch.0.join("app.stdout.log"), scratch.0.join("app.stdout.log.1"));
    wait_until("the end is written", || read(&now).ends_with(&format!("line {}\n", LINES - 1)).then_some(()));
    assert!(fs::metadata(&before).unwrap().len() <= 2_500_000);
    assert!(read(&now).starts_with("line "));
    let all = read(&before) + &read(&now);
    let (mut next, mut skipped, mut is_gap): (Option<usize>, usize, bool) = (None, 0, false);
    let mut lines = all.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(note) = line.strip_prefix("servisor: ") {
            skipped += note.split(' ').next().unwrap().parse::<usize>().unwrap();
            is_gap = true;
            continue;
        }
        // What stands before a gap may be cut, and what follows one may be the rest of a line.
        let is_cut = lines.peek().is_some_and(|following| following.starts_with("servisor: "));
        let Some(number) = line.strip_prefix("line ").filter(|_| !is_cut) else {
            assert!(is_cut || is_gap, "{line:?} is no line of the server");
            continue;
        };
        let number: usize = number.parse().unwrap();
        let follows = next.is_none_or(|next| if is_gap { number >= next } else { number == next });
        assert!(follows, "{number} instead of {next:?}, after a gap: {is_gap}");
        (next, is_gap) = (Some(number + 1), false);
    }
    assert_eq!(next, Some(LINES));
    println!("{skipped} bytes came faster than the disk took them");
}

#[test]
fn a_full_disk_stops_the_files_and_not_the_server() {
    let scratch = Scratch::new();
    let daemon = with_log_dir(&scratch.0, &["--log-buffer-bytes", "65536"]);
    // As if the disk had room for so much.
    limit_file_size(&daemon, 20_000);
    let script = "while :; do [ -e go ] && break; sleep 0.01; done";
    let start = format!("{} lines 50000; {script}; echo last; exec sleep 600", testchild());
    daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
    wait_until("the server has written", || daemon.client.logs("app", "?tail=1").contains("line 49999").then_some(()));
    wait_until("the trouble is logged", || daemon.log().contains("app.stdout.log can't be written").then_some(()));
    let path = scratch.0.join("app.stdout.log");
    assert_eq!(fs::metadata(&path).unwrap().len(), 20_000, "what there was room for is written");
    daemon.client.wait_for_status("app", "running");
    limit_file_size(&daemon, libc::RLIM_INFINITY);
    fs::write(daemon.root.join("go"), "").unwrap();
    wait_until("files are written again", || {
        daemon.log().contains("[app] its log files are written again").then_some(())
    });
    wait_until("the end is written", || read(&path).ends_with("\nlast\n").then_some(()));
    assert_eq!(daemon.log().matches("can't be written").count(), 1, "it is logged once");
    let written: String = (0..50_000).map(|line| format!("line {line}\n")).chain(["last\n".into()]).collect();
    let text = read(&path);
    assert!(text.contains("servisor: ") && is_account_of(&text, &written), "{text:?}");
}

/// Whether `text` is all of `written`, except for what its notes say is missing right where they stand.
fn is_account_of(text: &str, written: &str) -> bool {
    let Some((before, rest)) = text.split_once("servisor: ") else { return text == written };
    let (missing, after) = rest.split_once(" bytes are missing here: they could not be written in time\n").unwrap();
    let missing: usize = missing.parse().unwrap();
    // A note has a line of its own: the line feed before it may be the note's.
    let mut befores = [Some(before), before.strip_suffix('\n')].into_iter().flatten();
    befores.any(|before| {
        let rest = written.strip_prefix(before).and_then(|rest| rest.get(missing..));
        rest.is_some_and(|rest| is_account_of(after, rest))
    })
}

#[test]
fn a_removed_directory_stops_the_files_and_not_the_server() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("logs");
    let daemon = with_log_dir(&directory, &[]);
    fs::remove_dir(&directory).unwrap();
    daemon.client.create(&json!({"slug": "app", "start": "echo one; exec sleep 600"})).server(201);
    wait_until("the trouble is logged", || daemon.log().contains("can't be written").then_some(()));
    assert_eq!(daemon.client.logs("app", ""), "one\n");
    fs::create_dir(&directory).unwrap();
    wait_for(&directory.join("app.stdout.log"), "one\n");
    wait_until("that it works is logged", || daemon.log().contains("written again").then_some(()));
}

#[test]
fn a_directory_that_can_not_be_used_is_reported_at_the_start() {
    let scratch = Scratch::new();
    let file = scratch.0.join("file");
    fs::write(&file, "").unwrap();
    let output = Daemon::command()
        .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(scratch.0.join("state"))
        .arg("--log-dir")
        .arg(&file)
        .finish();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("log directory") && text.contains(file.to_str().unwrap()), "{text}");
}
