//! The public listener, the front: strangers reach tiny_http only through it.
//!
//! Owns: connections, their number and their deadlines, and what may count as a request. Never: what a request means,
//! JSON other than its own refusals.
//!
//! tiny_http must not meet a stranger: one odd `Content-Length` ends the process, and it has no time limits. So each
//! client's connection has a thread here. It reads a head and vets it; the service decides from the head whether the
//! client is an owner and whether a body is read; then the same thread reads the body, calls the service, and sends the
//! response. A slow client holds only its own thread, and strangers share what owners leave them (see `slots`,
//! `budget`).

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::os::listener;
use crate::os::reserve_thread::ReserveThread;
use crate::os::thread::{self, Joined, Thread};

mod accept;
pub(crate) mod body;
pub(crate) mod budget;
mod connection;
pub(crate) mod head;
mod heads;
mod input;
mod queue;
pub(crate) mod response;
pub mod service;
mod slots;
#[cfg(test)]
mod tests;
pub mod visit;

use budget::Budget;
use service::Service;
use visit::VisitService;

/// Bytes of a request line and headers, and of a target, that a managed server may get.
pub const VISIT_HEAD: usize = 32 * 1024;
pub const VISIT_TARGET: usize = 16 * 1024;

/// The listening socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// A unix socket for the daemon's own user and root alone.
    OwnUnix(UnixListener),
}

impl Listener {
    /// The address; none for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) | Listener::OwnUnix(_) => None,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) | Listener::OwnUnix(listener) => listener.as_fd(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct FrontLimits {
    /// Connections at the same time.
    pub connections: usize,
    /// From the first byte of a request to its last.
    pub request: Duration,
    /// From an answer to the next request.
    pub idle: Duration,
    /// Without progress in sending an answer.
    pub write: Duration,
    /// From the first byte of an answer to its last. One that is larger than [`FrontLimits::rate`] allows for has
    /// longer.
    pub answer: Duration,
    /// The lowest rate at which a client may read, in bytes per second.
    pub rate: usize,
    /// Without progress in sending a stream: a follower may stop reading for a while. As long as `TCP_USER_TIMEOUT`,
    /// which ends a connection whose window stays closed.
    pub stall: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of all bodies that are read at the same time.
    pub bodies: usize,
    /// The limit of a body's wait for its share of them.
    pub turn: Duration,
    /// Bytes of all large heads and answers of strangers.
    pub strangers: usize,
    /// Bytes of a request line and headers.
    pub head: usize,
    /// Bytes of a target.
    pub target: usize,
}

impl Default for FrontLimits {
    fn default() -> FrontLimits {
        FrontLimits {
            connections: 256,
            request: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            write: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            rate: 16 * 1024,
            stall: Duration::from_secs(120),
            body: 1024 * 1024,
            bodies: 16 * 1024 * 1024,
            turn: Duration::from_secs(5),
            strangers: 1024 * 1024,
            head: 16 * 1024,
            target: 4 * 1024,
        }
    }
}

/// The open listener and its connections.
pub struct Front {
    slots: Arc<slots::Slots>,
    /// The listening socket once more, to wake the thread that waits on it.
    listening: OwnedFd,
    thread: Thread,
}

impl Front {
    /// Starts to accept clients.
    ///
    /// # Errors
    /// No thread can be started, or no descriptor is left.
    pub fn open(
        listener: Listener,
        service: Arc<dyn Service>,
        visits: Option<Arc<dyn VisitService>>,
        limits: FrontLimits,
    ) -> io::Result<Front> {
        if let Listener::Tcp(listener) = &listener {
            listener::prepare(listener)?;
        }
        let listening: OwnedFd = match &listener {
            Listener::Tcp(listener) => listener.try_clone()?.into(),
            Listener::Unix(listener) | Listener::OwnUnix(listener) => listener.try_clone()?.into(),
        };
        let slots = Arc::new(slots::Slots::new(limits.connections));
        let reading = match &visits {
            Some(_) => FrontLimits { head: VISIT_HEAD, target: VISIT_TARGET, ..limits },
            None => limits,
        };
        let strangers = Budget::new(limits.strangers);
        let shared = connection::FrontState {
            limits,
            reading,
            service,
            visits,
            slots: Arc::clone(&slots),
            bodies: Budget::new(limits.bodies),
            heads: heads::Heads::new(&strangers),
            strangers,
        };
        let reserve = ReserveThread::start("reserve", thread::STACK)?;
        let accept = move || accept::run(&listener, &Arc::new(shared), &reserve);
        let thread = thread::spawn("accept", thread::SMALL_STACK, accept)?;
        Ok(Front { slots, listening, thread })
    }

    /// Accepts no more clients. Requests in progress have until `deadline`, then their connections are closed.
    pub fn close(self, deadline: Instant) {
        self.slots.close();
        // Through `UnixStream`, since std can shut down streams only.
        let _ = UnixStream::from(self.listening).shutdown(Shutdown::Both);
        if self.thread.join_by(deadline) == Joined::Late {
            crate::log::warn(format_args!("the accepting thread does not end; it is left behind"));
        }
        self.slots.drain(deadline);
    }
}
