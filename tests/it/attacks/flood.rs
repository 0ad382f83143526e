//! All ways to hold a connection at once, from more strangers than there are connections, while the owner works.
//!
//! `make attack SECONDS=…` runs it for so long on the static binary; the tests run it shortly. What is asserted: at
//! least 99.9 % of the owner's requests are answered within a second, memory stays small, and everything is given back.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use super::strangers::set_option;
use crate::support::{Client, Daemon, Scratch, Stream, made, wait_until};

const PROMPT: Duration = Duration::from_secs(1);
/// Anonymous memory of the daemon, in KiB.
const MEMORY_MAX: u64 = 8 * 1024;
/// As much more of it may be there afterwards, in KiB.
const KEPT_MAX: u64 = 400;
/// Of the control group that the daemon runs in, if one can be made.
const GROUP_BYTES: &str = "33554432";

/// What one kind of stranger does.
#[derive(Clone, Copy)]
pub struct Way {
    name: &'static str,
    pub count: usize,
    /// Sent at once.
    first: &'static [u8],
    /// How often that is repeated, for pipelined requests.
    times: usize,
    /// Sent a byte at a time after it.
    then: &'static [u8],
    /// Bytes that are read at a time, every second; nothing is read without it.
    reads: usize,
}

pub const WAYS: [Way; 9] = [
    Way { name: "idle", count: 40, first: b"", times: 1, then: b"", reads: 0 },
    Way { name: "slow head", count: 40, first: b"GET /health HTTP/1.1\r\n", times: 1, then: b"X: yyyyyyyyyy", reads: 0 },
    Way {
        name: "long head",
        count: 20,
        first: b"X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
        times: 100,
        then: b"X: y",
        reads: 0,
    },
    Way {
        name: "refused body, byte by byte",
        count: 40,
        first: b"POST /servers HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n",
        times: 1,
        then: b"{{{{{{{{",
        reads: 0,
    },
    Way {
        name: "skipped body, byte by byte",
        count: 40,
        first: b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n",
        times: 1,
        then: b"{{{{{{{{",
        reads: 0,
    },
    Way {
        name: "slow reader",
        count: 80,
        first: b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
        times: 400,
        then: b"",
        reads: 1024,
    },
    Way {
        name: "slow reader of what is made",
        count: 40,
        first: b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n",
        times: 400,
        then: b"",
        reads: 256,
    },
    Way {
        name: "waiting",
        count: 60,
        first: b"GET /ready?wait=true&timeout_ms=3600000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        times: 1,
        then: b"",
        reads: 0,
    },
    Way { name: "half closed", count: 20, first: b"GET / HT", times: 1, then: b"", reads: 0 },
];

