//! Whether a server can be visited now, and the error if not.
//!
//! Owns: the table of states, and how long each kind of client is held. Never: a wait, a socket. Pure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::pages::{ProxyError, VisitorKind};
use crate::model::spec::Port;
use crate::model::status::Status;
use crate::model::time::rfc3339;
use crate::model::view::{ServerView, WORKER_AFTER};

/// Most servers start within this; a page that shows up for less would only flicker.
const BEFORE_PAGE: Duration = Duration::from_millis(1500);
/// The waiting page asks again, and is held for this long.
const REFRESH: Duration = Duration::from_secs(20);
/// All other clients are held for this long. Few have a shorter limit of their own.
const OTHERS: Duration = Duration::from_secs(25);

/// Whether a server can be visited now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitability {
    /// The server listens.
    Open,
    /// The server is expected to listen soon.
    Soon,
    /// The server has failed or is stopped.
    Down,
    /// The server does not listen, and is not expected to.
    NotListening,
}

impl Visitability {
    /// `is_reached` says whether it listens on the port that is visited, `is_due` whether that is expected.
    pub fn of(status: Status, is_reached: bool, is_due: bool) -> Visitability {
        match status {
            Status::Failed | Status::Stopped => Visitability::Down,
            Status::Installing | Status::Starting | Status::Restarting => Visitability::Soon,
            Status::Running | Status::Ready if is_reached => Visitability::Open,
            Status::Running | Status::Ready => {
                if is_due {
                    Visitability::Soon
                } else {
                    Visitability::NotListening
                }
            }
        }
    }
}

/// Whether a server that runs is expected to listen on the port that is visited.
pub fn is_due(view: &ServerView, port: Option<Port>, now: Instant) -> bool {
    let is_new = |since| now.saturating_duration_since(since) < WORKER_AFTER;
    port.is_some() || view.is_expected_to_listen() || view.alive_since.is_some_and(is_new)
}

/// For how long `visitor` is held.
pub fn hold_limit(visitor: VisitorKind) -> Duration {
    match visitor {
        VisitorKind { is_refresh: true, .. } => REFRESH,
        VisitorKind { is_navigation: true, .. } => BEFORE_PAGE,
        VisitorKind { .. } => OTHERS,
    }
}

/// The error where another process listens at the address of the server.
pub fn shared(view: &ServerView, address: SocketAddr) -> ProxyError {
    let slug = view.spec.slug.as_str();
    let sentence = format!(
        "{slug} is not the only one that gets connections to {address}: another process listens there; end it, or give \
         {slug} another port"
    );
    ProxyError::new(503, "port_shared", sentence)
}

/// The error for a client that can't visit the server. `has_key` says whether it has shown the server's key: output
/// holds secrets.
pub fn error(view: &ServerView, visitability: Visitability, is_refused: bool, has_key: bool) -> ProxyError {
    let slug = view.spec.slug.as_str();
    let reason = view.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let status = view.status.as_str();
    match visitability {
        Visitability::NotListening => ProxyError::new(
            404,
            "no_port",
            format!("{slug} is {status} and listens on no port; nothing can be visited there"),
        ),
        Visitability::Open | Visitability::Soon => {
            let sentence = if is_refused {
                format!("{slug} is {status}{reason}, but takes no connection; try again soon")
            } else {
                format!("{slug} is {status}{reason} and does not listen yet; try again soon")
            };
            ProxyError { is_temporary: true, ..ProxyError::new(503, "not_ready", sentence) }
        }
        Visitability::Down => {
            let code = view.exit.map(|exit| format!(", exit code {}", exit.code())).unwrap_or_default();
            let since = rfc3339(view.updated_at);
            let sentence = format!("{slug} is {status}{reason}{code}, since {since}");
            let (http, word) =
                if view.status == Status::Failed { (502, "server_failed") } else { (503, "server_stopped") };
            let lines = view.last_run.iter().filter(|_| has_key).flat_map(|run| &run.tail.lines);
            let tail = lines.map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n");
            ProxyError { tail, ..ProxyError::new(http, word, sentence) }
        }
    }
}
