//! Nothing is done for servers of which nothing is to be known.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::proxy::Visitor;
use crate::support::{Daemon, Stream, quiet_port, testchild, wait_until};

/// What the kernel has counted for a thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Account {
    /// Its number and its name.
    name: String,
    /// Voluntary and involuntary context switches.
    switches: u64,
    /// The time on a processor, in nanoseconds.
    nanos: u64,
}

fn accounts(pid: i32) -> Vec<Account> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    // A thread that ends meanwhile has no account.
    let mut all: Vec<Account> = tasks.filter_map(|task| account(&task.path())).collect();
    all.sort();
    all
}

/// Waits until no thread does anything for 6 s.
fn idle_accounts(pid: i32) -> Vec<Account> {
    let mut before = accounts(pid);
    wait_until("it is idle", || {
        thread::sleep(Duration::from_secs(6));
        let now = accounts(pid);
        let is_idle = now == before;
        before = now;
        is_idle.then(|| before.clone())
    })
}

fn account(task: &Path) -> Option<Account> {
    let read = |name: &str| fs::read_to_string(task.join(name)).ok();
    let status = read("status")?;
    let counts = status.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
    let counts: Vec<u64> = counts.map(|line| line.split_once('\t').unwrap().1.parse().unwrap()).collect();
    assert_eq!(counts.len(), 2, "{status}");
    let nanos = read("schedstat")?.split(' ').next()?.parse().ok()?;
    let name = format!("{} {}", task.file_name()?.to_str()?, read("comm")?.trim());
    Some(Account { name, switches: counts.iter().sum(), nanos })
}

/// Utime and stime of the whole process, in ticks.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// `make idle` runs this for a minute; `IDLE_SECONDS` says for how long.
#[test]
fn a_hundred_ready_servers_cost_nothing() {
    const SERVERS: usize = 100;
    let seconds = std::env::var("IDLE_SECONDS").map_or(10, |text| text.parse().unwrap());
    let daemon = Daemon::with(&["--proxy"], &[]);
    for number in 0..SERVERS {
        let start = format!("{} serve 127.0.0.1:PORT 200 stay", testchild());
        let spec = json!({"slug": format!("s{number}"), "start": start, "port": quiet_port()});
        daemon.client.create(&spec).server(201);
    }
    let all = daemon.client.get("/ready?wait=true&timeout_ms=50000").json();
    assert_eq!((&all["ready"], all["servers"].as_array().unwrap().len()), (&json!(true), SERVERS));
    for number in 0..SERVERS {
        daemon.client.when_ready(&format!("s{number}"));
    }
    let pid = daemon.pid();
    // Who has asked once has started nothing.
    assert_eq!(daemon.client.get("/servers?stats=true").json()["data"]["servers"].as_array().unwrap().len(), SERVERS);
    assert_eq!(daemon.client.get("/metrics").status, 200);
    // What the last answers have begun ends first; tiny_http ends threads that it does not need after 5 s.
    let before = idle_accounts(pid);
    let ticks_before = ticks(pid);
    thread::sleep(Duration::from_secs(seconds));
    let after = accounts(pid);
    let sum = |all: &[Account], of: fn(&Account) -> u64| all.iter().map(of).sum::<u64>();
    println!(
        "{SERVERS} ready servers, {seconds} s: {} context switches and {} ns of processor time, by {} threads",
        sum(&after, |one| one.switches) - sum(&before, |one| one.switches),
        sum(&after, |one| one.nanos) - sum(&before, |one| one.nanos),
        after.len(),
    );
    assert_eq!(after, before, "a thread woke");
    assert_eq!(ticks(pid), ticks_before);
    // It was a real silence: all are still there, and the daemon answers.
    assert_eq!(daemon.client.get("/ready").json()["ready"], true);
    assert_ne!(accounts(pid), after, "an answer is counted, so the accounts are live");
    readers_cost_their_heartbeat(&daemon, seconds);
    tunnels_cost_nothing(&daemon, seconds);
}

/// How often a quiet stream shows that it lives.
const HEARTBEAT: u64 = 15;

/// Readers of events wake their own threads alone, for the heartbeat.
fn readers_cost_their_heartbeat(daemon: &Daemon, seconds: u64) {
    const READERS: usize = 16;
    let pid = daemon.pid();
    let without = tids(&accounts(pid));
    let mut readers: Vec<Stream> = (0..READERS).map(|_| Stream::open(&daemon.client, "/events", &[])).collect();
    for reader in &mut readers {
        reader.read_until(|text| text.contains("event: snapshot"));
    }
    // The threads that tiny_http does not need end within 5 s.
    thread::sleep(Duration::from_secs(6));
    let before = accounts(pid);
    thread::sleep(Duration::from_secs(seconds));
    let after = accounts(pid);
    assert_eq!(tids(&after), tids(&before));
    let mut switches = 0;
    for (before, after) in before.iter().zip(&after) {
        if without.contains(&before.name) {
            assert_eq!(after, before, "a thread woke that serves no reader");
        } else {
            switches += after.switches - before.switches;
        }
    }
    let heartbeats = READERS as u64 * (seconds / HEARTBEAT + 1);
    println!(
        "beside {READERS} quiet readers of events: {switches} context switches for at most {heartbeats} heartbeats"
    );
    assert!(switches <= heartbeats * 3, "a reader is woken for its heartbeat only");
    assert!(after.len() >= READERS, "each has a thread");
}

/// A WebSocket on which nothing is said has no timer: neither its own thread wakes, nor another.
fn tunnels_cost_nothing(daemon: &Daemon, seconds: u64) {
    const TUNNELS: usize = 50;
    let start = format!("exec {} web 127.0.0.1:PORT stay", testchild());
    daemon.client.create(&json!({"slug": "web", "start": start, "port": quiet_port()})).server(201);
    daemon.client.when_ready("web");
    let upgrade = "GET /ws HTTP/1.1\nHost: web.localhost\nUpgrade: websocket\nConnection: Upgrade";
    let mut tunnels: Vec<Visitor> = (0..TUNNELS).map(|_| Visitor::open(daemon.client.address, upgrade)).collect();
    let talk = |tunnels: &mut [Visitor]| {
        for tunnel in tunnels {
            tunnel.send(b"frame;");
            tunnel.read_to("frame;");
        }
    };
    talk(&mut tunnels);
    let pid = daemon.pid();
    let before = idle_accounts(pid);
    thread::sleep(Duration::from_secs(seconds));
    assert_eq!(accounts(pid), before, "a thread woke");
    println!("{TUNNELS} quiet tunnels, {seconds} s: no context switch by {} threads", before.len());
    talk(&mut tunnels);
    assert_ne!(accounts(pid), before);
}

fn tids(all: &[Account]) -> Vec<String> {
    let mut names: Vec<String> = all.iter().map(|one| one.name.clone()).collect();
    names.sort();
    names
}
