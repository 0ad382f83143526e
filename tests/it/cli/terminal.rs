//! Terminals and pipes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::ptr;

use serde_json::json;

use super::super::support::{Daemon, Scratch, TOKEN, wait_until};
use super::{command, line, run};

/// A command behind a pseudo-terminal.
pub struct Terminal {
    master: File,
    process: Child,
    pub text: String,
}

impl Terminal {
    pub fn open(command: &mut Command, columns: u16) -> Terminal {
        let (mut master, mut slave) = (-1, -1);
        let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: both numbers and the size live through the call, and null pointers are allowed for the other two.
        let done = unsafe { libc::openpty(&mut master, &mut slave, ptr::null_mut(), ptr::null_mut(), &size) };
        assert_eq!(done, 0);
        // SAFETY: the call has just opened both, and nothing else has them.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let own = master.as_raw_fd();
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::close(own);
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let process = command.spawn().unwrap();
        // The command has its end of the terminal, and this process must not keep one.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Terminal { master, process, text: String::new() }
    }

    /// Reads on until the text is enough, or the terminal has no other end any more.
    pub fn until(&mut self, is_enough: impl Fn(&str) -> bool) {
        while !is_enough(&self.text) {
            let mut buffer = [0; 4096];
            match self.master.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => self.text.push_str(&String::from_utf8_lossy(&buffer[..count]).replace('\r', "")),
            }
        }
    }

    pub fn type_in(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Everything up to the end.
    pub fn end(mut self) -> (String, ExitStatus) {
        self.until(|_| false);
        let status = self.process.wait().unwrap();
        (self.text, status)
    }
}

fn on_terminal(daemon: &Daemon, columns: u16, words: &str, variables: &[(&str, &str)]) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let mut command = command(daemon, &words);
    command.envs(variables.iter().copied());
    let (text, status) = Terminal::open(&mut command, columns).end();
    assert!(status.success(), "{status:?} {text}");
    text
}

const REASON: &str = "exited with code 7";

fn with_a_failed_server() -> Daemon {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "crash", "start": "exit 7"})).server(201);
    daemon.client.wait_for_status("crash", "failed");
    daemon
}

#[test]
fn colours_are_for_terminals() {
    let daemon = with_a_failed_server();
    let coloured = on_terminal(&daemon, 120, "ps", &[("TERM", "xterm")]);
    assert!(coloured.contains("\x1b[31mfailed\x1b[0m"), "{coloured:?}");
    // The columns stand where they do without colours.
    let plain = line(&daemon, "ps").done();
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert_eq!(coloured.replace("\x1b[31m", "").replace("\x1b[0m", ""), plain);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert_eq!(on_terminal(&daemon, 120, "ps", &[(name, value)]), plain, "{name}");
    }
    assert!(on_terminal(&daemon, 120, "ps", &[("NO_COLOR", "")]).contains('\x1b'));
    assert!(!on_terminal(&daemon, 120, "ps --json", &[]).contains('\x1b'));
}

#[test]
fn the_last_column_ends_with_the_line() {
    let daemon = with_a_failed_server();
    let plain = line(&daemon, "ps").done();
    let (at, whole) = (plain.find("URL / WHY").unwrap(), plain.lines().nth(1).unwrap().chars().count());
    assert!(plain.contains(REASON));
    for columns in [at + 5, at + 10, whole - 1, whole, whole + 1] {
        let cut = on_terminal(&daemon, columns as u16, "ps", &[("NO_COLOR", "1")]);
        let row = cut.lines().nth(1).unwrap();
        assert_eq!(row.chars().count(), whole.min(columns), "{cut}");
        assert_eq!(row.ends_with('…'), columns < whole, "{cut}");
    }
}

