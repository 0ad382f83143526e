//! The public listener: it stands between strangers and tiny_http.
//!
//! Owns: connections, their number and their deadlines, and what may count as a request. Never: what a request means,
//! JSON other than its own refusals.
//!
//! tiny_http must not meet a stranger: one odd `Content-Length` ends the process, and it has no time limits. So each
//! client's connection has a thread here that reads a request whole and vets it. Its head, in canonical form, goes over
//! one of a few internal lines to tiny_http and comes back read; the same thread then has the API answer it, for as
//! long as that takes, and sends the answer. Nobody else waits for it, and a slow client holds nobody up.
//!
//! Which backend a request is for is decided in one place: `connection::serve`.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handoff::{Client, Outcome};
use crate::os::thread::{self, Joined, Thread};

mod accept;
pub(crate) mod answer;
pub(crate) mod body;
mod connection;
pub(crate) mod head;
mod pool;
mod table;
#[cfg(test)]
mod tests;

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// By TCP.
    Tcp(TcpListener),
    /// By a unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// The address that is listened on; none for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// What is behind the door.
pub trait Backend: Send + Sync {
    /// Makes one more line to it.
    ///
    /// # Errors
    /// The system has no descriptor, thread or memory for it.
    fn open(&self) -> io::Result<Box<dyn Line>>;
}

/// What reads the heads of requests, one at a time.
pub trait Line: Send {
    /// Reads a whole head in canonical form.
    ///
    /// # Errors
    /// It was not read. The line can't be used after that.
    fn read(&mut self, head: &[u8]) -> io::Result<Box<dyn Request>>;
}

/// A request whose head was read.
pub trait Request {
    /// Carries it out. It may wait, but not without a limit or for a client that has left.
    fn answer(&self, body: Vec<u8>, client: &dyn Client) -> Outcome;
}

/// What is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// From the first byte of a request to its last.
    pub request: Duration,
    /// From an answer to the next request.
    pub idle: Duration,
    /// Without progress in sending an answer.
    pub write: Duration,
    /// Without progress in sending a stream: whoever follows something may stop reading for a while.
    pub stall: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of a request line and headers.
    pub head: usize,
    /// Bytes of a target.
    pub target: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            request: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            write: Duration::from_secs(10),
            stall: Duration::from_secs(300),
            body: 1024 * 1024,
            head: 16 * 1024,
            target: 4 * 1024,
        }
    }
}

/// The open door.
pub struct Door {
    table: Arc<table::Table>,
    /// The listening socket once more, to wake the thread that waits on it.
    listening: OwnedFd,
    thread: Thread,
}

impl Door {
    /// Lets clients in, from now on.
    ///
    /// # Errors
    /// The backend can't be opened, or the system has no thread or descriptor to give.
    pub fn open(listener: Listener, backend: Arc<dyn Backend>, limits: Limits) -> io::Result<Door> {
        let listening: OwnedFd = match &listener {
            Listener::Tcp(listener) => listener.try_clone()?.into(),
            Listener::Unix(listener) => listener.try_clone()?.into(),
        };
        let pool = pool::Pool::new(backend)?;
        let table = Arc::new(table::Table::new(limits.connections));
        let shared = connection::Shared { limits, pool, table: Arc::clone(&table) };
        let thread = thread::spawn("door", thread::SMALL_STACK, move || accept::run(&listener, &Arc::new(shared)))?;
        Ok(Door { table, listening, thread })
    }

    /// Lets nobody in any more; requests that are being answered have until `deadline`, then they are cut off.
    pub fn close(self, deadline: Instant) {
        self.table.close();
        // To the kernel a socket is a socket; the standard library can shut down streams only.
        let _ = UnixStream::from(self.listening).shutdown(Shutdown::Both);
        if self.thread.join_by(deadline) == Joined::Late {
            crate::log::warn(format_args!("the accepting thread does not end; it is left behind"));
        }
        self.table.wait_empty(deadline);
    }
}
