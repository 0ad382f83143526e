//! What clients ask for, and the comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::model::{Server, Spec, State};
use super::{SLUGS, Soak};
use crate::support::{Answer, Daemon, wait_until};

/// A living process of a run.
#[derive(Debug)]
pub struct Process {
    pub pid: u64,
    pub life: String,
    pub slug: String,
    pub run: String,
}

pub fn processes(daemon: &Daemon) -> Vec<Process> {
    let marked = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&environment).into_owned();
        let marker = text.split('\0').find_map(|variable| variable.strip_prefix("SERVISOR_RUN="))?.to_owned();
        let mut parts = marker.split('.').skip(1).map(str::to_owned);
        Some(Process { pid: pid.into(), life: parts.next()?, slug: parts.next()?, run: parts.next()? })
    };
    daemon.descendants().into_iter().filter_map(|(pid, _)| marked(pid)).collect()
}

impl Soak {
    pub(super) fn operation(&mut self) {
        self.operations += 1;
        let slug = format!("s{}", self.random.below(SLUGS));
        let path = format!("/servers/{slug}");
        let known = self.model.get(&slug).map(|server| server.state);
        let up = known == Some(State::Up);
        match self.random.below(12) {
            0..=2 => self.create(&slug),
            3 | 4 => {
                self.post(&path, "stop", if known.is_none() { 404 } else { 200 });
                self.change(&slug, |server| {
                    // What has ended by itself, and wrongly, is put right by a stop.
                    server.state = State::Stopped;
                });
            }
            5 | 6 => {
                self.post(
                    &path,
                    "start",
                    if known.is_none() {
                        404
                    } else if up {
                        409
                    } else {
                        200
                    },
                );
                if !up {
                    self.change(&slug, Server::start);
                }
            }
            7 | 8 => {
                let before = self.pid(&slug);
                self.post(&path, "restart", if known.is_none() { 404 } else { 200 });
                self.change(&slug, Server::start);
                assert!(before.is_none() || before != self.pid(&slug), "it is the same process after a restart");
            }
            9 => {
                let answer = self.daemon.client.delete(&path);
                assert_eq!(answer.status, if known.is_none() { 404 } else { 204 }, "{}", answer.text());
                self.model.remove(&slug);
            }
            10 => {
                let answer = self.daemon.client.mark(&slug, "ready");
                assert_eq!(
                    answer.status,
                    if known.is_none() {
                        404
                    } else if up {
                        200
                    } else {
                        409
                    },
                    "{}",
                    answer.text()
                );
            }
            _ => {
                let answer = self.daemon.client.get(&format!("{path}/logs"));
                assert_eq!(answer.status, if known.is_none() { 404 } else { 200 });
            }
        }
    }

    fn create(&mut self, slug: &str) {
        let spec = Spec::random(&mut self.random, self.operations);
        let answer = self.daemon.client.create(&spec.json(slug));
        if self.model.get(slug).is_some_and(|server| server.state == State::Up) {
            answer.error(409);
        } else {
            answer.server(201);
            self.model.insert(slug.to_owned(), Server::new(spec));
        }
    }

    fn post(&self, path: &str, what: &str, status: u16) -> Answer {
        let answer = self.daemon.client.post(&format!("{path}/{what}"));
        assert_eq!(answer.status, status, "{path}/{what}: {}", answer.text());
        answer
    }

    fn change(&mut self, slug: &str, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self.model.get_mut(slug) {
            change(server);
        }
    }

    fn pid(&self, slug: &str) -> Option<u64> {
        let answer = self.daemon.client.get(&format!("/servers/{slug}"));
        (answer.status == 200).then(|| answer.server(200)["pid"].as_u64())?
    }

    /// All servers are as they should be, and there are no others.
    pub(super) fn compare(&self) {
        let mut last = Vec::new();
        let limit = std::time::Instant::now() + crate::support::LIMIT;
        while std::time::Instant::now() < limit {
            let list = self.daemon.client.get("/servers").json();
            let seen: BTreeMap<String, Value> = list["data"]["servers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|server| (server["slug"].as_str().unwrap().to_owned(), server.clone()))
                .collect();
            last.clear();
            for slug in (0..SLUGS).map(|number| format!("s{number}")) {
                match (self.model.get(&slug), seen.get(&slug)) {
                    (None, None) => {}
                    (Some(model), Some(server)) if model.is(server) => {}
                    (model, server) => last.push(format!("{slug} should be {model:?} and is {server:#?}")),
                }
            }
            if last.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        panic!("a deviation after {} operations: {}", self.operations, last.join("\n"));
    }

    /// Each server that runs has one run, each that doesn't has no process, and nothing is left to be reaped.
    pub(super) fn look_at_processes(&self) {
        wait_until("no process is left to be reaped", || (self.daemon.zombies() == 0).then_some(()));
        // A process that is just becoming another program has no environment to show.
        wait_until("each server that runs has its processes", || {
            let all = processes(&self.daemon);
            let mut runs: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
            for process in &all {
                runs.entry(&process.slug).or_default().insert((&process.life, &process.run));
            }
            let mut is_complete = true;
            for (slug, server) in &self.model {
                let runs = runs.remove(slug.as_str()).unwrap_or_default();
                let expected = usize::from(server.state == State::Up);
                assert!(runs.len() <= expected, "{slug} has the runs {runs:?}: {server:?}; all processes: {all:#?}");
                is_complete &= runs.len() == expected;
            }
            assert!(runs.is_empty(), "processes of servers that are no more: {runs:?}");
            is_complete.then_some(())
        });
    }

    pub(super) fn delete_all(&mut self) {
        for slug in std::mem::take(&mut self.model).into_keys() {
            assert_eq!(self.daemon.client.delete(&format!("/servers/{slug}")).status, 204);
        }
        self.compare();
        self.look_at_processes();
    }
}