/// Keeps its connections, and makes those anew that it has lost.
pub fn hold(address: SocketAddr, way: Way, stop: &AtomicBool, made: &AtomicUsize) {
    let first = way.first.repeat(way.times);
    let mut held: Vec<(TcpStream, usize)> = Vec::new();
    let mut read_at = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let reads = way.reads > 0 && read_at.elapsed() > Duration::from_secs(1);
        if reads {
            read_at = Instant::now();
        }
        held.retain_mut(|(stream, sent)| {
            if let Some(byte) = way.then.get(*sent % way.then.len().max(1)) {
                *sent += 1;
                if stream.write(&[*byte]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
                    return false;
                }
            }
            if reads {
                return stream.read(&mut vec![0; way.reads]).is_ok_and(|count| count > 0);
            }
            let mut byte = [0];
            match stream.peek(&mut byte) {
                Ok(0) => false,
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            }
        });
        while held.len() < way.count && !stop.load(Ordering::SeqCst) {
            let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { break };
            set_option(&stream, libc::SOL_SOCKET, libc::SO_RCVBUF, 2048);
            stream.set_nonblocking(true).unwrap();
            let _ = (&stream).write(&first);
            if way.name == "half closed" {
                let _ = stream.shutdown(Shutdown::Write);
            }
            made.fetch_add(1, Ordering::SeqCst);
            held.push((stream, 0));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Connects and leaves, as fast as it can in bursts.
pub fn flood(address: SocketAddr, stop: &AtomicBool, made: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) {
        let burst: Vec<_> =
            (0..100).map_while(|_| TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()).collect();
        made.fetch_add(burst.len(), Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
    }
}

/// The results of an owner's requests.
#[derive(Default)]
struct Tally {
    took: Vec<Duration>,
    failed: Vec<String>,
}

impl Tally {
    fn add(&mut self, begun: Instant, what: &str, result: Result<u16, String>) {
        self.took.push(begun.elapsed());
        match result {
            Ok(200) if begun.elapsed() < PROMPT => {}
            other => self.failed.push(format!("{what}: {other:?} after {:?}", begun.elapsed())),
        }
    }
}

fn new_connections(client: &Client, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let json = [("Content-Type", "application/json")];
    while !stop.load(Ordering::SeqCst) {
        for (method, target, body) in [
            ("GET", "/servers", None),
            ("PATCH", "/servers/web/status", Some(&b"{\"status\": \"running\"}"[..])),
            ("GET", "/servers/web/logs", None),
            ("GET", "/ready", None),
        ] {
            let begun = Instant::now();
            let headers = if body.is_some() { &json[..] } else { &[] };
            let answer = client.try_request(method, target, headers, body);
            let result = answer.map(|answer| answer.status).ok_or_else(|| "no answer".to_owned());
            tally.add(begun, target, result);
        }
        thread::sleep(Duration::from_millis(1));
    }
    tally
}

fn keep_alive(client: &Client, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut stream = TcpStream::connect(client.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!("GET /info HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", super::TOKEN);
    while !stop.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let mut buffer = [0; 2048];
        let result = stream.write_all(head.as_bytes()).and_then(|()| stream.read(&mut buffer));
        let result = match result {
            Ok(count) if buffer[..count].starts_with(b"HTTP/1.1 200 ") => Ok(200),
            other => Err(format!("{other:?}")),
        };
        let is_lost = result.is_err();
        tally.add(begun, "keep-alive", result);
        if is_lost {
            return tally;
        }
        thread::sleep(Duration::from_millis(2));
    }
    tally
}

/// A control group with little memory; removed at the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Group, String> {
        let name = format!("servisor-it-{}", std::process::id());
        for (base, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let path = PathBuf::from(base).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Group(path);
            if fs::write(group.0.join(file), GROUP_BYTES).is_ok() {
                return Ok(group);
            }
        }
        Err("no memory control group can be made here (it takes root and a writable /sys/fs/cgroup)".into())
    }

    fn peak_kib(&self) -> Option<u64> {
        let read = |file| fs::read_to_string(self.0.join(file)).ok();
        let text = read("memory.max_usage_in_bytes").or_else(|| read("memory.peak"))?;
        text.trim().parse::<u64>().ok().map(|bytes| bytes / 1024)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let limit = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < limit {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn start(group: Option<&Group>) -> Daemon {
    let binary = made(
        "image",
        "SERVISOR_STATIC",
        &format!("target/{}-unknown-linux-musl/release/servisor", std::env::consts::ARCH),
    );
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let plain = Daemon::command_on(&scratch);
    let mut command = Command::new(binary);
    command.args(plain.get_args()).stdin(std::process::Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(group) = group {
        let procs = group.0.join("cgroup.procs");
        // SAFETY: a write to a file; nothing of another thread is used.
        unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    }
    Daemon::begun_by(scratch, &mut command)
}

mod timed {
    use super::*;

    #[test]
    fn all_ways_at_once_cost_the_owner_nothing() {
        let seconds = std::env::var("ATTACK_SECONDS").map_or(10, |text| text.parse().unwrap());
        let group = Group::new();
        if let Err(why) = &group {
            println!("not in a control group of 32 MiB: {why}");
        }
        let daemon = start(group.as_ref().ok());
        daemon.client.create(&json!({"slug": "web", "start": "exec sleep 6000"})).server(201);
        daemon.client.wait_for_status("web", "running");
        let size = daemon.size();
        let descriptors = crate::support::limits::open_descriptors(daemon.pid()).len();
        let before = daemon.memory_kib("Anonymous");
        let mut follower = Stream::open(&daemon.client, "/servers/web/logs?follow=true", &[]);
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = daemon.client.address;
        let mut attackers: Vec<JoinHandle<()>> = Vec::new();
        for way in WAYS {
            let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
            attackers.push(thread::spawn(move || hold(address, way, &stop, &connections)));
        }
        let (stop_too, connections_too) = (Arc::clone(&stop), Arc::clone(&connections));
        attackers.push(thread::spawn(move || flood(address, &stop_too, &connections_too)));
        // The owner begins in the middle of it.
        thread::sleep(Duration::from_secs(1));
        let owner = |work: fn(&Client, &AtomicBool) -> Tally| {
            let (client, stop) = (daemon.client.clone(), Arc::clone(&stop));
            thread::spawn(move || work(&client, &stop))
        };
        let owners = [owner(new_connections), owner(new_connections), owner(keep_alive)];
        let (begun, mut most, mut threads) = (Instant::now(), before, 0);
        while begun.elapsed() < Duration::from_secs(seconds) {
            most = most.max(daemon.memory_kib("Anonymous"));
            threads = threads.max(daemon.threads("conn-"));
            thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        for owner in owners {
            let tally = owner.join().unwrap();
            all.took.extend(tally.took);
            all.failed.extend(tally.failed);
        }
        attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
        all.took.sort_unstable();
        let at = |part: f64| all.took[((all.took.len() - 1) as f64 * part) as usize];
        println!(
            "{} connections of strangers in {seconds} s; {} requests of the owner, {} failed; p50 {:?}, p99 {:?}, longest {:?}",
            connections.load(Ordering::SeqCst),
            all.took.len(),
            all.failed.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
        println!("at most {threads} connections; anonymous memory {before} KiB before, at most {most} KiB");
        if let Some(peak) = group.as_ref().ok().and_then(Group::peak_kib) {
            println!("the control group of 32 MiB had at most {peak} KiB, the kernel's part included");
        }
        assert!(all.failed.len() * 1000 <= all.took.len(), "{:?}", &all.failed[..all.failed.len().min(20)]);
        assert!(most <= MEMORY_MAX, "{most} KiB");
        assert!(follower.is_quiet_for(Duration::from_millis(10)), "the owner's follower was cut off");
        drop(follower);
        // Extra parsers and spare threads of the rush end after some seconds.
        daemon.until_as_small_as(size);
        wait_until("descriptors are as before", || {
            (crate::support::limits::open_descriptors(daemon.pid()).len() <= descriptors).then_some(())
        });
        // musl keeps the last group of blocks of each size, even when it is empty: some hundred KiB for all sizes, once.
        wait_until("memory is given back", || (daemon.memory_kib("Anonymous") <= before + KEPT_MAX).then_some(()));
        println!("afterwards {} KiB", daemon.memory_kib("Anonymous"));
    }
}
