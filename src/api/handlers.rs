//! From an action to its answer.
//!
//! Owns: the order of checks (who asks, what for, is it possible) and what a client is told of an outcome. Never: JSON
//! (see `input`, `wire`, `reply`), a wait without a limit: all of this runs on the client's own thread, which may wait for
//! what takes time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::access::{Auth, Caller, Credentials};
use super::follow;
use super::gateway::Gateway;
use super::input::{self, LogForm};
use super::route::{self, Action, Gate, LogQuery, Route, Stream};
use super::wire::{self, About, LogText};
use super::{Api, events, many, metrics, overlays, page, reply, text};
use crate::error::{Code, Error};
use crate::handoff::{Client, Outcome, Reply};
use crate::http::service::{AdmittedRequest, Body, ClientKind, HeadVerdict, NextStep};
use crate::logs::{Selection, SharedLog};
use crate::model::machine::{Command, CommandRefusal};
use crate::model::spec::Slug;
use crate::model::view::ServerView;
use crate::packed::{Document, Packed};
use crate::registry::Refused;
use crate::supervisor::{CommandReply, Pending};
use crate::sync::lock;

mod create;
mod look;
mod sandbox;

/// No command but a creation keeps a client longer than this: it gives up after 30 s.
const COMMAND_LIMIT: Duration = Duration::from_secs(25);

/// The description of the whole API, whose truth is tested in `api::tests`. It tells nothing of this daemon.
pub static OPENAPI: Document<{ PACKED.length }> = Document::new(&PACKED);
const PACKED: Packed = Packed::new(include_bytes!("openapi.json"));

/// The head of a request that was vetted.
pub struct Call<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The value of a header, by its name.
    pub header: &'a dyn Fn(&'static str) -> Option<&'a str>,
}

/// Decides from the head of a request what follows.
pub fn admit(api: &Arc<Api>, call: &Call<'_>) -> HeadVerdict {
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
    // A client that may not ask is not told what there is.
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
    let is_gateway = matches!(action, Action::Gateway(_));
    let reads_body = action.reads_body() && (api.gateway.is_some() || !is_gateway);
    if reads_body && let Err(error) = input::require_json((call.header)("Content-Type")) {
        return HeadVerdict { client_kind, step: refused(&error) };
    }
    let accept = (call.header)("Accept").map(str::to_owned);
    let is_events = matches!(action, Action::Events(_));
    let last_event = (call.header)("Last-Event-ID").filter(|_| is_events).map(str::to_owned);
    let host = credentials.host.filter(|_| is_gateway).map(str::to_owned);
    let cors = api.access.cors(origin);
    let task = Box::new(Task { api: Arc::clone(api), action, warnings, caller, accept, last_event, host, cors });
    HeadVerdict { client_kind, step: if reads_body { NextStep::TakeBody(task) } else { NextStep::SkipBody(task) } }
}

/// Whether a browser asks for `/`, which is no path of the API.
fn leads_to_page(call: &Call<'_>) -> bool {
    matches!(call.method, "GET" | "HEAD")
        && call.target.split('?').next() == Some("/")
        && input::wants_page((call.header)("Accept"))
}

