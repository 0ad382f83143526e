//! From method and target to an action.
//!
//! Owns: the paths, their methods, their queries, and the decoding of a target. Never: a header, a body, a server;
//! whether a slug exists is checked when the action is carried out.
//!
//! Decided here: an escape that is no byte, a byte that is no text, a control character and a `.` or `..` segment are
//! malformed (400), because a proxy between the client and us may read them in another way. An empty segment (`//`, a
//! slash at the end) is an unknown path (404). An escaped slash is part of its segment. `HEAD` is `GET`, without the
//! body in the response (see `http`).

use std::time::Duration;

use super::events::EventQuery;
use super::many::{LogQuery, ManyQuery};
use crate::access::Gate;
use crate::error::{Code, Error, hint, quoted};
use crate::logs::Selection;
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
pub use sdk::{GatewayAction, is_gateway};

/// What a request asks for, by its method and target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiAction {
    /// Liveness of the daemon.
    Health,
    OpenApi,
    Page,
    /// Facts about this daemon.
    Info,
    /// Whether the token is valid.
    AuthStatus,
    /// The methods of this path.
    Options {
        allow: &'static str,
    },
    /// A stream of changes.
    Events(EventQuery),
    Logs(ManyQuery),
    LogsFollow(ManyQuery),
    /// The ended runs of a server, at most so many.
    ServerRuns(Slug, usize),
    Metrics,
    /// All servers; with their resource use if set.
    ServerList(bool),
    ServerCreate(Present),
    /// Readiness of all servers, perhaps after a wait.
    Ready(Option<Wait<()>>),
    /// One server, perhaps after a wait for a status; with its resource use if set.
    ServerShow(Slug, Option<Wait<Status>>, bool),
    /// Set its status to the one in the body.
    ServerMark(Slug),
    ServerDelete(Slug),
    /// Start it with its stored configuration.
    ServerStart(Slug),
    ServerStop(Slug),
    ServerRestart(Slug),
    /// Its log.
    ServerLogs(Slug, LogQuery),
    /// Its log, followed.
    ServerFollow(Slug, LogQuery),
    OverlayList,
    OverlayCreate,
    OverlayShow(OverlayId),
    /// Stop its copy and delete it, perhaps with its files.
    OverlayDelete(OverlayId, DeleteFiles),
    /// A request to the SDK's gateway.
    Gateway(GatewayAction),
    /// A part of the SDK that servisor does not have.
    Unsupported(&'static str),
}

/// What happens to an existing server with the slug of a new configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// Give it the new configuration; 409 if it is active.
    Replace,
    /// The same, but with an equal configuration it stays as it is.
    KeepIfSame,
}

impl Gate {
    /// The gate of a routed request. 404 is open: that a path does not exist is no secret, and a client that probes an
    /// optional one would take 401 for a wrong token. All other failures are guarded.
    pub fn of(routed: &Result<Route, Error>) -> Gate {
        match routed {
            Ok(route) => route.action.gate(),
            Err(error) if error.code() == Code::NotFound => Gate::Open,
            Err(_) => Gate::Guarded,
        }
    }
}

impl ApiAction {
    pub fn reads_body(&self) -> bool {
        matches!(
            self,
            ApiAction::ServerCreate(_)
                | ApiAction::ServerMark(_)
                | ApiAction::OverlayCreate
                | ApiAction::Gateway(
                    GatewayAction::Create
                        | GatewayAction::Find
                        | GatewayAction::FindOrCreate
                        | GatewayAction::Extend(_)
                )
        )
    }

