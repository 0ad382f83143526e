//! The loop that accepts clients.
//!
//! Owns: the listening socket. Never: an end because of an error; a wait for a client.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread as std_thread;
use std::time::{Duration, Instant};

use super::Listener;
use super::connection::{self, Shared};
use super::queue::Queue;
use super::response::{self, Refusal};
use super::slots::NoSlot;
use crate::log;
use crate::os::peer::Peeked;
use crate::os::poll::{Interest, Poll};
use crate::os::reserve_thread::{ReserveThread, RunsOn};
use crate::os::{is_shortage, local, peer, thread};

/// The system is out of something; trying again at once would only burn time that others need.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// Between two tries to get threads for newcomers that wait for one.
const THREAD_PAUSE: Duration = Duration::from_millis(5);
/// The same failure is logged once in this time.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Accepts until the listener is closed.
pub fn run(listener: &Listener, shared: &Arc<Shared>, reserve: &ReserveThread) {
    let mut reported: Option<Instant> = None;
    let mut report = |what: &str, error: &io::Error| {
        if reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            reported = Some(Instant::now());
            log::error(format_args!("{what}: {error}"));
        }
    };
    let mut spare = Spare { listener, descriptor: None };
    spare.keep();
    let (mut queue, mut serve_at) = (Queue::default(), Instant::now());
    loop {
        if !queue.is_empty() {
            let patience = serve_at.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                if let Err(error) = queue.serve(shared, reserve) {
                    report("no thread for a connection", &error);
                }
                serve_at = Instant::now() + THREAD_PAUSE;
            }
            // In between, newcomers are accepted as fast as they come: an owner may be behind them.
            if !is_awaited(listener, patience) {
                continue;
            }
        }
        let accepted = accept(listener);
        if shared.slots.is_closed() {
            return;
        }
        match accepted {
            // A flood of clients that connect and leave costs no threads.
            Ok(socket) if peer::peek(&socket, &mut [0]) == Peeked::End => {}
            Ok(socket) => {
                welcome(socket, shared, &mut queue);
                spare.keep();
            }
            // The client has left again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // Other errors are the network's, and cost no client its place.
                if is_shortage(&error) {
                    while !is_awaited(listener, ERROR_PAUSE) {
                        spare.keep();
                    }
                    if spare.give_up() {
                        continue;
                    }
                    shared.slots.make_room();
                }
                report("can't accept a connection", &error);
                std_thread::sleep(ERROR_PAUSE);
            }
        }
    }
}

/// What a client is let in with when the system has no descriptor left: it is kept for that, and given up to have its
/// number free. So one client after the other is served, whatever else has taken all descriptors.
struct Spare<'a> {
    listener: &'a Listener,
    descriptor: Option<OwnedFd>,
}

impl Spare<'_> {
    /// Has it there again, if that is possible.
    fn keep(&mut self) {
        if self.descriptor.is_none() {
            self.descriptor = self.listener.as_fd().try_clone_to_owned().ok();
        }
    }

    /// Whether it was there to be given up.
    fn give_up(&mut self) -> bool {
        self.descriptor.take().is_some()
    }
}

/// Whether a connection waits to be accepted, or comes within `patience`.
fn is_awaited(listener: &Listener, patience: Duration) -> bool {
    let mut poll = Poll::default();
    let place = poll.add(&listener.as_fd(), Interest::Read);
    // Without an answer it is better to try.
    poll.wait(Some(patience)).is_err() || poll.is_ready(place)
}

/// To the kernel a socket is a socket; as one type for both kinds of client the standard library's stream for unix
/// sockets will do.
fn accept(listener: &Listener) -> io::Result<UnixStream> {
    match listener {
        Listener::Tcp(listener) => listener.accept().map(|(stream, _)| UnixStream::from(OwnedFd::from(stream))),
        Listener::Unix(listener) => listener.accept().map(|(stream, _)| stream),
        Listener::OwnUnix(listener) => {
            let (stream, _) = listener.accept()?;
            if local::is_own_peer(&stream) {
                return Ok(stream);
            }
            response::refuse_at_once(&stream, Refusal::ForeignUser);
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

/// Gives a newcomer a thread of its own, or a place in `queue` if the system has none to give.
fn welcome(socket: UnixStream, shared: &Arc<Shared>, queue: &mut Queue) {
    let socket = Arc::new(socket);
    // Those that wait come first.
    if !queue.is_empty() {
        return queue.push(socket, shared);
    }
    let slot = match shared.slots.admit(Arc::clone(&socket)) {
        Ok(slot) => slot,
        Err(NoSlot::Full) => return response::refuse_at_once(&socket, Refusal::TooManyConnections),
        Err(NoSlot::Closed) => return,
    };
    let (for_thread, name) = (Arc::clone(shared), format!("conn-{}", slot.number()));
    // The slot moves into the closure; if the thread can't be made, it is freed with it.
    let serve = move || connection::serve(&for_thread, slot, RunsOn::Own);
    if thread::spawn(&name, thread::STACK, serve).is_err() {
        queue.push(socket, shared);
        // The thread of a stranger will do.
        shared.slots.make_room();
    }
}
