//! The bodies of successful responses.
//!
//! Owns: the names and units of everything that clients read. Never: a decision, a header. Unknown values are left out,
//! except `exit_code`, which clients expect to be `null`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::access::Caller;
use crate::logs::Selection;
use crate::model::run::ServerStats;
use crate::model::spec::Slug;
use crate::model::time::rfc3339;
use crate::model::view::{Readiness, ServerView};
use crate::overlay::OverlayView;
use crate::runs::form::{RunInfo, WithTail};
use crate::runs::{EndedRun, Living};
use crate::sorted::Sorted;

mod overlay;
mod sandbox;
pub mod server;
#[cfg(test)]
pub mod tests;

pub use overlay::{overlay, overlay_list};
pub use sandbox::{SUCCESS, sandbox};

use overlay::OverlayBrief;
use server::{ServerBrief, ServerInfo};

/// The envelope of responses about servers.
#[derive(Debug, Serialize)]
pub struct Envelope<'a, Data> {
    status: &'static str,
    message: Cow<'a, str>,
    data: Data,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

impl<'a, Data> Envelope<'a, Data> {
    fn new(message: impl Into<Cow<'a, str>>, data: Data, warnings: &'a [String]) -> Self {
        Envelope { status: "success", message: message.into(), data, warnings }
    }
}

/// `message` and a server.
pub fn server<'a>(message: &'a str, view: &'a ServerView, warnings: &'a [String]) -> impl Serialize + use<'a> {
    server_with(message, view, None, warnings)
}

/// The same with its resource use.
pub fn server_with<'a>(
    message: &'a str,
    view: &'a ServerView,
    stats: Option<ServerStats>,
    warnings: &'a [String],
) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        server: ServerInfo<'a>,
    }
    Envelope::new(message, Data { server: ServerInfo::of(view, warnings).with_stats(stats) }, warnings)
}

/// `message` and a server, in the form of a response to a stop.
pub fn stopped<'a>(message: &'a str, view: &'a ServerView, warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        slug: &'a str,
        server: ServerInfo<'a>,
    }
    let data = Data { slug: view.spec.slug.as_str(), server: ServerInfo::of(view, warnings) };
    Envelope::new(message, data, warnings)
}

/// `message` and the new status of a server.
pub fn marked<'a>(message: &'a str, view: &'a ServerView, warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        slug: &'a str,
        status: &'static str,
    }
    Envelope::new(message, Data { slug: view.spec.slug.as_str(), status: view.status.as_str() }, warnings)
}

/// All servers, in the given order, and the resource use of those in `stats`.
pub fn server_list<'a>(
    views: &'a [Arc<ServerView>],
    stats: &Sorted<Slug, ServerStats>,
    warnings: &'a [String],
) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        servers: Vec<ServerInfo<'a>>,
    }
    let message = match views.len() {
        1 => "1 server".to_owned(),
        count => format!("{count} servers"),
    };
    let servers =
        views.iter().map(|view| ServerInfo::of(view, &[]).with_stats(stats.get(&view.spec.slug).copied())).collect();
    Envelope::new(message, Data { servers }, warnings)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogText<'a> {
    /// The output; invalid UTF-8 is replaced.
    pub text: &'a str,
    /// The number of older bytes that were dropped.
    pub dropped_bytes: u64,
}

pub fn logs<'a>(
    slug: &'a Slug,
    stream: Selection,
    log: LogText<'a>,
    warnings: &'a [String],
) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        slug: &'a str,
        stream: &'static str,
        logs: &'a str,
        truncated: bool,
        dropped_bytes: u64,
    }
    let data = Data {
        slug: slug.as_str(),
        stream: stream.as_str(),
        logs: log.text,
        truncated: log.dropped_bytes > 0,
        dropped_bytes: log.dropped_bytes,
    };
    Envelope::new("the newest output that is kept", data, warnings)
}

/// Runs, the living one and the newest first.
pub fn runs<'a>(
    slug: &'a Slug,
    living: Option<&'a (Living, Instant)>,
    ended: &'a [Arc<EndedRun>],
    warnings: &'a [String],
) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Data<'a> {
        slug: &'a str,
        runs: Vec<RunInfo<'a>>,
    }
    let living = living.map(|(run, begun)| RunInfo::living(run, begun.elapsed()));
    let runs = living.into_iter().chain(ended.iter().map(|run| RunInfo::ended(run, WithTail::Yes))).collect();
    Envelope::new("the newest runs", Data { slug: slug.as_str(), runs }, warnings)
}

/// Readiness of all servers, and the state of each.
pub fn ready<'a>(
    readiness: Readiness,
    views: &'a [Arc<ServerView>],
    overlays: &'a [OverlayView],
) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Ready<'a> {
        ready: bool,
        healthy: bool,
        servers: Vec<ServerBrief<'a>>,
        overlays: Vec<OverlayBrief<'a>>,
    }
    let servers = views.iter().map(|view| ServerBrief::of(view)).collect();
    let overlays = overlays.iter().map(OverlayBrief::of).collect();
    Ready { ready: readiness.reachable, healthy: readiness.healthy, servers, overlays }
}

/// Liveness, with the daemon's clock.
pub fn health(now: SystemTime) -> impl Serialize {
    #[derive(Serialize)]
    struct HealthAnswer {
        status: &'static str,
        timestamp: String,
    }
    HealthAnswer { status: "ok", timestamp: rfc3339(now) }
}

/// Facts about the daemon.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct About<'a> {
    pub auth_enabled: bool,
    pub main_subdomain: &'a str,
    pub sandbox_count: usize,
    pub sandbox_url: &'a str,
    pub version: &'a str,
}

pub fn info<'a>(about: &'a About<'a>) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct Info<'a> {
        message: &'static str,
        data: &'a About<'a>,
    }
    Info { message: "servisor keeps the servers of this sandbox alive", data: about }
}

/// Whether the caller's token is valid.
pub fn auth_status(caller: Caller) -> impl Serialize {
    #[derive(Serialize)]
    struct Data {
        authenticated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_type: Option<&'static str>,
    }
    #[derive(Serialize)]
    struct AuthStatus {
        message: &'static str,
        data: Data,
    }
    let (message, authenticated, token_type) = match caller {
        Caller::HasToken => ("the access token is right", true, Some("access_token")),
        Caller::Anonymous => ("no access token came with the request, or a wrong one", false, None),
        Caller::AuthOff => ("this daemon asks for no access token", true, None),
    };
    AuthStatus { message, data: Data { authenticated, token_type } }
}