fn with_headers(mut reply: Reply, headers: Vec<(&'static str, String)>) -> Reply {
    reply.headers.extend(headers);
    reply
}

/// A request that may be carried out.
struct Task {
    api: Arc<Api>,
    action: Action,
    warnings: Vec<String>,
    caller: Caller,
    accept: Option<String>,
    /// The last event that a client has seen which comes back.
    last_event: Option<String>,
    /// Where the client has reached the gateway.
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
    /// Carries it out. The body is dropped as soon as it was read: the answer may take long.
    fn carry_out(self, body: Body, client: &dyn Client) -> Result<Outcome, Error> {
        let Task { api, action, warnings, caller, accept, last_event, host, cors: _ } = self;
        let api = &*api;
        Ok(Outcome::Whole(match action {
            Action::Health => reply::json(200, &wire::health(SystemTime::now())),
            Action::OpenApi => reply::document(OPENAPI.get()),
            Action::Page => page::page(),
            Action::Info => info(api),
            Action::AuthStatus => auth_status(caller),
            Action::Options { allow } => reply::options(allow),
            Action::Ready(wait) => look::ready(api, wait, caller, client)?,
            Action::Events(query) => {
                let place = api.event_readers.take()?;
                return events::stream(Arc::clone(&api.registry), &api.epoch, query, last_event.as_deref(), place);
            }
            Action::Logs(query) => return many::answer(&api.registry, query),
            Action::LogsFollow(query) => {
                return many::stream(Arc::clone(&api.registry), query, api.streams.take()?);
            }
            Action::ServerRuns(slug, limit) => {
                let supervisor = api.registry.find(&slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
                let (living, ended) = supervisor.book().newest(limit);
                reply::json(200, &wire::runs(&slug, living.as_ref(), &ended, &warnings))
            }
            Action::Metrics => metrics::answer(api, client),
            Action::ServerList(stats) => look::list(api, stats, &warnings),
            Action::ServerShow(slug, wait, stats) => {
                let (message, view) = match wait {
                    None => ("the server as it is", look::show(api, &slug)?),
                    Some(wait) => look::show_when(api, &slug, wait, client)?,
                };
                let stats = if stats { api.registry.stats().remove(&slug) } else { None };
                reply::json(200, &wire::server_with(message, &view, stats, &warnings))
            }
            Action::ServerMark(slug) => {
                let (mark, more) = read(api, body, input::status_mark)?;
                command(api, &slug, Command::Mark(mark), "the server is marked", &joined(warnings, more))?
            }
            Action::ServerCreate(present) => {
                let (spec, more) = read(api, body, |body| input::server_spec(body, &api.root))?;
                create::create(api, spec, present, &joined(warnings, more))?
            }
            Action::ServerStart(slug) => command(api, &slug, Command::Start, "the server was started", &warnings)?,
            Action::ServerStop(slug) => command(api, &slug, Command::Stop, "the server is stopped", &warnings)?,
            Action::ServerRestart(slug) => {
                command(api, &slug, Command::Restart, "the server was restarted", &warnings)?
            }
            Action::ServerDelete(slug) => command(api, &slug, Command::Delete, "the server is deleted", &warnings)?,
            Action::ServerLogs(slug, query) => {
                let supervisor = api.registry.find(&slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
                logs(&slug, supervisor.log(), query, input::log_form(accept.as_deref()), &warnings)
            }
            Action::ServerFollow(slug, query) => {
                let supervisor = api.registry.find(&slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
                let place = api.streams.take()?;
                let form = input::stream_form(accept.as_deref());
                let log = Arc::clone(supervisor.log());
                return follow::stream(log, selection(query), tail(query), form, place);
            }
            Action::OverlayList => overlays::list(&api.overlays, &warnings),
            Action::OverlayShow(id) => overlays::show(&api.overlays, &id, &warnings)?,
            Action::OverlayCreate => {
                let (spec, more) = read(api, body, input::overlay_spec)?;
                overlays::create(&api.overlays, spec, &joined(warnings, more))?
            }
            Action::Gateway(asked) => sandbox::answer(api, host.as_deref(), asked, body, warnings)?,
            Action::Unsupported(part) => return Err(Error::unsupported(part)),
            Action::OverlayDelete(id, files) => {
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

/// Reads a body as JSON by `parse`, one at a time: out of a MiB of it a hundred can become for a moment.
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
    Ok(match outcome(&pending, slug, COMMAND_LIMIT, Asked::Command)? {
        (Completed::Yes, view) => match command {
            Command::Delete => reply::no_content(),
            Command::Stop | Command::Kill => reply::json(200, &wire::stopped(message, &view, warnings)),
            Command::Start | Command::Restart => reply::json(200, &wire::server(message, &view, warnings)),
            Command::Mark(_) => reply::json(200, &wire::marked(message, &view, warnings)),
        },
        (Completed::NotYet, view) => {
            let goes_on =
                "this takes longer than a client waits; it continues, ask for the server to see how far it is";
            let message = view.reason.as_deref().unwrap_or(goes_on);
            match command {
                Command::Stop | Command::Kill => reply::json(202, &wire::stopped(message, &view, warnings)),
                Command::Delete | Command::Start | Command::Restart | Command::Mark(_) => {
                    reply::json(202, &wire::server(message, &view, warnings))
                }
            }
        }
    })
}

#[derive(Clone, Copy)]
enum Asked {
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
    limit: Duration,
    asked: Asked,
) -> Result<(Completed, Arc<ServerView>), Error> {
    match pending.wait(Instant::now() + limit) {
        CommandReply::Done(view) => Ok((Completed::Yes, view)),
        CommandReply::Late(view) => Ok((Completed::NotYet, view)),
        CommandReply::Stored => Ok((Completed::NotYet, pending.view())),
        CommandReply::Refused(CommandRefusal::Active) => {
            let status = pending.view().status;
            Err(match asked {
                Asked::Create => Error::slug_in_use(slug, status),
                Asked::Command => Error::already_active(slug, status),
            })
        }
        CommandReply::Refused(CommandRefusal::NotLive) => Err(Error::not_live(slug, pending.view().status)),
        CommandReply::Refused(CommandRefusal::BeingDeleted) => Err(Error::being_deleted(slug)),
        CommandReply::PortTaken(refusal) => Err(Error::new(
            Code::PortTaken,
            format!("{refusal}; free it, ask for another port, or leave strict_port out to get the next free one"),
        )),
        CommandReply::NotStored(error) => Err(match asked {
            Asked::Create => Error::storage(&format!("server \"{slug}\""), &error),
            // No other command changes what is stored.
            Asked::Command => Error::storage(&format!("that server \"{slug}\" is deleted"), &error),
        }),
        CommandReply::ShuttingDown => Err(Error::shutting_down()),
        // Deleted between the look at the table and the command, or a panic, which is logged.
        CommandReply::Lost => Err(match asked {
            Asked::Command => Error::server_not_found(slug.as_str()),
            Asked::Create => Error::being_deleted(slug),
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

fn selection(query: LogQuery) -> Selection {
    match query.stream {
        Stream::Stdout => Selection::Stdout,
        Stream::Stderr => Selection::Stderr,
        Stream::Combined => Selection::Combined,
    }
}

fn tail(query: LogQuery) -> Option<usize> {
    query.tail.and_then(|lines| usize::try_from(lines).ok())
}

fn logs(slug: &Slug, log: &SharedLog, query: LogQuery, form: LogForm, warnings: &[String]) -> Reply {
    let rendered = log.render(selection(query), tail(query));
    match form {
        LogForm::Plain => reply::plain(rendered.bytes),
        LogForm::Json => {
            // Most is text as it should be, and to see that is much faster than to look for what is not.
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