#[test]
fn what_a_server_wrote_acts_on_no_terminal_in_a_table() {
    let daemon = Daemon::start();
    let start = r"printf '\033[2Jgone\n'; printf '\033]0;title\007x\n' >&2; exit 3";
    daemon.client.create(&json!({"slug": "evil", "start": start})).server(201);
    daemon.client.wait_for_status("evil", "failed");
    let status = line(&daemon, "status evil").done();
    assert!(status.contains("[2Jgone") && !status.contains(['\x1b', '\x07']), "{status:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let daemon = Daemon::start();
    for number in 0..60 {
        let spec =
            json!({"slug": format!("server-with-a-long-name-{number}"), "start": "x", "autostart": false, "path": "/"});
        daemon.client.create(&spec).server(201);
    }
    for words in ["ps", "ps --json", "--help", "completion bash"] {
        let mut child = command(&daemon, &words.split(' ').collect::<Vec<_>>());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
            (Some(0), ""),
            "{words}"
        );
    }
    let shell = Command::new("bash")
        .args(["-c", "\"$0\" ps --json | head -1; echo ${PIPESTATUS[0]}", &program()])
        .env("SERVISOR_STATE_DIR", &daemon.state)
        .env("SERVISOR_ACCESS_TOKEN", super::super::support::TOKEN)
        .output()
        .unwrap();
    assert!(String::from_utf8(shell.stdout).unwrap().ends_with("}\n0\n"));
}

fn program() -> String {
    Daemon::command().get_program().to_string_lossy().into_owned()
}

#[test]
fn a_stdout_that_is_full_is_1() {
    let daemon = with_a_failed_server();
    for words in ["ps", "ps --json", "--help", "version", "completion zsh", "status crash"] {
        let mut command = command(&daemon, &words.split(' ').collect::<Vec<_>>());
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(said.contains("can't write to stdout") && said.contains("No space"), "{words}: {said}");
    }
    // A closed stderr is no failure.
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" pss 2>&-", &program()]);
    assert_eq!(closed.status().unwrap().code(), Some(2));
}

#[test]
fn ctrl_c_is_130_and_the_terminal_is_as_it_was() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "mute", "start": "sleep 600", "port": 14300})).server(201);
    daemon.client.wait_for_status("mute", "running");
    let stubborn = "trap '' TERM; until test -e end; do sleep 0.1; done";
    daemon.client.create(&json!({"slug": "slow", "start": stubborn, "stop_timeout_ms": 600_000})).server(201);
    daemon.client.wait_for_status("slow", "running");
    for words in ["wait mute", "logs -f", "events", "top", "stop slow", "run mute2 -p 14310 -- sleep 600"] {
        let words: Vec<&str> = words.split(' ').collect();
        let mut terminal = Terminal::open(&mut command(&daemon, &words), 80);
        wait_until("it has a handler for the key", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", terminal.process.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
            (u64::from_str_radix(caught, 16).unwrap() & 1 << (libc::SIGINT - 1) != 0).then_some(())
        });
        if words[0] == "top" || words[0] == "events" {
            terminal.until(|text| text.contains("mute"));
        }
        terminal.type_in(b"\x03");
        let (text, status) = terminal.end();
        assert_eq!(status.code().or(status.signal()), Some(130), "{words:?} {text:?}");
        // No alternate screen, no hidden cursor, no mode that would have to be undone.
        assert!(!text.contains("\x1b[?"), "{text:?}");
    }
    assert_eq!(daemon.client.show("mute")["status"], "running");
    std::fs::write(daemon.root.join("end"), "").unwrap();
}

#[test]
fn long_work_shows_progress_on_a_terminal_only() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "web", "--no-wait", "--", "sleep 600"]).done();
    assert!(on_terminal(&daemon, 80, "stop web", &[]).contains("web: stopping"));
    let quiet = line(&daemon, "restart web");
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
}

#[test]
fn a_daemon_at_a_terminal_shows_the_link_to_its_status_page() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.0.join("root")).unwrap();
    let mut terminal = Terminal::open(&mut Daemon::command_on(&scratch), 120);
    terminal.until(|text| text.lines().any(|line| line.contains("status page") && line.contains(TOKEN)));
    let listening =
        terminal.text.split("listening on ").nth(1).and_then(|rest| rest.lines().next()).unwrap().to_owned();
    assert!(
        terminal.text.contains(&format!("the status page is at {listening}/ui#token={TOKEN}\n")),
        "{}",
        terminal.text
    );
    terminal.type_in(b"\x03");
    assert!(terminal.end().1.success());
    assert!(!Daemon::start().log().contains("status page"));
}
