//! The daemon is killed at random moments while clients change what it has to keep: servers and overlays.
//!
//! `IT_KILLS` is how often (20), `IT_SEED` repeats a run; the seed of each is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Random, Scratch, number, testchild, wait_until};

/// A configuration, identified by a number; `None` is no server.
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

/// What may be true of an overlay. Each has a target of its own, by which it is known before its id is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It was answered for, and has this id.
    There(String),
    /// A call about it has had no answer.
    Either,
    /// Its deletion was answered for.
    Gone(Leaves),
}

/// What of a deleted overlay's files was to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Files,
    Nothing,
}

type Fates = BTreeMap<String, Fate>;

/// Makes an overlay, or deletes one; `None` if there was no answer.
fn disturb_overlays(
    client: &Client,
    source: &Path,
    name: &str,
    random: &mut Random,
    next: &mut u64,
    fates: &mut Fates,
) -> Option<()> {
    let there = fates.iter().filter_map(|(target, fate)| match fate {
        Fate::There(id) => Some((target.clone(), id.clone())),
        Fate::Either | Fate::Gone(_) => None,
    });
    let there: Vec<_> = there.collect();
    if random.below(2) == 0 && !there.is_empty() {
        let (target, id) = there[random.below(there.len() as u64) as usize].clone();
        let leaves = [Leaves::Files, Leaves::Nothing][random.below(2) as usize];
        let query = if leaves == Leaves::Nothing { "?delete_files=true" } else { "" };
        fates.insert(target.clone(), Fate::Either);
        let answer = client.try_request("DELETE", &format!("/filesystem/overlays/{id}{query}"), &[], None)?;
        assert_eq!(answer.status, 204, "{}", answer.text());
        fates.insert(target, Fate::Gone(leaves));
    } else {
        *next += 1;
        let target = format!("overlays/{name}{next}");
        let strategy = ["smart", "copy"][random.below(2) as usize];
        let body = json!({"source": source, "target": target, "strategy": strategy});
        fates.insert(target.clone(), Fate::Either);
        let json = [("Content-Type", "application/json")];
        let body = serde_json::to_vec(&body).unwrap();
        let answer = client.try_request("POST", "/filesystem/overlays", &json, Some(&body))?;
        assert_eq!(answer.status, 201, "{}", answer.text());
        fates.insert(target, Fate::There(answer.json()["id"].as_str().unwrap().to_owned()));
    }
    Some(())
}

