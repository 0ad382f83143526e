//! What health checks find, and what comes of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Daemon, quiet_port, testchild, wait_until};

/// A server that answers its checks by `script`.
fn scripted(slug: &str, script: &str, check: Value) -> Value {
    json!({
        "slug": slug, "start": format!("{} serve 127.0.0.1:PORT {script} stay", testchild()), "port": quiet_port(),
        "health_check": check, "restart_delay_ms": 0,
    })
}

fn fast() -> Value {
    json!({"interval_ms": 30, "timeout_ms": 10_000})
}

/// When its requests came, by its own clock, in microseconds.
fn requests(daemon: &Daemon, slug: &str) -> Vec<u64> {
    let logs = daemon.client.logs(slug, "");
    let times = logs.lines().filter_map(|line| line.strip_prefix("request ")?.split(' ').nth(2)?.parse().ok());
    times.collect()
}

fn wait_for_requests(daemon: &Daemon, slug: &str, count: usize) {
    wait_until(&format!("{slug} has had {count} requests"), || (requests(daemon, slug).len() >= count).then_some(()));
}

#[test]
fn ready_only_after_the_check_has_passed() {
    let daemon = Daemon::start();
    // For ever so many failures, and for an answer that is none, before the first success.
    let spec = scripted("web", "500,404,cut,503,100,500,204", fast());
    daemon.client.create(&spec).server(201);
    let ready = daemon.client.when_ready("web");
    assert_eq!((&ready["healthy"], &ready["health_status"]), (&json!(true), &json!("healthy")));
    assert_eq!((&ready["health"]["last_status"], &ready["health"]["consecutive_failures"]), (&json!(204), &json!(0)));
    assert!(ready["health"]["last_check"].is_string() && ready["health"].get("last_error").is_none(), "{ready:#}");
    wait_for_requests(&daemon, "web", 7);
    assert_eq!(daemon.statuses("web"), ["starting", "running", "ready"]);
}

#[test]
fn before_the_first_success_it_is_checking_and_says_why() {
    let daemon = Daemon::start();
    daemon.client.create(&scripted("web", "503", fast())).server(201);
    wait_for_requests(&daemon, "web", 5);
    let server = daemon.client.show("web");
    assert_eq!(server["status"], "running");
    assert_eq!((&server["healthy"], &server["health_status"]), (&json!(false), &json!("checking")));
    assert_eq!(server["health"]["last_status"], 503);
    assert_eq!(server["health"]["last_error"], "answered 503");
    assert!(server["url"].is_string(), "where it listens is known all the same");
    assert_eq!(daemon.client.get("/ready").json()["ready"], true, "it has its port and its URL");
    assert_eq!(daemon.client.get("/ready").json()["healthy"], false);
}

#[test]
fn redirects_pass_and_other_classes_do_not() {
    let daemon = Daemon::start();
    for (slug, status, passes) in
        [("s200", 200, true), ("s302", 302, true), ("s399", 399, true), ("s400", 400, false), ("s500", 500, false)]
    {
        daemon.client.create(&scripted(slug, &status.to_string(), fast())).server(201);
        wait_for_requests(&daemon, slug, 2);
        if passes {
            daemon.client.when_ready(slug);
        } else {
            assert_eq!(daemon.client.wait_for_status(slug, "running")["healthy"], false);
        }
    }
}

#[test]
fn two_failures_change_nothing_three_do_and_one_success_restores() {
    let daemon = Daemon::start();
    for (slug, script, statuses) in [
        ("steady", "200,500,500,200,500,500,200,cut,500,200", &["starting", "ready"][..]),
        ("flapping", "200,500,500,500,200,500,500,200", &["starting", "ready", "running", "ready"]),
        ("failing", "200,500,500,500,500,500,500", &["starting", "ready", "running"]),
        (
            "twice",
            "200,500,500,500,200,500,500,500,200",
            &["starting", "ready", "running", "ready", "running", "ready"],
        ),
    ] {
        daemon.client.create(&scripted(slug, script, fast())).server(201);
        // One more than the script has: the last but one is judged by then.
        wait_for_requests(&daemon, slug, script.split(',').count() + 2);
        // A check takes longer than the start on a busy machine, and then it is `running` first.
        let mut seen = daemon.statuses(slug);
        if seen.get(1).is_some_and(|status| status == "running") {
            seen.remove(1);
        }
        assert_eq!(seen, statuses, "{slug}");
    }
    let failing = daemon.client.show("failing");
    assert_eq!((&failing["healthy"], &failing["health_status"]), (&json!(false), &json!("unhealthy")));
    assert!(failing["health"]["consecutive_failures"].as_u64().unwrap() >= 3);
    assert_eq!(daemon.client.show("flapping")["healthy"], true);
}

#[test]
fn a_timeout_is_a_failure_after_the_first_success() {
    let daemon = Daemon::start();
    let check = json!({"interval_ms": 30, "timeout_ms": 100});
    daemon.client.create(&scripted("web", "200,hang,hang,hang,200", check)).server(201);
    wait_for_requests(&daemon, "web", 6);
    assert_eq!(daemon.statuses("web").iter().filter(|status| *status == "ready").count(), 2, "{:?}", daemon.log());
    assert_eq!(daemon.client.when_ready("web")["healthy"], true);
}

