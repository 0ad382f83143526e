//! From an action to its response.
//!
//! Owns: the order of checks (access, query, body, possibility) and the response to each outcome. Never: JSON (see
//! `input`, `wire`, `reply`), a wait without a limit: all of this runs on the connection's own thread, which may block.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::follow;
use super::gateway::Gateway;
use super::input::{self, LogForm};
use super::many::LogQuery;
use super::route::{self, ApiAction, Route};
use super::wire::{self, About, LogText};
use super::{Api, events, many, metrics, overlays, page, reply, text};
use crate::access::{Auth, Caller, Credentials, Gate};
use crate::error::{Code, Error};
use crate::handoff::{Client, Outcome, Reply};
use crate::http::service::{AdmittedRequest, Body, ClientKind, HeadVerdict, NextStep};
use crate::logs::SharedLog;
use crate::model::machine::{Command, CommandRefusal};
use crate::model::spec::Slug;
use crate::model::view::ServerView;
use crate::os::Pid;
use crate::os::thread::Joined;
use crate::packed::{Document, Packed};
use crate::process;
use crate::registry::Refused;
use crate::supervisor::{CommandReply, Pending};
use crate::sync::lock;

mod create;
mod read;
mod sandbox;

/// The limit of a client's wait for a command other than a creation: the client gives up after 30 s.
const COMMAND_LIMIT: Duration = Duration::from_secs(25);
/// After this, a stop looks for a child that hangs before its program runs, and gives it as long to end.
const LAUNCH_LIMIT: Duration = Duration::from_secs(2);

/// The description of the API, which `api::tests` compare with the code. It has nothing about this daemon.
pub static OPENAPI: Document<{ PACKED.length }> = Document::new(&PACKED);
const PACKED: Packed = Packed::new(include_bytes!("openapi.json"));

/// The head of a vetted request.
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// Path and query, as sent.
    pub target: &'a str,
    pub header: &'a dyn Fn(&'static str) -> Option<&'a str>,
}

/// Decides about a request from its head.
pub fn admit(api: &Arc<Api>, call: &RequestHead<'_>) -> HeadVerdict {
    let origin = (call.header)("Origin");
    if let Some(preflight) = api.access.preflight(call.method, origin) {
        return HeadVerdict { client_kind: ClientKind::Stranger, step: NextStep::Reply(preflight) };
    }
    let routed = route::route(call.method, call.target);
    let credentials = Credentials {
        method: call.method,
        host: (call.header)("Host"),
        origin,
        authorization: (call.header)("Authorization"),
        fetch_site: (call.header)("Sec-Fetch-Site"),
        api_key: (call.header)("X-ComputeSDK-API-Key").filter(|_| route::is_gateway(call.target)),
    };
    let refused = |error: &Error| NextStep::Reply(with_headers(reply::error(error), api.access.cors(origin)));
    // Access is checked before the error of a route is sent; only 404 is open (see `Gate::of`).
    let caller = match api.access.admit(Gate::of(&routed), &credentials) {
        Ok(caller) => caller,
        Err(error) => return HeadVerdict { client_kind: ClientKind::Stranger, step: refused(&error) },
    };
    let client_kind = match caller {
        Caller::HasToken | Caller::AuthOff => ClientKind::Owner,
        Caller::Anonymous => ClientKind::Stranger,
    };
    let Route { action, warnings } = match routed {
        Ok(route) => route,
        Err(_) if leads_to_page(call) => return HeadVerdict { client_kind, step: NextStep::Reply(page::redirect()) },
        Err(error) => return HeadVerdict { client_kind, step: refused(&error) },
    };
    let is_gateway = matches!(action, ApiAction::Gateway(_));
    let reads_body = action.reads_body() && (api.gateway.is_some() || !is_gateway);
    if reads_body && let Err(error) = input::require_json((call.header)("Content-Type")) {
        return HeadVerdict { client_kind, step: refused(&error) };
    }
    let accept = (call.header)("Accept").map(str::to_owned);
    let is_events = matches!(action, ApiAction::Events(_));
    let last_event = (call.header)("Last-Event-ID").filter(|_| is_events).map(str::to_owned);
    let host = credentials.host.filter(|_| is_gateway).map(str::to_owned);
    let cors = api.access.cors(origin);
    let task = Box::new(Task { api: Arc::clone(api), action, warnings, caller, accept, last_event, host, cors });
    HeadVerdict { client_kind, step: if reads_body { NextStep::TakeBody(task) } else { NextStep::SkipBody(task) } }
}

