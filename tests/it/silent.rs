//! File systems that never answer, or not any more: FUSE, whose other end is the test.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use self::halting::Halting;
use crate::support::{Control, Daemon, Guarded, Scratch, testchild, wait_until};

mod halting;

/// A mount of FUSE; who waits for it fails when this is dropped.
struct Mounted {
    /// Its other end, which nothing reads by itself.
    device: Arc<File>,
    at: PathBuf,
}

impl Mounted {
    /// `None` where that is not allowed.
    fn at(at: &Path) -> Option<Mounted> {
        fs::create_dir_all(at).unwrap();
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let text = |bytes: &[u8]| CString::new(bytes).unwrap();
        let options = text(format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd()).as_bytes());
        let (source, target, kind) = (text(b"silent"), text(at.as_os_str().as_bytes()), text(b"fuse"));
        // SAFETY: texts that end in NUL and live through the call.
        let mounted =
            unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
        (mounted == 0).then(|| Mounted { device: Arc::new(device), at: at.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let at = CString::new(self.at.as_os_str().as_bytes()).unwrap();
        // SAFETY: a text that ends in NUL and lives through the call.
        unsafe { libc::umount2(at.as_ptr(), libc::MNT_FORCE | libc::MNT_DETACH) };
    }
}

#[test]
fn a_path_that_never_answers_keeps_no_client_and_no_supervisor() {
    let daemon = Daemon::start();
    let Some(silent) = Mounted::at(&daemon.root.join("silent")) else {
        println!("no FUSE here: a silent file system is not tried");
        return;
    };
    let client = &daemon.client;
    client.create(&json!({"slug": "web", "start": "exec sleep 600"})).server(201);
    let before = daemon.size();
    let within = |limit: u64, what: &str, call: &dyn Fn()| {
        let begun = Instant::now();
        call();
        assert!(begun.elapsed() < Duration::from_secs(limit), "{what} took {:?}", begun.elapsed());
    };
    let refused = |spec: serde_json::Value, field: &str| {
        let answer = client.create(&spec);
        assert!(answer.json()["fields"][field].is_string(), "{}", answer.text());
        let sentence = answer.error(422);
        assert!(sentence.contains("its file system has not answered"), "{sentence}");
    };
    within(12, "a path", &|| refused(json!({"slug": "a", "start": "true", "path": "silent/x"}), "path"));
    // An install that could make the directory makes no difference; and nothing is tried again in vain.
    within(4, "the same path", &|| {
        refused(json!({"slug": "a", "start": "true", "install": "true", "path": "silent/x"}), "path");
    });
    let overlays = json!([{"source": daemon.root.join("silent/template"), "target": "app"}]);
    within(12, "an overlay", &|| {
        refused(json!({"slug": "a", "start": "true", "overlays": overlays}), "overlays[0].source");
    });
    within(12, "an env_file", &|| {
        client.create(&json!({"slug": "env", "start": "true", "env_file": "silent/env"}));
        let reason = client.wait_for_status("env", "failed")["status_reason"].to_string();
        assert!(reason.contains("env_file") && reason.contains("has not answered"), "{reason}");
        assert_eq!(client.delete("/servers/env").status, 204);
    });
    within(4, "another server", &|| {
        client.create(&json!({"slug": "other", "start": "exec sleep 600"})).server(201);
        assert_eq!(client.delete("/servers/other").status, 204);
    });
    // What hung ends with the file system.
    drop(silent);
    daemon.until_as_small_as(before);
}

/// The process whose number a server has written, when it waits for the file system of the program that it is to
/// become.
fn stuck_in_exec(daemon: &Daemon, slug: &str) -> u32 {
    let exec = format!("{} ", libc::SYS_execve);
    wait_until("a program waits for its file system", || {
        let pid: u32 = fs::read_to_string(daemon.root.join(slug)).ok()?.trim().parse().ok()?;
        fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?.starts_with(&exec).then_some(pid)
    })
}

fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_program_that_waits_for_its_file_system_delays_no_other_stop_and_outlives_none_of_its_own() {
    let daemon = Daemon::start();
    let Some(silent) = Mounted::at(&daemon.root.join("silent")) else {
        println!("no FUSE here: a silent file system is not tried");
        return;
    };
    let client = &daemon.client;
    // As the first process, as one of its group, and as one that has left session, pipes and parent. Each has a name of
    // its own: a lookup of the same one waits for the first, and no signal ends that.
    let stuck = |slug: &str| format!("echo $$ > {slug}; exec silent/{slug}");
    let starts = [
        ("leader", stuck("leader")),
        ("child", format!("({}) & exec sleep 600", stuck("child").replace("$$", "$(sh -c 'echo $PPID')"))),
        ("away", format!("setsid sh -c '{}' </dev/null >/dev/null 2>&1 & exec sleep 600", stuck("away"))),
    ];
    let mut stuck = Vec::new();
    for (slug, start) in &starts {
        client.create(&json!({"slug": slug, "start": start, "stop_timeout_ms": 300})).server(201);
        stuck.push(stuck_in_exec(&daemon, slug));
    }
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        // Its child has left the session: that it is gone is found by a look at all processes.
        let start = "setsid sleep 600 & exec sleep 600";
        client.create(&json!({"slug": "other", "start": start})).server(201);
        client.wait_for_status("other", "running");
        let begun = Instant::now();
        client.post("/servers/other/stop").server(200);
        longest = longest.max(begun.elapsed());
    }
    println!("the longest stop beside {} programs that wait for their file system took {longest:?}", stuck.len());
    assert!(longest < Duration::from_secs(8), "{longest:?}");
    for ((slug, _), pid) in starts.iter().zip(stuck) {
        assert!(lives(pid), "{slug} waits no more");
        assert_eq!(client.post(&format!("/servers/{slug}/stop")).server(200)["status"], "stopped", "{slug}");
        assert!(!lives(pid), "{slug} lives after the stop");
    }
    drop(silent);
}

