//! The head of a request as the server gets it: written anew.
//!
//! Owns: which requests may pass, and every rule about their headers. Never: a socket, a body, which server it is.
//! Pure.
//!
//! A server sees itself as `localhost` and its own port: in `Host`, and in `Origin` and `Referer` where these name the
//! host that was visited. Any other origin stays, so that the server's own check of cross-site requests still works.
//! With [`ProxyHost::Public`] it sees the host that was visited.

use std::net::IpAddr;

use super::cookie;
use crate::http::head::{self, BodyFraming, Expects, HeaderFields, ParsedHead, Persistence, Version};
use crate::http::response::Refusal;
use crate::http::{FrontLimits, VISIT_TARGET};
use crate::model::proxy::ProxyHost;

/// A request passes as many proxies of this kind; a further one is a loop.
const HOPS_MAX: u32 = 4;

/// Headers that concern this connection, or that a server must not take from a client: what was removed of them is
/// written anew, if it is needed.
const REMOVED: [&str; 17] = [
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Content-Length",
    "Expect",
    "HTTP2-Settings",
    "Host",
    "Forwarded",
    "X-Real-IP",
    "X-Rewrite-URL",
    "X-Servisor-Hops",
    "X-Servisor-Key",
    "Cookie",
    "Origin",
];
/// The same for all names with these beginnings.
const REMOVED_FAMILIES: [&str; 3] = ["Proxy-", "X-Forwarded-", "X-Original-"];

/// A vetted request to a server.
#[derive(Debug)]
pub struct VisitHead<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub version: Version,
    pub fields: HeaderFields<'a>,
    pub framing: BodyFraming,
    pub persistence: Persistence,
    pub expects: Expects,
    /// How many proxies of this kind it has passed; the highest number if that can't be read.
    pub hops: u32,
    /// Whether it asks for a WebSocket.
    pub is_upgrade: bool,
}

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfitRequest {
    /// The front refuses it.
    Refused(Refusal),
    /// CONNECT or TRACE.
    Method,
}

impl From<Refusal> for UnfitRequest {
    fn from(refusal: Refusal) -> UnfitRequest {
        UnfitRequest::Refused(refusal)
    }
}

/// Vets a whole head.
///
/// # Errors
/// Why it can't pass.
pub fn vet<'a>(bytes: &'a [u8], headers: &'a mut [httparse::Header<'a>]) -> Result<VisitHead<'a>, UnfitRequest> {
    let ParsedHead { method, target, version, fields } = head::parse(bytes, headers)?;
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(UnfitRequest::Method);
    }
    if !(method == "OPTIONS" && target == "*") {
        head::vet_target(target, &FrontLimits { target: VISIT_TARGET, ..FrontLimits::default() })?;
    }
    if fields.only("Host")?.is_none() {
        return Err(Refusal::BadRequest("the Host header is missing").into());
    }
    let framing = head::framing(&fields, version, usize::MAX)?;
    let hops = match fields.only("X-Servisor-Hops") {
        Ok(None) => 0,
        Ok(Some(digits)) => str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX),
        Err(_) => u32::MAX,
    };
    let is_upgrade = method == "GET"
        && version == Version::Http11
        && framing == BodyFraming::Length(0)
        && fields.has_token("Connection", b"upgrade")
        && fields.only("Upgrade").ok().flatten().is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
    let (persistence, expects) = (head::persistence(&fields, version), head::expects(&fields)?);
    Ok(VisitHead { method, target, version, fields, framing, persistence, expects, hops, is_upgrade })
}

/// What decides how a request is rewritten for a server.
pub struct UpstreamContext<'a> {
    /// The port to which it goes.
    pub port: u16,
    pub mode: ProxyHost,
    /// The scheme of the name that was visited.
    pub scheme: &'a str,
    /// The address of the client, if it has one.
    pub client: Option<IpAddr>,
    /// Whether the value of a header has the API's token.
    pub is_token: &'a dyn Fn(&'static str, &[u8]) -> bool,
}

/// A head for a server.
#[derive(Debug)]
pub struct UpstreamHead {
    pub bytes: Vec<u8>,
    /// The `Origin` of the client, if the server sees its own in its place.
    pub origin: Option<Vec<u8>>,
}