/// Whether a browser requests `/`, which is not a path of the API.
fn leads_to_page(call: &RequestHead<'_>) -> bool {
    matches!(call.method, "GET" | "HEAD")
        && call.target.split('?').next() == Some("/")
        && input::wants_page((call.header)("Accept"))
}

fn with_headers(mut reply: Reply, headers: Vec<(&'static str, String)>) -> Reply {
    reply.headers.extend(headers);
    reply
}

struct Task {
    api: Arc<Api>,
    action: ApiAction,
    warnings: Vec<String>,
    caller: Caller,
    accept: Option<String>,
    /// The last event that a reconnecting client has seen.
    last_event: Option<String>,
    /// The host by which the client has reached the gateway.
    host: Option<String>,
    cors: Vec<(&'static str, String)>,
}

impl AdmittedRequest for Task {
    fn call(mut self: Box<Self>, body: Body, client: &dyn Client) -> Outcome {
        let cors = std::mem::take(&mut self.cors);
        match self.carry_out(body, client) {
            Ok(Outcome::Whole(reply)) => Outcome::Whole(with_headers(reply, cors)),
            Ok(Outcome::Stream { content_type, mut headers, body }) => {
                headers.extend(cors);
                Outcome::Stream { content_type, headers, body }
            }
            Err(error) => Outcome::Whole(with_headers(reply::error(&error), cors)),
        }
    }
}

impl Task {
    /// Carries it out. The body is dropped as soon as it is parsed: the response may take long.
    fn carry_out(self, body: Body, client: &dyn Client) -> Result<Outcome, Error> {
        let Task { api, action, warnings, caller, accept, last_event, host, cors: _ } = self;
        let api = &*api;
        Ok(Outcome::Whole(match action {
            ApiAction::Health => reply::json(200, &wire::health(SystemTime::now())),
            ApiAction::OpenApi => reply::document(OPENAPI.get()),
            ApiAction::Page => page::page(),
            ApiAction::Info => info(api),
            ApiAction::AuthStatus => auth_status(caller),
            ApiAction::Options { allow } => reply::options(allow),
            ApiAction::Ready(wait) => read::ready(api, wait, caller, client)?,
            ApiAction::Events(query) => {
                let place = api.event_readers.take()?;
                return events::stream(Arc::clone(&api.registry), &api.epoch, query, last_event.as_deref(), place);
            }
            ApiAction::Logs(query) => return many::answer(&api.registry, query),
            ApiAction::LogsFollow(query) => {
                return many::stream(Arc::clone(&api.registry), query, api.streams.take()?);
            }
            ApiAction::ServerRuns(slug, limit) => {
                let supervisor = api.registry.find(&slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
                let (living, ended) = supervisor.book().newest(limit);
                reply::json(200, &wire::runs(&slug, living.as_ref(), &ended, &warnings))
            }
            ApiAction::Metrics => metrics::answer(api, client),
            ApiAction::ServerList(stats) => read::list(api, stats, &warnings),
            ApiAction::ServerShow(slug, wait, stats) => {
                let (message, view) = match wait {
                    None => ("the server as it is", read::show(api, &slug)?),
                    Some(wait) => read::show_when(api, &slug, wait, client)?,
                };
                let stats = if stats { api.registry.stats().remove(&slug) } else { None };
                reply::json(200, &wire::server_with(message, &view, stats, &warnings))
            }
            ApiAction::ServerMark(slug) => {
                let (mark, more) = read(api, body, input::status_mark)?;
                command(api, &slug, Command::Mark(mark), "the server is marked", &joined(warnings, more))?
            }
            ApiAction::ServerCreate(present) => {
                let (spec, more) = read(api, body, |body| input::server_spec(body, &api.root))?;
                create::create(api, spec, present, joined(warnings, more))?
            }
            ApiAction::ServerStart(slug) => command(api, &slug, Command::Start, "the server was started", &warnings)?,
            ApiAction::ServerStop(slug) => command(api, &slug, Command::Stop, "the server is stopped", &warnings)?,
            ApiAction::ServerRestart(slug) => {
                command(api, &slug, Command::Restart, "the server was restarted", &warnings)?
            }
            ApiAction::ServerDelete(slug) => command(api, &slug, Command::Delete, "the server is deleted", &warnings)?,
            ApiAction::ServerLogs(slug, query) => {
                let supervisor = api.registry.find(&slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
                logs(&slug, supervisor.log(), query, input::log_form(accept.as_deref()), &warnings)
            }
            ApiAction::ServerFollow(slug, query) => {
                let supervisor = api.registry.find(&slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
                let place = api.streams.take()?;
                let form = input::stream_form(accept.as_deref());
                let log = Arc::clone(supervisor.log());
                return follow::stream(log, query.stream, tail(query), form, place);
            }
            ApiAction::OverlayList => overlays::list(&api.overlays, &warnings),
            ApiAction::OverlayShow(id) => overlays::show(&api.overlays, &id, &warnings)?,
            ApiAction::OverlayCreate => {
                let (spec, more) = read(api, body, input::overlay_spec)?;
                overlays::create(&api.overlays, spec, &joined(warnings, more))?
            }
            ApiAction::Gateway(asked) => sandbox::answer(api, host.as_deref(), asked, body, warnings)?,
            ApiAction::Unsupported(part) => return Err(Error::unsupported(part)),
            ApiAction::OverlayDelete(id, files) => {
                match api.registry.views().into_iter().find(|view| view.waits_for.contains(&id)) {
                    Some(view) => return Err(Error::overlay_awaited(&id, &view.spec.slug)),
                    None => overlays::delete(&api.overlays, &id, files)?,
                }
            }
        }))
    }
}

/// The warnings about the query and those about the body.
fn joined(mut warnings: Vec<String>, mut more: Vec<String>) -> Vec<String> {
    warnings.append(&mut more);
    warnings
}

/// Parses a body as JSON by `parse`, one at a time: a MiB of JSON can take a hundred MiB for a moment.
fn read<T>(api: &Api, body: Body, parse: impl FnOnce(&[u8]) -> Result<T, Error>) -> Result<T, Error> {
    let _alone = lock(&api.reading);
    parse(body.bytes())
}

fn info(api: &Api) -> Reply {
    let about = About {
        auth_enabled: match api.access.auth() {
            Auth::Token(_) => true,
            Auth::Off => false,
        },
        main_subdomain: "localhost",
        // One daemon, one sandbox.
        sandbox_count: 1,
        sandbox_url: api.gateway.as_ref().and_then(Gateway::url).unwrap_or(&api.address),
        version: env!("CARGO_PKG_VERSION"),
    };
    reply::json(200, &wire::info(&about))
}

fn auth_status(caller: Caller) -> Reply {
    reply::json(200, &wire::auth_status(caller))
}

fn command(
    api: &Api,
    slug: &Slug,
    command: Command,
    message: &'static str,
    warnings: &[String],
) -> Result<Reply, Error> {
    let pending = api.registry.command(slug, command).map_err(|refused| refusal(slug, refused))?;
    let (reply, stuck) = wait_for(api, slug, command, &pending);
    Ok(match outcome(&pending, slug, reply, RequestKind::Command)? {
        (Completed::Yes, view) => match command {
            Command::Delete => reply::no_content(),
            Command::Stop | Command::Kill => reply::json(200, &wire::stopped(message, &view, warnings)),
            Command::Start | Command::Restart => reply::json(200, &wire::server(message, &view, warnings)),
            Command::Mark(_) => reply::json(200, &wire::marked(message, &view, warnings)),
        },
        (Completed::NotYet, view) => {
            let continues =
                "the command takes longer than a client waits and continues; read the server for its status";
            let stuck = stuck.and_then(process::undying);
            let message = stuck.as_deref().or(view.reason.as_deref()).unwrap_or(continues);
            match command {
                Command::Stop | Command::Kill => reply::json(202, &wire::stopped(message, &view, warnings)),
                Command::Delete | Command::Start | Command::Restart | Command::Mark(_) => {
                    reply::json(202, &wire::server(message, &view, warnings))
                }
            }
        }
    })
}

/// Waits for the reply to `command`. If a stop finds that its server's child hangs before its program runs, that child
/// is killed, and its number is returned.
fn wait_for(api: &Api, slug: &Slug, command: Command, pending: &Pending) -> (CommandReply, Option<Pid>) {
    let begun = Instant::now();
    let reply = pending.wait(begun + LAUNCH_LIMIT);
    let CommandReply::Late(_) = reply else { return (reply, None) };
    let stuck = match command {
        Command::Stop | Command::Kill | Command::Restart | Command::Delete => api.registry.end_stuck_launch(slug),
        Command::Start | Command::Mark(_) => None,
    };
    let limit = if stuck.is_some() { LAUNCH_LIMIT * 2 } else { COMMAND_LIMIT };
    (pending.wait(begun + limit), stuck)
}

#[derive(Clone, Copy)]
enum RequestKind {
    Create,
    Command,
}

enum Completed {
    Yes,
    NotYet,
}

fn outcome(
    pending: &Pending,
    slug: &Slug,
    reply: CommandReply,
    asked: RequestKind,
) -> Result<(Completed, Arc<ServerView>), Error> {
    match reply {
        CommandReply::Done(view) => Ok((Completed::Yes, view)),
        CommandReply::Late(view) => Ok((Completed::NotYet, view)),
        CommandReply::Stored => Ok((Completed::NotYet, pending.view())),
        CommandReply::Refused(CommandRefusal::Active) => {
            let status = pending.view().status;
            Err(match asked {
                RequestKind::Create => Error::slug_in_use(slug, status),
                RequestKind::Command => Error::already_active(slug, status),
            })
        }
        CommandReply::Refused(CommandRefusal::NotLive) => Err(Error::not_live(slug, pending.view().status)),
        CommandReply::Refused(CommandRefusal::BeingDeleted) => Err(Error::being_deleted(slug)),
        CommandReply::PortTaken(refusal) => Err(Error::new(
            Code::PortTaken,
            format!("{refusal}; free it, ask for another port, or leave strict_port out to get the next free one"),
        )),
        CommandReply::NotStored(error) => Err(match asked {
            RequestKind::Create => Error::storage(&format!("server \"{slug}\""), &error),
            // No other command has to be stored before its answer.
            RequestKind::Command => Error::storage(&format!("that server \"{slug}\" is deleted"), &error),
        }),
        CommandReply::ShuttingDown => Err(Error::shutting_down()),
        CommandReply::Lost => Err(match (pending.end_of_supervisor(), asked) {
            // It lives: a panic has cost the request.
            (Joined::Late, _) => Error::internal(&format!("a request to server \"{slug}\" was carried out")),
            // Deleted after it was found in the table.
            (Joined::Ended | Joined::Panicked, RequestKind::Command) => Error::server_not_found(slug.as_str()),
            (Joined::Ended | Joined::Panicked, RequestKind::Create) => Error::being_deleted(slug),
        }),
    }
}

fn refusal(slug: &Slug, refused: Refused) -> Error {
    match refused {
        Refused::Unknown => Error::server_not_found(slug.as_str()),
        Refused::ShuttingDown => Error::shutting_down(),
        Refused::NoThread(error) => {
            Error::new(Code::Busy, format!("the system has no thread for another server ({error}); try again later"))
        }
    }
}

fn tail(query: LogQuery) -> Option<usize> {
    query.tail.and_then(|lines| usize::try_from(lines).ok())
}

fn logs(slug: &Slug, log: &SharedLog, query: LogQuery, form: LogForm, warnings: &[String]) -> Reply {
    let rendered = log.render(query.stream, tail(query));
    match form {
        LogForm::Plain => reply::plain(rendered.bytes),
        LogForm::Json => {
            // Most output is valid UTF-8, and checking that is much faster than a lossy conversion.
            let text = match str::from_utf8(&rendered.bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(&rendered.bytes),
            };
            reply::written(
                200,
                text::within(&text, |place| {
                    let log = LogText { text: place, dropped_bytes: rendered.dropped_bytes };
                    wire::logs(slug, query.stream, log, warnings)
                }),
            )
        }
    }
}
