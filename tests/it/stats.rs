//! What servers use, in answers and in `/metrics`, agrees with an independent count and never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Daemon, wait_until};

/// A process with two children, one of which has left the session; each keeps 24 MiB, and the first uses processor
/// time.
const TREE: &str = r#"
import os, signal, time
for number in range(2):
    if os.fork() == 0:
        if number == 1: os.setsid()
        break
memory = bytearray(24 << 20)
for place in range(0, len(memory), 4096): memory[place] = 1
end = time.process_time() + 0.3
while time.process_time() < end: pass
os.write(1, b"up\n")
while True: signal.pause()
"#;

fn tree(daemon: &Daemon, slug: &str) {
    std::fs::write(daemon.root.join("tree.py"), TREE).unwrap();
    let spec = json!({"slug": slug, "start": "python3 tree.py"});
    daemon.client.create(&spec).server(201);
    up(&daemon.client, slug, 3);
}

fn up(client: &Client, slug: &str, count: usize) {
    wait_until("all are up", || (client.logs(slug, "").matches("up\n").count() == count).then_some(()));
}

/// The leader and its children, which are all of the tree.
fn processes(leader: u64) -> Vec<u64> {
    let children = std::fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([leader]).collect()
}

fn resident(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn stats(client: &Client, slug: &str) -> Value {
    client.get(&format!("/servers/{slug}?stats=true")).json()["data"]["server"]["stats"].clone()
}

#[test]
fn stats_agree_with_a_count_of_ones_own_and_never_go_back() {
    let daemon = Daemon::start();
    tree(&daemon, "app");
    daemon.client.create(&json!({"slug": "idle", "start": "sleep 600", "autostart": false})).server(201);
    daemon.client.post("/servers/idle/stop").server(200);
    std::thread::sleep(Duration::from_millis(1100));
    let server = daemon.client.get("/servers/app?stats=true").json()["data"]["server"].clone();
    let first = server["stats"].clone();
    let pids = processes(server["pid"].as_u64().unwrap());
    assert_eq!((pids.len(), &first["processes"], &first["run"]), (3, &json!(3), &json!(1)));
    let sum: u64 = pids.iter().map(|pid| resident(*pid)).sum();
    let (rss, memory) = (first["rss_bytes"].as_u64().unwrap(), first["memory_bytes"].as_u64().unwrap());
    assert!(rss.abs_diff(sum) < sum / 10, "{rss} against {sum}");
    assert!(memory >= 3 * (24 << 20) && memory < rss, "{memory} of {rss}");
    let cpu = |stats: &Value| stats["cpu_ms"].as_u64().unwrap();
    assert!((850..5000).contains(&cpu(&first)), "{first}");
    assert_eq!(stats(&daemon.client, "idle"), Value::Null, "one that does not run has none");
    assert_eq!(daemon.client.show("app")["stats"], Value::Null, "they were not asked for");
    let list = daemon.client.get("/servers?stats=true").json()["data"]["servers"].clone();
    assert_eq!((&list[0]["stats"]["processes"], &list[1]["stats"]), (&json!(3), &Value::Null));
    // What two of three processes used is not in the kernel's account of the leader.
    daemon.client.post("/servers/app/restart").server(200);
    let again =
        wait_until("the next run is seen", || Some(stats(&daemon.client, "app")).filter(|stats| stats["run"] == 2));
    assert!(cpu(&again) >= cpu(&first), "{again} after {first}");
    up(&daemon.client, "app", 6);
    std::thread::sleep(Duration::from_millis(1100));
    let last = stats(&daemon.client, "app");
    assert!(cpu(&last) >= cpu(&first) + 800, "{last} after {first}");
    assert_eq!(daemon.client.get("/servers?stats=1").status, 422);
}

/// Processor time of the daemon, to 10 ms.
fn cpu(daemon: &Daemon) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let ticks: u64 =
        stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// For a hundred servers of three processes 15 ms of processor time are promised, in a release build on an idle
/// machine.
const PROMISED: Duration = Duration::from_millis(15);

/// `STATS_REQUESTS` says how often it is asked.
#[test]
fn stats_of_a_hundred_servers_cost_little() {
    const SERVERS: usize = 100;
    let requests: u32 = std::env::var("STATS_REQUESTS").map_or(5, |text| text.parse().unwrap());
    let daemon = Daemon::start();
    for number in 0..SERVERS {
        let spec = json!({"slug": format!("s{number}"), "start": "sleep 600 & sleep 600 & wait"});
        daemon.client.create(&spec).server(201);
    }
    let ask = |query: &str| daemon.client.get(&format!("/servers{query}")).json()["data"]["servers"].clone();
    let is_up = |server: &Value| server["stats"]["processes"] == 3;
    wait_until("all have their processes", || ask("?stats=true").as_array().unwrap().iter().all(is_up).then_some(()));
    let [without, with] = ["", "?stats=true"].map(|query| {
        let mut spent = Duration::ZERO;
        for _ in 0..requests {
            // A look that is younger than a second is used again.
            std::thread::sleep(Duration::from_millis(1100));
            let before = cpu(&daemon);
            assert_eq!(ask(query).as_array().unwrap().len(), SERVERS);
            spent += cpu(&daemon) - before;
        }
        spent / requests
    });
    println!("{SERVERS} servers of 3 processes: {without:?} of processor time without statistics, {with:?} with them");
    assert!(with < PROMISED * 10, "{with:?} a request");
}

/// A family: its type and its samples by their labels.
type Families = BTreeMap<String, (String, BTreeMap<Vec<(String, String)>, f64>)>;

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Parses the text format 0.0.4, and refuses what a scraper refuses or promtool complains of.
fn parse(text: &str) -> Families {
    assert!(text.ends_with('\n'), "the last line has an end");
    let mut families = Families::new();
    let (mut helped, mut current) = (BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty() && helped.insert(name.to_owned()), "{line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name) && matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_owned(), (kind.to_owned(), BTreeMap::new())).is_none(), "{line}");
            current = name.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
            None => (series, ""),
        };
        assert_eq!(name, current, "a sample stands under its family: {line}");
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
            let (key, text) = label.split_once('=').unwrap();
            let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
            assert!(is_name(key) && !text.contains(['"', '\\', '\n']), "{line}");
            (key.to_owned(), text.to_owned())
        });
        let samples = &mut families.get_mut(name).unwrap().1;
        assert!(samples.insert(labels.collect(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    families
}

fn scrape(client: &Client) -> Families {
    let answer = client.get("/metrics");
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    parse(&answer.text())
}

fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    families.get(name).unwrap_or_else(|| panic!("no {name}")).1.get(&labels).copied()
}

#[test]
fn metrics_are_prometheus_text_and_counters_never_go_back() {
    let daemon = Daemon::start();
    assert_eq!(Client { token: None, ..daemon.client.clone() }.get("/metrics").status, 401);
    parse(&daemon.client.get("/metrics").text());
    tree(&daemon, "app");
    let crash = json!({
        "slug": "crash", "start": "sh -c 'echo out; echo error >&2; exit 3'", "restart_policy": "always",
        "restart_delay_ms": 10, "max_restarts": 3,
    });
    daemon.client.create(&crash).server(201);
    daemon.client.wait_for_status("crash", "failed");
    let metrics = scrape(&daemon.client);
    let of = |name: &str, labels: &[(&str, &str)]| value(&metrics, name, labels);
    let (app, crash) = (("slug", "app"), ("slug", "crash"));
    assert_eq!(of("servisor_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(metrics["servisor_servers"].1.len(), 7);
    assert_eq!(of("servisor_servers", &[("status", "failed")]), Some(1.0));
    assert_eq!(metrics["servisor_server_status"].1.len(), 14);
    assert_eq!(of("servisor_server_status", &[crash, ("status", "failed")]), Some(1.0));
    assert_eq!(of("servisor_server_status", &[crash, ("status", "running")]), Some(0.0));
    assert_eq!(of("servisor_server_restarts_total", &[crash]), Some(3.0));
    assert_eq!(of("servisor_server_exits_total", &[crash, ("reason", "exit")]), Some(4.0));
    assert_eq!(metrics["servisor_server_exits_total"].1.len(), 1, "only reasons that were seen");
    assert_eq!(of("servisor_server_log_bytes_total", &[crash, ("stream", "stdout")]), Some(16.0));
    assert_eq!(of("servisor_server_log_bytes_total", &[crash, ("stream", "stderr")]), Some(24.0));
    assert_eq!(of("servisor_server_log_dropped_bytes_total", &[crash]), Some(0.0));
    assert_eq!(of("servisor_server_processes", &[app]), Some(3.0));
    assert_eq!(
        (of("servisor_server_processes", &[crash]), of("servisor_server_start_time_seconds", &[crash])),
        (None, None)
    );
    let (private, resident) = (("kind", "private"), ("kind", "resident"));
    let memory = |kind| of("servisor_server_memory_bytes", &[app, kind]).unwrap();
    assert!(memory(private) > 7e7 && memory(resident) > memory(private));
    assert_eq!(metrics["servisor_server_healthy"].1.len(), 0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for (name, labels) in [("process_start_time_seconds", &[][..]), ("servisor_server_start_time_seconds", &[app][..])]
    {
        let began = of(name, labels).unwrap();
        assert!(began < now + 1.0 && began > now - 300.0, "{name} {began}, now {now}");
    }
    assert!(of("process_open_fds", &[]).unwrap() >= 5.0 && of("process_resident_memory_bytes", &[]).unwrap() > 1e5);
    assert!(of("servisor_api_connections", &[]).unwrap() >= 1.0 && of("process_cpu_seconds_total", &[]).is_some());
    // Starts by hand and restarts: whatever was counted stays counted.
    daemon.client.post("/servers/crash/start");
    daemon.client.post("/servers/app/restart").server(200);
    let begun = Instant::now();
    let mut before = metrics;
    while begun.elapsed() < Duration::from_millis(1500) {
        let after = scrape(&daemon.client);
        for (name, (_, samples)) in before.iter().filter(|(_, (kind, _))| kind == "counter") {
            for (labels, value) in samples {
                assert!(after[name].1[labels] >= *value, "{name} {labels:?} went back from {value}");
            }
        }
        before = after;
    }
    assert!(value(&before, "servisor_server_restarts_total", &[crash]) >= Some(3.0));
    assert_eq!(value(&before, "servisor_server_exits_total", &[app, ("reason", "restarted")]), Some(1.0));
}

#[test]
fn a_health_check_has_its_series() {
    let daemon = Daemon::start();
    let start = "python3 -m http.server --bind 127.0.0.1 $PORT";
    let spec = json!({"slug": "web", "start": start, "port": crate::support::quiet_port(), "health_check": {"interval_ms": 100}});
    daemon.client.create(&spec).server(201);
    daemon.client.wait_for_status("web", "ready");
    let metrics = wait_until("it was checked", || {
        Some(scrape(&daemon.client))
            .filter(|all| value(all, "servisor_server_healthy", &[("slug", "web")]) == Some(1.0))
    });
    let took = value(&metrics, "servisor_server_health_check_seconds", &[("slug", "web")]).unwrap();
    assert!(took > 0.0 && took < 10.0, "{took}");
    assert!(value(&metrics, "servisor_server_start_to_ready_seconds", &[("slug", "web")]).unwrap() > 0.0);
}
