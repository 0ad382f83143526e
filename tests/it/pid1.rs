//! The daemon as the first process of a PID namespace, with nothing beside it.
//!
//! This takes the right to make namespaces: root's, or that of any user where the system allows it. `make test` makes
//! the image with the static binary and a static shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::limits::is_root;
use crate::support::{Child, Control, Daemon, Scratch, made, median_and_max, testchild, wait_until};

/// The daemon, and its number as the test sees it.
struct Init {
    daemon: Daemon,
    pid: i32,
}

fn namespaces() -> Vec<&'static str> {
    let mut flags = vec!["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !is_root() {
        flags.push("--map-root-user");
    }
    let tried = Command::new(flags[0]).args(&flags[1..]).arg("true").output();
    let why = match tried {
        Ok(output) if output.status.success() => return flags,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("this machine permits no PID namespace, so that servisor can't be tried as PID 1 (run as root): {why}");
}

impl Init {
    fn start() -> Init {
        Init::wrapped(&[])
    }

    /// Begun, in the namespace, by another program that runs its arguments in its place.
    fn wrapped(wrapper: &[&str]) -> Init {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.0.join("root")).unwrap();
        Init::of(Daemon::wrapped(scratch, &[&namespaces()[..], wrapper].concat()))
    }

    /// `daemon` is `unshare` to the test, and servisor its child.
    fn of(daemon: Daemon) -> Init {
        let outside = daemon.pid();
        let pid = wait_until("the namespace has its first process", || children(outside).first().copied());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
        assert_eq!(inside.split_whitespace().last(), Some("1"), "{status}");
        Init { daemon, pid }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: plain numbers; the process is a child of `unshare`, which waits for it.
        unsafe { libc::kill(self.pid, signal) };
    }

    fn zombies(&self) -> usize {
        children(self.pid).into_iter().filter(|&pid| state(pid) == Some('Z')).count()
    }

    /// SIGTERM, exit code 0, and nothing left.
    fn end(mut self) {
        self.signal(libc::SIGTERM);
        assert_eq!(self.daemon.wait().code(), Some(0), "{}", self.daemon.log());
        assert!(self.daemon.log().contains("all servers are stopped"));
    }
}

/// The fields of `stat` behind the name.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn state(pid: i32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

fn children(parent: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.filter(|&pid| stat(pid).is_some_and(|(_, of)| of == parent)).collect()
}

const ORPHANS: usize = 3000;

impl Init {
    /// Creates a server that makes orphans, and waits until it begins.
    fn make_orphans(&self, control: &Control, slug: &str) -> Child {
        let start = format!("{} ctl begun orphans {ORPHANS} ctl done stay", testchild());
        let environment = json!({"CTL": control.address.to_string()});
        self.daemon.client.create(&json!({"slug": slug, "start": start, "environment": environment})).server(201);
        control.child()
    }

    /// What is looked for: no zombie, and no child but so many servers.
    fn has_reaped_all_but(&self, servers: usize) -> bool {
        self.zombies() == 0 && children(self.pid).len() == servers
    }
}

#[test]
fn thousands_of_orphans_are_reaped() {
    let init = Init::start();
    let control = Control::new();
    let _first = [init.make_orphans(&control, "first"), control.child()];
    wait_until("all orphans are reaped", || init.has_reaped_all_but(1).then_some(()));
    // So are those that pile up while the daemon is stopped.
    let begun = init.make_orphans(&control, "second");
    init.signal(libc::SIGSTOP);
    let _second = [begun, control.child()];
    let unreaped = wait_until("they pile up", || Some(init.zombies()).filter(|&zombies| zombies > ORPHANS / 2));
    init.signal(libc::SIGCONT);
    wait_until("they are reaped too", || init.has_reaped_all_but(2).then_some(()));
    println!("{} orphans reaped, {unreaped} of them after they had waited for it", 2 * ORPHANS);
    init.end();
}

/// The control: the same look at the same daemon that is denied the system call with which it reaps orphans, and
/// nothing else.
#[test]
fn orphans_would_stay_if_they_were_not_reaped() {
    let child = testchild();
    let init = Init::wrapped(&[&child, "without-reaping"]);
    let control = Control::new();
    let _server = [init.make_orphans(&control, "first"), control.child()];
    wait_until("all orphans have ended and are there", || (init.zombies() == ORPHANS).then_some(()));
    // The end of a server is seen, and reaped, in a turn that tries to reap orphans first.
    init.daemon.client.create(&json!({"slug": "last", "start": "exit 7"})).server(201);
    assert_eq!(init.daemon.client.wait_for_status("last", "failed")["exit_code"], 7);
    assert!(!init.has_reaped_all_but(1));
    assert_eq!((init.zombies(), children(init.pid).len()), (ORPHANS, ORPHANS + 1));
    init.end();
}