/// Whether the thread of a copy waits in a system call, as it does for a file system that does not answer.
fn copy_waits(daemon: &Daemon) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().map(|task| task.unwrap().path());
    let read = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
    // `syscall` has the number of the call only of a thread that is not running.
    let waits = |task: PathBuf| {
        let call: Option<i64> = read(&task, "syscall").split(' ').next().and_then(|number| number.parse().ok());
        let looks_up = [libc::SYS_statx, libc::SYS_newfstatat, libc::SYS_openat, libc::SYS_openat2];
        read(&task, "comm").starts_with("ovl:") && call.is_some_and(|call| looks_up.contains(&call))
    };
    tasks.into_iter().any(waits)
}

/// A copy gets 2 s to halt. The thread that waits for it reads the signals too.
#[test]
fn a_second_signal_kills_at_once_while_a_copy_does_not_halt() {
    let mut daemon = Daemon::start();
    let Some(silent) = Mounted::at(&daemon.root.join("template/silent")) else {
        println!("no FUSE here: a silent file system is not tried");
        return;
    };
    let control = Control::new();
    let client = &daemon.client;
    let start = format!("{} ignore-term ctl main stay", testchild());
    let environment = json!({"CTL": control.address.to_string()});
    let spec = json!({"slug": "deaf", "start": start, "stop_timeout_ms": 3_600_000, "environment": environment});
    client.create(&spec).server(201);
    let mut child = control.child();
    let overlay = json!({"source": daemon.root.join("template"), "target": "app"}).to_string();
    let json_type = [("Content-Type", "application/json")];
    assert_eq!(client.request("POST", "/filesystem/overlays", &json_type, Some(overlay.as_bytes())).status, 201);
    wait_until("the copy waits for its file system", || copy_waits(&daemon).then_some(()));
    daemon.signal(libc::SIGTERM);
    wait_until("the first signal is handled", || daemon.log().contains("SIGTERM: stopping").then_some(()));
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(child.is_dead());
    let place = |words: &str| wait_until(words, || daemon.log().find(words));
    assert!(place("killing what is left") < place("does not stop copying"), "{}", daemon.log());
    drop(silent);
}

/// Whether a process is where no signal reaches it, in the system call `number`.
fn is_stuck_in(pid: u32, number: libc::c_long) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    read("stat").contains(") D ") && read("syscall").starts_with(&format!("{number} "))
}

/// Reads the environment of `pid`, and waits until it is clear that this does not return; `None` when it does.
fn reader_that_hangs(pid: u32) -> Option<Guarded> {
    /// So many looks in a row have to find it stuck.
    const LOOKS: u32 = 50;
    let mut command = Command::new("cat");
    let mut reader = Guarded(command.arg(format!("/proc/{pid}/environ")).stdout(Stdio::null()).spawn().unwrap());
    let mut looks = 0;
    let hangs = wait_until("a reader of the environment ends or hangs", || {
        looks = if is_stuck_in(reader.0.id(), libc::SYS_read) { looks + 1 } else { 0 };
        match reader.0.try_wait().unwrap() {
            Some(_) => Some(false),
            None => (looks == LOOKS).then_some(true),
        }
    });
    hangs.then_some(reader)
}

