//! tiny_http, kept behind the door: it reads the heads of requests, each of which is then answered here.
//!
//! Owns: how a head gets to tiny_http and back, on a socket that nobody but the door can find. Never: what a request means
//! (see `handlers`), a stranger's byte (the door vets all of them first), a body, an answer: these stay with the
//! client's own thread.
//!
//! A line is a server of tiny_http with one connection. Whoever has the line writes a head to the connection and takes
//! the request that tiny_http's thread has made of it: what was written comes back to the one who wrote it, and no thread
//! of ours is in between. The line is free as soon as the head is read; the request may be answered at leisure.
//!
//! tiny_http's accept loop ends for ever at its first error and its pool loses connections that come in bursts. So the
//! socket's name lives only as long as it takes to open the one connection, which is proven by a request; after any trouble
//! the door asks for a new line instead of a new connection. Then the accept thread has no more to do and is ended, and
//! of the pool's threads only the one that reads is left.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tiny_http::Server;

use super::handlers::{self, Call};
use super::{Api, reply};
use crate::door;
use crate::error::Error;
use crate::handoff::{Client, Outcome};
use crate::os::poll::{Interest, Poll};
use crate::os::thread::{panic_text, under_name};

#[cfg(test)]
mod tests;

/// A head is read within microseconds; after this something is wrong with the line.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// A connection that is lost is noticed after this.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What proves a new connection. No handler ever sees it.
const PROOF: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// The longest path that fits into a unix socket address, its end included, is 108 bytes.
const SOCKET_PATH_MAX: usize = 100;

/// What the door has behind it.
pub struct Backend {
    api: Arc<Api>,
    directory: PathBuf,
    opened: AtomicU64,
}

impl Backend {
    /// Nothing runs before [`door::Backend::open`]. `directory` is closed to other users.
    pub fn new(api: Api, directory: &Path) -> Backend {
        Backend { api: Arc::new(api), directory: directory.to_owned(), opened: AtomicU64::new(0) }
    }
}

impl door::Backend for Backend {
    fn open(&self) -> io::Result<Box<dyn door::Line>> {
        let name = format!("api-{}.sock", self.opened.fetch_add(1, Ordering::Relaxed));
        Ok(Box::new(Line { api: Arc::clone(&self.api), reader: Reader::open(&self.directory, &name)? }))
    }
}

struct Line {
    api: Arc<Api>,
    reader: Reader,
}

impl door::Line for Line {
    fn read(&mut self, head: &[u8]) -> io::Result<Box<dyn door::Request>> {
        Ok(Box::new(Request { api: Arc::clone(&self.api), read: self.reader.read(head)? }))
    }
}

struct Request {
    api: Arc<Api>,
    read: Read,
}

impl door::Request for Request {
    fn answer(&self, body: &[u8], client: &dyn Client) -> Outcome {
        let Some(request) = self.read.request() else {
            return Outcome::Whole(reply::error(&Error::internal("reading the request")));
        };
        let headers = request.headers();
        let header = |name: &'static str| {
            headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
        };
        let call = Call { method: request.method().as_str(), target: request.url(), header: &header, body };
        handlers::answer(&self.api, &call, client)
    }
}

/// tiny_http, with one connection to it.
pub struct Reader {
    /// Goes before the server, which may want to say something to it at its end.
    stream: UnixStream,
    server: Server,
}

impl Reader {
    /// Starts it, on a socket in `directory` that is called `name` for a moment.
    ///
    /// # Errors
    /// The system has no descriptor, thread or memory for it.
    pub fn open(directory: &Path, name: &str) -> io::Result<Reader> {
        let direct = directory.join(name);
        // A state directory with a long name is reached by its descriptor.
        let opened = File::open(directory)?;
        let path = if direct.as_os_str().as_bytes().len() <= SOCKET_PATH_MAX {
            direct
        } else {
            PathBuf::from(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))
        };
        // What a killed daemon left there.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let name = Unlink(&path);
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let accepting = Accepting(OwnedFd::from(listener.try_clone()?).into());
        let start = move || under_name(c"http", || Server::from_listener(listener, None).map_err(io::Error::other));
        // It panics when the system has no thread for it.
        let server = catch_unwind(start).map_err(|panic| io::Error::other(panic_text(&*panic).to_owned()))??;
        let stream = UnixStream::connect(&path)?;
        stream.set_write_timeout(Some(READ_LIMIT))?;
        let mut reader = Reader { stream, server };
        reader.read(PROOF)?;
        drop((name, accepting));
        reader.wait_for_the_end_of_accepting()?;
        Ok(reader)
    }

    /// Has `head` read.
    ///
    /// # Errors
    /// tiny_http does not read it, or not in time. Nothing more must be written after that.
    pub fn read(&mut self, head: &[u8]) -> io::Result<Read> {
        self.stream.write_all(head)?;
        let limit = Instant::now() + READ_LIMIT;
        loop {
            match self.server.recv_timeout(LOOK_EVERY)? {
                Some(request) => return Ok(Read(Some(request))),
                None if self.has_something_to_say() => return Err(io::Error::other("it does not read a request")),
                None if Instant::now() >= limit => return Err(io::ErrorKind::TimedOut.into()),
                None => {}
            }
        }
    }

    /// The accept thread's last word comes as an error.
    fn wait_for_the_end_of_accepting(&self) -> io::Result<()> {
        let limit = Instant::now() + READ_LIMIT;
        while self.server.recv_timeout(LOOK_EVERY).is_ok() {
            if Instant::now() >= limit {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// No answer is ever asked of tiny_http: if it writes one it is a refusal, or it has closed the connection.
    fn has_something_to_say(&self) -> bool {
        let mut poll = Poll::default();
        let place = poll.add(&self.stream, Interest::Read);
        poll.wait(Some(Duration::ZERO)).is_err() || poll.is_ready(place)
    }
}

/// A request that tiny_http has read. It is not asked to answer: that would be written only to be read, and written anew
/// by the door.
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
            // A request that is let go of would be answered with an error.
            drop(request.into_writer());
        }
    }
}

/// The socket that tiny_http accepts on, to end its accept thread, which tiny_http itself could not wake: it would try by the
/// socket's name. It is held as a stream, since the standard library shuts down nothing else; to the kernel a socket is a
/// socket.
struct Accepting(UnixStream);

impl Drop for Accepting {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Removes a name from the file system at the end of a scope.
struct Unlink<'a>(&'a Path);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}