#[test]
fn every_exit_code_and_every_signal_is_passed_through() {
    let init = Init::start();
    let client = &init.daemon.client;
    // Not those that are ignored without a handler, or stop a process.
    let harmless = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    let stopping = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let signals: Vec<i32> =
        (1..=31).chain(34..=64).filter(|signal| !harmless.contains(signal) && !stopping.contains(signal)).collect();
    let check = |slug: String, start: String, code: i32, signal: Option<String>| {
        client.create(&json!({"slug": slug, "start": start})).server(201);
        let server = wait_until(&format!("{slug} has ended"), || {
            let server = client.show(&slug);
            server["exit_code"].is_i64().then_some(server)
        });
        let status = if (code, &signal) == (0, &None) { "stopped" } else { "failed" };
        assert_eq!((&server["exit_code"], &server["status"]), (&json!(code), &json!(status)), "{server:#}");
        assert_eq!(server["exit_signal"].as_str(), signal.as_deref(), "{server:#}");
        assert_eq!(client.delete(&format!("/servers/{slug}")).status, 204);
    };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (check, signals) = (&check, &signals);
            scope.spawn(move || {
                for code in (0..256).filter(|code| code % 4 == worker) {
                    check(format!("code{code}"), format!("exit {code}"), code, None);
                }
                for signal in signals.iter().filter(|signal| **signal % 4 == worker) {
                    let start = format!("ulimit -c 0; exec {} die-by {signal}", testchild());
                    let name = servisor::model::signal::signal_name(*signal);
                    check(format!("signal{signal}"), start, 128 + signal, Some(name));
                }
            });
        }
    });
    println!("256 exit codes and {} signals passed through", signals.len());
    init.end();
}

#[test]
fn whatever_asks_the_first_process_to_end_ends_it_and_nothing_else_does() {
    // 37 is what `docker stop` sends to an image with STOPSIGNAL SIGRTMIN+3, as those made for systemd have it.
    for signal in [libc::SIGQUIT, libc::SIGPWR, 37] {
        let mut init = Init::start();
        init.daemon.client.create(&json!({"slug": "app", "start": "sleep 600"})).server(201);
        for ignored in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM] {
            init.signal(ignored);
        }
        wait_until("they are logged", || init.daemon.log().contains("SIGALRM is ignored").then_some(()));
        init.signal(signal);
        assert_eq!(init.daemon.wait().code(), Some(0), "{}", init.daemon.log());
        assert!(init.daemon.log().contains("all servers are stopped"));
    }
}

#[test]
fn who_has_started_it_with_children_ignored_loses_no_exit_code() {
    // The kernel itself would reap them, and their exit status would be lost.
    let init = Init::wrapped(&["sh", "-c", "trap '' CHLD TERM INT HUP; exec \"$@\"", "sh"]);
    init.daemon.client.create(&json!({"slug": "app", "start": "exit 77"})).server(201);
    assert_eq!(init.daemon.client.wait_for_status("app", "failed")["exit_code"], 77);
    init.end();
}

#[test]
fn everything_ends_with_it() {
    let init = Init::start();
    let control = Control::new();
    for number in 0..20 {
        let start = match number % 3 {
            0 => format!("{} daemonize-bare ctl away stay", testchild()),
            1 => format!("{} drain 200 ctl app stay", testchild()),
            _ => format!("{} ignore-term ctl deaf stay", testchild()),
        };
        let environment = json!({"CTL": control.address.to_string()});
        let spec =
            json!({"slug": format!("s{number}"), "start": start, "stop_timeout_ms": 300, "environment": environment});
        init.daemon.client.create(&spec).server(201);
    }
    let mut children: Vec<_> = (0..20).map(|_| control.child()).collect();
    // A signal from outside of the namespace means nothing to the first process unless it listens.
    init.signal(libc::SIGHUP);
    init.end();
    children.iter_mut().for_each(|child| child.wait_dead());
}

