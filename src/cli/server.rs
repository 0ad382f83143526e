//! A server as an answer describes it.
//!
//! Owns: which of its fields the command line reads, and how times and sizes look. Never: a request.

use std::time::SystemTime;

use super::terminal::Colour;
use crate::json::Value;
use crate::model::time;

/// A view of one `ServerInfo`, or of any other object.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a>(pub &'a Value);

impl<'a> Server<'a> {
    /// A field; null if it is missing.
    #[inline(never)]
    pub fn field(self, name: &str) -> &'a Value {
        static NULL: Value = Value::Null;
        self.0.get(name).unwrap_or(&NULL)
    }

    /// A text field; empty if it is missing.
    pub fn text(self, name: &str) -> &'a str {
        self.field(name).as_str().unwrap_or_default()
    }

    /// A number; `None` if it is missing or null.
    pub fn number(self, name: &str) -> Option<u64> {
        self.field(name).as_u64()
    }

    pub fn slug(self) -> &'a str {
        self.text("slug")
    }

    pub fn status(self) -> &'a str {
        self.text("status")
    }

    /// Why it has this status, or how it was reached last.
    pub fn reason(self) -> &'a str {
        self.text("status_reason")
    }

    /// Whether it has something by which it can be seen to be ready.
    pub fn can_be_ready(self) -> bool {
        self.0.get("requested_port").is_some() || self.0.get("health_check").is_some()
    }

    /// How long the present run has lasted, in seconds.
    pub fn up(self, now: SystemTime) -> Option<u64> {
        match self.status() {
            "starting" | "running" | "ready" => Some(time::age(self.text("started_at"), now)?.as_secs()),
            _ => None,
        }
    }

    /// The reason if there is trouble, else the URL.
    pub fn url_or_reason(self) -> &'a str {
        match (self.reason(), self.text("url")) {
            (reason, "") => reason,
            ("", url) => url,
            (_, url) if self.status() == "ready" => url,
            (reason, _) => reason,
        }
    }
}

/// The list that `object` has by this name; empty if it has none.
#[inline(never)]
pub fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    match Server(object).field(name) {
        Value::Array(list) => list,
        _ => &[],
    }
}

/// Takes a member out of an object; null if it has none.
#[inline(never)]
pub fn take(object: &mut Value, name: &str) -> Value {
    if let Value::Object(members) = object { members.remove(name).unwrap_or_default() } else { Value::Null }
}

pub fn colour(status: &str) -> Colour {
    match status {
        "ready" => Colour::Green,
        "running" => Colour::Plain,
        "installing" | "starting" | "restarting" => Colour::Yellow,
        "failed" => Colour::Red,
        _ => Colour::Dim,
    }
}

/// Adds a number as it is.
pub fn digits(number: u64, to: &mut String) {
    to.push_str(&number.to_string());
}

/// Adds a number of seconds in its largest unit: `5s`, `12m`, `3h`, `9d`.
pub fn short(seconds: u64, to: &mut String) {
    let (number, unit) = match seconds {
        0..=119 => (seconds, "s"),
        120..=7199 => (seconds / 60, "m"),
        7200..=172_799 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    digits(number, to);
    to.push_str(unit);
}

/// Adds a number of milliseconds with as much precision as a person wants: `430ms`, `1.5s`, `12m`.
pub fn precise(millis: u64, to: &mut String) {
    match millis {
        0..=999 => {
            digits(millis, to);
            to.push_str("ms");
        }
        1000..=9_999 => tenths(millis, 1000, "s", to),
        _ => short(millis / 1000, to),
    }
}

/// Adds a size in binary units with one digit after the point: `12.3M`.
pub fn size(bytes: u64, to: &mut String) {
    match bytes {
        0..1_048_576 => tenths(bytes, 1024, "K", to),
        1_048_576..1_073_741_824 => tenths(bytes, 1_048_576, "M", to),
        _ => tenths(bytes, 1_073_741_824, "G", to),
    }
}

fn tenths(number: u64, divisor: u64, unit: &str, to: &mut String) {
    digits(number / divisor, to);
    to.push('.');
    digits(number % divisor * 10 / divisor, to);
    to.push_str(unit);
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::json::json;

    #[test]
    fn durations_and_sizes() {
        let shown = |show: fn(u64, &mut String), number: u64| {
            let mut text = String::new();
            show(number, &mut text);
            text
        };
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")] {
            assert_eq!(shown(short, seconds), text);
        }
        for (millis, text) in [(999, "999ms"), (1530, "1.5s"), (12_000, "12s")] {
            assert_eq!(shown(precise, millis), text);
        }
        for (bytes, text) in [(1536, "1.5K"), (12 * 1_048_576, "12.0M"), (3 << 30, "3.0G")] {
            assert_eq!(shown(size, bytes), text);
        }
    }

    #[test]
    fn the_last_column() {
        let shown = |value: Value| Server(&value).url_or_reason().to_owned();
        assert_eq!(shown(json!({"status": "running"})), "");
        assert_eq!(shown(json!({"status": "ready", "url": "http://x"})), "http://x");
        assert_eq!(shown(json!({"status": "running", "url": "http://x", "status_reason": "why"})), "why");
        assert_eq!(shown(json!({"status": "failed", "status_reason": "why"})), "why");
    }
}
