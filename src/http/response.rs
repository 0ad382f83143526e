//! Responses on the wire.
//!
//! Owns: their form, and the front's own refusals. Never: a wait without a limit.

use std::borrow::Cow;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::handoff::{Reply, StreamOut};
use crate::os::poll::{Interest, Poll};
use crate::os::waker::Waker;
use crate::os::{peer, retry};

/// Holds the usual head of a response.
const HEAD: usize = 256;

/// Why a request does not reach the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head is not what HTTP/1.1 allows; a phrase that says how.
    BadRequest(&'static str),
    /// The request was not complete in time.
    Timeout,
    /// The body is longer than allowed.
    BodyTooLarge,
    /// The target is longer than allowed.
    TargetTooLong,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// The head is longer than allowed, or has too many fields.
    HeadTooLarge,
    /// The same for a request to a managed server.
    VisitTargetTooLong,
    VisitHeadTooLarge,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    UnknownVersion,
    /// Another user than the daemon's own or root has connected to a socket of theirs.
    ForeignUser,
    /// Every connection is busy.
    TooManyConnections,
    /// The bodies of other clients use up the memory for bodies.
    TooManyBodies,
    /// Strangers use up the memory for their heads and responses.
    TooMuchForStrangers,
    /// The API panicked.
    Panicked,
}

impl Refusal {
    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Refusal::BadRequest(why) => (400, "malformed", why),
            Refusal::Timeout => {
                (408, "request_timeout", "the request was not complete in time; send it without pauses")
            }
            Refusal::BodyTooLarge => (413, "body_too_large", "the body is larger than 1 MiB; send less"),
            Refusal::TargetTooLong => (414, "target_too_long", "the URL is longer than 4 KiB; shorten it"),
            Refusal::ExpectationFailed => {
                (417, "expectation_failed", "only 100-continue can be expected; leave the Expect header out")
            }
            Refusal::HeadTooLarge => {
                (431, "head_too_large", "the headers are larger than 16 KiB or more than 64; send fewer")
            }
            Refusal::VisitTargetTooLong => (414, "target_too_long", "the URL is longer than 16 KiB; shorten it"),
            Refusal::VisitHeadTooLarge => {
                (431, "head_too_large", "the headers are larger than 32 KiB or more than 100; send fewer")
            }
            Refusal::UnknownCoding => {
                (501, "unknown_coding", "the only transfer coding is chunked; send a Content-Length instead")
            }
            Refusal::UnknownVersion => (505, "unknown_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"),
            Refusal::ForeignUser => {
                (403, "foreign_user", "without a token this socket is for the daemon's user and root; connect as one")
            }
            Refusal::TooManyConnections => {
                (503, "busy", "all connections are busy; close those that are not needed, or try again later")
            }
            Refusal::TooManyBodies => {
                (503, "busy", "the bodies of other requests fill the memory for bodies; try again later")
            }
            Refusal::TooMuchForStrangers => {
                (503, "busy", "requests without the access token fill the memory for them; try again later")
            }
            Refusal::Panicked => (500, "internal", "servisor failed while handling the request; its log says more"),
        }
    }

    /// The same of a request to a managed server, which has limits of its own, and none for a body.
    pub fn of_visit(self) -> Refusal {
        if self == Refusal::TargetTooLong {
            Refusal::VisitTargetTooLong
        } else if self == Refusal::HeadTooLarge {
            Refusal::VisitHeadTooLarge
        } else if self == Refusal::BodyTooLarge {
            Refusal::BadRequest("the Content-Length is larger than any body")
        } else {
            self
        }
    }

    /// The refusal in the form of the API's errors. Its sentences are ours and need no escaping.
    pub fn reply(self) -> Reply {
        let (status, code, sentence) = self.parts();
        let body = format!(r#"{{"status":"error","error":"{sentence}","code":"{code}","message":"{sentence}"}}"#);
        let headers = if status == 503 { vec![("Retry-After", "1".to_owned())] } else { Vec::new() };
        Reply { status, headers, content_type: Some("application/json"), body: body.into_bytes().into() }
    }
}

/// What follows a response on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The next request.
    KeepAlive,
    /// The next request; HTTP/1.0 clients need a `Connection: keep-alive`.
    KeepAliveInWords,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyIs {
    Sent,
    /// Only its length is sent: the request was `HEAD`.
    LeftOut,
}

#[derive(Debug, Clone, Copy)]
pub struct SendLimits {
    /// As a whole.
    pub deadline: Option<Instant>,
    /// Without progress.
    pub stall: Duration,
}

