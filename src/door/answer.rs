//! What goes back to a client.
//!
//! Owns: the form of an answer on the wire, and the door's own refusals. Never: a wait without a limit.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::handoff::Reply;
use crate::os::retry;

/// A client that is refused at the door is not waited for.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The usual head of an answer has room in this.
const HEAD: usize = 256;

/// Why a request has no answer of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head is not what HTTP/1.1 allows; a phrase that says how.
    BadRequest(&'static str),
    /// It did not come to its end in time.
    Timeout,
    /// The body is longer than allowed.
    BodyTooLarge,
    /// The target is longer than allowed.
    TargetTooLong,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// The head is longer than allowed, or has too many fields.
    HeadTooLarge,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    UnknownVersion,
    /// Every connection is busy.
    TooManyConnections,
    /// The API can't be asked. Nothing was done.
    Unavailable,
    /// The API panicked.
    Panicked,
}

impl Refusal {
    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Refusal::BadRequest(why) => (400, "malformed", why),
            Refusal::Timeout => {
                (408, "request_timeout", "the request did not come to its end in time; send it at once")
            }
            Refusal::BodyTooLarge => (413, "body_too_large", "the body is larger than 1 MiB; send less"),
            Refusal::TargetTooLong => (414, "target_too_long", "the URL is longer than 4 KiB; shorten it"),
            Refusal::ExpectationFailed => {
                (417, "expectation_failed", "only 100-continue can be expected; leave the Expect header out")
            }
            Refusal::HeadTooLarge => {
                (431, "head_too_large", "the headers are larger than 16 KiB or more than 64; send fewer")
            }
            Refusal::UnknownCoding => {
                (501, "unknown_coding", "the only transfer coding is chunked; send a Content-Length instead")
            }
            Refusal::UnknownVersion => (505, "unknown_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"),
            Refusal::TooManyConnections => {
                (503, "busy", "all connections are busy; close those that are not needed, or try again later")
            }
            Refusal::Unavailable => (503, "busy", "the API does not answer for the moment; try again later"),
            Refusal::Panicked => (500, "internal", "servisor failed while handling the request; its log says more"),
        }
    }

    /// The refusal in the form of the API's errors. Its sentences are ours and need no escaping.
    pub fn reply(self) -> Reply {
        let (status, code, sentence) = self.parts();
        let body = format!(r#"{{"status":"error","error":"{sentence}","code":"{code}","message":"{sentence}"}}"#);
        let headers = if status == 503 { vec![("Retry-After", "1".to_owned())] } else { Vec::new() };
        Reply { status, headers, content_type: Some("application/json"), body: body.into_bytes() }
    }
}

/// What of the connection follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The next request may come.
    KeepAlive,
    /// As before, said in words that a client of HTTP/1.0 needs.
    KeepAliveInWords,
    /// The end.
    Close,
}

/// Whether the body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyIs {
    /// It is.
    Sent,
    /// Only its length is told: the request was `HEAD`.
    LeftOut,
}

/// Sends a whole answer, in one write if the client takes it.
pub fn send(mut socket: &UnixStream, reply: &Reply, after: After, body: BodyIs) -> io::Result<()> {
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
    let sent = retry(|| socket.write_vectored(&[IoSlice::new(&bytes), IoSlice::new(body)]))?;
    socket.write_all(bytes.get(sent..).unwrap_or_default())?;
    socket.write_all(&body[sent.saturating_sub(bytes.len())..])
}

/// Says no to someone who has no thread to be served by.
pub fn refuse_at_once(mut socket: &UnixStream, refusal: Refusal) {
    // Whoever does not take it at once goes without.
    if socket.set_write_timeout(Some(AT_ONCE)).is_ok() {
        let _ = send(socket, &refusal.reply(), After::Close, BodyIs::Sent);
    }
    // Closing on bytes that nobody has read would be a reset, and could cost the client the answer. What has come is
    // taken; nobody waits here for more.
    let _ = socket.shutdown(Shutdown::Write);
    if socket.set_nonblocking(true).is_ok() {
        let _ = socket.read(&mut [0; 4 * 1024]);
    }
}

/// Sends the head of an answer without a known end, and gives a writer for the rest.
pub fn begin_stream<'a>(
    mut socket: &'a UnixStream,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    framing: Framing,
) -> io::Result<StreamWriter<'a>> {
    let reply = Reply { status: 200, headers, content_type: Some(content_type), body: Vec::new() };
    let mut bytes = head(&reply, After::Close)?;
    if framing == Framing::Chunks {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    socket.write_all(&bytes)?;
    Ok(StreamWriter { socket, framing })
}

/// How the end of a stream is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By a last chunk.
    Chunks,
    /// By the end of the connection: the client speaks HTTP/1.0.
    Close,
}

/// Sends each write as a chunk of its own; fails once the client has left.
pub struct StreamWriter<'a> {
    socket: &'a UnixStream,
    framing: Framing,
}

impl StreamWriter<'_> {
    /// Tells that nothing follows.
    pub fn finish(mut self) -> io::Result<()> {
        match self.framing {
            Framing::Chunks => self.socket.write_all(b"0\r\n\r\n"),
            Framing::Close => self.socket.flush(),
        }
    }
}

impl Write for StreamWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ensure_present(self.socket)?;
        match self.framing {
            // An empty chunk would be the end.
            _ if bytes.is_empty() => {}
            Framing::Chunks => {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(bytes);
                chunk.extend_from_slice(b"\r\n");
                self.socket.write_all(&chunk)?;
            }
            Framing::Close => self.socket.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    /// Nothing is held back; but it fails, as a write does, once the client has left.
    fn flush(&mut self) -> io::Result<()> {
        ensure_present(self.socket)
    }
}

/// A first write to a client that has closed succeeds, and a stream's next one may be a heart-beat away.
fn ensure_present(mut socket: &UnixStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // What it sends after the request is for nobody: a stream ends the connection.
    let read = socket.read(&mut [0; 512]);
    socket.set_nonblocking(false)?;
    match read {
        Ok(0) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has left")),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
        Err(error) => Err(error),
    }
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

/// What people read beside the number; programs don't.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
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
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Other",
    }
}
