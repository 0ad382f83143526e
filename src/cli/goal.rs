//! The goals of a wait, and whether a server has reached them.
//!
//! Owns: the goals of `servisor wait`, and when one can't be reached any more. Never: a request, a clock. Pure.

use std::time::SystemTime;

use super::joined;
use super::server::Server;
use crate::json::Value;
use crate::model::names::by_name;

/// A server that its policy has restarted counts as up after this many seconds: it may be one that crashes again and
/// again.
const STAYS_UP: u64 = 3;

/// The state that a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// `ready`; `running` where neither a port nor a health check is configured. It stays so if it was restarted
    /// before.
    Up,
    Running,
    Ready,
    /// Its health checks pass.
    Healthy,
    /// `stopped` or `failed`.
    Stopped,
    /// No server of that name exists.
    Gone,
}

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Reached,
    /// Not yet.
    Pending,
    /// Not without a command of the user; the sentence says why.
    Impossible(&'static str),
    NoServer,
}

impl Goal {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Goal); 6] = [
        ("up", Goal::Up),
        ("running", Goal::Running),
        ("ready", Goal::Ready),
        ("healthy", Goal::Healthy),
        ("stopped", Goal::Stopped),
        ("gone", Goal::Gone),
    ];

    /// The goal that is called `word`.
    pub fn parse(word: &str) -> Option<Goal> {
        by_name(&Goal::ALL, word)
    }

    /// Whether a server without a name on the command line is waited for: one that was stopped, or has done its work,
    /// is not expected to come up.
    pub fn concerns(self, server: &Value) -> bool {
        match self {
            Goal::Up | Goal::Running | Goal::Ready => Server(server).status() != "stopped",
            Goal::Healthy => Server(server).status() != "stopped" && server.get("health_check").is_some(),
            Goal::Stopped | Goal::Gone => true,
        }
    }

    /// How far `server` is; `None` is a server that does not exist.
    pub fn judge(self, server: Option<&Value>, now: SystemTime) -> Verdict {
        let Some(server) = server.map(Server) else {
            return if self == Goal::Gone { Verdict::Reached } else { Verdict::NoServer };
        };
        let is_down = matches!(server.status(), "stopped" | "failed");
        let reached = match self {
            Goal::Up if server.can_be_ready() => server.status() == "ready",
            Goal::Up if server.number("restart_count").unwrap_or(0) > 0 => {
                matches!(server.status(), "running" | "ready") && server.up(now) >= Some(STAYS_UP)
            }
            Goal::Up | Goal::Running => matches!(server.status(), "running" | "ready"),
            Goal::Ready => server.status() == "ready",
            Goal::Healthy if server.0.get("health_check").is_none() => {
                let missing = " has no health check; start it with --health PATH";
                return Verdict::Impossible(joined(&[server.slug(), missing]));
            }
            Goal::Healthy => server.text("health_status") == "healthy",
            Goal::Stopped => is_down,
            Goal::Gone => false,
        };
        match self {
            _ if reached => Verdict::Reached,
            Goal::Stopped | Goal::Gone => Verdict::Pending,
            Goal::Up | Goal::Running | Goal::Ready | Goal::Healthy if is_down => {
                Verdict::Impossible(joined(&describe(server)))
            }
            Goal::Up | Goal::Running | Goal::Ready | Goal::Healthy => Verdict::Pending,
        }
    }
}

/// The parts of `web is failed: exited with code 7`.
#[inline(never)]
pub fn describe(server: Server<'_>) -> [&str; 5] {
    let separator = if server.reason().is_empty() { "" } else { ": " };
    [server.slug(), " is ", server.status(), separator, server.reason()]
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::json::json;
    use crate::model::time::parse_rfc3339;

    #[test]
    fn each_goal_and_each_status() {
        let statuses = ["installing", "starting", "running", "ready", "restarting", "stopped", "failed"];
        let now = parse_rfc3339("2026-01-01T00:00:10.000Z").unwrap();
        let letters = |goal: Goal, extra: &Value| -> String {
            let letter = |status: &&str| {
                let mut server = json!({"slug": "web", "status": status});
                let (Value::Object(members), Value::Object(extra)) = (&mut server, extra) else { unreachable!() };
                extra.iter().for_each(|(name, value)| members.insert(name.clone(), value.clone()));
                match goal.judge(Some(&server), now) {
                    Verdict::Reached => 'r',
                    Verdict::Pending => '.',
                    Verdict::Impossible(_) => 'x',
                    Verdict::NoServer => '?',
                }
            };
            statuses.iter().map(letter).collect()
        };
        let (plain, port) = (json!({}), json!({"requested_port": 1}));
        assert_eq!(letters(Goal::Up, &plain), "..rr.xx");
        assert_eq!(letters(Goal::Up, &port), "...r.xx");
        let restarted =
            |second: &str| json!({"restart_count": 2, "started_at": format!("2026-01-01T00:00:{second}.000Z")});
        assert_eq!(letters(Goal::Up, &restarted("08")), ".....xx");
        assert_eq!(letters(Goal::Up, &restarted("07")), "..rr.xx");
        assert_eq!(letters(Goal::Running, &restarted("08")), "..rr.xx");
        assert_eq!(letters(Goal::Up, &json!({"health_check": {}})), "...r.xx");
        assert_eq!(letters(Goal::Running, &port), "..rr.xx");
        assert_eq!(letters(Goal::Ready, &plain), "...r.xx");
        assert_eq!(letters(Goal::Healthy, &plain), "xxxxxxx");
        assert_eq!(letters(Goal::Healthy, &json!({"health_check": {}, "health_status": "checking"})), ".....xx");
        assert_eq!(letters(Goal::Stopped, &plain), ".....rr");
        assert_eq!(letters(Goal::Gone, &plain), ".......");
        assert_eq!(Goal::Gone.judge(None, now), Verdict::Reached);
        assert_eq!(Goal::Up.judge(None, now), Verdict::NoServer);
    }

    #[test]
    fn the_reason_is_in_the_sentence() {
        let server = json!({"slug": "crash", "status": "failed", "status_reason": "exited with code 7"});
        assert_eq!(
            Goal::Up.judge(Some(&server), SystemTime::UNIX_EPOCH),
            Verdict::Impossible("crash is failed: exited with code 7")
        );
    }
}
