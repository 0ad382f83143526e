//! The head of a server's answer, and the one that the client gets.
//!
//! Owns: what is an answer, how its body is framed on both sides, and every rule about its headers. Never: a socket, a
//! body. Pure.
//!
//! The rule behind the rules: an answer that two parsers of HTTP could understand in two ways is none. Nothing is added
//! to an answer but its framing.

use super::cookie;
use super::request::put;
use crate::http::head::{self, HeaderFields, Persistence, Version};
use crate::http::{FrontLimits, visit::VisitEnd};

/// More than any server sends.
const HEADERS_MAX: usize = 256;
/// Bytes of an answer's head, with the interim ones before it that were not read yet.
pub const HEAD_MAX: usize = 64 * 1024;
/// Headers that concern the server's connection, or announce another address of it.
const REMOVED: [&str; 8] =
    ["Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Alt-Svc"];
const REMOVED_FAMILY: &str = "Proxy-";
/// The names under which a server knows itself.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What has to be known of a request to read its answer.
#[derive(Debug)]
pub struct RequestContext {
    pub is_head: bool,
    pub version: Version,
    pub persistence: Persistence,
    /// Whether it asks for a WebSocket.
    pub is_upgrade: bool,
    /// The port of the server.
    pub port: u16,
    /// The `Origin` of the client, if the server has seen its own in its place.
    pub origin: Option<Vec<u8>>,
    /// Whether the client has not sent all of the request's body yet, which will not be read any more.
    pub has_body_left: bool,
}

/// How the length of an answer's body is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    Length(u64),
    Chunks,
    /// By the end of the connection.
    ToEnd,
}

/// What the first bytes of a server's connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// Not a whole head yet.
    Incomplete,
    /// An interim answer of so many bytes, which no client needs.
    Interim(usize),
    Final {
        status: u16,
        /// The bytes of its head.
        length: usize,
        /// The head for the client.
        head: Vec<u8>,
        framing: AnswerFraming,
        /// Whether the client gets the body in chunks.
        in_chunks: bool,
        /// What becomes of the client's connection after it.
        after: VisitEnd,
    },
    /// The consent to a WebSocket, with the bytes and the head as above.
    Switch { length: usize, head: Vec<u8> },
}

/// Why it is no answer, as a phrase that follows "its answer".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenAnswer(pub &'static str);

/// Reads what a server has sent so far. `searched` bytes of it are known to have no end of a head in them.
///
/// # Errors
/// It is no answer, and no further bytes make one of it.
pub fn read(bytes: &[u8], searched: usize, context: &RequestContext) -> Result<Answered, BrokenAnswer> {
    if !could_begin(bytes) {
        return Err(NO_STATUS_LINE);
    }
    // Where a head ends does not depend on the parser: a line that does not end in CRLF has no other meaning.
    let limits = FrontLimits { head: HEAD_MAX, target: HEAD_MAX, ..FrontLimits::default() };
    let length = match head::end(bytes, searched, &limits) {
        Ok(Some(length)) => length,
        Ok(None) => return Ok(Answered::Incomplete),
        Err(_) if bytes.len() >= HEAD_MAX => return Err(BrokenAnswer("has a head of more than 64 KiB")),
        Err(_) => return Err(BrokenAnswer("has a line in its head that does not end in CRLF")),
    };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    match parsed.parse(&bytes[..length]) {
        Ok(httparse::Status::Complete(end)) if end == length => {}
        Err(httparse::Error::TooManyHeaders) => return Err(BrokenAnswer("has more than 256 headers")),
        Err(httparse::Error::Version | httparse::Error::Status) => return Err(NO_STATUS_LINE),
        Ok(_) | Err(_) => return Err(BrokenAnswer("has a head that can't be read")),
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Err(NO_STATUS_LINE) };
    let fields = HeaderFields(parsed.headers);
    match status {
        101 if context.is_upgrade && fields.has_token("Upgrade", b"websocket") => {
            let mut head = begin(status, parsed.reason.unwrap_or_default(), &fields, context);
            put(&mut head, "Upgrade", &[b"websocket"]);
            put(&mut head, "Connection", &[b"Upgrade"]);
            head.extend_from_slice(b"\r\n");
            return Ok(Answered::Switch { length, head });
        }
        101 => return Err(BrokenAnswer("changes the protocol, which was not asked for")),
        100..=199 => return Ok(Answered::Interim(length)),
        200..=599 => {}
        _ => return Err(BrokenAnswer("has a status that is none of HTTP")),
    }
    let given = framing(&fields, minor)?;
    let has_body = !(context.is_head || status == 204 || status == 304);
    let mut head = begin(status, parsed.reason.unwrap_or_default(), &fields, context);
    let (framing, in_chunks) = match given {
        _ if !has_body => (AnswerFraming::Length(0), false),
        AnswerFraming::Length(length) => (AnswerFraming::Length(length), false),
        AnswerFraming::Chunks | AnswerFraming::ToEnd => (given, context.version == Version::Http11),
    };
    if let AnswerFraming::Length(length) = given
        && status != 204
    {
        put(&mut head, "Content-Length", &[length.to_string().as_bytes()]);
    } else if in_chunks {
        put(&mut head, "Transfer-Encoding", &[b"chunked"]);
    }
    let has_end = in_chunks || matches!(framing, AnswerFraming::Length(_));
    let stays =
        has_end && context.persistence == Persistence::KeepAlive && !context.is_upgrade && !context.has_body_left;
    match (stays, context.version) {
        (true, Version::Http11) => {}
        (true, Version::Http10) => put(&mut head, "Connection", &[b"keep-alive"]),
        (false, _) => put(&mut head, "Connection", &[b"close"]),
    }
    head.extend_from_slice(b"\r\n");
    let after = if stays { VisitEnd::KeepAlive } else { VisitEnd::Linger };
    Ok(Answered::Final { status, length, head, framing, in_chunks, after })
}

