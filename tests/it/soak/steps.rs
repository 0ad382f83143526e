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
        match self.random.below(96) {
            0..=14 => self.create(&slug),
            15..=24 => self.stop(&slug),
            25..=34 => self.start(&slug),
            35..=44 => self.restart(&slug),
            45..=49 => self.delete(&slug),
            50..=54 => self.mark(&slug),
            55..=58 => {
                let status = self.get(&format!("/servers/{slug}/logs")).status;
                assert_eq!(status, if self.model.contains_key(&slug) { 200 } else { 404 });
            }
            59..=72 => self.visit(&slug),
            73..=79 => self.hold(&slug),
            80..=83 => self.look_at_runs(&slug),
            84..=88 => self.watch(),
            89..=91 => self.look_at_figures(),
            92..=94 => self.look_by_command(&slug),
            _ => self.live_by_visits(),
        }
    }

    pub(super) fn get(&self, target: &str) -> Answer {
        self.daemon.client.get(target)
    }

    pub(super) fn state(&self, slug: &str) -> Option<State> {
        self.model.get(slug).map(|server| server.state)
    }

    fn create(&mut self, slug: &str) {
        let spec = Spec::random(&mut self.random, self.operations);
        let answer = self.daemon.client.create(&spec.json(slug));
        if self.state(slug) == Some(State::Up) {
            answer.error(409);
        } else {
            answer.server(201);
            let server = Server::new(spec, self.model.get(slug));
            self.model.insert(slug.to_owned(), server);
        }
    }

    fn stop(&mut self, slug: &str) {
        self.act("stop", slug, 200);
        self.change(slug, Server::stop);
    }

    fn start(&mut self, slug: &str) {
        let is_up = self.state(slug) == Some(State::Up);
        self.act("start", slug, if is_up { 409 } else { 200 });
        if !is_up {
            self.change(slug, Server::start);
        }
    }

    fn restart(&mut self, slug: &str) {
        let before = self.pid(slug);
        self.act("restart", slug, 200);
        self.change(slug, Server::start);
        assert!(before.is_none() || before != self.pid(slug), "it is the same process after a restart");
    }

    fn delete(&mut self, slug: &str) {
        self.act("rm", slug, 204);
        self.model.remove(slug);
        self.counted.forget(slug);
    }

    fn mark(&mut self, slug: &str) {
        let answer = self.daemon.client.mark(slug, "ready");
        let status = match self.state(slug) {
            None => 404,
            Some(State::Up) => 200,
            Some(State::Stopped | State::Failed) => 409,
        };
        assert_eq!(answer.status, status, "{}", answer.text());
    }

    /// Has something done to a server, by a request, which has this status if the server is there, or by a command.
    fn act(&mut self, what: &str, slug: &str, status: u16) {
        if self.random.below(4) == 0 {
            return self.act_by_command(what, slug);
        }
        let path = format!("/servers/{slug}");
        let answer = match what {
            "rm" => self.daemon.client.delete(&path),
            what => self.daemon.client.post(&format!("{path}/{what}")),
        };
        let status = if self.model.contains_key(slug) { status } else { 404 };
        // What each thread waits for shows which one hangs.
        let calls = || self.daemon.calls("").join("\n");
        assert!(answer.status == status, "{what} {slug}, not {status}: {}\n{}", answer.text(), calls());
    }

    pub(super) fn change(&mut self, slug: &str, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self.model.get_mut(slug) {
            change(server);
        }
    }

    pub(super) fn pid(&self, slug: &str) -> Option<u64> {
        let answer = self.get(&format!("/servers/{slug}"));
        (answer.status == 200).then(|| answer.server(200)["pid"].as_u64())?
    }

    /// All servers are as they should be, and there are no others.
    pub(super) fn compare(&mut self) {
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
                self.model.iter_mut().for_each(|(slug, server)| server.learn(&seen[slug]));
                self.seen = seen;
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
            self.counted.forget(&slug);
        }
        self.compare();
        self.look_at_held();
        self.look_at_processes();
    }
}
