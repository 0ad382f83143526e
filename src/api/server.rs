//! tiny_http, kept behind the door: the workers, and the few connections by which requests reach them.
//!
//! Owns: one generation of the HTTP server at a time, on a socket that nobody but the door can find. Never: what a
//! request means (see `handlers`), a stranger's byte (the door vets all of them first).
//!
//! The socket's name lives only as long as it takes to open the connections. tiny_http's pool loses connections that
//! come in bursts and its accept loop ends for ever at its first error; so connections are opened one after the
//! other, each proven by a request, and after any trouble the door asks for a new generation instead of new
//! connections.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tiny_http::{Header, Request, Response, Server, StatusCode};

use super::handlers::{self, Call, Outcome};
use super::{Api, reply};
use crate::door;
use crate::error::Error;
use crate::handoff::{Later, Reply, TICKET_HEADER, Tickets};
use crate::log;
use crate::os::retry;
use crate::os::thread::{self, panic_text};

/// None of them ever waits for a client or a server, so that two are enough to keep two cores busy.
const WORKERS: usize = 2;
/// Requests that are on their way at a time: those that the workers are at, and the next ones. tiny_http has as many
/// threads for connections at least.
const LINKS: usize = 4;
/// A connection that was just opened answers within microseconds; after this something is wrong with it.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// The longest path that fits into a unix socket address, its end included, is 108 bytes.
const SOCKET_PATH_MAX: usize = 100;

/// What the door has behind it.
pub struct Backend {
    api: Arc<Api>,
    directory: PathBuf,
    tickets: Arc<Tickets>,
    generation: Mutex<Generation>,
}

#[derive(Default)]
struct Generation {
    number: u64,
    live: Option<Live>,
}

struct Live {
    server: Arc<Server>,
    /// The listening socket once more, to wake the server's accept thread for its end.
    listener: OwnedFd,
}

impl Backend {
    /// Nothing runs before [`door::Backend::open`]. `directory` is closed to other users.
    pub fn new(api: Api, directory: &Path) -> Backend {
        Backend {
            api: Arc::new(api),
            directory: directory.to_owned(),
            tickets: Arc::default(),
            generation: Mutex::default(),
        }
    }

    fn build(&self, number: u64) -> io::Result<(Live, Vec<UnixStream>)> {
        let name = format!("api-{number}.sock");
        let direct = self.directory.join(&name);
        // A state directory with a long name is reached by its descriptor.
        let opened = File::open(&self.directory)?;
        let path = if direct.as_os_str().as_bytes().len() <= SOCKET_PATH_MAX {
            direct
        } else {
            PathBuf::from(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))
        };
        // What a killed daemon left there.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let _name = Unlink(path.clone());
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let live_listener = OwnedFd::from(listener.try_clone()?);
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let live = Live { server: Arc::new(server), listener: live_listener };
        for worker in 0..WORKERS {
            let server = Arc::clone(&live.server);
            let (api, tickets) = (Arc::clone(&self.api), Arc::clone(&self.tickets));
            thread::spawn(&format!("api-{worker}"), thread::STACK, move || work(&server, &api, &tickets))?;
        }
        let streams = (0..LINKS).map(|_| open_proven(&path)).collect::<io::Result<_>>()?;
        Ok((live, streams))
    }
}

impl door::Backend for Backend {
    fn open(&self) -> io::Result<Vec<UnixStream>> {
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        generation.live = None;
        generation.number += 1;
        let (live, streams) = self.build(generation.number)?;
        generation.live = Some(live);
        Ok(streams)
    }

    fn claim(&self, ticket: u64) -> Option<Later> {
        self.tickets.take(ticket)
    }
}

impl Drop for Live {
    /// Its workers end, each at its own word, and the accept thread, which tiny_http could not wake: it would try by
    /// the socket's name.
    fn drop(&mut self) {
        for _ in 0..WORKERS {
            self.server.unblock();
        }
        if let Ok(listener) = self.listener.try_clone() {
            // The standard library shuts down streams only; to the kernel a socket is a socket.
            let _ = UnixStream::from(listener).shutdown(Shutdown::Both);
        }
    }
}

/// Removes a name from the file system at the end of a scope.
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Connects, and believes in the connection when a request has been answered on it.
fn open_proven(path: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PING_LIMIT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !is_whole(&answer) {
        match retry(|| stream.read(&mut buffer))? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the HTTP server closed a new connection")),
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    stream.set_read_timeout(None)?;
    Ok(stream)
}

/// Whether `answer` has its whole body; what is no answer at all is as whole as it will get.
fn is_whole(answer: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut headers);
    match parsed.parse(answer) {
        Ok(httparse::Status::Partial) => false,
        Err(_) => true,
        Ok(httparse::Status::Complete(head)) => {
            let length = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.and_then(|header| str::from_utf8(header.value).ok()?.parse::<usize>().ok());
            answer.len() >= head + length.unwrap_or_default()
        }
    }
}

/// The life of a worker: one request after the other, whatever becomes of each.
fn work(server: &Server, api: &Api, tickets: &Tickets) {
    loop {
        let request = match server.recv() {
            Ok(request) => request,
            // Both the word to end and the end of the accept thread come as an error, of which only the latter has
            // an error number. The connections that are open go on after it.
            Err(error) if error.raw_os_error().is_some() => {
                log::debug(format_args!("the internal HTTP server takes no more connections: {error}"));
                continue;
            }
            Err(_) => return,
        };
        answer(request, api, tickets);
    }
}

fn answer(mut request: Request, api: &Api, tickets: &Tickets) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut body = Vec::new();
        let read = request.as_reader().read_to_end(&mut body);
        let headers = request.headers();
        let header = |name: &'static str| {
            headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
        };
        match read {
            Ok(_) => handlers::answer(
                api,
                &Call { method: request.method().as_str(), target: request.url(), header: &header, body: &body },
            ),
            Err(error) => {
                log::error(format_args!("the door passed on a torn request: {error}"));
                Outcome::Now(reply::error(&Error::internal("reading the request")))
            }
        }
    }));
    let reply = match outcome {
        Ok(Outcome::Now(reply)) => reply,
        Ok(Outcome::Later(later)) => ticket(tickets.leave(later)),
        Err(panic) => {
            log::error(format_args!("a request handler panicked: {}", panic_text(&*panic)));
            reply::error(&Error::internal("handling the request"))
        }
    };
    if let Err(error) = request.respond(response(reply)) {
        log::debug(format_args!("an answer did not reach the door: {error}"));
    }
}

fn ticket(number: u64) -> Reply {
    Reply { status: 200, headers: vec![(TICKET_HEADER, number.to_string())], content_type: None, body: Vec::new() }
}

/// Always with its length, never in chunks: the door has to know where an answer ends.
fn response(reply: Reply) -> Response<io::Cursor<Vec<u8>>> {
    let content_type = reply.content_type.map(|value| ("Content-Type", value.to_owned()));
    let headers = reply.headers.into_iter().chain(content_type);
    let headers = headers.filter_map(|(name, value)| Header::from_bytes(name, value).ok()).collect();
    let length = reply.body.len();
    Response::new(StatusCode(reply.status), headers, io::Cursor::new(reply.body), Some(length), None)
        .with_chunked_threshold(usize::MAX)
}