const NO_STATUS_LINE: BrokenAnswer = BrokenAnswer("does not begin with a status line of HTTP/1");

/// Whether these bytes can be the beginning of a status line. If not, the rest is not awaited.
fn could_begin(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"HTTP/1.";
    let length = bytes.len().min(NAME.len());
    bytes[..length] == NAME[..length]
}

/// How the length of the body is given.
fn framing(fields: &HeaderFields<'_>, minor: u8) -> Result<AnswerFraming, BrokenAnswer> {
    let mut codings = fields.all("Transfer-Encoding");
    let mut lengths = fields.all("Content-Length");
    match (codings.next(), lengths.next()) {
        (Some(_), Some(_)) => Err(BrokenAnswer("has both Transfer-Encoding and Content-Length")),
        (Some(_), None) if codings.next().is_some() => Err(BrokenAnswer("has more than one Transfer-Encoding")),
        (Some(_), None) if minor == 0 => Err(BrokenAnswer("has a Transfer-Encoding, which HTTP/1.0 does not know")),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(AnswerFraming::Chunks),
        (Some(_), None) => Err(BrokenAnswer("has a Transfer-Encoding other than chunked")),
        (None, None) => Ok(AnswerFraming::ToEnd),
        (None, Some(first)) => {
            if lengths.any(|length| length != first) {
                return Err(BrokenAnswer("has two different lengths"));
            }
            let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(first).ok().filter(|_| is_number).and_then(|digits| digits.parse().ok());
            length.map(AnswerFraming::Length).ok_or(BrokenAnswer("has a Content-Length that is not a number"))
        }
    }
}

/// The status line and the server's headers.
fn begin(status: u16, reason: &str, fields: &HeaderFields<'_>, context: &RequestContext) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    for field in fields.0 {
        let is = |name: &&str| field.name.eq_ignore_ascii_case(name);
        let is_of_family =
            field.name.get(..REMOVED_FAMILY.len()).is_some_and(|start| start.eq_ignore_ascii_case(REMOVED_FAMILY));
        if REMOVED.iter().any(is) || is_of_family || fields.has_token("Connection", field.name.as_bytes()) {
            continue;
        }
        let text = str::from_utf8(field.value).ok();
        let rewritten = match text {
            Some(text) if is(&"Location") => location(text, context.port).map(String::into_bytes),
            Some(text) if is(&"Set-Cookie") => set_cookie(text).map(String::into_bytes),
            Some(text) if is(&"Access-Control-Allow-Origin") => context
                .origin
                .clone()
                .filter(|_| text.eq_ignore_ascii_case(&format!("http://localhost:{}", context.port))),
            Some(_) | None => None,
        };
        put(&mut head, field.name, &[rewritten.as_deref().unwrap_or(field.value)]);
    }
    head
}

/// A `Location` that leads to the server itself, as a path alone.
fn location(url: &str, port: u16) -> Option<String> {
    let strip = |scheme: &str| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = strip("http://").or_else(|| strip("https://")).or_else(|| strip("//"))?;
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (name, given) = authority.rsplit_once(':')?;
    let is_own = given == port.to_string() && OWN_NAMES.iter().any(|own| name.eq_ignore_ascii_case(own));
    is_own.then(|| cookie::local(path))
}

/// A `Set-Cookie` for a domain that is the server's own name, without it. `None` for any other.
fn set_cookie(value: &str) -> Option<String> {
    let is_own = |part: &&str| {
        part.split_once('=').is_some_and(|(name, domain)| {
            let domain = domain.trim().trim_start_matches('.');
            name.trim().eq_ignore_ascii_case("Domain")
                && (domain == "::1" || OWN_NAMES.iter().any(|own| domain.eq_ignore_ascii_case(own)))
        })
    };
    let mut parts = value.split(';');
    let first = parts.next()?;
    if !parts.clone().any(|part| is_own(&part)) {
        return None;
    }
    Some(parts.filter(|part| !is_own(part)).fold(first.to_owned(), |all, part| all + ";" + part))
}
