//! A server as an answer describes it.
//!
//! Owns: which of its fields the command line reads, and how times and sizes look. Never: a request.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::terminal::Colour;
use crate::model::time;

/// A view of one `ServerInfo`.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a>(pub &'a Value);

impl<'a> Server<'a> {
    /// A text field; empty if it is missing.
    pub fn text(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number; `None` if it is missing or null.
    pub fn number(self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// Its name.
    pub fn slug(self) -> &'a str {
        self.text("slug")
    }

    /// Its status.
    pub fn status(self) -> &'a str {
        self.text("status")
    }

    /// Why it has this status, or how it was reached last.
    pub fn reason(self) -> &'a str {
        self.text("status_reason")
    }

    /// Whether a process of its start command runs.
    pub fn is_live(self) -> bool {
        matches!(self.status(), "starting" | "running" | "ready")
    }

    /// Whether it has something by which it can be seen to be ready.
    pub fn can_be_ready(self) -> bool {
        self.0.get("requested_port").is_some() || self.0.get("health_check").is_some()
    }

    /// How long the present run has lasted.
    pub fn up(self, now: SystemTime) -> Option<Duration> {
        if !self.is_live() {
            return None;
        }
        time::age(self.text("started_at"), now)
    }

    /// The reason if there is trouble, else the URL.
    pub fn url_or_reason(self) -> &'a str {
        match (self.reason(), self.text("url")) {
            ("", "") => "-",
            ("", url) => url,
            (reason, url) => match (self.status(), url) {
                ("ready", url) if !url.is_empty() => url,
                (_, _) => reason,
            },
        }
    }
}

/// The colour of a status.
pub fn colour(status: &str) -> Colour {
    match status {
        "ready" => Colour::Green,
        "running" => Colour::Plain,
        "installing" | "starting" | "restarting" => Colour::Yellow,
        "failed" => Colour::Red,
        _ => Colour::Dim,
    }
}

/// A duration in its largest unit: `5s`, `12m`, `3h`, `9d`.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (number, unit) = match seconds {
        0..=119 => (seconds, "s"),
        120..=7199 => (seconds / 60, "m"),
        7200..=172_799 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    let mut text = number.to_string();
    text.push_str(unit);
    text
}

/// A duration in milliseconds with as much precision as a person wants: `430ms`, `1.5s`, `12m`.
pub fn precise(millis: u64) -> String {
    match millis {
        0..=999 => format!("{millis}ms"),
        1000..=9_999 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        _ => short(Duration::from_millis(millis)),
    }
}

/// A size in binary units with one digit after the point: `12.3M`.
pub fn size(bytes: u64) -> String {
    let (unit, divisor) = match bytes {
        0..1_048_576 => ("K", 1024),
        1_048_576..1_073_741_824 => ("M", 1_048_576),
        _ => ("G", 1_073_741_824),
    };
    format!("{}.{}{unit}", bytes / divisor, bytes % divisor * 10 / divisor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_and_sizes() {
        let at = |seconds| short(Duration::from_secs(seconds));
        assert_eq!([at(0), at(119), at(120), at(7200), at(172_800)], ["0s", "119s", "2m", "2h", "2d"]);
        assert_eq!([precise(999), precise(1530), precise(12_000)], ["999ms", "1.5s", "12s"]);
        assert_eq!([size(1536), size(12 * 1_048_576), size(3 << 30)], ["1.5K", "12.0M", "3.0G"]);
    }

    #[test]
    fn the_last_column() {
        let shown = |value: Value| Server(&value).url_or_reason().to_owned();
        assert_eq!(shown(json!({"status": "running"})), "-");
        assert_eq!(shown(json!({"status": "ready", "url": "http://x"})), "http://x");
        assert_eq!(shown(json!({"status": "running", "url": "http://x", "status_reason": "why"})), "why");
        assert_eq!(shown(json!({"status": "failed", "status_reason": "why"})), "why");
    }
}
