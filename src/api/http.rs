//! All of tiny_http: it parses the heads of requests for the API.
//!
//! Owns: the way of a head to tiny_http and back, over a socket that only this module can reach, and the parsers.
//! Never: the meaning of a request (see `handlers`), a byte that the front has not vetted, a body, a response: these
//! stay on the connection's own thread.
//!
//! A parser is a server of tiny_http with one connection. The thread that has the parser writes a head to the
//! connection and takes the request that tiny_http's thread has made of it; no thread of ours is in between. Then the
//! parser is free for the next head.
//!
//! tiny_http's accept loop ends at its first error, and its pool loses connections in bursts. So the one connection
//! exists before the server does, and its listening socket, already unlinked, has no other: the accept thread takes it
//! and ends, and of the pool only the thread that reads is left. A failed parser is replaced by a new one.

use std::fs::{self, File, Permissions};
use std::hint::black_box;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tiny_http::Server;

use super::handlers::{self, RequestHead};
use super::{Api, reply};
use crate::access::Credentials;
use crate::error::{Code, Error};
use crate::http::service::{ClientKind, HeadVerdict, LastRequest, NextStep, Service};
use crate::os::poll::{Interest, Poll};
use crate::os::thread::{panic_text, under_name};
use std::sync::Arc;

mod parsers;
#[cfg(test)]
mod tests;

use parsers::Parsers;

/// The interval at which a lost connection is detected. A head is parsed within microseconds.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// After so many intervals the parser has failed.
const CHECKS: u32 = 50;
/// The longest head fits into the socket's buffer, so a write does not block.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// A request that tests a new parser. It reaches no handler.
const PROOF: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// A longer head is not kept for the next request of its connection.
const KEPT_MAX: usize = 1024;
/// The longest path that fits into a unix socket address, its end included, is 108 bytes.
const SOCKET_PATH_MAX: usize = 100;

/// The API as a service of the front.
pub struct HttpApi {
    api: Arc<Api>,
    parsers: Parsers,
}

impl HttpApi {
    /// Starts one parser. Its socket is in `directory`, closed to other users, for a moment.
    ///
    /// # Errors
    /// No descriptor, thread or memory is left.
    pub fn new(api: Api, directory: &Path) -> io::Result<HttpApi> {
        Ok(HttpApi { api: Arc::new(api), parsers: Parsers::new(directory)? })
    }
}

impl Service for HttpApi {
    fn admit(&self, head: &[u8], kept: &mut LastRequest) -> HeadVerdict {
        // A client that polls sends the same head again and again. What tiny_http makes of a head depends on it alone.
        let same = kept.take().and_then(|kept| kept.downcast::<LastHead>().ok()).filter(|last| last.is(head));
        let last = match same {
            Some(last) => last,
            None => match self.parsers.read(head) {
                Ok(read) => Box::new(LastHead { head: head.to_vec(), read }),
                Err(error) => {
                    crate::log::error(format_args!("a request can't be read: {error}"));
                    let busy = Error::new(Code::Busy, "the API does not answer for the moment; try again later");
                    let step = NextStep::Reply(reply::error(&busy));
                    return HeadVerdict { client_kind: ClientKind::Stranger, step };
                }
            },
        };
        let Some(request) = last.read.request() else {
            let failed = Error::internal("reading the request");
            return HeadVerdict { client_kind: ClientKind::Stranger, step: NextStep::Reply(reply::error(&failed)) };
        };
        let headers = request.headers();
        let header = |name: &'static str| {
            headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
        };
        let call = RequestHead { method: request.method().as_str(), target: request.url(), header: &header };
        let verdict = handlers::admit(&self.api, &call);
        // Strangers get no memory for it.
        if verdict.client_kind == ClientKind::Owner && head.len() <= KEPT_MAX {
            *kept = Some(last);
        }
        verdict
    }

    fn client_kind(&self, head: &[u8]) -> ClientKind {
        // In the canonical form each header occurs once, under its canonical name.
        let value = |name: &str| {
            let lines = str::from_utf8(head).ok()?.split("\r\n");
            lines.filter_map(|line| line.split_once(": ")).find(|(field, _)| *field == name).map(|(_, value)| value)
        };
        let (authorization, api_key) = (value("Authorization"), value("X-ComputeSDK-API-Key"));
        let credentials = Credentials { authorization, api_key, ..Credentials::default() };
        if self.api.access.is_proven(&credentials) { ClientKind::Owner } else { ClientKind::Stranger }
    }

    fn settle(&self) {
        self.parsers.close_idle();
    }
}

