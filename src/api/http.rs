//! All that is tiny_http: it reads the heads of requests, each of which is then answered by the API.
//!
//! Owns: how a head gets to tiny_http and back, on a socket that only this module can find, and the number of parsers.
//! Never: what a request means (see `handlers`), a stranger's byte that the listener has not vetted, a body, an answer:
//! these stay with the client's own thread.
//!
//! A parser is a server of tiny_http with one connection. The thread that has the parser writes a head to the connection
//! and takes the request that tiny_http's thread has made of it; no thread of ours is in between. Then the parser is free
//! for the next head.
//!
//! tiny_http's accept loop ends at its first error and its pool loses connections that come in bursts. So the one
//! connection is made before there is a server, and the socket, which has lost its name by then, has no more to give: the
//! accept thread takes it and ends, and of the pool's threads only the one that reads is left. After a failure a fresh
//! parser takes the place of the failed one.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tiny_http::Server;

use super::access::Credentials;
use super::handlers::{self, Call};
use super::{Api, reply};
use crate::error::{Code, Error};
use crate::http::service::{ClientKind, HeadVerdict, NextStep, Service};
use crate::os::poll::{Interest, Poll};
use crate::os::thread::{panic_text, under_name};
use std::sync::Arc;

mod parsers;
#[cfg(test)]
mod tests;

use parsers::Parsers;

/// A head is read within microseconds. A connection that is lost is noticed after this.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After so many looks in vain the parser has failed.
const LOOKS: u32 = 50;
/// The longest head has room in the connection's buffer.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// What proves a new connection. No handler ever sees it.
const PROOF: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// The longest path that fits into a unix socket address, its end included, is 108 bytes.
const SOCKET_PATH_MAX: usize = 100;

/// The API as a service.
pub struct HttpApi {
    api: Arc<Api>,
    parsers: Parsers,
}

impl HttpApi {
    /// With one parser, whose socket is in `directory` for a moment: it is closed to other users.
    ///
    /// # Errors
    /// The system has no descriptor, thread or memory for it.
    pub fn new(api: Api, directory: &Path) -> io::Result<HttpApi> {
        Ok(HttpApi { api: Arc::new(api), parsers: Parsers::new(directory)? })
    }
}

impl Service for HttpApi {
    fn admit(&self, head: &[u8]) -> HeadVerdict {
        let read = match self.parsers.read(head) {
            Ok(read) => read,
            Err(error) => {
                crate::log::error(format_args!("a request can't be read: {error}"));
                let busy = Error::new(Code::Busy, "the API does not answer for the moment; try again later");
                return HeadVerdict { client_kind: ClientKind::Stranger, step: NextStep::Reply(reply::error(&busy)) };
            }
        };
        let Some(request) = read.request() else {
            let failed = Error::internal("reading the request");
            return HeadVerdict { client_kind: ClientKind::Stranger, step: NextStep::Reply(reply::error(&failed)) };
        };
        let headers = request.headers();
        let header = |name: &'static str| {
            headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
        };
        let call = Call { method: request.method().as_str(), target: request.url(), header: &header };
        handlers::admit(&self.api, &call)
    }

    fn client_kind(&self, head: &[u8]) -> ClientKind {
        // In the canonical form each header stands once, under its own name.
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

/// tiny_http, with one connection to it.
pub struct Parser {
    /// Goes before the server, which may want to say something to it at its end.
    stream: UnixStream,
    server: Server,
    /// By its number the server may know its directory until its end.
    _directory: Option<File>,
}

impl Parser {
    /// Starts it, on a socket in `directory` that is called `name` for a moment.
    ///
    /// # Errors
    /// The system has no descriptor, thread or memory for it.
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
        // It panics when the system has no thread for it.
        let server = catch_unwind(start).map_err(|panic| io::Error::other(panic_text(&*panic).to_owned()))??;
        let mut parser = Parser { stream, server, _directory: opened };
        parser.prove()?;
        Ok(parser)
    }

    /// Waits for the last word of the accept thread, and has a request read.
    fn prove(&mut self) -> io::Result<()> {
        match self.next() {
            // There is no more to accept.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.read(PROOF).map(drop),
            Err(error) => Err(error),
            Ok(_) => Err(not_what_was_written()),
        }
    }

    /// Has `head` read.
    ///
    /// # Errors
    /// tiny_http does not read it, or not in time. Nothing more must be written after that.
    pub fn read(&mut self, head: &[u8]) -> io::Result<Read> {
        self.stream.write_all(head)?;
        checked(self.next()?, head)
    }

    fn next(&self) -> io::Result<tiny_http::Request> {
        // Not until a moment: after a pause of the whole machine a request that is there has to be found.
        for _ in 0..LOOKS {
            match self.server.recv_timeout(LOOK_EVERY)? {
                Some(request) => return Ok(request),
                None if self.has_something_to_say() => return Err(does_not_read()),
                None => {}
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// No answer is ever asked of tiny_http: if it writes one it is a refusal, or it has closed the connection.
    fn has_something_to_say(&self) -> bool {
        let mut poll = Poll::default();
        let place = poll.add(&self.stream, Interest::Read);
        poll.wait(Some(Duration::ZERO)).is_err() || poll.is_ready(place)
    }
}

/// A connection that waits to be accepted from a socket which gives no other, and has no name any more.
fn connected(path: &Path) -> io::Result<(UnixListener, UnixStream)> {
    // What a killed daemon left there.
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

/// `request`, which must be the one that was written: were it another one, each client would get the next one's answer.
fn checked(request: tiny_http::Request, head: &[u8]) -> io::Result<Read> {
    let read = Read(Some(request));
    let is_it = read.request().is_some_and(|request| {
        let rest = head.strip_prefix(request.method().as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
        let rest = rest.and_then(|rest| rest.strip_prefix(request.url().as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b" HTTP/1.1\r\n"))
    });
    if is_it { Ok(read) } else { Err(not_what_was_written()) }
}

/// A request that tiny_http has read. It is not asked to answer: that would be written only to be read, and written anew
/// by the front.
pub struct Read(Option<tiny_http::Request>);

impl Read {
    /// It is there until it is dropped.
    pub fn request(&self) -> Option<&tiny_http::Request> {
        self.0.as_ref()
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        if let Some(request) = self.0.take() {
            // A request that is dropped would be answered with an error.
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
