//! From method and target to what is to be done.
//!
//! Owns: the paths, their methods, their queries, and how a target is decoded. Never: a header, a body, a server;
//! whether a slug is known is found out by whoever carries out the action.
//!
//! Decided here: an escape that is no byte, a byte that is no text, a control character and a `.` or `..` segment
//! are malformed (400), because whatever stands between the client and us may read them in another way. An empty
//! segment (`//`, a slash at the end) is just a path that nothing has (404). A slash that is escaped is part of its
//! segment. `HEAD` is `GET`, whose body whoever writes the answer leaves out.

use std::time::Duration;

use super::events::EventQuery;
use super::many::ManyQuery;
use crate::error::{Code, Error, hint, quoted};
use crate::model::overlay::OverlayId;
use crate::model::spec::Slug;
use crate::model::status::Status;
use crate::overlay::DeleteFiles;
use crate::runs::KEPT;

mod query;
mod resource;
mod sdk;
#[cfg(test)]
pub mod tests;

use query::{Query, segments};
use resource::Resource;
pub use sdk::{Gateway, is_gateway};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Is the daemon alive?
    Health,
    /// What can be asked for?
    OpenApi,
    /// The status page.
    Page,
    /// What is this daemon?
    Info,
    /// Is my token good?
    AuthStatus,
    /// Which methods does this path take? They are in `allow`, as the header has them.
    Options {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// What changes.
    Events(EventQuery),
    /// What many servers wrote.
    Logs(ManyQuery),
    /// What they wrote, and what they write from now on.
    LogsFollow(ManyQuery),
    /// How the runs of a server ended; not more than so many.
    ServerRuns(Slug, usize),
    /// The daemon and its servers in figures.
    Metrics,
    /// All servers, perhaps with what they use.
    ServerList(bool),
    /// A server from the configuration in the body.
    ServerCreate(Present),
    /// Can everything be used?
    Ready(Option<Wait<()>>),
    /// One server, perhaps not before it has come so far, perhaps with what it uses.
    ServerShow(Slug, Option<Wait<Status>>, bool),
    /// Take it for ready, or not; the status is in the body.
    ServerMark(Slug),
    /// Stop it and forget it.
    ServerDelete(Slug),
    /// Start it with the configuration that is kept.
    ServerStart(Slug),
    /// Stop it.
    ServerStop(Slug),
    /// Stop it if it runs, then start it.
    ServerRestart(Slug),
    /// What it wrote.
    ServerLogs(Slug, LogQuery),
    /// What it wrote, and what it writes from now on.
    ServerFollow(Slug, LogQuery),
    /// All overlays.
    OverlayList,
    /// An overlay from the specification in the body.
    OverlayCreate,
    /// One overlay.
    OverlayShow(OverlayId),
    /// Stop its copy and forget it, and perhaps its files.
    OverlayDelete(OverlayId, DeleteFiles),
    /// A request to the SDK's gateway.
    Gateway(Gateway),
    /// These parts of the SDK do not exist here.
    Unsupported(&'static str),
}

/// What becomes of a server that has the slug of a new configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// It gets the new configuration, unless it is active.
    Replace,
    /// The same, but with the same configuration it stays as it is.
    KeepIfSame,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Every client, without a token.
    Open,
    /// The same, but without the token only under a name of this daemon: the answer tells of the servers.
    OwnHost,
    /// Whoever has the token.
    Guarded,
}

impl Gate {
    /// Who may hear what has become of a request. That a path stands for nothing is no secret, and a client that tries an
    /// optional one takes 401 for a wrong token; all else that could not be routed is guarded.
    pub fn of(routed: &Result<Route, Error>) -> Gate {
        match routed {
            Ok(route) => route.action.gate(),
            Err(error) if error.code() == Code::NotFound => Gate::Open,
            Err(_) => Gate::Guarded,
        }
    }
}

impl Action {
    /// Whether a body means anything to it.
    pub fn reads_body(&self) -> bool {
        matches!(
            self,
            Action::ServerCreate(_)
                | Action::ServerMark(_)
                | Action::OverlayCreate
                | Action::Gateway(Gateway::Create | Gateway::Find | Gateway::FindOrCreate | Gateway::Extend(_))
        )
    }

