//! From method and target to what is to be done.
//!
//! Owns: the paths, their methods, their queries, and how a target is decoded. Never: a header, a body, a server;
//! whether a slug is known is found out by whoever carries out the action.
//!
//! Decided here: an escape that is no byte, a byte that is no text, a control character and a `.` or `..` segment
//! are malformed (400), because whatever stands between the client and us may read them in another way. An empty
//! segment (`//`, a slash at the end) is just a path that nothing has (404). A slash that is escaped is part of its
//! segment. `HEAD` is `GET`, whose body whoever writes the answer leaves out.

use crate::error::{Code, Error, WARNINGS_MAX, Wrong, hint, not_one_of, quoted, unknown};
use crate::model::overlay::OverlayId;
use crate::model::spec::Slug;
use crate::overlay::Files;

#[cfg(test)]
mod tests;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Is the daemon alive?
    Health,
    /// What is this daemon?
    Info,
    /// Is my token good?
    AuthStatus,
    /// Which methods does this path take? They are in `allow`, as the header has them.
    Options {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// All servers.
    ServerList,
    /// A server from the configuration in the body.
    ServerCreate,
    /// One server.
    ServerShow(Slug),
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
    /// All overlays.
    OverlayList,
    /// An overlay from the specification in the body.
    OverlayCreate,
    /// One overlay.
    OverlayShow(OverlayId),
    /// Stop its copy and forget it, and perhaps its files.
    OverlayDelete(OverlayId, Files),
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everybody, without a token.
    Open,
    /// Whoever has the token.
    Guarded,
}

impl Gate {
    /// Who may hear what has become of a request. What could not be routed is guarded.
    pub fn of(routed: &Result<Route, Error>) -> Gate {
        routed.as_ref().map_or(Gate::Guarded, |route| route.action.gate())
    }
}

impl Action {
    /// Who may ask for it.
    pub fn gate(&self) -> Gate {
        match self {
            // A browser sends no token with a preflight.
            Action::Health | Action::AuthStatus | Action::Options { .. } => Gate::Open,
            Action::Info
            | Action::ServerList
            | Action::ServerCreate
            | Action::ServerShow(_)
            | Action::ServerDelete(_)
            | Action::ServerStart(_)
            | Action::ServerStop(_)
            | Action::ServerRestart(_)
            | Action::ServerLogs(..)
            | Action::OverlayList
            | Action::OverlayCreate
            | Action::OverlayShow(_)
            | Action::OverlayDelete(..) => Gate::Guarded,
        }
    }
}

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
        (Resource::Info, Method::Get) => Action::Info,
        (Resource::AuthStatus, Method::Get) => Action::AuthStatus,
        (Resource::Servers, Method::Get) => Action::ServerList,
        (Resource::Servers, Method::Post) => Action::ServerCreate,
        (Resource::Server(slug), Method::Get) => {
            query.refuse("wait_for");
            query.refuse("timeout_ms");
            Action::ServerShow(slug)
        }
        (Resource::Server(slug), Method::Delete) => Action::ServerDelete(slug),
        (Resource::Start(slug), Method::Post) => Action::ServerStart(slug),
        (Resource::Stop(slug), Method::Post) => Action::ServerStop(slug),
        (Resource::Restart(slug), Method::Post) => Action::ServerRestart(slug),
        (Resource::Logs(slug), Method::Get) => Action::ServerLogs(slug, log_query(&mut query)),
        (Resource::Overlays, Method::Get) => Action::OverlayList,
        (Resource::Overlays, Method::Post) => Action::OverlayCreate,
        (Resource::Overlay(id), Method::Get) => Action::OverlayShow(id),
        (Resource::Overlay(id), Method::Delete) => {
            let files = if query.flag("delete_files") { Files::Remove } else { Files::Keep };
            Action::OverlayDelete(id, files)
        }
        (_, Method::Get | Method::Post | Method::Delete | Method::Other) => {
            return Err(method_not_allowed(method, path, allow));
        }
    };
    Ok(Route { action, warnings: query.finish()? })
}

/// What a path stands for.
enum Resource {
    Health,
    Info,
    AuthStatus,
    Servers,
    Server(Slug),
    Start(Slug),
    Stop(Slug),
    Restart(Slug),
    Logs(Slug),
    Overlays,
    Overlay(OverlayId),
}

impl Resource {
    /// The paths without a slug in them, for a hint.
    const PLAIN: [&str; 5] = ["/health", "/info", "/auth/status", "/servers", "/filesystem/overlays"];