impl VisitHead<'_> {
    /// The value of `Host`. There is one.
    pub fn host(&self) -> &[u8] {
        self.fields.first("Host").unwrap_or_default()
    }

    /// Whether it has passed too many proxies of this kind: their servers lead to each other.
    pub fn is_loop(&self) -> bool {
        self.hops > HOPS_MAX
    }

    /// Writes the head for the server.
    pub fn for_server(&self, context: &UpstreamContext<'_>) -> UpstreamHead {
        let local = format!("localhost:{}", context.port);
        let is_local = context.mode == ProxyHost::Local;
        let mut bytes = Vec::new();
        for part in [self.method, " ", &cookie::without_key(self.target), " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        put(&mut bytes, "Host", &[if is_local { local.as_bytes() } else { self.host() }]);
        let mut origin = None;
        if let Some(value) = self.fields.first("Origin") {
            if is_local && self.after_host(value) == Some(b"") {
                put(&mut bytes, "Origin", &[b"http://", local.as_bytes()]);
                origin = Some(value.to_vec());
            } else {
                put(&mut bytes, "Origin", &[value]);
            }
        }
        for field in self.fields.0.iter().filter(|field| self.passes(field, context)) {
            if !field.name.eq_ignore_ascii_case("Referer") {
                put(&mut bytes, field.name, &[field.value]);
                continue;
            }
            let keyless = str::from_utf8(field.value).map(|url| cookie::without_key(url).into_bytes());
            let value = keyless.as_deref().unwrap_or(field.value);
            match self.after_host(value) {
                Some(rest) if is_local => put(&mut bytes, field.name, &[b"http://", local.as_bytes(), rest]),
                Some(_) | None => put(&mut bytes, field.name, &[value]),
            }
        }
        let cookies: Vec<&[u8]> = self.fields.all("Cookie").flat_map(cookie::others).collect();
        if !cookies.is_empty() {
            put(&mut bytes, "Cookie", &[&cookies.join(&b"; "[..])]);
        }
        let client = context.client.map(|client| client.to_string());
        let mut way: Vec<&[u8]> = self.fields.all("X-Forwarded-For").collect();
        way.extend(client.as_ref().map(|client| client.as_bytes()));
        if !way.is_empty() {
            put(&mut bytes, "X-Forwarded-For", &[&way.join(&b", "[..])]);
        }
        if !is_local {
            put(&mut bytes, "X-Forwarded-Host", &[self.host()]);
            put(&mut bytes, "X-Forwarded-Proto", &[context.scheme.as_bytes()]);
        }
        put(&mut bytes, "X-Servisor-Hops", &[(self.hops + 1).to_string().as_bytes()]);
        match self.framing {
            BodyFraming::Chunks => put(&mut bytes, "Transfer-Encoding", &[b"chunked"]),
            BodyFraming::Length(length) if length > 0 || self.fields.first("Content-Length").is_some() => {
                put(&mut bytes, "Content-Length", &[length.to_string().as_bytes()]);
            }
            BodyFraming::Length(_) => {}
        }
        if self.is_upgrade {
            put(&mut bytes, "Upgrade", &[b"websocket"]);
        }
        put(&mut bytes, "Connection", &[if self.is_upgrade { &b"Upgrade"[..] } else { b"close" }]);
        bytes.extend_from_slice(b"\r\n");
        UpstreamHead { bytes, origin }
    }

    /// Whether a header is passed on as it is, or nearly so.
    fn passes(&self, field: &httparse::Header<'_>, context: &UpstreamContext<'_>) -> bool {
        let is = |name: &&str| field.name.eq_ignore_ascii_case(name);
        let begins = |name: &&str| field.name.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        let names_token = ["Authorization", "X-ComputeSDK-API-Key"]
            .into_iter()
            .any(|name| is(&name) && (context.is_token)(name, field.value));
        // CGI knows no difference between `-` and `_`, so that one could be taken for another.
        !(REMOVED.iter().any(is)
            || REMOVED_FAMILIES.iter().any(begins)
            || field.name.contains('_')
            || self.fields.has_token("Connection", field.name.as_bytes())
            || names_token)
    }

    /// What follows the authority in a URL or an origin, if it is the host that was visited.
    fn after_host<'v>(&self, url: &'v [u8]) -> Option<&'v [u8]> {
        let scheme = url.windows(3).position(|part| part == b"://")?;
        let rest = &url[scheme + 3..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        authority.eq_ignore_ascii_case(self.host()).then_some(after)
    }
}

/// Adds a header whose value is `parts`.
pub fn put(bytes: &mut Vec<u8>, name: &str, parts: &[&[u8]]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.extend_from_slice(b"\r\n");
}
