//! What the daemon counts: runs and metrics.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Soak;
use super::model::State;

/// So many ended runs are kept.
const KEPT: u64 = 20;

/// The counters of servers at the last look. None of them ever decreases.
#[derive(Debug, Default)]
pub struct Counted(BTreeMap<String, f64>);

impl Counted {
    /// The daemon counts anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The server is gone; the next one of that name counts anew.
    pub fn forget(&mut self, slug: &str) {
        let label = label(slug);
        self.0.retain(|series, _| !series.contains(&label));
    }
}

fn label(slug: &str) -> String {
    format!("slug=\"{slug}\"")
}

impl Soak {
    /// The history has every run, the newest first, and says why it ended.
    pub(super) fn look_at_runs(&self, slug: &str) {
        let answer = self.get(&format!("/servers/{slug}/runs"));
        let Some(server) = self.model.get(slug) else {
            assert_eq!(answer.status, 404);
            return;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let all: Vec<Value> = answer.json()["data"]["runs"].as_array().unwrap().clone();
        let numbers: Vec<u64> = all.iter().map(|run| run["run"].as_u64().unwrap()).collect();
        let runs = server.runs.unwrap();
        let ended = server.ended_runs().unwrap();
        let first = ended - ended.min(KEPT) + 1;
        assert_eq!(numbers, (first..=runs).rev().collect::<Vec<_>>(), "{slug}: {server:?}");
        let living = usize::from(server.state == State::Up);
        for (place, run) in all.iter().enumerate() {
            let is_over = run["ended_at"].is_string() && run["reason"].is_string() && run["sentence"].is_string();
            assert_eq!(is_over, place >= living, "{slug}: {server:?} {run:#}");
        }
        if living == 1 {
            assert_eq!(all[0]["pid"], self.seen[slug]["pid"], "{slug}: {server:?} {all:#?}");
        }
        if let (Some(reason), Some(last)) = (server.ended_by, all.get(living)) {
            assert_eq!(last["reason"], reason, "{slug}: {server:?} {last:#}");
        }
    }

    /// The metrics say of each server what the model says, and no counter has gone back.
    pub(super) fn look_at_figures(&mut self) {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse::<f64>().unwrap())
        });
        let samples: BTreeMap<String, f64> = samples.collect();
        let sum = |name: &str, label: &str| -> f64 {
            let chosen = samples.iter().filter(|(series, _)| series.starts_with(name) && series.contains(label));
            chosen.map(|(_, value)| value).sum()
        };
        assert_eq!(sum("servisor_servers{", ""), self.model.len() as f64, "{text}");
        for (slug, server) in &mut self.model {
            let label = label(slug);
            let is = |status: &str| samples[&format!("servisor_server_status{{{label},status=\"{status}\"}}")] == 1.0;
            let state = match server.state {
                State::Up => is("starting") || is("running") || is("ready"),
                State::Stopped => is("stopped"),
                State::Failed => is("failed"),
            };
            assert!(state && sum("servisor_server_status{", &label) == 1.0, "{slug}: {server:?}\n{text}");
            let exits = sum("servisor_server_exits_total{", &label) as u64;
            let ended = server.ended_runs().unwrap();
            let uncounted = *server.uncounted.get_or_insert(ended - exits);
            assert_eq!(exits + uncounted, ended, "{slug}: {server:?}\n{text}");
        }
        for (series, value) in &samples {
            if series.contains("_total{slug=") {
                let before = self.counted.0.insert(series.clone(), *value).unwrap_or(0.0);
                assert!(*value >= before, "{series} was {before}:\n{text}");
            }
        }
    }
}
