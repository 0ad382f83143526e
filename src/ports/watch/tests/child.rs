//! A server for the tests: this test program itself, called with one test that obeys instructions.

use crate::model::spec::Stdin;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use crate::model::marker::MARKER_VARIABLE;
use crate::os::child::{self, Plan, Spawned};
use crate::os::proc;
use crate::os::sockets::tests::{listen_for_ipv6_only, listen_in_a_thread_with_its_own_table};
use crate::process::reaper::{Leader, Reaper};
use crate::process::tracker::{ProcessTracker, RunTree};

const CONTROL: &str = "TEST_CONTROL";
const ARGUMENTS: [&str; 4] = ["--exact", "--ignored", "--nocapture", "ports::watch::tests::child::obey"];

/// Takes orders until the other side goes away: `listen ADDRESS` or `listen v6only`, `listen-apart`, `hand-over`,
/// `close` and `spawn`.
#[test]
#[ignore = "the server of the other tests, and nothing by itself"]
fn obey() {
    let Ok(address) = std::env::var(CONTROL) else { return };
    let control = TcpStream::connect(address).unwrap();
    let mut listeners = Vec::new();
    let mut children = Vec::new();
    for order in BufReader::new(&control).lines().map_while(Result::ok) {
        let said = match order.split_once(' ').unwrap_or((&order, "")) {
            ("listen", address) => {
                let listener =
                    if address == "v6only" { listen_for_ipv6_only() } else { TcpListener::bind(address).unwrap() };
                let number = listener.local_addr().unwrap().port();
                listeners.push(listener);
                number
            }
            // In a thread with a table of descriptors of its own.
            ("listen-apart", _) => listen_in_a_thread_with_its_own_table(),
            ("hand-over", _) => {
                let listener = listeners.pop().unwrap();
                let child = Command::new("sleep").arg("600").stdin(OwnedFd::from(listener)).spawn().unwrap();
                children.push(child);
                0
            }
            ("close", _) => {
                listeners.clear();
                0
            }
            ("spawn", _) => {
                children.push(Command::new(std::env::current_exe().unwrap()).args(ARGUMENTS).spawn().unwrap());
                0
            }
            other => panic!("{other:?}"),
        };
        // Whole, since a second packet would wait for the answer to the first.
        (&control).write_all(format!("{said}\n").as_bytes()).unwrap();
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// A process that takes orders.
pub struct Process {
    control: BufReader<TcpStream>,
}

impl Process {
    /// Makes it listen; returns the port when it does.
    pub fn listen(&mut self, address: &str) -> u16 {
        self.order(&format!("listen {address}"))
    }

    /// Makes it close all its listeners; returns when they are closed.
    pub fn close(&mut self) {
        self.order("close");
    }

    fn order(&mut self, order: &str) -> u16 {
        self.control.get_ref().write_all(format!("{order}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.control.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap_or_else(|_| panic!("{order}: {answer:?}"))
    }
}

/// The first process of a run, ended when this is dropped.
pub struct Server {
    /// Its run.
    pub tree: Arc<RunTree>,
    /// A moment before it began.
    pub born: Instant,
    first: Process,
    listener: TcpListener,
    _leader: Leader,
    _output: Spawned,
}

impl Server {
    /// Starts one; returns when it takes orders.
    pub fn start(tracker: &ProcessTracker) -> Server {
        let born = Instant::now();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let marker = format!("test.{}.{address}", std::process::id());
        let mut environment: Vec<_> = std::env::vars_os().collect();
        environment.push((CONTROL.into(), address.to_string().into()));
        environment.push((MARKER_VARIABLE.into(), marker.clone().into()));
        let program = std::env::current_exe().unwrap();
        let script = format!("exec '{}' {}", program.display(), ARGUMENTS.join(" "));
        let plan =
            Plan { script, words: None, directory: "/".into(), environment, open_files: None, stdin: Stdin::Null };
        let output = child::spawn(&plan).unwrap();
        let leader = Arc::new(Reaper::default()).adopt(output.pid, |_| {});
        let pipes = [&output.stdout, &output.stderr].map(|fd| proc::own_pipe(fd.as_fd()).unwrap());
        let tree = tracker.register(RunTree { leader: output.pid, mark: None, marker, pipes });
        let first = accept(&listener);
        Server { tree, born, first, listener, _leader: leader, _output: output }
    }

    /// See [`Process::listen`].
    pub fn listen(&mut self, address: &str) -> u16 {
        self.first.listen(address)
    }

    /// See [`Process::close`].
    pub fn close(&mut self) {
        self.first.close();
    }

    /// Makes a thread listen that has a table of descriptors of its own; returns the port when it does.
    pub fn listen_apart(&mut self) -> u16 {
        self.first.order("listen-apart")
    }

    /// Makes it start a child that alone has its last listener open.
    pub fn hand_over(&mut self) {
        self.first.order("hand-over");
    }

    /// Makes it start a child; returns when that takes orders too.
    pub fn spawn(&mut self) -> Process {
        self.first.order("spawn");
        accept(&self.listener)
    }
}

fn accept(listener: &TcpListener) -> Process {
    Process { control: BufReader::new(listener.accept().unwrap().0) }
}
