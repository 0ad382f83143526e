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
    /// Listens on a port and answers checks.
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
    pub version: u64,
}

/// What is true of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub spec: Spec,
    pub state: State,
    /// Since the last start by hand; `None` when a fault has made that unknown.
    pub restarts: Option<u64>,
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
        let kind = match random.below(10) {
            0 | 1 => Kind::Plain,
            2 | 3 => Kind::Tree,
            4 | 5 => Kind::Web,
            6 => Kind::Flood,
            7 => Kind::Exits(0),
            8 => Kind::Exits(1 + random.below(255) as u8),
            _ => Kind::Uninstalled,
        };
        let policy = [Policy::Never, Policy::OnFailure, Policy::Always][random.below(3) as usize];
        // One that ends at once, and is started again for ever, is never as anything says.
        let max_restarts = if matches!(kind, Kind::Exits(_)) { 1 + random.below(3) } else { random.below(2) * 2 };
        Spec { kind, policy, max_restarts, autostart: random.below(4) > 0, version }
    }

    pub fn json(&self, slug: &str) -> Value {
        let start = match self.kind {
            Kind::Plain | Kind::Uninstalled => "exec sleep 600".to_owned(),
            Kind::Tree => format!("{} daemonize stay", testchild()),
            Kind::Web => format!("{} serve 127.0.0.1:PORT 200 stay", testchild()),
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
                spec["health_check"] = json!({"interval_ms": 50});
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
    pub fn new(spec: Spec) -> Server {
        let mut server = Server { spec, state: State::Stopped, restarts: Some(0) };
        server.start();
        server
    }

    pub fn start(&mut self) {
        let (state, restarts) = self.spec.started();
        (self.state, self.restarts) = (state, Some(restarts));
    }

    /// Its first process was killed.
    pub fn lose_leader(&mut self) {
        let is_used_up =
            self.spec.max_restarts > 0 && self.restarts.is_some_and(|count| count >= self.spec.max_restarts);
        match self.spec.policy {
            Policy::Never => self.state = State::Failed,
            Policy::OnFailure | Policy::Always if is_used_up => self.state = State::Failed,
            Policy::OnFailure | Policy::Always => self.restarts = self.restarts.map(|count| count + 1),
        }
    }

    /// The daemon has begun a new life.
    pub fn boot(&mut self) {
        if self.spec.autostart {
            self.start();
        } else {
            (self.state, self.restarts) = (State::Stopped, Some(0));
        }
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
        // What has ended tells how, and what runs does not.
        let exit = answer["exit_code"].is_null() || !is_up;
        state && restarts && version && exit
    }
}
