//! Which processes belong to a run, whatever they change about themselves, and which do not.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::limits::is_root;
use crate::support::{Child, Control, Daemon, Guarded, Scratch, free_port, testchild, wait_until};

/// In front of a script: `report(name)` connects to the test, so that the test knows how long this process lives.
const PYTHON: &str = r#"
import ctypes, os, signal, socket, sys, threading, time
HOST, PORT = os.environ['CTL'].split(':')
AWAY = "import os, socket, sys, time; c = socket.create_connection((sys.argv[1], int(sys.argv[2]))); "
AWAY += "c.sendall(b'away %d 0\\n' % os.getpid()); time.sleep(1000)"
def report(name):
    global control
    control = socket.create_connection((HOST, int(PORT)))
    control.sendall(('%s %d 0\n' % (name, os.getpid())).encode())
def mute():
    null = os.open('/dev/null', os.O_RDWR)
    for number in range(3): os.dup2(null, number)
def leave():
    # True in a process that has left parent, group, session and pipes.
    if os.fork(): return False
    os.setsid()
    if os.fork(): os._exit(0)
    control.close()
    mute()
    return True
def become_away(environment):
    os.execve(sys.executable, ['python3', '-c', AWAY, HOST, PORT], environment)
report('leader')
"#;

const PERL: &str = "\
use IO::Socket::INET; use POSIX;
sub report { our $control = IO::Socket::INET->new($ENV{CTL}) or die; print $control \"$_[0] $$ 0\\n\"; $control->flush }
sub mute { open STDIN, '</dev/null'; open STDOUT, '>/dev/null'; open STDERR, '>/dev/null' }
";

/// A server whose command is a script of `program`.
fn server(daemon: &Daemon, control: &Control, slug: &str, program: &str, script: &str) -> Value {
    let (name, prelude) = if program.starts_with("perl") { ("pl", PERL) } else { ("py", PYTHON) };
    let file = format!("{slug}.{name}");
    fs::write(daemon.root.join(&file), format!("{prelude}{script}")).unwrap();
    let environment = json!({"CTL": control.address.to_string()});
    json!({"slug": slug, "start": format!("{program} {file}"), "stop_timeout_ms": 500, "environment": environment})
}

fn other(daemon: &Daemon, control: &Control) -> Child {
    let start = format!("{} ctl other stay", testchild());
    let spec = json!({"slug": "other", "start": start, "environment": {"CTL": control.address.to_string()}});
    daemon.client.create(&spec).server(201);
    control.child()
}

/// What a program can do to be forgotten. Each reports twice: the leader, and the process that has left.
const ESCAPES: [(&str, &str, &str); 8] = [
    (
        "title",
        "perl",
        "unless (fork) { exit if fork; POSIX::setsid(); mute(); $0 = 'title' x 100; report('away'); sleep 1000 }
         report('leader'); sleep 1000;",
    ),
    ("emptied", "python3", "if leave(): become_away({})\ntime.sleep(1000)"),
    (
        "user",
        "python3",
        "
if leave():
    if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)
    report('away')
time.sleep(1000)",
    ),
    (
        "thread",
        "python3",
        "
if leave():
    report('away')
    threading.Thread(target=lambda: time.sleep(1000)).start()
    ctypes.CDLL(None).pthread_exit(None)
time.sleep(1000)",
    ),
    (
        "sibling",
        "python3",
        "
if ctypes.CDLL(None).syscall(56, 0x8000, 0, 0, 0, 0) == 0:
    signal.signal(15, signal.SIG_IGN)
    control.close(); mute(); report('away')
time.sleep(1000)",
    ),
    (
        "sibling-of-session",
        "python3",
        "
if ctypes.CDLL(None).syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0:
    os.setsid(); control.close(); mute(); become_away({})
time.sleep(1000)",
    ),
    (
        "marker-of-another",
        "python3",
        "
if leave():
    environment = open('/proc/%s/environ' % open('other').read(), 'rb').read()
    marker = environment.split(b'SERVISOR_RUN=')[1].split(b'\\0')[0]
    become_away({'SERVISOR_RUN': marker.decode()})
time.sleep(1000)",
    ),
    (
        "group",
        "python3",
        "
p = os.fork()
if p == 0:
    control.close(); os.setpgid(0, 0); report('away'); time.sleep(1000)
time.sleep(.2)
try: os.setpgid(0, p)
except OSError: pass
time.sleep(1000)",
    ),
];

fn escaped(daemon: &Daemon, control: &Control, (name, program, script): (&str, &str, &str)) -> (String, [Child; 2]) {
    let slug = name.to_owned();
    daemon.client.create(&server(daemon, control, &slug, program, script)).server(201);
    let both = [control.child(), control.child()];
    let mut names: Vec<&str> = both.iter().map(|child| child.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["away", "leader"]);
    (slug, both)
}

