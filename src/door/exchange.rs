//! What goes over an internal connection: a request, and its answer.
//!
//! Owns: the reading of an answer to its end, and what of it a client gets to see. Never: which connection it goes over.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::handoff::{Reply, TICKET_HEADER};
use crate::os::retry;

/// A worker answers within microseconds; a backend that takes this long is stuck.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);
/// What is read at once. The head of an answer, which is the API's and tiny_http's own, has room in it.
const BUFFER: usize = 2 * 1024;
/// The longest body: a list of very many servers.
const ANSWER_BODY_MAX: usize = 1024 * 1024 * 1024;
const HEADERS_MAX: usize = 32;
/// The headers of the API that a client gets to see; the rest is tiny_http's affair.
const PASSED_ON: [&str; 11] = [
    "Content-Type",
    "Date",
    "Allow",
    "WWW-Authenticate",
    "Retry-After",
    "Vary",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
    "Cache-Control",
];

/// A connection, and room for what comes over it.
pub struct Wire {
    stream: UnixStream,
    /// Of an answer, up to the end of its head and whatever has come with it.
    buffer: Vec<u8>,
}

impl Wire {
    /// One that nothing was sent over yet.
    ///
    /// # Errors
    /// It can't be limited in time.
    pub fn new(stream: UnixStream) -> io::Result<Wire> {
        stream.set_write_timeout(Some(EXCHANGE_LIMIT))?;
        stream.set_read_timeout(Some(EXCHANGE_LIMIT))?;
        Ok(Wire { stream, buffer: vec![0; BUFFER] })
    }

    /// Sends a request and takes the whole answer, and the number of a ticket if it has one.
    ///
    /// # Errors
    /// No answer has come, or none that can be read. Nothing more must be sent after that.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<(Reply, Option<u64>)> {
        let (mut stream, buffer) = (&self.stream, &mut self.buffer);
        stream.write_all(request)?;
        let mut filled = 0;
        let mut parsed = loop {
            match retry(|| stream.read(&mut buffer[filled..]))? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed a connection")),
                count => filled += count,
            }
            if let Some(parsed) = parse(&buffer[..filled])? {
                break parsed;
            }
            if filled == buffer.len() {
                return Err(odd("the head of its answer has no end"));
            }
        };
        let begun = &buffer[parsed.head..filled];
        if begun.len() > parsed.length {
            return Err(odd("its answer is longer than it says"));
        }
        let mut body = Vec::with_capacity(parsed.length);
        body.extend_from_slice(begun);
        body.resize(parsed.length, 0);
        stream.read_exact(&mut body[begun.len()..])?;
        parsed.reply.body = body;
        Ok((parsed.reply, parsed.ticket))
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The head of an answer, with what it says of the rest.
struct Parsed {
    /// Without the body.
    reply: Reply,
    ticket: Option<u64>,
    /// Bytes of the head.
    head: usize,
    /// Bytes of the body.
    length: usize,
}

/// `None` while the head is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<Parsed>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let head = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(head)) => head,
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let status = parsed.code.ok_or_else(|| odd("its answer has no status"))?;
    let mut reply = Reply { status, headers: Vec::new(), content_type: None, body: Vec::new() };
    let (mut ticket, mut length) = (None, None);
    for header in parsed.headers.iter() {
        let value = str::from_utf8(header.value).map_err(|_| odd("its answer has a header that is no text"))?;
        if header.name.eq_ignore_ascii_case("Content-Length") {
            length = Some(value.parse().map_err(|_| odd("its answer has an odd length"))?);
        } else if header.name.eq_ignore_ascii_case(TICKET_HEADER) {
            ticket = Some(value.parse().map_err(|_| odd("its answer has an odd ticket"))?);
        } else if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err(odd("its answer comes in chunks"));
        } else if let Some(name) = PASSED_ON.iter().find(|name| header.name.eq_ignore_ascii_case(name)) {
            reply.headers.push((name, value.to_owned()));
        }
    }
    let length = match (length, status) {
        (Some(length), _) => length,
        (None, 204 | 304) => 0,
        (None, _) => return Err(odd("its answer has no length")),
    };
    if length > ANSWER_BODY_MAX {
        return Err(odd("its answer is too long"));
    }
    Ok(Some(Parsed { reply, ticket, head, length }))
}