    fn find(segments: &[String]) -> Result<Option<Resource>, Error> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        // A text that can be no slug is the slug of no server.
        let slug = |text: &str| Slug::parse(text).map_err(|_| Error::server_not_found(text));
        Ok(Some(match segments.as_slice() {
            ["health"] => Resource::Health,
            ["info"] => Resource::Info,
            ["auth", "status"] => Resource::AuthStatus,
            ["servers"] => Resource::Servers,
            ["servers", ""] => return Ok(None),
            ["servers", text] => Resource::Server(slug(text)?),
            ["servers", text, "start"] => Resource::Start(slug(text)?),
            ["servers", text, "stop"] => Resource::Stop(slug(text)?),
            ["servers", text, "restart"] => Resource::Restart(slug(text)?),
            ["servers", text, "logs"] => Resource::Logs(slug(text)?),
            ["filesystem", "overlays"] => Resource::Overlays,
            ["filesystem", "overlays", ""] => return Ok(None),
            ["filesystem", "overlays", text] => {
                Resource::Overlay(OverlayId::parse(text).ok_or_else(|| Error::overlay_not_found(text))?)
            }
            _ => return Ok(None),
        }))
    }

    fn allow(&self) -> &'static str {
        match self {
            Resource::Health | Resource::Info | Resource::AuthStatus | Resource::Logs(_) => "GET, HEAD, OPTIONS",
            Resource::Servers | Resource::Overlays => "GET, HEAD, POST, OPTIONS",
            Resource::Server(_) | Resource::Overlay(_) => "GET, HEAD, DELETE, OPTIONS",
            Resource::Start(_) | Resource::Stop(_) | Resource::Restart(_) => "POST, OPTIONS",
        }
    }
}

enum Method {
    Get,
    Post,
    Delete,
    Options,
    Other,
}

impl Method {
    fn of(word: &str) -> Method {
        match word {
            "GET" | "HEAD" => Method::Get,
            "POST" => Method::Post,
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

/// The decoded segments of a path that begins with a slash.
fn segments(path: &str) -> Result<Vec<String>, Error> {
    let malformed = |why: &str| Error::new(Code::Malformed, format!("the path {} {why}", quoted(path)));
    let rest = path.strip_prefix('/').ok_or_else(|| malformed("must begin with a slash"))?;
    let segments: Vec<String> = rest.split('/').map(decode).collect::<Result<_, _>>().map_err(|why| malformed(&why))?;
    if segments.iter().any(|segment| segment == "." || segment == "..") {
        return Err(malformed("must not have \".\" or \"..\" in it"));
    }
    Ok(segments)
}

/// Undoes percent-encoding; what can't be undone, or would come out as something else than text, is refused.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                tail
            }
            (b'%', _) => return Err("has a \"%\" that is not followed by two hexadecimal digits".into()),
            (b'!'..=b'~', tail) if *byte != b'#' => {
                bytes.push(*byte);
                tail
            }
            (_, _) => return Err("has a character that must be percent-encoded".into()),
        };
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("has a control character in it".into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 when it is decoded".into())
}

/// The value of an ASCII hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Reads the part of a query that a resource knows, collecting what is wrong with it.
struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    wrong: Vec<Wrong>,
}

impl Query {
    fn parse(text: &str) -> Result<Query, Error> {
        // As forms are encoded, and `URLSearchParams`: a plus is a space.
        let part = |text: &str| {
            decode(&text.replace('+', "%20")).map_err(|why| Error::new(Code::Malformed, format!("the query {why}")))
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((part(name)?, part(value)?))
        });
        Ok(Query { pairs: pairs.collect::<Result<_, Error>>()?, known: Vec::new(), wrong: Vec::new() })
    }

    /// Takes out the value of `name`.
    fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let (mine, others): (Vec<_>, Vec<_>) = self.pairs.drain(..).partition(|(other, _)| other == name);
        self.pairs = others;
        if mine.len() > 1 {
            self.blame(name, "is given more than once".into());
        }
        mine.into_iter().next().map(|(_, value)| value)
    }

    /// Takes out `name`, true or false; false without it.
    fn flag(&mut self, name: &'static str) -> bool {
        match self.take(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                self.blame(name, format!("must be true or false, not {}", quoted(other)));
                false
            }
        }
    }

    fn blame(&mut self, name: &str, why: String) {
        self.wrong.push(Wrong { field: name.to_owned(), why });
    }

    /// Knows `name` and can't serve it.
    fn refuse(&mut self, name: &'static str) {
        if self.take(name).is_some() {
            self.blame(name, "is not supported yet by this version; leave it out".into());
        }
    }

    fn finish(self) -> Result<Vec<String>, Error> {
        if !self.wrong.is_empty() {
            return Err(Error::invalid(self.wrong));
        }
        Ok(self
            .pairs
            .iter()
            .take(WARNINGS_MAX)
            .map(|(name, _)| unknown("query parameter", name, &self.known))
            .collect())
    }
}

fn log_query(query: &mut Query) -> LogQuery {
    let mut asked = LogQuery::default();
    if let Some(word) = query.take("stream") {
        match Stream::ALL.into_iter().find(|(known, _)| *known == word) {
            Some((_, stream)) => asked.stream = stream,
            None => query.blame("stream", not_one_of(&word, &Stream::ALL.map(|(known, _)| known))),
        }
    }
    if let Some(text) = query.take("tail") {
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(lines) if digits_only => asked.tail = Some(lines),
            Ok(_) | Err(_) => {
                query.blame("tail", format!("must be a number of lines from 0 to {}, not {}", u32::MAX, quoted(&text)));
            }
        }
    }
    if query.flag("follow") {
        query.blame("follow", "is not supported yet by this version; ask for the logs again instead".into());
    }
    asked
}