#[test]
fn nothing_that_a_process_does_to_itself_saves_it_from_the_stop_of_its_server() {
    let daemon = Daemon::start();
    let control = Control::new();
    let mut neighbour = other(&daemon, &control);
    fs::write(daemon.root.join("other"), neighbour.pid.to_string()).unwrap();
    for escape in ESCAPES {
        let (slug, mut both) = escaped(&daemon, &control, escape);
        daemon.client.post(&format!("/servers/{slug}/stop")).server(200);
        both.iter_mut().for_each(|child| assert!(child.is_dead(), "{slug}: {} lives after the stop", child.name));
        // Its restart and its end as a whole do the same.
        daemon.client.post(&format!("/servers/{slug}/start")).server(200);
        let mut both = [control.child(), control.child()];
        daemon.client.post(&format!("/servers/{slug}/restart")).server(200);
        both.iter_mut().for_each(|child| assert!(child.is_dead(), "{slug}: {} lives after the restart", child.name));
        let mut both = [control.child(), control.child()];
        assert_eq!(daemon.client.delete(&format!("/servers/{slug}")).status, 204);
        both.iter_mut().for_each(|child| assert!(child.is_dead(), "{slug}: {} lives after the end", child.name));
        assert!(!neighbour.is_dead(), "{slug} was stopped, and its neighbour with it");
        assert_eq!(daemon.zombies(), 0, "{slug}");
    }
}

#[test]
fn nothing_that_a_process_does_to_itself_saves_it_from_the_next_life_of_the_daemon() {
    let mut daemon = Daemon::start();
    let control = Control::new();
    let neighbour = other(&daemon, &control);
    fs::write(daemon.root.join("other"), neighbour.pid.to_string()).unwrap();
    let mut all: Vec<Child> = vec![neighbour];
    for escape in ESCAPES {
        all.extend(escaped(&daemon, &control, escape).1);
    }
    // Leaders with nothing left of their environment, with and without a port.
    for (slug, start) in [
        ("perl", "$0 = 't' x 500; report('leader'); sleep 9000"),
        (
            "cleared",
            "%ENV = (CTL => $ENV{CTL}); exec('perl', '-e', \
         'use IO::Socket::INET; $c = IO::Socket::INET->new($ENV{CTL}); print $c \"leader $$ 0\\n\"; $c->flush; sleep 9000')",
        ),
    ] {
        daemon.client.create(&server(&daemon, &control, slug, "perl", start)).server(201);
        all.push(control.child());
    }
    daemon.kill();
    assert!(all.iter_mut().all(|child| !child.is_dead()), "a killed daemon ends no server");
    daemon.begin_anew(&[], &[]);
    all.iter_mut().for_each(|child| assert!(child.is_dead(), "{} of the life before lives", child.name));
}

#[test]
fn siblings_that_a_leader_makes_for_the_daemon_are_reaped() {
    let daemon = Daemon::start();
    let control = Control::new();
    let script = "for i in range(500):\n    if ctypes.CDLL(None).syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0: os._exit(0)\n\
                  report('after')\ntime.sleep(1000)";
    for slug in ["one", "two"] {
        daemon.client.create(&server(&daemon, &control, slug, "python3", script)).server(201);
        let _both = [control.child(), control.child()];
        wait_until("all are reaped", || (daemon.zombies() == 0).then_some(()));
    }
    // They hide nothing: a leader that has ended is seen, and reaped by its own server.
    daemon.client.create(&json!({"slug": "three", "start": "exit 7"})).server(201);
    assert_eq!(daemon.client.wait_for_status("three", "failed")["exit_code"], 7);
}

