//! A daemon for one test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Client, LIMIT, wait_until};

/// A parser's own end of its connection, and tiny_http's, which has it twice.
const PARSER_DESCRIPTORS: usize = 3;
/// As in `src/api/http/parsers.rs`.
const PARSERS_MAX: usize = 4;

/// A directory that is removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("servisor-it-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running daemon. At its end no process that ever descended from it may be left.
pub struct Daemon {
    pub client: Client,
    pub root: PathBuf,
    pub state: PathBuf,
    pub process: Child,
    log: Arc<Mutex<String>>,
    mark: String,
    scratch: Scratch,
}

pub const TOKEN: &str = "test-token";

impl Daemon {
    pub fn start() -> Daemon {
        Daemon::with(&[], &[])
    }

    /// With more options and variables.
    #[track_caller]
    pub fn with(options: &[&str], variables: &[(&str, &str)]) -> Daemon {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.0.join("root")).unwrap();
        Daemon::on(scratch, options, variables)
    }

    /// On directories that are there already: `root` and, perhaps, `state`.
    #[track_caller]
    pub fn on(scratch: Scratch, options: &[&str], variables: &[(&str, &str)]) -> Daemon {
        let log = Arc::default();
        let (process, address) = begin(&scratch, options, variables, &log);
        let token = (!options.contains(&"--no-auth")).then(|| TOKEN.to_owned());
        Daemon::of(scratch, process, address, log, token)
    }

    /// Begun by another program, which runs the arguments after its own in its place.
    #[track_caller]
    pub fn wrapped(scratch: Scratch, wrapper: &[&str]) -> Daemon {
        let log = Arc::default();
        let plain = Daemon::command_on(&scratch);
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let (process, address) = watch(&mut command, &log);
        Daemon::of(scratch, process, address, log, Some(TOKEN.to_owned()))
    }

    /// Begun by a command that was made from [`Daemon::command_on`].
    #[track_caller]
    pub fn begun_by(scratch: Scratch, command: &mut Command) -> Daemon {
        let log = Arc::default();
        let (process, address) = watch(command, &log);
        Daemon::of(scratch, process, address, log, Some(TOKEN.to_owned()))
    }

    fn of(
        scratch: Scratch,
        process: Child,
        address: SocketAddr,
        log: Arc<Mutex<String>>,
        token: Option<String>,
    ) -> Daemon {
        let (root, state) = (scratch.0.join("root"), scratch.0.join("state"));
        let mark = format!("IT_MARK={}", scratch.0.display());
        Daemon { client: Client { address, token }, root, state, process, log, mark, scratch }
    }

    /// Another life on the same directories, after the end of this one.
    #[track_caller]
    pub fn begin_anew(&mut self, options: &[&str], variables: &[(&str, &str)]) {
        assert!(self.process.try_wait().unwrap().is_some(), "the last one has not ended");
        let (process, address) = begin(&self.scratch, options, variables, &self.log);
        self.process = process;
        self.client.address = address;
    }

    /// The arguments and variables with which this daemon is begun.
    pub fn command_on(scratch: &Scratch) -> Command {
        let mut command = Daemon::command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(scratch.0.join("root"));
        command.arg("--state-dir").arg(scratch.0.join("state"));
        command.env("SERVISOR_ACCESS_TOKEN", TOKEN).env("IT_MARK", &scratch.0).stdin(Stdio::null());
        command
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Its directories.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The binary, without any variable that could change what it does.
    pub fn command() -> Command {
        // Another build of it may be measured.
        let binary = std::env::var("SERVISOR_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_servisor").into());
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SERVISOR_") || name.to_string_lossy().starts_with("COMPUTESDK_") {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: plain numbers; the process is ours and not reaped while `self.process` has not been waited for.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait_until("the daemon ends", || self.process.try_wait().unwrap())
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The statuses that a server has gone through, as the log shows them.
    pub fn statuses(&self, slug: &str) -> Vec<String> {
        let mark = format!("[{slug}] ");
        let log = self.log();
        let reported = log.lines().filter_map(|line| line.split_once(&mark)).map(|(_, text)| text);
        let first_word = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        let is_status = |word: &String| {
            ["installing", "starting", "running", "ready", "restarting", "stopped", "failed"].contains(&word.as_str())
        };
        reported.map(first_word).filter(is_status).collect()
    }

    /// Its threads whose names begin like this.
    pub fn threads(&self, name: &str) -> usize {
        self.calls(name).len()
    }

    /// Their names, and in which call of the system each of them is, for the report of a thread that hangs.
    pub fn calls(&self, name: &str) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten();
        let reported = tasks.filter_map(|task| {
            let read = |file| fs::read_to_string(task.path().join(file));
            let found = read("comm").ok().filter(|found| found.starts_with(name))?;
            Some(found + &read("syscall").unwrap_or_default())
        });
        reported.collect()
    }

    /// Its descriptors and threads, when tiny_http has ended the threads that it does not need, which it does after 5
    /// s.
    #[track_caller]
    pub fn size(&self) -> (usize, usize) {
        wait_until("tiny_http's spare threads end", || self.size_now())
    }

    /// The same as it is; `None` while there are spare threads. Parsers are not counted: after a rush the daemon has
    /// more of them.
    pub fn size_now(&self) -> Option<(usize, usize)> {
        let parsers = self.parsers();
        assert!(parsers <= PARSERS_MAX, "there are {parsers} parsers");
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", self.pid())).unwrap().count();
        (parsers == self.threads("http")).then(|| (count("fd") - parsers * PARSER_DESCRIPTORS, count("task") - parsers))
    }

    /// How many parsers it has: each has a connection whose server side keeps the name of its socket. A counter in debug
    /// builds would not do: `make test-static` and `make soak` measure the release, which has no room for one.
    pub fn parsers(&self) -> usize {
        let of = |what: &str| PathBuf::from(format!("/proc/{}/{what}", self.pid()));
        let descriptors = fs::read_dir(of("fd")).unwrap().flatten();
        let targets: Vec<_> = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        let table = fs::read_to_string(of("net/unix")).unwrap();
        let sockets = table.lines().skip(1).filter_map(|line| {
            // `Num RefCount Protocol Flags Type St Inode Path`
            let (inode, path) = (line.split_whitespace().nth(6)?, line.rsplit_once('/')?.1);
            let is_parser = path.starts_with("api-") && path.ends_with(".sock");
            let is_own = || targets.iter().any(|target| target.as_os_str() == format!("socket:[{inode}]").as_str());
            (is_parser && is_own()).then_some(path)
        });
        sockets.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Waits until it has no more descriptors and threads than it had.
    #[track_caller]
    pub fn until_as_small_as(&self, before: (usize, usize)) {
        wait_until("descriptors and threads are given back", || {
            let now = self.size_now()?;
            (now.0 <= before.0 && now.1 <= before.1).then_some(())
        });
    }

    /// A field of the kernel's account of its memory, in KiB. `Anonymous` is its own; what counts as dirty has pages of
    /// the program too, as long as the linker's output is not on the disk.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The processes that carry this daemon's mark, itself aside. Zombies of a dead parent don't count.
    pub fn descendants(&self) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let marked = environment.split(|&byte| byte == 0).any(|variable| variable == self.mark.as_bytes());
            if marked && pid != self.process.id() {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
            }
        }
        found
    }

    /// Its children that have ended and were not reaped.
    pub fn zombies(&self) -> usize {
        let own = format!("PPid:\t{}", self.pid());
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok())
            .filter(|status| status.lines().any(|line| line == own) && status.contains("State:\tZ"))
            .count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if self.process.try_wait().unwrap().is_none() {
            self.signal(if failing { libc::SIGKILL } else { libc::SIGTERM });
            let limit = Instant::now() + LIMIT;
            while self.process.try_wait().unwrap().is_none() {
                if Instant::now() > limit {
                    let _ = self.process.kill();
                    let _ = self.process.wait();
                    assert!(failing, "the daemon did not end on SIGTERM; it logged:\n{}", self.log());
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        let left = self.descendants();
        for (pid, _) in &left {
            // SAFETY: plain numbers; it carries this test's mark, so it is ours.
            unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
        }
        if failing {
            eprintln!("the daemon logged:\n{}", self.log());
            // Once more behind thousands of lines: reports show the end.
            eprintln!("panics so far:\n{}", super::panics());
        } else {
            assert!(left.is_empty(), "processes are left: {left:?}; the daemon logged:\n{}", self.log());
        }
    }
}

#[track_caller]
fn begin(
    scratch: &Scratch,
    options: &[&str],
    variables: &[(&str, &str)],
    log: &Arc<Mutex<String>>,
) -> (Child, SocketAddr) {
    let mut command = Daemon::command_on(scratch);
    if options.contains(&"--no-auth") {
        command.env_remove("SERVISOR_ACCESS_TOKEN");
    }
    watch(command.args(options).envs(variables.iter().copied()), log)
}

#[track_caller]
fn watch(command: &mut Command, log: &Arc<Mutex<String>>) -> (Child, SocketAddr) {
    super::keep_panics();
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap());
    let (kept, from) = (Arc::clone(log), log.lock().unwrap().len());
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            kept.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    let limit = Instant::now() + LIMIT;
    let address = loop {
        // In this order: what was read last is there when the reader has ended.
        let (is_over, reported) = (reader.is_finished(), log.lock().unwrap()[from..].to_owned());
        let line = reported.split_once("listening on http://").and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((address, _)) = line {
            break address.trim().parse().ok();
        }
        if is_over || Instant::now() > limit {
            break None;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    let Some(address) = address else {
        let _ = process.kill();
        let _ = process.wait();
        panic!("the daemon did not start: {}", log.lock().unwrap());
    };
    (process, address)
}

/// The path of the program that misbehaves, as a shell can take it.
pub fn testchild() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_servisor"));
    let path = binary.parent().unwrap().join("examples/testchild");
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path.display().to_string()
}

/// What `make TARGET` has put there, or who runs the tests somewhere else.
pub fn made(target: &str, variable: &str, default: &str) -> PathBuf {
    let path =
        std::env::var_os(variable).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from);
    assert!(path.exists(), "{} is missing: `make {target}` makes it (or give {variable})", path.display());
    path
}
