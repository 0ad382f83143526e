//! The time of day jumps, forwards and backwards, while the monotonic clock does not.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use servisor::model::time::rfc3339;

use crate::support::{
    Child, Client, Control, Daemon, Scratch, Stream, made, micros, quiet_port, testchild, wait_until,
};

const DAY: u64 = 24 * 60 * 60;

/// Where the clock is put, as libfaketime reads it at each look at the clock.
#[derive(Debug, Clone, Copy)]
enum Day {
    Yesterday,
    Today,
    Tomorrow,
}

impl Day {
    fn now(self) -> SystemTime {
        let day = Duration::from_secs(DAY);
        match self {
            Day::Yesterday => SystemTime::now() - day,
            Day::Today => SystemTime::now(),
            Day::Tomorrow => SystemTime::now() + day,
        }
    }

    /// Whether a reported moment is of that day, and lies in it where the clock is now, give or take some minutes.
    fn has(self, moment: &Value) -> bool {
        let text = moment.as_str().unwrap_or_default();
        let some = Duration::from_secs(300);
        rfc3339(self.now() - some).as_str() < text && text < rfc3339(self.now() + some).as_str()
    }
}

struct Clock(PathBuf);

impl Clock {
    fn set(&self, day: Day) {
        let offset = match day {
            Day::Yesterday => "-1d",
            Day::Today => "+0",
            Day::Tomorrow => "+1d",
        };
        // In one step: the clock is looked at all the time.
        let new = self.0.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

/// A daemon with a clock that can be set; its servers have the same.
fn start() -> (Daemon, Clock) {
    let library = made("clock", "FAKETIME", "target/faketime/libfaketime.so");
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("root")).unwrap();
    let clock = Clock(scratch.0.join("clock"));
    clock.set(Day::Today);
    let variables = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.0.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        // Files keep the times that they have.
        ("NO_FAKE_STAT", "1"),
    ];
    (Daemon::on(scratch, &[], &variables), clock)
}

/// So long each of these takes: the delay of a restart, a stop of who ignores SIGTERM, a client that waits in vain.
const EACH: Duration = Duration::from_secs(4);

struct Scene<'a> {
    client: &'a Client,
    control: Control,
}

impl Scene<'_> {
    fn create(&self, slug: &str, start: &str, more: Value) {
        let mut spec = json!({
            "slug": slug, "start": format!("{} {start}", testchild()),
            "environment": {"CTL": self.control.address.to_string()},
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.client.create(&spec).server(201);
    }

    /// One that obeys.
    fn obedient(&self, slug: &str, more: Value) -> Child {
        self.create(slug, &format!("obey {slug}"), more);
        self.control.child()
    }
}

#[test]
fn when_the_time_of_day_jumps_nothing_happens_early_or_late() {
    if std::env::var_os("SERVISOR_BIN").is_some() {
        println!("not here: a static binary reads its clock directly");
        return;
    }
    let (daemon, clock) = start();
    let client = &daemon.client;
    let scene = Scene { client, control: Control::new() };
    let each_ms = EACH.as_millis() as u64;
    let check = json!({"interval_ms": 20, "timeout_ms": 5_000, "restart_after_failures": 1});
    scene.create("web", "serve 127.0.0.1:PORT 200 stay", json!({"port": quiet_port(), "health_check": check}));
    let web = client.when_ready("web");
    let mut talker = scene.obedient("talker", json!({}));
    let mut followed = Stream::open(client, "/servers/talker/logs?follow=true", &[]);
    let mut again = scene.obedient("again", json!({"restart_policy": "always", "restart_delay_ms": each_ms}));
    for (round, day) in [Day::Tomorrow, Day::Yesterday, Day::Today].into_iter().enumerate() {
        // What takes its time begins before the jump and ends after it.
        let (slug, deaf) = (format!("late{round}"), format!("deaf{round}"));
        let mut late = scene.obedient(&slug, json!({"port": quiet_port()}));
        scene.create(&deaf, "ignore-term ctl deaf stay", json!({"stop_timeout_ms": each_ms}));
        let mut deaf_child = scene.control.child();
        let begun = micros();
        again.send("die-by 9");
        again.wait_dead();
        wait_until("it waits for its restart", || (client.show("again")["status"] == "restarting").then_some(()));
        let ask = |method: &'static str, target: String| {
            let client = client.clone();
            thread::spawn(move || (client.request(method, &target, &[], None).server(200), micros()))
        };
        let stop = ask("POST", format!("/servers/{deaf}/stop"));
        let in_vain = ask("GET", format!("/servers/talker?wait_for=ready&timeout_ms={each_ms}"));
        let waiting = ask("GET", format!("/servers/{slug}?wait_for=ready&timeout_ms=50000"));
        let is_asked = format!("[{deaf}] starting (stopping");
        wait_until("it is asked to stop", || daemon.log().contains(&is_asked).then_some(()));
        clock.set(day);
        wait_until("the clock is set", || day.has(&client.get("/health").json()["timestamp"]).then_some(()));
        assert!(since(begun, micros()) < EACH, "this machine is too slow to see what the jump does");
        let checked = client.show("web")["health"]["last_check"].clone();

        late.order("serve 127.0.0.1:PORT 200");
        let (ready, _) = waiting.join().unwrap();
        assert!(ready["status"] == "ready" && day.has(&ready["ready_at"]), "{ready:#}");
        talker.order(&format!("say after-jump-{round}"));
        followed.read_until(|text| text.contains(&format!("after-jump-{round}")));
        again = scene.control.child();
        let took = [again.at, stop.join().unwrap().1, in_vain.join().unwrap().1].map(|at| since(begun, at));
        println!("to {day:?}: a restart, a stop and a wait of {EACH:?} took {took:?}");
        assert!(took.iter().all(|&took| took >= EACH) && deaf_child.is_dead());
        wait_until("the restart is logged, with its time", || {
            let anew = client.show("again");
            (day.has(&anew["started_at"]) && anew["restart_count"] == round + 1).then_some(())
        });
        wait_until("checks continue", || {
            let last = client.show("web")["health"]["last_check"].clone();
            (last != checked && day.has(&last)).then_some(())
        });
        let log = daemon.log();
        assert!(day.has(&json!(log.lines().last().unwrap().split(' ').next())), "{log}");
    }
    let after = client.show("web");
    assert_eq!((&after["pid"], &after["restart_count"]), (&web["pid"], &json!(0)), "{after:#}");
    assert_eq!((&after["health_status"], &after["status"]), (&json!("healthy"), &json!("ready")), "{after:#}");
}

fn since(begun: u64, at: u64) -> Duration {
    Duration::from_micros(at - begun)
}