/// Every entry below `top`, and what a symlink has in it.
fn entries(top: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            let link = fs::read_link(&path).unwrap_or_default();
            found.insert(format!("{} {}", path.strip_prefix(top).unwrap().display(), link.display()));
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// What was answered for is there and becomes complete, what was deleted is not. What is settled is known from now on.
fn check_overlays(daemon: &Daemon, template: &BTreeSet<String>, source: &Path, fates: &mut Fates) {
    let list = wait_until("all overlays are over", || {
        let list = daemon.client.get("/filesystem/overlays").json()["overlays"].as_array().unwrap().clone();
        list.iter()
            .all(|overlay| matches!(overlay["copy_status"].as_str(), Some("complete" | "failed")))
            .then_some(list)
    });
    let text = |overlay: &Value, field: &str| overlay[field].as_str().unwrap().to_owned();
    let found: BTreeMap<_, _> = list.iter().map(|overlay| (text(overlay, "target"), overlay)).collect();
    assert_eq!(found.len(), list.len(), "one is there twice: {list:?}");
    for target in found.keys() {
        assert!(fates.contains_key(target), "{target} is unknown or was deleted");
    }
    fates.retain(|target, fate| {
        let place = daemon.root.join(target);
        match (found.get(target), &*fate) {
            (Some(overlay), Fate::There(_) | Fate::Either) => {
                let id = text(overlay, "id");
                assert!(*fate == Fate::Either || *fate == Fate::There(id.clone()), "{target}: {fate:?}, {id}");
                assert_eq!(overlay["copy_status"], "complete", "{overlay}");
                assert_eq!(&entries(&place), template, "{target}");
                *fate = Fate::There(id);
                true
            }
            (None, Fate::Either) => false,
            (None, Fate::Gone(Leaves::Nothing)) => {
                assert!(!place.exists(), "{target}: {:?}", entries(&place));
                false
            }
            (None, Fate::Gone(Leaves::Files)) => {
                let left = if place.exists() { entries(&place) } else { BTreeSet::new() };
                assert!(left.is_subset(template), "{target}: {:?}", left.difference(template));
                false
            }
            (found, fate) => panic!("{target} is {found:?} and should be {fate:?}"),
        }
    });
    assert_eq!(&entries(source), template, "the template");
}

/// Changes servers and overlays until the daemon does not answer any more.
fn disturb(client: &Client, source: &Path, state: &mut State) {
    let State { name, random, next, known, fates } = state;
    loop {
        if random.below(3) == 0 {
            match disturb_overlays(client, source, name, random, next, fates) {
                Some(()) => continue,
                None => return,
            }
        }
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

/// A client, and what it knows.
struct State {
    name: &'static str,
    random: Random,
    next: u64,
    known: Known,
    fates: Fates,
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
    // A shell that is becoming `sleep` has no environment for a moment.
    let runs = wait_until("each is seen to run", || {
        let runs = runs(daemon);
        expected.iter().all(|slug| runs.iter().any(|(_, running, _)| running == *slug)).then_some(runs)
    });
    let lives: BTreeSet<_> = runs.iter().map(|(life, ..)| life).collect();
    assert!(lives.len() <= 1, "processes of several lives: {runs:?}");
    // One run each: a slug is twice in the list if it is in two runs.
    assert_eq!(runs.iter().map(|(_, slug, _)| slug).collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
}

fn owned<T: Clone>((key, value): (&String, &T)) -> (String, T) {
    (key.clone(), value.clone())
}

#[test]
fn nothing_that_was_answered_is_lost_and_nothing_runs_twice_whenever_it_dies() {
    let kills = number("IT_KILLS").unwrap_or(20);
    let seed = number("IT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("IT_SEED={seed} IT_KILLS={kills}");
    let mut random = Random::new(seed);
    let mut daemon = Daemon::start();
    let scratch = Scratch::new();
    let source = scratch.0.join("template");
    for (directory, files) in [("src", 5), ("node_modules/p", 40)] {
        fs::create_dir_all(source.join(directory)).unwrap();
        (0..files).for_each(|file| fs::write(source.join(directory).join(file.to_string()), directory).unwrap());
    }
    let template = entries(&source);
    let clients = ["a", "b", "c"].map(|name| {
        let random = Random::new(seed ^ random.below(1 << 30));
        Mutex::new(State { name, random, next: 0, known: Known::new(), fates: Fates::new() })
    });
    for kill in 0..kills {
        let delay = Duration::from_micros(random.below(80_000));
        std::thread::scope(|scope| {
            for client in &clients {
                let (address, source) = (daemon.client.clone(), &source);
                scope.spawn(move || disturb(&address, source, &mut client.lock().unwrap()));
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
        let (mut all, mut fates) = (Known::new(), Fates::new());
        for client in &clients {
            all.append(&mut client.lock().unwrap().known);
            fates.append(&mut client.lock().unwrap().fates);
        }
        check(&daemon, &mut all);
        check_overlays(&daemon, &template, &source, &mut fates);
        for client in &clients {
            let mut client = client.lock().unwrap();
            let own = format!("overlays/{}", client.name);
            client.known = all.iter().filter(|(slug, _)| slug.starts_with(client.name)).map(owned).collect();
            client.fates = fates.iter().filter(|(target, _)| target.starts_with(&own)).map(owned).collect();
        }
    }
}

#[test]
fn processes_that_live_for_a_moment_each_do_not_outlive_the_daemon_unseen() {
    let mut random = Random::new(u64::from(std::process::id()));
    let mut daemon = Daemon::start();
    let start = format!("({} hop 200 stay &); exec sleep 600", testchild());
    daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
    for round in 0..20 {
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        daemon.kill();
        daemon.begin_anew(&[], &[]);
        let lives: BTreeSet<_> = runs(&daemon).into_iter().map(|(life, ..)| life).collect();
        assert!(lives.len() <= 1, "round {round}: processes of several lives: {lives:?}");
    }
}
