//! What should be.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Random, quiet_port, testchild};

/// What a server does when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One process.
    Plain,
    /// A second one in a session of its own, which is no child of the first.
    Tree,
    /// Listens on a port, and answers checks and visitors.
    Web,
    /// Writes without pause.
    Flood,
    /// Ends at once.
    Exits(u8),
    /// Its install command fails.
    Uninstalled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Never,
    OnFailure,
    Always,
}

impl Policy {
    fn word(self) -> &'static str {
        match self {
            Policy::Never => "never",
            Policy::OnFailure => "on-failure",
            Policy::Always => "always",
        }
    }
}

/// A configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub kind: Kind,
    pub policy: Policy,
    /// 0 is no limit, as in the API.
    pub max_restarts: u64,
    pub autostart: bool,
    pub starts_on_visit: bool,
    pub version: u64,
}

/// What is true of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub spec: Spec,
    pub state: State,
    /// Since the last start by hand; `None` when a fault has made that unknown.
    pub restarts: Option<u64>,
    /// How many runs there were, the living one included; `None` when a fault has made that unknown.
    pub runs: Option<u64>,
    /// Why the newest of those that are over has ended, as far as that is known.
    pub ended_by: Option<&'static str>,
    /// How many of them had ended before this life of the daemon; `None` before the first look at what it counts.
    pub uncounted: Option<u64>,
    /// A call has stopped it, so no visit starts it.
    pub is_stopped_by_hand: bool,
    /// It was started in this life of the daemon.
    pub was_started: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Up,
    /// It does not, and nothing is wrong.
    Stopped,
    /// It does not, because something is wrong.
    Failed,
}

/// The servers by slug.
pub type Model = BTreeMap<String, Server>;

impl Spec {
    pub fn random(random: &mut Random, version: u64) -> Spec {
        let kind = match random.below(12) {
            0 | 1 => Kind::Plain,
            2 | 3 => Kind::Tree,
            4..=7 => Kind::Web,
            8 => Kind::Flood,
            9 => Kind::Exits(0),
            10 => Kind::Exits(1 + random.below(255) as u8),
            _ => Kind::Uninstalled,
        };
        let policy = [Policy::Never, Policy::OnFailure, Policy::Always][random.below(3) as usize];
        // One that ends at once, and is started again for ever, is never as anything says.
        let max_restarts = if matches!(kind, Kind::Exits(_)) { 1 + random.below(3) } else { random.below(2) * 2 };
        let (autostart, starts_on_visit) = (random.below(4) > 0, kind == Kind::Web && random.below(2) == 0);
        Spec { kind, policy, max_restarts, autostart, starts_on_visit, version }
    }

    pub fn json(&self, slug: &str) -> Value {
        let start = match self.kind {
            Kind::Plain | Kind::Uninstalled => "exec sleep 600".to_owned(),
            Kind::Tree => format!("{} daemonize stay", testchild()),
            Kind::Web => format!("exec {} web 127.0.0.1:PORT stay", testchild()),
            Kind::Flood => format!("{} flood 600", testchild()),
            Kind::Exits(code) => format!("exit {code}"),
        };
        let mut spec = json!({
            "slug": slug, "start": start, "restart_policy": self.policy.word(), "max_restarts": self.max_restarts,
            "restart_delay_ms": 5, "stop_timeout_ms": 2_000, "autostart": self.autostart,
            "environment": {"VERSION": self.version.to_string()},
        });
        match self.kind {
            Kind::Web => {
                spec["port"] = json!(quiet_port());
                spec["health_check"] = json!({"path": "/who", "interval_ms": 50});
                spec["proxy"] = json!({"start_on_visit": self.starts_on_visit});
            }
            Kind::Uninstalled => spec["install"] = json!("exit 9"),
            Kind::Plain | Kind::Tree | Kind::Flood | Kind::Exits(_) => {}
        }
        spec
    }

    /// What comes of a start by hand or at boot: the state, and the restarts until then.
    pub fn started(&self) -> (State, u64) {
        match (self.kind, self.policy) {
            (Kind::Plain | Kind::Tree | Kind::Web | Kind::Flood, _) => (State::Up, 0),
            (Kind::Uninstalled, _) => (State::Failed, 0),
            (Kind::Exits(0), Policy::Never | Policy::OnFailure) => (State::Stopped, 0),
            (Kind::Exits(_), Policy::Never) => (State::Failed, 0),
            (Kind::Exits(_), Policy::OnFailure | Policy::Always) => (State::Failed, self.max_restarts),
        }
    }
}

