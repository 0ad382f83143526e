//! The daemon is killed at random moments while clients change what it has to keep.
//!
//! `IT_KILLS` is how often (20), `IT_SEED` repeats a run; the seed of each is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Random, number, testchild, wait_until};

/// A configuration, told apart by a number; `None` is no server.
type Version = Option<u64>;

/// What a slug may have: more than one thing only while a call about it has had no answer.
type Known = BTreeMap<String, BTreeSet<Version>>;

fn is_autostart(version: u64) -> bool {
    !version.is_multiple_of(4)
}

fn spec(slug: &str, version: u64) -> Value {
    let start = match version % 3 {
        0 => format!("({} daemonize stay &); exec sleep 600", testchild()),
        1 => "exec sleep 600".to_owned(),
        _ => "sleep 600; true".to_owned(),
    };
    json!({
        "slug": slug, "start": start, "autostart": is_autostart(version), "restart_policy": "always",
        "environment": {"VERSION": version.to_string()},
    })
}

/// Changes servers until the daemon does not answer any more.
fn disturb(client: &Client, name: &str, random: &mut Random, next: &mut u64, known: &mut Known) {
    loop {
        let slug = format!("{name}{}", random.below(6));
        let path = format!("/servers/{slug}");
        let may_be = known.entry(slug.clone()).or_insert_with(|| [None].into());
        let answered = match random.below(5) {
            0 | 1 => {
                *next += 1;
                let version = *next;
                let before = may_be.clone();
                may_be.insert(Some(version));
                let body = serde_json::to_vec(&spec(&slug, version)).unwrap();
                let json = [("Content-Type", "application/json")];
                let answer = client.try_request("POST", "/servers", &json, Some(&body));
                match answer.as_ref().map(|answer| answer.status) {
                    Some(201) => *may_be = [Some(version)].into(),
                    Some(409) => *may_be = before,
                    Some(other) => panic!("{other} to a POST: {}", answer.unwrap().text()),
                    None => {}
                }
                answer
            }
            2 => {
                may_be.insert(None);
                let answer = client.try_request("DELETE", &path, &[], None);
                match answer.as_ref().map(|answer| answer.status) {
                    Some(204 | 404) => *may_be = [None].into(),
                    Some(other) => panic!("{other} to a DELETE: {}", answer.unwrap().text()),
                    None => {}
                }
                answer
            }
            _ => client.try_request("POST", &format!("{path}/stop"), &[], None),
        };
        if answered.is_none() {
            return;
        }
    }
}

/// The runs (LIFE, SLUG, RUN) of all living processes of the test.
fn runs(daemon: &Daemon) -> BTreeSet<(String, String, String)> {
    let marker = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&environment).into_owned();
        let marker = text.split('\0').find_map(|variable| variable.strip_prefix("SERVISOR_RUN="))?.to_owned();
        let mut parts = marker.split('.').skip(1).map(str::to_owned);
        Some((parts.next()?, parts.next()?, parts.next()?))
    };
    daemon.descendants().into_iter().filter_map(|(pid, _)| marker(pid)).collect()
}

/// What the daemon has after a start must be what it answered for, and all of it must run, once.
fn check(daemon: &Daemon, known: &mut Known) {
    let list = daemon.client.get("/servers").json();
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for server in list["data"]["servers"].as_array().unwrap() {
        let version = server["environment"]["VERSION"].as_str().unwrap().parse().unwrap();
        found.insert(server["slug"].as_str().unwrap().to_owned(), version);
    }
    for (slug, may_be) in known.iter_mut() {
        let version = found.get(slug).copied();
        assert!(may_be.contains(&version), "{slug} is {version:?} and may only be one of {may_be:?}");
        *may_be = [version].into();
    }
    assert!(found.keys().all(|slug| known.contains_key(slug)), "{found:?}");
    for (slug, version) in &found {
        if is_autostart(*version) {
            wait_until(&format!("{slug} runs"), || daemon.client.show(slug)["pid"].is_u64().then_some(()));
        } else {
            assert_eq!(daemon.client.show(slug)["status"], "stopped", "{slug}");
        }
    }
    let expected: BTreeSet<&String> =
        found.iter().filter(|(_, version)| is_autostart(**version)).map(|(slug, _)| slug).collect();
    let runs = runs(daemon);
    let lives: BTreeSet<_> = runs.iter().map(|(life, ..)| life).collect();
    assert!(lives.len() <= 1, "processes of several lives: {runs:?}");
    // One run each: a slug is twice in the list if it is in two runs.
    assert_eq!(runs.iter().map(|(_, slug, _)| slug).collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn nothing_that_was_answered_is_lost_and_nothing_runs_twice_whenever_it_dies() {
    let kills = number("IT_KILLS").unwrap_or(20);
    let seed = number("IT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("IT_SEED={seed} IT_KILLS={kills}");
    let mut random = Random::new(seed);
    let mut daemon = Daemon::start();
    let clients =
        ["a", "b", "c"].map(|name| Mutex::new((name, Random::new(seed ^ random.below(1 << 30)), 0_u64, Known::new())));
    for kill in 0..kills {
        let delay = Duration::from_micros(random.below(80_000));
        std::thread::scope(|scope| {
            for client in &clients {
                let address = daemon.client.clone();
                scope.spawn(move || {
                    let (name, random, next, known) = &mut *client.lock().unwrap();
                    disturb(&address, name, random, next, known);
                });
            }
            std::thread::sleep(delay);
            daemon.kill();
        });
        // Now and then it dies in the middle of its start too.
        if random.below(3) == 0 {
            let mut command = Daemon::command_on(daemon.scratch());
            let mut process = command.stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
            process.kill().unwrap();
            process.wait().unwrap();
        }
        daemon.begin_anew(&[], &[]);
        println!("kill {kill} after {delay:?}");
        let mut all = Known::new();
        for client in &clients {
            all.append(&mut client.lock().unwrap().3);
        }
        check(&daemon, &mut all);
        for client in &clients {
            let (name, _, _, known) = &mut *client.lock().unwrap();
            *known = all
                .iter()
                .filter(|(slug, _)| slug.starts_with(*name))
                .map(|(slug, set)| (slug.clone(), set.clone()))
                .collect();
        }
    }
}