/// Sends a whole response, in one write if the socket's buffer has room. Returns its length.
pub fn send(mut socket: &UnixStream, reply: &Reply, after: After, body: BodyIs, pace: SendLimits) -> io::Result<usize> {
    let mut bytes = head(reply, after)?;
    // A 204 has neither a body nor a length.
    if reply.status != 204 {
        write!(bytes, "Content-Length: {}\r\n", reply.body.len())?;
    }
    bytes.extend_from_slice(b"\r\n");
    let body = match body {
        BodyIs::Sent => &reply.body[..],
        BodyIs::LeftOut => &[],
    };
    let sent = match retry(|| socket.write_vectored(&[IoSlice::new(&bytes), IoSlice::new(body)])) {
        Ok(sent) => sent,
        Err(error) if is_late(&error) => 0,
        Err(error) => return Err(error),
    };
    write_all(socket, bytes.get(sent..).unwrap_or_default(), pace)?;
    write_all(socket, &body[sent.saturating_sub(bytes.len())..], pace)?;
    Ok(bytes.len() + body.len())
}

/// Writes all of `bytes`. The socket must have a write time-out, at which this checks the deadline.
fn write_all(mut socket: &UnixStream, mut bytes: &[u8], pace: SendLimits) -> io::Result<()> {
    let mut progress: Option<Instant> = None;
    while !bytes.is_empty() {
        let written = match socket.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_late(&error) => 0,
            Err(error) => return Err(error),
        };
        bytes = &bytes[written..];
        if bytes.is_empty() {
            break;
        }
        let now = Instant::now();
        if written > 0 {
            progress = Some(now);
        }
        let stalled = now.saturating_duration_since(*progress.get_or_insert(now)) >= pace.stall;
        if stalled || pace.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // A stream has no deadline, and a client that has half closed most likely does not read either.
        if pace.deadline.is_none() && peer::has_left(socket) {
            return Err(left());
        }
    }
    Ok(())
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn left() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client has left")
}

/// Refuses a client that has no thread.
pub fn refuse_at_once(mut socket: &UnixStream, refusal: Refusal) {
    // A client whose buffer is full gets no response.
    if socket.set_nonblocking(true).is_err() {
        return;
    }
    let pace = SendLimits { deadline: Some(Instant::now()), stall: Duration::ZERO };
    let _ = send(socket, &refusal.reply(), After::Close, BodyIs::Sent, pace);
    // Closing with unread bytes sends a reset, which could discard the response. So read what has arrived, without
    // waiting for more.
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.read(&mut [0; 4 * 1024]);
}

/// Sends the head of a streamed response, and returns the writer of its body.
pub fn begin_stream<'a>(
    socket: &'a UnixStream,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    framing: StreamFraming,
    pace: SendLimits,
) -> io::Result<StreamWriter<'a>> {
    let reply = Reply { status: 200, headers, content_type: Some(content_type), body: Cow::Borrowed(&[]) };
    let mut bytes = head(&reply, After::Close)?;
    if framing == StreamFraming::Chunks {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    write_all(socket, &bytes, pace)?;
    Ok(StreamWriter { socket, framing, pace })
}

/// How the end of a stream is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFraming {
    /// By a last chunk.
    Chunks,
    /// By the end of the connection, for HTTP/1.0.
    Close,
}

/// Sends each write as a chunk of its own; fails once the client has left.
pub struct StreamWriter<'a> {
    socket: &'a UnixStream,
    framing: StreamFraming,
    pace: SendLimits,
}

impl StreamWriter<'_> {
    /// Marks the end.
    pub fn finish(self) -> io::Result<()> {
        match self.framing {
            StreamFraming::Chunks => write_all(self.socket, b"0\r\n\r\n", self.pace),
            StreamFraming::Close => Ok(()),
        }
    }
}

impl Write for StreamWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ensure_present(self.socket)?;
        match self.framing {
            // An empty chunk would be the end.
            _ if bytes.is_empty() => {}
            StreamFraming::Chunks => {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(bytes);
                chunk.extend_from_slice(b"\r\n");
                write_all(self.socket, &chunk, self.pace)?;
            }
            StreamFraming::Close => write_all(self.socket, bytes, self.pace)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StreamOut for StreamWriter<'_> {
    fn wait(&mut self, waker: &Waker, deadline: Instant) -> io::Result<()> {
        let mut poll = Poll::default();
        poll.add(waker, Interest::Read);
        let client = poll.add(self.socket, Interest::Left);
        poll.wait(Some(deadline.saturating_duration_since(Instant::now())))?;
        if poll.is_ready(client) { Err(left()) } else { Ok(()) }
    }
}

/// Fails if the client has closed: the first write to it would succeed, and the next may be a heartbeat away.
fn ensure_present(socket: &UnixStream) -> io::Result<()> {
    if peer::has_left(socket) { Err(left()) } else { Ok(()) }
}

fn head(reply: &Reply, after: After) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD);
    write!(bytes, "HTTP/1.1 {} {}\r\n", reply.status, phrase(reply.status))?;
    let content_type = reply.content_type.map(|value| ("Content-Type", value));
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let connection = match after {
        After::KeepAlive => None,
        After::KeepAliveInWords => Some(("Connection", "keep-alive")),
        After::Close => Some(("Connection", "close")),
    };
    for (name, value) in content_type.into_iter().chain(headers).chain(connection) {
        [name, ": ", value, "\r\n"].iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    }
    Ok(bytes)
}

/// The reason phrase.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        302 => "Found",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        _ => "Other",
    }
}