    pub fn gate(&self) -> Gate {
        match self {
            // A browser sends no token with a preflight.
            ApiAction::Health | ApiAction::OpenApi | ApiAction::Options { .. } => Gate::Open,
            // The page has no secret, but a browser stores the token for its host.
            ApiAction::Ready(_) | ApiAction::AuthStatus | ApiAction::Page => Gate::OwnHost,
            ApiAction::Info
            | ApiAction::Events(_)
            | ApiAction::Logs(_)
            | ApiAction::LogsFollow(_)
            | ApiAction::ServerRuns(..)
            | ApiAction::Metrics
            | ApiAction::ServerList(_)
            | ApiAction::ServerCreate(_)
            | ApiAction::ServerShow(..)
            | ApiAction::ServerMark(_)
            | ApiAction::ServerDelete(_)
            | ApiAction::ServerStart(_)
            | ApiAction::ServerStop(_)
            | ApiAction::ServerRestart(_)
            | ApiAction::ServerLogs(..)
            | ApiAction::ServerFollow(..)
            | ApiAction::OverlayList
            | ApiAction::OverlayCreate
            | ApiAction::OverlayShow(_)
            | ApiAction::OverlayDelete(..)
            | ApiAction::Gateway(_)
            | ApiAction::Unsupported(_) => Gate::Guarded,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait<Goal> {
    pub goal: Goal,
    pub limit: Duration,
}

/// The default limit of a wait: below the 30 s after which the SDK gives up.
const WAIT_LIMIT: Duration = Duration::from_secs(25);
/// The longest wait. A client can repeat the request.
const WAIT_LIMIT_MAX: Duration = Duration::from_secs(3600);

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub action: ApiAction,
    /// Warnings about unknown parts of the query.
    pub warnings: Vec<String>,
}

/// Parses `method` and `target` (path and query as sent).
///
/// # Errors
/// 400 for a malformed target, 404 for an unknown path, 405 for a method that the path does not have, 422 for invalid values
/// in the query.
pub fn route(method: &str, target: &str) -> Result<Route, Error> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments = segments(path)?;
    let resource = Resource::find(&segments)?.ok_or_else(|| path_not_found(path))?;
    let allow = resource.allow();
    let mut query = Query::parse(query)?;
    let action = match (resource, Method::of(method)) {
        (_, Method::Options) => ApiAction::Options { allow },
        (Resource::Health, Method::Get) => ApiAction::Health,
        (Resource::OpenApi, Method::Get) => ApiAction::OpenApi,
        (Resource::Page, Method::Get) => ApiAction::Page,
        (Resource::Info, Method::Get) => ApiAction::Info,
        (Resource::AuthStatus, Method::Get) => ApiAction::AuthStatus,
        (Resource::Events, Method::Get) => {
            let attend = query.flag("attend");
            ApiAction::Events(EventQuery { slugs: query.slugs(), attend })
        }
        (Resource::AllLogs, Method::Get) => {
            let asked = ManyQuery { log: log_query(&mut query), slugs: query.slugs() };
            if query.flag("follow") { ApiAction::LogsFollow(asked) } else { ApiAction::Logs(asked) }
        }
        (Resource::Runs(slug), Method::Get) => {
            let limit = query.number("limit", "runs", KEPT as u64);
            if limit == Some(0) {
                query.blame("limit", "must be at least 1".into());
            }
            ApiAction::ServerRuns(slug, limit.map_or(KEPT, |limit| limit as usize))
        }
        (Resource::Servers, Method::Get) => ApiAction::ServerList(query.flag("stats")),
        (Resource::Metrics, Method::Get) => ApiAction::Metrics,
        (Resource::Servers, Method::Post) => {
            ApiAction::ServerCreate(if query.flag("if_changed") { Present::KeepIfSame } else { Present::Replace })
        }
        (Resource::Ready, Method::Get) => {
            let wait = query.flag("wait");
            ApiAction::Ready(query.wait(wait.then_some(())))
        }
        (Resource::Server(slug), Method::Get) => {
            let goal = query.word("wait_for", &Status::ALL);
            let stats = query.flag("stats");
            ApiAction::ServerShow(slug, query.wait(goal), stats)
        }
        (Resource::Status(slug), Method::Patch) => ApiAction::ServerMark(slug),
        (Resource::Server(slug), Method::Delete) => ApiAction::ServerDelete(slug),
        (Resource::Start(slug), Method::Post) => ApiAction::ServerStart(slug),
        (Resource::Stop(slug), Method::Post) => ApiAction::ServerStop(slug),
        (Resource::Restart(slug), Method::Post) => ApiAction::ServerRestart(slug),
        (Resource::Logs(slug), Method::Get) => {
            let asked = log_query(&mut query);
            if query.flag("follow") { ApiAction::ServerFollow(slug, asked) } else { ApiAction::ServerLogs(slug, asked) }
        }
        (Resource::Overlays, Method::Get) => ApiAction::OverlayList,
        (Resource::Overlays, Method::Post) => ApiAction::OverlayCreate,
        (Resource::Overlay(id), Method::Get) => ApiAction::OverlayShow(id),
        (Resource::Overlay(id), Method::Delete) => {
            let files = if query.flag("delete_files") { DeleteFiles::Remove } else { DeleteFiles::Keep };
            ApiAction::OverlayDelete(id, files)
        }
        (Resource::Sandboxes, Method::Post) => ApiAction::Gateway(GatewayAction::Create),
        (Resource::SandboxFind, Method::Post) => ApiAction::Gateway(GatewayAction::Find),
        (Resource::SandboxFindOrCreate, Method::Post) => ApiAction::Gateway(GatewayAction::FindOrCreate),
        (Resource::Sandbox(id), Method::Get) => ApiAction::Gateway(GatewayAction::Show(id)),
        (Resource::Sandbox(id), Method::Delete) => ApiAction::Gateway(GatewayAction::Delete(id)),
        (Resource::SandboxExtend(id), Method::Post) => ApiAction::Gateway(GatewayAction::Extend(id)),
        (Resource::Snapshots, _) => ApiAction::Gateway(GatewayAction::Snapshots),
        (Resource::GatewayElsewhere, _) => ApiAction::Gateway(GatewayAction::Elsewhere),
        (Resource::Unsupported(parts), _) => ApiAction::Unsupported(parts),
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
    if let Some(stream) = query.word("stream", &Selection::ALL) {
        asked.stream = stream;
    }
    asked.tail = query.number("tail", "lines", u32::MAX.into()).and_then(|lines| u32::try_from(lines).ok());
    asked
}