    /// Who may ask for it.
    pub fn gate(&self) -> Gate {
        match self {
            // A browser sends no token with a preflight.
            Action::Health | Action::OpenApi | Action::Options { .. } => Gate::Open,
            // The page holds no secret, but what a browser keeps for it belongs to its host.
            Action::Ready(_) | Action::AuthStatus | Action::Page => Gate::OwnHost,
            Action::Info
            | Action::Events(_)
            | Action::Logs(_)
            | Action::LogsFollow(_)
            | Action::ServerRuns(..)
            | Action::Metrics
            | Action::ServerList(_)
            | Action::ServerCreate(_)
            | Action::ServerShow(..)
            | Action::ServerMark(_)
            | Action::ServerDelete(_)
            | Action::ServerStart(_)
            | Action::ServerStop(_)
            | Action::ServerRestart(_)
            | Action::ServerLogs(..)
            | Action::ServerFollow(..)
            | Action::OverlayList
            | Action::OverlayCreate
            | Action::OverlayShow(_)
            | Action::OverlayDelete(..)
            | Action::Gateway(_)
            | Action::Unsupported(_) => Gate::Guarded,
        }
    }
}

/// What a client waits for, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait<Goal> {
    /// For this.
    pub goal: Goal,
    /// Not longer than this.
    pub limit: Duration,
}

/// As long as a client waits that does not say how long: below the 30 s after which the SDK gives up.
const WAIT_LIMIT: Duration = Duration::from_secs(25);
/// Whoever wants to wait longer asks again.
const WAIT_LIMIT_MAX: Duration = Duration::from_secs(3600);

/// Which of a server's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both, in the order of arrival.
    #[default]
    Combined,
}

impl Stream {
    /// All of them, by the word that the API has for each.
    pub const ALL: [(&'static str, Stream); 3] =
        [("stdout", Self::Stdout), ("stderr", Self::Stderr), ("combined", Self::Combined)];

    /// The word that the API has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Combined => "combined",
        }
    }
}

/// Which part of a server's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Of which stream.
    pub stream: Stream,
    /// Only the last so many lines; all of them without it.
    pub tail: Option<u32>,
}

/// A request that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What is to be done.
    pub action: Action,
    /// The parts of the query that mean nothing, in words for a person.
    pub warnings: Vec<String>,
}