impl Server {
    /// One that is made, or, if it was there `before`, gets another configuration; it is started.
    pub fn new(spec: Spec, before: Option<&Server>) -> Server {
        let (runs, ended_by, uncounted) =
            before.map_or((Some(0), None, Some(0)), |before| (before.runs, before.ended_by, before.uncounted));
        let (state, restarts) = (State::Stopped, Some(0));
        let (is_stopped_by_hand, was_started) = (false, false);
        let mut server = Server { spec, state, restarts, runs, ended_by, uncounted, is_stopped_by_hand, was_started };
        server.start();
        server
    }

    /// It is started, after a stop if it runs.
    pub fn start(&mut self) {
        let (state, restarts) = self.spec.started();
        if self.state == State::Up {
            self.ended_by = Some("restarted");
        }
        if state != State::Up {
            self.ended_by = Some("exit");
        }
        self.runs = self.runs.map(|runs| runs + 1 + restarts);
        (self.state, self.restarts) = (state, Some(restarts));
        (self.is_stopped_by_hand, self.was_started) = (false, true);
    }

    /// It is stopped by a call. What has ended by itself, and wrongly, is put right by that.
    pub fn stop(&mut self) {
        if self.state == State::Up {
            self.ended_by = Some("stopped");
        }
        (self.state, self.is_stopped_by_hand) = (State::Stopped, true);
    }

    /// Whether a visit starts it.
    pub fn starts_now_on_visit(&self) -> bool {
        self.spec.starts_on_visit && self.state == State::Stopped && !self.is_stopped_by_hand
    }

    /// Whether a visitor is given its answer.
    pub fn is_visited(&self) -> bool {
        self.spec.kind == Kind::Web && (self.state == State::Up || self.starts_now_on_visit())
    }

    /// Its first process was killed.
    pub fn lose_leader(&mut self) {
        let is_used_up =
            self.spec.max_restarts > 0 && self.restarts.is_some_and(|count| count >= self.spec.max_restarts);
        self.ended_by = Some("signal");
        match self.spec.policy {
            Policy::Never => self.state = State::Failed,
            Policy::OnFailure | Policy::Always if is_used_up => self.state = State::Failed,
            Policy::OnFailure | Policy::Always => {
                self.restarts = self.restarts.map(|count| count + 1);
                self.runs = self.runs.map(|runs| runs + 1);
            }
        }
    }

    /// The daemon was killed, and has begun a new life. The end of its last one is not in the history.
    pub fn boot(&mut self) {
        self.was_started = false;
        if self.spec.autostart {
            self.start();
        } else {
            (self.state, self.restarts) = (State::Stopped, Some(0));
        }
        self.forget_runs();
        self.uncounted = None;
    }

    /// Runs have begun and ended, and it is not known how many.
    pub fn forget_runs(&mut self) {
        (self.runs, self.ended_by) = (None, None);
    }

    /// The runs that are over.
    pub fn ended_runs(&self) -> Option<u64> {
        self.runs.map(|runs| runs - u64::from(self.state == State::Up))
    }

    /// Takes from `answer`, which is as this server should be, what a fault has made unknown.
    pub fn learn(&mut self, answer: &Value) {
        let ended = answer["last_exit"]["run"].as_u64().unwrap_or(0);
        self.runs.get_or_insert(ended + u64::from(self.state == State::Up));
    }

    /// Whether `answer` is this server as it should be; a status that is still on its way is not.
    pub fn is(&self, answer: &Value) -> bool {
        let status = answer["status"].as_str().unwrap_or_default();
        let is_up = answer["pid"].is_u64();
        let state = match self.state {
            State::Up => {
                is_up && ["starting", "running", "ready"].contains(&status) && answer["status_reason"].is_null()
            }
            State::Stopped => !is_up && status == "stopped",
            State::Failed => !is_up && status == "failed",
        };
        let restarts = self.restarts.is_none_or(|count| answer["restart_count"] == count);
        let version = answer["environment"]["VERSION"].as_str() == Some(&self.spec.version.to_string());
        // What has ended says how, and what runs does not.
        let exit = match self.spec.kind {
            // It rests before its start as it does after its end, but for this.
            Kind::Exits(code) if self.was_started => answer["exit_code"] == code,
            _ => answer["exit_code"].is_null() || !is_up,
        };
        let last = &answer["last_exit"];
        let ended = self.ended_runs().is_none_or(|count| last["run"].as_u64().unwrap_or(0) == count);
        let reason = self.ended_by.is_none_or(|reason| last["reason"] == reason);
        state && restarts && version && exit && ended && reason
    }
}