#[test]
fn restarts_after_failures_are_counted_and_capped_and_each_run_starts_afresh() {
    let daemon = Daemon::start();
    let mut check = fast();
    check["restart_after_failures"] = json!(4);
    let mut spec = scripted("web", "500,500,500,500,500,200,500,500,500,200,500,500,500,500,500", check);
    spec["max_restarts"] = json!(2);
    daemon.client.create(&spec).server(201);
    let failed = daemon.client.wait_for_status("web", "failed");
    assert_eq!(failed["restart_count"], 2);
    let reason = failed["status_reason"].as_str().unwrap();
    assert!(reason.contains("gave up after 2 restarts") && reason.contains("health"), "{reason}");
    // Five before the first success don't count, three in between are not four: each of the three runs went to the end.
    let answers = daemon.client.logs("web", "").matches("request ").count();
    assert_eq!(answers, 3 * 14, "{}", daemon.client.logs("web", ""));
    assert!(failed.get("pid").is_none());
}

#[test]
fn nothing_of_an_earlier_run_counts_in_the_next() {
    let daemon = Daemon::start();
    // The third check of each run is under way when the run ends, and that makes it a failure too.
    daemon.client.create(&scripted("web", "200,500,500,hang", fast())).server(201);
    for _ in 0..5 {
        daemon.client.when_ready("web");
        wait_until("it has failed twice", || {
            (daemon.client.show("web")["health"]["consecutive_failures"] == 2).then_some(())
        });
        let restarted = daemon.client.post("/servers/web/restart").server(200);
        assert_eq!((&restarted["status"], &restarted["healthy"]), (&json!("starting"), &json!(false)));
        assert_eq!(restarted["health"], json!({"consecutive_failures": 0}));
        assert_eq!(restarted["health_status"], "checking");
    }
    assert!(
        !daemon.statuses("web").windows(2).any(|pair| pair == ["ready", "running"]),
        "{:?}",
        daemon.statuses("web")
    );
}

#[test]
fn a_first_answer_that_takes_25_seconds_is_waited_for_with_one_request() {
    const TAKES: Duration = Duration::from_secs(25);
    let daemon = Daemon::start();
    let spec = scripted("next", &format!("{}:200", TAKES.as_millis()), json!({}));
    let begun = Instant::now();
    daemon.client.create(&spec).server(201);
    daemon.client.when_ready("next");
    let took = begun.elapsed();
    println!("ready {:?} after its only answer was due", took.saturating_sub(TAKES));
    assert!(took >= TAKES && took < TAKES * 3 / 2, "{took:?}");
    // The next check is due at once, and may have come by now; before its answer it was not asked again.
    let requests = requests(&daemon, "next");
    let early = requests[1..].iter().filter(|at| u128::from(*at - requests[0]) < TAKES.as_micros()).count();
    assert_eq!(early, 0, "{requests:?}");
    assert_eq!(daemon.statuses("next"), ["starting", "running", "ready"]);
}

#[test]
fn a_server_that_hangs_delays_no_other_one_s_checks() {
    const INTERVAL_MS: u64 = 400;
    const CHECKS: usize = 11;
    let daemon = Daemon::start();
    // It hangs from the first one on, and another one does so after a success.
    daemon.client.create(&scripted("hung", "hang", json!({"interval_ms": 1}))).server(201);
    daemon.client.create(&scripted("hangs", "200,hang", json!({"interval_ms": 1, "timeout_ms": 300}))).server(201);
    let neighbours: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
    for slug in &neighbours {
        daemon.client.create(&scripted(slug, "200", json!({"interval_ms": INTERVAL_MS}))).server(201);
    }
    for slug in &neighbours {
        wait_for_requests(&daemon, slug, CHECKS);
        let mut gaps: Vec<u64> = requests(&daemon, slug).windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        let (median, wanted) = (gaps[gaps.len() / 2], INTERVAL_MS * 1000);
        println!(
            "{slug}: {} ms asked for, median {} us, {} to {} us",
            INTERVAL_MS,
            median,
            gaps[0],
            gaps[gaps.len() - 1]
        );
        assert!(median.abs_diff(wanted) <= wanted / 5, "{slug}: {gaps:?}");
    }
    assert_eq!(daemon.client.show("hung")["health_status"], "checking");
    assert_eq!(requests(&daemon, "hung").len(), 1, "one at a time");
    assert_eq!(daemon.client.show("hangs")["health_status"], "unhealthy");
}

#[test]
fn a_check_asks_the_server_to_close_the_connection() {
    let daemon = Daemon::start();
    let script = "import http.server as h, os\n\
        class Kept(h.BaseHTTPRequestHandler):\n\
        \x20protocol_version = 'HTTP/1.1'\n\
        \x20def do_GET(self):\n\
        \x20 print('asked for', self.headers['Connection'], 'by', self.headers['Host'], flush=True)\n\
        \x20 self.send_response(204)\n\
        \x20 self.end_headers()\n\
        h.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Kept).serve_forever()\n";
    let spec = json!({
        "slug": "kept", "start": "exec python3 -c \"$SCRIPT\"", "environment": {"SCRIPT": script}, "port": quiet_port(),
        "health_check": fast(),
    });
    daemon.client.create(&spec).server(201);
    let port = daemon.client.when_ready("kept")["port"].clone();
    let wanted = format!("asked for close by localhost:{port}");
    wait_until(&wanted, || daemon.client.logs("kept", "").contains(&wanted).then_some(()));
}