/// What `method` on `target` (path and query as the client sent them) asks for.
///
/// # Errors
/// 400 for a target that can't be read, 404 for a path that nothing has, 405 for a method that the path does not
/// take, 422 for values of the query that make no sense.
pub fn route(method: &str, target: &str) -> Result<Route, Error> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments = segments(path)?;
    let resource = Resource::find(&segments)?.ok_or_else(|| path_not_found(path))?;
    let allow = resource.allow();
    let mut query = Query::parse(query)?;
    let action = match (resource, Method::of(method)) {
        (_, Method::Options) => Action::Options { allow },
        (Resource::Health, Method::Get) => Action::Health,
        (Resource::OpenApi, Method::Get) => Action::OpenApi,
        (Resource::Page, Method::Get) => Action::Page,
        (Resource::Info, Method::Get) => Action::Info,
        (Resource::AuthStatus, Method::Get) => Action::AuthStatus,
        (Resource::Events, Method::Get) => {
            let attend = query.flag("attend");
            Action::Events(EventQuery { slugs: query.slugs(), attend })
        }
        (Resource::AllLogs, Method::Get) => {
            let asked = ManyQuery { log: log_query(&mut query), slugs: query.slugs() };
            if query.flag("follow") { Action::LogsFollow(asked) } else { Action::Logs(asked) }
        }
        (Resource::Runs(slug), Method::Get) => {
            let limit = query.number("limit", "runs", KEPT as u64);
            if limit == Some(0) {
                query.blame("limit", "must be at least 1".into());
            }
            Action::ServerRuns(slug, limit.map_or(KEPT, |limit| limit as usize))
        }
        (Resource::Servers, Method::Get) => Action::ServerList(query.flag("stats")),
        (Resource::Metrics, Method::Get) => Action::Metrics,
        (Resource::Servers, Method::Post) => {
            Action::ServerCreate(if query.flag("if_changed") { Present::KeepIfSame } else { Present::Replace })
        }
        (Resource::Ready, Method::Get) => {
            let wait = query.flag("wait");
            Action::Ready(query.wait(wait.then_some(())))
        }
        (Resource::Server(slug), Method::Get) => {
            let goal = query.word("wait_for", &Status::ALL);
            let stats = query.flag("stats");
            Action::ServerShow(slug, query.wait(goal), stats)
        }
        (Resource::Status(slug), Method::Patch) => Action::ServerMark(slug),
        (Resource::Server(slug), Method::Delete) => Action::ServerDelete(slug),
        (Resource::Start(slug), Method::Post) => Action::ServerStart(slug),
        (Resource::Stop(slug), Method::Post) => Action::ServerStop(slug),
        (Resource::Restart(slug), Method::Post) => Action::ServerRestart(slug),
        (Resource::Logs(slug), Method::Get) => {
            let asked = log_query(&mut query);
            if query.flag("follow") { Action::ServerFollow(slug, asked) } else { Action::ServerLogs(slug, asked) }
        }
        (Resource::Overlays, Method::Get) => Action::OverlayList,
        (Resource::Overlays, Method::Post) => Action::OverlayCreate,
        (Resource::Overlay(id), Method::Get) => Action::OverlayShow(id),
        (Resource::Overlay(id), Method::Delete) => {
            let files = if query.flag("delete_files") { DeleteFiles::Remove } else { DeleteFiles::Keep };
            Action::OverlayDelete(id, files)
        }
        (Resource::Sandboxes, Method::Post) => Action::Gateway(Gateway::Create),
        (Resource::SandboxFind, Method::Post) => Action::Gateway(Gateway::Find),
        (Resource::SandboxFindOrCreate, Method::Post) => Action::Gateway(Gateway::FindOrCreate),
        (Resource::Sandbox(id), Method::Get) => Action::Gateway(Gateway::Show(id)),
        (Resource::Sandbox(id), Method::Delete) => Action::Gateway(Gateway::Delete(id)),
        (Resource::SandboxExtend(id), Method::Post) => Action::Gateway(Gateway::Extend(id)),
        (Resource::Snapshots, _) => Action::Gateway(Gateway::Snapshots),
        (Resource::GatewayElsewhere, _) => Action::Gateway(Gateway::Elsewhere),
        (Resource::Unsupported(parts), _) => Action::Unsupported(parts),
        (_, Method::Get | Method::Post | Method::Patch | Method::Delete | Method::Other) => {
            return Err(method_not_allowed(method, path, allow));
        }
    };
    Ok(Route { action, warnings: query.finish()? })
}

enum Method {
    Get,
    Post,
    Patch,
    Delete,
    Options,
    Other,
}

impl Method {
    fn of(word: &str) -> Method {
        match word {
            "GET" | "HEAD" => Method::Get,
            "POST" => Method::Post,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }
}

fn path_not_found(path: &str) -> Error {
    let hint = hint(path, &Resource::PLAIN);
    Error::new(Code::NotFound, format!("this version of servisor has nothing at {}{hint}", quoted(path)))
}

fn method_not_allowed(method: &str, path: &str, allow: &'static str) -> Error {
    let sentence = format!("{} does not take {}; it takes {allow}", quoted(path), quoted(method));
    Error::new(Code::MethodNotAllowed(allow), sentence)
}

fn log_query(query: &mut Query) -> LogQuery {
    let mut asked = LogQuery::default();
    if let Some(stream) = query.word("stream", &Stream::ALL) {
        asked.stream = stream;
    }
    asked.tail = query.number("tail", "lines", u32::MAX.into()).and_then(|lines| u32::try_from(lines).ok());
    asked
}
