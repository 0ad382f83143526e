//! Faults that no request causes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use super::Soak;
use super::model::{Kind, State};
use crate::support::limits::Starved;
use crate::support::wait_until;

/// How often each kind has happened.
#[derive(Debug, Default)]
pub struct Faults(BTreeMap<&'static str, u64>);

impl Faults {
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(what, count)| format!("{count} {what}")).collect();
        f.write_str(&all.join(", "))
    }
}

fn kill(pid: u64) {
    assert!(pid > 1);
    // SAFETY: plain numbers; the test has just seen that it is a process of its own daemon.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

impl Soak {
    pub(super) fn fault(&mut self) {
        match self.random.below(6) {
            0 | 1 => self.kill_leader("leaders killed"),
            2 => self.kill_grandchild(),
            3 => self.pause_daemon(),
            _ => self.take_descriptors(),
        }
    }

    /// One that runs, with the number of its first process.
    fn running(&mut self) -> Option<(String, u64)> {
        let up: Vec<String> =
            self.model.iter().filter(|(_, server)| server.state == State::Up).map(|(slug, _)| slug.clone()).collect();
        let slug = up.get(self.random.below(up.len().max(1) as u64) as usize)?.clone();
        let pid = self.daemon.client.show(&slug)["pid"].as_u64().unwrap();
        Some((slug, pid))
    }

    fn kill_leader(&mut self, what: &'static str) {
        let Some((slug, pid)) = self.running() else { return };
        self.faults.add(what);
        kill(pid);
        self.model.get_mut(&slug).unwrap().lose_leader();
        self.await_other_than(&slug, pid);
    }

    /// The old process may be seen for a moment after its death; what is compared comes after it.
    pub(super) fn await_other_than(&self, slug: &str, pid: u64) {
        wait_until(&format!("the death of {pid} of {slug} is seen"), || {
            (self.daemon.client.show(slug)["pid"].as_u64() != Some(pid)).then_some(())
        });
    }

    /// What is not the first process of a run may die: no restart is promised for it.
    fn kill_grandchild(&mut self) {
        let trees = self.model.iter().filter(|(_, server)| server.spec.kind == Kind::Tree && server.state == State::Up);
        let trees: Vec<String> = trees.map(|(slug, _)| slug.clone()).collect();
        let Some(slug) = trees.get(self.random.below(trees.len().max(1) as u64) as usize) else { return };
        let leader = self.daemon.client.show(slug)["pid"].as_u64().unwrap();
        let others = super::steps::processes(&self.daemon).into_iter().filter(|process| process.slug == *slug);
        let others: Vec<u64> = others.map(|process| process.pid).filter(|pid| *pid != leader).collect();
        others.iter().for_each(|pid| kill(*pid));
        if !others.is_empty() {
            self.faults.add("grandchildren killed");
        }
    }

    fn pause_daemon(&mut self) {
        let victim = self.running();
        self.faults.add("pauses of the daemon");
        self.daemon.signal(libc::SIGSTOP);
        if let Some((slug, pid)) = &victim {
            kill(*pid);
            self.model.get_mut(slug).unwrap().lose_leader();
        }
        std::thread::sleep(Duration::from_millis(self.random.below(100)));
        self.daemon.signal(libc::SIGCONT);
        if let Some((slug, pid)) = victim {
            self.await_other_than(&slug, pid);
        }
    }

    /// For a moment there are few descriptors or none, and something ends just then.
    fn take_descriptors(&mut self) {
        let Some((slug, pid)) = self.running() else { return };
        self.faults.add("shortages of descriptors");
        let room = self.random.below(12) as usize;
        let starved = Starved::of_descriptors(&self.daemon, room);
        kill(pid);
        std::thread::sleep(Duration::from_millis(self.random.below(60)));
        drop(starved);
        self.await_other_than(&slug, pid);
        let server = self.model.get_mut(&slug).unwrap();
        let is_limited = server.spec.max_restarts > 0;
        server.lose_leader();
        if server.state == State::Up {
            // Each attempt has counted, and they may have used up what there was.
            server.restarts = None;
            server.forget_runs();
            let seen = wait_until("it runs, or has given up", || {
                let seen = self.daemon.client.show(&slug);
                (seen["pid"].is_u64() || seen["status"] == "failed").then_some(seen)
            });
            if seen["status"] == "failed" {
                assert!(is_limited, "{seen:#}");
                server.state = State::Failed;
            }
            server.restarts = seen["restart_count"].as_u64();
        }
    }

    pub(super) fn kill_daemon(&mut self) {
        self.faults.add("deaths of the daemon");
        self.daemon.kill();
        self.daemon.begin_anew(&super::OPTIONS, &super::ONE_ARENA);
        self.model.values_mut().for_each(|server| server.boot());
        self.watcher.lose_daemon();
        self.counted.clear();
        self.compare();
        let marks = super::steps::processes(&self.daemon);
        let mut lives: Vec<&str> = marks.iter().map(|process| process.life.as_str()).collect();
        lives.dedup();
        assert!(lives.len() <= 1, "processes of several lives: {marks:?}");
        assert!(fs::metadata(self.daemon.state.join("servers")).is_ok());
    }
}