#[test]
fn a_process_that_only_looks_like_one_of_a_run_is_never_signalled() {
    let mut daemon = Daemon::start();
    let control = Control::new();
    let mut neighbour = other(&daemon, &control);
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", neighbour.pid)).unwrap();
    let marker = read("environ").split('\0').find_map(|entry| entry.strip_prefix("SERVISOR_RUN=")).unwrap().to_owned();
    let limit = read("limits").lines().find_map(|line| line.strip_prefix("Max file locks")).unwrap().to_owned();
    let limit = limit.split_whitespace().next().unwrap().to_owned();
    assert!(limit.parse::<u64>().unwrap() > 1 << 60, "it carries a mark: {limit}");
    let stranger = |command: &mut Command| {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Guarded(quiet.spawn().unwrap())
    };
    let sleep = |marker: &str| {
        let mut command = Command::new("sleep");
        command.arg("600").env("SERVISOR_RUN", marker);
        command
    };
    let mut strangers = vec![
        ("a copied marker", stranger(&mut sleep(&marker))),
        ("the same limit", stranger(Command::new("prlimit").args([&format!("--locks={limit}"), "sleep", "600"]))),
        ("both", {
            let mut command = Command::new("prlimit");
            stranger(command.args([&format!("--locks={limit}"), "sleep", "600"]).env("SERVISOR_RUN", &marker))
        }),
    ];
    if is_root() {
        strangers.push(("another user's", stranger(sleep(&marker).uid(65534).gid(65534))));
    }
    // Another daemon's servers.
    let second = Daemon::start();
    let mut foreign = other(&second, &control);
    daemon.client.post("/servers/other/restart").server(200);
    assert!(neighbour.is_dead());
    let mut neighbour = control.child();
    daemon.kill();
    daemon.begin_anew(&[], &[]);
    assert!(neighbour.is_dead());
    let _new = control.child();
    daemon.client.post("/servers/other/stop").server(200);
    for (what, child) in &mut strangers {
        assert!(child.try_wait().unwrap().is_none(), "{what}: it was ended");
    }
    assert!(!foreign.is_dead());
}

#[test]
fn a_daemon_in_a_server_of_another_is_stopped_with_all_that_it_has() {
    let outer = Daemon::start();
    let control = Control::new();
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let plain = Daemon::command_on(&scratch);
    let words: Vec<_> = plain.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let start = format!("{} {}", plain.get_program().to_string_lossy(), words.join(" "));
    let listen = format!("127.0.0.1:{}", free_port());
    let start = start.replace("127.0.0.1:0", &listen);
    let spec = json!({"slug": "inner", "start": start, "environment": {"SERVISOR_ACCESS_TOKEN": "test-token"}});
    outer.client.create(&spec).server(201);
    wait_until("the inner one listens", || outer.client.logs("inner", "").contains("listening on").then_some(()));
    let mut client = outer.client.clone();
    client.address = listen.parse().unwrap();
    let inner_pid = outer.client.show("inner")["pid"].as_i64().unwrap();
    let environment = json!({"CTL": control.address.to_string()});
    let start = format!("{} daemonize-bare ctl away stay", testchild());
    for slug in ["a", "b"] {
        client.create(&json!({"slug": slug, "start": start, "environment": environment})).server(201);
    }
    let mut away = [control.child(), control.child()];
    // The inner one ends its own, and no other's.
    client.post("/servers/a/stop").server(200);
    let dead = wait_until("one is dead", || away.iter_mut().position(Child::is_dead));
    assert!(!away[1 - dead].is_dead());
    // The outer one ends the inner one's, even if that can't.
    // SAFETY: plain numbers; the process is a child of the outer daemon that has not been waited for.
    unsafe { libc::kill(inner_pid as i32, libc::SIGKILL) };
    outer.client.wait_for_status("inner", "failed");
    away[1 - dead].wait_dead();
}

#[test]
fn a_server_has_no_terminal() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let plain = Daemon::command_on(&scratch);
    let mut command = Command::new("python3");
    // It becomes the daemon, with a terminal, whose other end it keeps open itself.
    let script = "import fcntl, os, sys, termios
main, terminal = os.openpty()
os.setsid(); fcntl.ioctl(terminal, termios.TIOCSCTTY, 0); os.set_inheritable(main, True)
os.execv(sys.argv[1], sys.argv[1:])";
    command.args(["-c", script]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let daemon = Daemon::begun_by(scratch, command.stdin(Stdio::null()));
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    assert_ne!(stat.rsplit_once(") ").unwrap().1.split(' ').nth(4), Some("0"), "the daemon has a terminal: {stat}");
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = refusing.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut client in refusing.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    let client = &daemon.client;
    let install = format!("git clone http://127.0.0.1:{port}/private.git app");
    client.create(&json!({"slug": "git", "install": install, "start": "sleep 600"})).server(201);
    let failed = client.wait_for_status("git", "failed");
    assert!(failed["status_reason"].as_str().unwrap().starts_with("install exited with code"), "{failed:#}");
    for (slug, start) in [
        ("sh", "read answer </dev/tty && exit 3; exit 4"),
        ("python", "python3 -c 'open(\"/dev/tty\")'; exit 4"),
        ("perl", "perl -e 'open(my $t, \"<\", \"/dev/tty\") and exit 3; exit 4'"),
    ] {
        client.create(&json!({"slug": slug, "start": start})).server(201);
        assert_eq!(client.wait_for_status(slug, "failed")["exit_code"], 4, "{slug}");
    }
}