/// `/proc/PID/environ`, `cmdline`, `maps` and `smaps` take the lock of that process's memory; `stat`, `statm`,
/// `status`, `limits`, `fd` and `exe` do not. Before membership came from resource limits, every look read the
/// environment of every orphan: here all stops on the machine hung until the file system was gone.
#[test]
fn a_program_that_hangs_with_its_memory_locked_delays_no_other() {
    let daemon = Daemon::start();
    let Some(halting) = Halting::mount(&daemon.root.join("halting")) else {
        println!("no FUSE here: a file system that halts is not tried");
        return;
    };
    let client = &daemon.client;
    // It has left its session and its parent: whose it is takes more than `stat`.
    let start = format!("{} daemonize map-over halting/{}", testchild(), halting::FILE);
    client.create(&json!({"slug": "away", "start": start, "stop_timeout_ms": 300})).server(201);
    let stuck = halting.halted();
    wait_until("the program hangs", || is_stuck_in(stuck, libc::SYS_mmap).then_some(()));
    let Some(mut reader) = reader_that_hangs(stuck) else {
        println!("this kernel shows the environment of a process whose memory is locked: nothing can hang");
        return;
    };
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        let begun = Instant::now();
        // Its child has left the session: that it is gone is found by a look at all processes.
        client.create(&json!({"slug": "other", "start": "setsid sleep 600 & exec sleep 600"})).server(201);
        client.wait_for_status("other", "running");
        client.post("/servers/other/stop").server(200);
        for target in ["/servers?stats=true", "/metrics", "/servers/away"] {
            assert_eq!(client.get(target).status, 200, "{target}");
        }
        longest = longest.max(begun.elapsed());
    }
    println!("the longest start and stop beside a program with its memory locked took {longest:?}");
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    // No signal ends what waits for a page to be written: as long as it lives, its server is not stopped.
    let stop = {
        let client = client.clone();
        std::thread::spawn(move || client.post("/servers/away/stop").status)
    };
    wait_until("the stop is under way", || {
        client.show("away")["status_reason"].as_str().is_some_and(|reason| reason.contains("stopping")).then_some(())
    });
    assert!(lives(stuck) && is_stuck_in(stuck, libc::SYS_mmap));
    assert!(reader.0.try_wait().unwrap().is_none(), "its environment can be read by now");
    drop(halting);
    assert_eq!(stop.join().unwrap(), 200);
    assert_eq!(client.show("away")["status"], "stopped");
    assert!(!lives(stuck), "it lives after the stop");
}

/// Where no limit carries the mark of a run, the environment is all that says whose an orphan is. It is read of all
/// processes, again and again until none is left; one of them that does not show it must not hide the others.
#[test]
fn beside_a_program_with_its_memory_locked_an_orphan_of_an_earlier_daemon_is_found() {
    let scratch = Scratch::new();
    let Some(halting) = Halting::mount(&scratch.0.join("halting")) else {
        println!("no FUSE here: a file system that halts is not tried");
        return;
    };
    let file = scratch.0.join("halting").join(halting::FILE);
    let _program = Guarded(Command::new(testchild()).arg("map-over").arg(file).spawn().unwrap());
    let stuck = halting.halted();
    wait_until("the program hangs", || is_stuck_in(stuck, libc::SYS_mmap).then_some(()));
    let Some(_reader) = reader_that_hangs(stuck) else {
        println!("this kernel shows the environment of a process whose memory is locked: nothing can hang");
        return;
    };
    let own = Scratch::new();
    fs::create_dir(own.0.join("root")).unwrap();
    let mut daemon = Daemon::wrapped(own, &["prlimit", "--locks=0:0"]);
    let control = Control::new();
    let start = format!("exec {} daemonize ignore-term ctl away stay", testchild());
    let environment = json!({"CTL": control.address.to_string()});
    daemon.client.create(&json!({"slug": "app", "start": start, "environment": environment})).server(201);
    let mut orphan = control.child();
    daemon.signal(libc::SIGKILL);
    daemon.wait();
    daemon.begin_anew(&[], &[]);
    let _again = control.child();
    orphan.wait_dead();
    drop(halting);
}
