//! The head of a request: vetting, and its canonical form.
//!
//! Owns: every rule about request lines and headers. Never: a socket, a body, the meaning of a path. Pure.
//!
//! The rule behind the rules: a head that two parsers of HTTP could understand in two ways is refused, and what is
//! passed on is serialized from the parsed form.

use super::FrontLimits;
use super::response::Refusal;

/// More than any client of the API sends.
const HEADERS_MAX: usize = 64;
/// More than a browser sends to a server.
pub const VISIT_HEADERS_MAX: usize = 100;
/// The headers that the API reads, in the order in which they are passed on. Each may occur once.
const PASSED_ON: [&str; 10] = [
    "Host",
    "Authorization",
    "Origin",
    "Sec-Fetch-Site",
    "X-ComputeSDK-API-Key",
    "Accept",
    "Last-Event-ID",
    "Content-Type",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    Length(usize),
    Chunks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// Whether the connection persists after the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    KeepAlive,
    Close,
}

/// Whether the client waits for `100 Continue` before it sends the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    Nothing,
    Continue,
}

/// A vetted head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub framing: BodyFraming,
    pub version: Version,
    pub persistence: Persistence,
    pub expects: Expects,
    /// Whether the method is HEAD, so that the response has no body.
    pub is_head: bool,
    /// The request line and headers in canonical form, with the empty line. It has no headers
    /// about the body, which is not passed on with it.
    pub canonical: Vec<u8>,
}

/// Where the head in `bytes` ends, after its empty line; `None` while it does not. `searched` bytes are known to have
/// no end in them.
///
/// # Errors
/// It is too long, or has a line that does not end in CRLF.
pub fn end(bytes: &[u8], searched: usize, limits: &FrontLimits) -> Result<Option<usize>, Refusal> {
    let from = searched.saturating_sub(3);
    // Bytes beyond the limit are ignored: else a refusal would depend on how much arrives in one read.
    let bytes = &bytes[..bytes.len().min(limits.head)];
    for (at, _) in bytes.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'\n') {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Refusal::BadRequest("a line of the head does not end in CRLF"));
        }
        if at >= 3 && bytes[at - 3..at] == *b"\r\n\r" {
            return Ok(Some(at + 1));
        }
    }
    if bytes.len() < limits.head { Ok(None) } else { Err(too_long(bytes, limits)) }
}

fn too_long(bytes: &[u8], limits: &FrontLimits) -> Refusal {
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    if line > limits.target { Refusal::TargetTooLong } else { Refusal::HeadTooLarge }
}

/// A whole head as the parser understands it. Nothing but its grammar is vetted.
pub struct ParsedHead<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub version: Version,
    pub fields: HeaderFields<'a>,
}

/// Parses a whole head into `headers`.
///
/// # Errors
/// It can't be read, or has more headers than there is room for.
pub fn parse<'a>(bytes: &'a [u8], headers: &'a mut [httparse::Header<'a>]) -> Result<ParsedHead<'a>, Refusal> {
    if bytes.starts_with(b"\r\n") {
        return Err(Refusal::BadRequest("the request begins with an empty line"));
    }
    let mut parsed = httparse::Request::new(headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Refusal::BadRequest("the head can't be read")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(httparse::Error::Version) if names_a_version(bytes) => return Err(Refusal::UnknownVersion),
        Err(httparse::Error::HeaderName) => return Err(Refusal::BadRequest("the name of a header can't be read")),
        Err(httparse::Error::HeaderValue) => return Err(Refusal::BadRequest("the value of a header can't be read")),
        Err(_) => return Err(Refusal::BadRequest("the request line can't be read")),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::BadRequest("the request line can't be read"));
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    Ok(ParsedHead { method, target, version, fields: HeaderFields(parsed.headers) })
}

/// The value of the one `Host` of a whole head.
///
/// # Errors
/// The head can't be read, or has more than one: it is to be refused.
pub fn host(bytes: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; VISIT_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {
            let mut values = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("Host"));
            match (values.next(), values.next()) {
                (value, None) => Ok(value.map(|field| field.value)),
                (_, Some(_)) => Err(Refusal::BadRequest("the Host header is given more than once")),
            }
        }
        Ok(httparse::Status::Partial) | Err(_) => Err(Refusal::BadRequest("the head can't be read")),
    }
}

/// The value of the first `Host` of a head that was refused unparsed.
pub fn named_host(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let (name, value) = line.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"Host:").then(|| value.trim_ascii())
    })
}

/// Vets a whole head for the API.
///
/// # Errors
/// Why it can't pass.
pub fn vet(bytes: &[u8], limits: &FrontLimits) -> Result<Head, Refusal> {
    // It may have been read for a server, whose limits are wider.
    if bytes.len() > limits.head {
        return Err(too_long(bytes, limits));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let ParsedHead { method, target, version, fields } = parse(bytes, &mut headers)?;
    vet_target(target, limits)?;
    if fields.all("Host").count() == 0 && version == Version::Http11 {
        return Err(Refusal::BadRequest("the Host header is missing"));
    }
    // For the API HEAD is GET; the body is left out of the response.
    let passed_method = if method == "HEAD" { "GET" } else { method };
    let mut canonical = format!("{passed_method} {target} HTTP/1.1\r\n").into_bytes();
    for name in PASSED_ON {
        if let Some(value) = fields.only(name)? {
            // tiny_http silently drops a connection, and thus a parser, for one byte that is not ASCII.
            if !value.is_ascii() {
                return Err(Refusal::BadRequest("the value of a header has a character that is not ASCII"));
            }
            canonical.extend_from_slice(name.as_bytes());
            canonical.extend_from_slice(b": ");
            canonical.extend_from_slice(value);
            canonical.extend_from_slice(b"\r\n");
        }
    }
    canonical.extend_from_slice(b"\r\n");
    Ok(Head {
        framing: framing(&fields, version, limits.body)?,
        version,
        persistence: persistence(&fields, version),
        expects: expects(&fields)?,
        is_head: method == "HEAD",
        canonical,
    })
}

/// Whether the third and last word of the request line is a version of HTTP.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    words.next().is_some_and(|version| version.starts_with(b"HTTP/")) && words.next().is_none()
}