#[test]
fn the_static_binary_and_a_static_shell_are_all_that_it_needs() {
    let binary = made(
        "image",
        "SERVISOR_STATIC",
        &format!("target/{}-unknown-linux-musl/release/servisor", std::env::consts::ARCH),
    );
    let busybox = made("image", "BUSYBOX", "target/busybox/bin/busybox");
    let scratch = Scratch::new();
    let image = scratch.0.join("image");
    for name in ["bin", "proc", "dev", "srv"] {
        fs::create_dir_all(image.join(name)).unwrap();
    }
    fs::copy(binary, image.join("servisor")).unwrap();
    fs::copy(busybox, image.join("bin/busybox")).unwrap();
    symlink("busybox", image.join("bin/sh")).unwrap();
    fs::write(image.join("dev/null"), "").unwrap();
    // As every runtime of containers does: /proc and /dev/null are there.
    let script = "mount --bind /dev/null \"$1/dev/null\" && mount -t proc proc \"$1/proc\" && exec chroot \"$1\" \
                  /servisor serve --listen 127.0.0.1:0 --root /srv --state-dir /state";
    let mut command = Command::new("unshare");
    let flags = namespaces();
    command.args(&flags[1..]).args(["sh", "-c", script, "sh"]).arg(&image);
    command.env_clear().env("SERVISOR_ACCESS_TOKEN", "test-token").env("IT_MARK", &scratch.0);
    command.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    let init = Init::of(Daemon::begun_by(scratch, &mut command));
    let client = &init.daemon.client;
    let spec = json!({
        "slug": "app", "install": "echo installed", "port": crate::support::quiet_port(), "health_check": {},
        "start": "busybox httpd -f -p 127.0.0.1:$PORT -h /srv",
        "restart_policy": "always", "restart_delay_ms": 0, "environment": {"PATH": "/bin"},
    });
    fs::write(image.join("srv/index.html"), "hello\n").unwrap();
    client.create(&spec).server(201);
    let first = client.when_ready("app");
    assert!(client.logs("app", "").contains("installed"));
    // In the namespace it has another number than here, so it is looked for by its parent.
    let leader = wait_until("the leader is there", || children(init.pid).first().copied());
    // SAFETY: plain numbers; the process is a child of the daemon that has not been waited for.
    unsafe { libc::kill(leader, libc::SIGKILL) };
    wait_until("another one is ready", || {
        let server = client.show("app");
        (server["status"] == "ready" && server["pid"] != first["pid"]).then_some(())
    });
    client
        .create(&json!({"slug": "tree", "start": "(sleep 600 &); (busybox setsid sleep 601 &); sleep 602; true"}))
        .server(201);
    client.wait_for_status("tree", "running");
    client.post("/servers/tree/stop").server(200);
    wait_until("only one server is left", || (children(init.pid).len() == 1).then_some(()));
    assert!(image.join("state/servers/app.json").exists());
    // Plain words need no shell, and all others fail with what is missing.
    fs::remove_file(image.join("bin/sh")).unwrap();
    let plain =
        json!({"slug": "plain", "start": "busybox sleep $LONG", "environment": {"PATH": "/bin", "LONG": "600"}});
    client.create(&plain).server(201);
    client.wait_for_status("plain", "running");
    client.create(&json!({"slug": "shell", "start": "sleep 600; true"})).server(201);
    let failed = client.wait_for_status("shell", "failed");
    assert!(failed["status_reason"].as_str().unwrap().contains("there is no /bin/sh on this system"), "{failed}");
    init.end();
}

mod timed {
    use super::*;

    #[test]
    fn a_stop_is_over_when_all_are_gone_and_not_later_however_many_orphans_come_and_go() {
        const STOPS: usize = 50;
        let init = Init::start();
        let client = &init.daemon.client;
        let control = Control::new();
        for number in 0..2 {
            let start = format!("{} orphans 1000000", testchild());
            client.create(&json!({"slug": format!("noise{number}"), "start": start})).server(201);
        }
        let start = format!("{} daemonize ctl away stay", testchild());
        let environment = json!({"CTL": control.address.to_string()});
        client.create(&json!({"slug": "app", "start": start, "environment": environment})).server(201);
        let mut times = Vec::new();
        for _ in 0..STOPS {
            let mut away = control.child();
            let asked = Instant::now();
            client.post("/servers/app/stop").server(200);
            times.push(asked.elapsed());
            assert!(away.is_dead(), "it has left its group, and lives");
            client.post("/servers/app/start").server(200);
        }
        let _last = control.child();
        let (median, max) = median_and_max(&mut times);
        println!("{STOPS} stops among orphans that come and go all the time: median {median:?}, longest {max:?}");
        assert!(median < Duration::from_millis(500), "a stop waits for nothing but the end of its own");
        init.end();
    }
}