/// A head, and what tiny_http has made of it.
struct LastHead {
    head: Vec<u8>,
    read: ParsedRequest,
}

impl LastHead {
    /// In a time that depends on the lengths alone: it has the token, and a proxy may send the requests of many clients
    /// over one connection.
    fn is(&self, head: &[u8]) -> bool {
        let differs = self.head.iter().zip(head).fold(0, |differs, (kept, byte)| differs | black_box(kept ^ byte));
        self.head.len() == head.len() && black_box(differs) == 0
    }
}

/// tiny_http, with one connection to it.
pub struct Parser {
    /// Dropped before the server, which may write to it at its end.
    stream: UnixStream,
    server: Server,
    /// Kept open: the server's socket path may name its descriptor.
    _directory: Option<File>,
}

impl Parser {
    /// Starts it, on a socket that is `name` in `directory` for a moment.
    ///
    /// # Errors
    /// No descriptor, thread or memory is left.
    pub fn open(directory: &Path, name: &str) -> io::Result<Parser> {
        let mut path = directory.join(name);
        let mut opened = None;
        if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
            let directory = File::open(directory)?;
            path = PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()));
            opened = Some(directory);
        }
        let (listener, stream) = connected(&path)?;
        let start = move || under_name(c"http", || Server::from_listener(listener, None).map_err(io::Error::other));
        // It panics if it can't start a thread.
        let server = catch_unwind(start).map_err(|panic| io::Error::other(panic_text(&*panic).to_owned()))??;
        let mut parser = Parser { stream, server, _directory: opened };
        parser.prove()?;
        Ok(parser)
    }

    /// Waits until the accept thread has ended, and parses a test request.
    fn prove(&mut self) -> io::Result<()> {
        match self.next() {
            // No further connection.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.read(PROOF).map(drop),
            Err(error) => Err(error),
            Ok(_) => Err(not_what_was_written()),
        }
    }

    /// Parses `head`.
    ///
    /// # Errors
    /// tiny_http does not parse it, or not in time. Don't use the parser again.
    pub fn read(&mut self, head: &[u8]) -> io::Result<ParsedRequest> {
        self.stream.write_all(head)?;
        checked(self.next()?, head)
    }

    fn next(&self) -> io::Result<tiny_http::Request> {
        // Counted, not timed: after a suspension of the machine a parsed request has to be found.
        for _ in 0..CHECKS {
            match self.server.recv_timeout(CHECK_EVERY)? {
                Some(request) => return Ok(request),
                None if self.has_written() => return Err(does_not_read()),
                None => {}
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Whether tiny_http has written a refusal or closed the connection: it is never asked for a response.
    fn has_written(&self) -> bool {
        let mut poll = Poll::default();
        let place = poll.add(&self.stream, Interest::Read);
        poll.wait(Some(Duration::ZERO)).is_err() || poll.is_ready(place)
    }
}

/// A connection that waits to be accepted from a socket that is unlinked already, so that no other can follow.
fn connected(path: &Path) -> io::Result<(UnixListener, UnixStream)> {
    // Left by a killed daemon.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    let _name = Unlink(path);
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    listener.set_nonblocking(true)?;
    Ok((listener, stream))
}

fn does_not_read() -> io::Error {
    io::Error::other("it does not read a request; the system may be short of threads or descriptors")
}

fn not_what_was_written() -> io::Error {
    io::Error::other("it has read another request than was written")
}

/// Checks that `request` is the one that was written: after a shift by one, each client would get another's response.
fn checked(request: tiny_http::Request, head: &[u8]) -> io::Result<ParsedRequest> {
    let read = ParsedRequest(Some(request));
    let is_it = read.request().is_some_and(|request| {
        let rest = head.strip_prefix(request.method().as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
        let rest = rest.and_then(|rest| rest.strip_prefix(request.url().as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b" HTTP/1.1\r\n"))
    });
    if is_it { Ok(read) } else { Err(not_what_was_written()) }
}

/// A request that tiny_http has parsed. tiny_http writes no response to it: the front does.
pub struct ParsedRequest(Option<tiny_http::Request>);

impl ParsedRequest {
    /// `Some` until it is dropped.
    pub fn request(&self) -> Option<&tiny_http::Request> {
        self.0.as_ref()
    }
}

impl Drop for ParsedRequest {
    fn drop(&mut self) {
        if let Some(request) = self.0.take() {
            // tiny_http answers a dropped request with an error.
            drop(request.into_writer());
        }
    }
}

/// Removes a name from the file system at the end of a scope.
struct Unlink<'a>(&'a Path);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}