/// Vets a target in origin form: its length and characters, for the API and the proxy alike. `api/route/query.rs`
/// decodes the path and the query, and refuses what is malformed in them.
pub fn vet_target(target: &str, limits: &FrontLimits) -> Result<(), Refusal> {
    if target.len() > limits.target {
        return Err(Refusal::TargetTooLong);
    }
    if !target.starts_with('/') {
        return Err(Refusal::BadRequest("the target of the request must be a path that begins with a slash"));
    }
    // A fragment is the client's own: one that sends it could mean that the query is over, or is not.
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::BadRequest("the target of the request has a character that must be percent-encoded"));
    }
    Ok(())
}

/// The framing of a request's body of at most `longest` bytes.
pub fn framing(fields: &HeaderFields<'_>, version: Version, longest: usize) -> Result<BodyFraming, Refusal> {
    let coding = fields.only("Transfer-Encoding")?;
    let length = fields.only("Content-Length")?;
    match (coding, length) {
        (Some(_), Some(_)) => Err(Refusal::BadRequest("both Transfer-Encoding and Content-Length are given")),
        (Some(_), None) if version == Version::Http10 => {
            Err(Refusal::BadRequest("there is no Transfer-Encoding in HTTP/1.0"))
        }
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyFraming::Chunks),
        (Some(_), None) => Err(Refusal::UnknownCoding),
        (None, None) => Ok(BodyFraming::Length(0)),
        (None, Some(digits)) => {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(Refusal::BadRequest("the Content-Length is not a number"));
            }
            // A length that overflows is too large in any case.
            let length = str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
            length.filter(|length| *length <= longest).map(BodyFraming::Length).ok_or(Refusal::BodyTooLarge)
        }
    }
}

pub fn persistence(fields: &HeaderFields<'_>, version: Version) -> Persistence {
    match version {
        _ if fields.has_token("Connection", b"close") => Persistence::Close,
        Version::Http11 => Persistence::KeepAlive,
        Version::Http10 if fields.has_token("Connection", b"keep-alive") => Persistence::KeepAlive,
        Version::Http10 => Persistence::Close,
    }
}

pub fn expects(fields: &HeaderFields<'_>) -> Result<Expects, Refusal> {
    match fields.only("Expect")? {
        None => Ok(Expects::Nothing),
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(Expects::Continue),
        Some(_) => Err(Refusal::ExpectationFailed),
    }
}

#[derive(Debug, Clone, Copy)]
pub struct HeaderFields<'a>(pub &'a [httparse::Header<'a>]);

impl<'a> HeaderFields<'a> {
    /// Whether a list that may be split over several headers has `token` in it. Not inlined: it has many callers.
    #[inline(never)]
    pub fn has_token(&self, name: &'static str, token: &[u8]) -> bool {
        let is_it = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(token);
        self.all(name).any(|value| value.split(|&byte| byte == b',').any(is_it))
    }

    #[inline(never)]
    pub fn first(&self, name: &'static str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The value of a header that may occur once.
    ///
    /// # Errors
    /// It occurs more than once.
    #[inline(never)]
    pub fn only(&self, name: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            // Lists may be split over several headers, but which one would count is a guess.
            (_, Some(_)) => Err(Refusal::BadRequest(match name {
                "Host" => "the Host header is given more than once",
                "Content-Length" => "the Content-Length header is given more than once",
                "Transfer-Encoding" => "the Transfer-Encoding header is given more than once",
                _ => "a header is given more than once",
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What writing its fuzz target found: whether the end of an overlong head, or what is wrong behind its limit, was
    /// seen depended on how much of it had come at once.
    #[test]
    fn an_overlong_head_is_refused_alike_in_whatever_pieces_it_comes() {
        let limits = FrontLimits { head: 64, target: 32, ..FrontLimits::default() };
        let long = "a".repeat(80);
        for (head, refusal) in [
            (format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n"), Refusal::HeadTooLarge),
            (format!("GET / HTTP/1.1\r\nHost: {long}\n"), Refusal::HeadTooLarge),
            (format!("GET /{long} HTTP/1.1\r\n\r\n"), Refusal::TargetTooLong),
            (format!("GET /{long} HTTP/1.1\n"), Refusal::TargetTooLong),
        ] {
            for step in [1, 7, head.len()] {
                let mut searched = 0;
                let mut ends = head.as_bytes().chunks(step).scan(0, |come, piece| {
                    *come += piece.len();
                    Some(*come)
                });
                let found = ends.find_map(|come| {
                    let found = end(&head.as_bytes()[..come], searched, &limits);
                    searched = come;
                    (found != Ok(None)).then_some(found)
                });
                assert_eq!(found, Some(Err(refusal)), "{head:?} in pieces of {step}");
            }
        }
    }
}
