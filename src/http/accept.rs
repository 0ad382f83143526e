//! The accept loop.
//!
//! Owns: the listening socket. Never: ends on an error; waits for one client.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread as std_thread;
use std::time::{Duration, Instant};

use super::Listener;
use super::connection::{self, FrontState};
use super::queue::Queue;
use super::response::{self, Refusal};
use super::slots::NoSlot;
use crate::log;
use crate::os::peer::Peeked;
use crate::os::poll::{Interest, Poll};
use crate::os::reserve_thread::{ReserveThread, RunsOn};
use crate::os::{is_shortage, local, peer, thread};

/// The pause after an error of `accept(2)`: a retry at once would burn processor time.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// The pause between two tries to start threads for queued clients.
const THREAD_PAUSE: Duration = Duration::from_millis(5);
/// Errors are logged at most once in this time.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Accepts until the listener is closed.
pub fn run(listener: &Listener, shared: &Arc<FrontState>, reserve: &ReserveThread) {
    let mut reported: Option<Instant> = None;
    let mut report = |what: &str, error: &io::Error| {
        if reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            reported = Some(Instant::now());
            log::error(format_args!("{what}: {error}"));
        }
    };
    let mut reserve_descriptor = ReserveDescriptor { listener, descriptor: None };
    reserve_descriptor.restore();
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
            // In between, clients are accepted as fast as they connect: one of them may be an owner.
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
                start_thread(socket, shared, &mut queue);
                reserve_descriptor.restore();
            }
            // The client has closed already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // Other errors are the network's, and evict no client.
                if is_shortage(&error) {
                    while !is_awaited(listener, ERROR_PAUSE) {
                        reserve_descriptor.restore();
                    }
                    if reserve_descriptor.release() {
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

/// Reserve descriptor, released on EMFILE so that one more client can be accepted, and served or refused.
struct ReserveDescriptor<'a> {
    listener: &'a Listener,
    descriptor: Option<OwnedFd>,
}

impl ReserveDescriptor<'_> {
    /// Reopens it, if possible.
    fn restore(&mut self) {
        if self.descriptor.is_none() {
            self.descriptor = self.listener.as_fd().try_clone_to_owned().ok();
        }
    }

    /// Closes it. Returns whether it was open.
    fn release(&mut self) -> bool {
        self.descriptor.take().is_some()
    }
}

/// Whether a connection waits to be accepted, or comes within `patience`.
fn is_awaited(listener: &Listener, patience: Duration) -> bool {
    let mut poll = Poll::default();
    let place = poll.add(&listener.as_fd(), Interest::Read);
    // After an error of the poll, try.
    poll.wait(Some(patience)).is_err() || poll.is_ready(place)
}

/// Accepts a client. `UnixStream` serves as the type for both kinds of socket: the system calls are the same.
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

/// Starts a thread for a new connection, or queues it if none can be started.
fn start_thread(socket: UnixStream, shared: &Arc<FrontState>, queue: &mut Queue) {
    let socket = Arc::new(socket);
    // Queued clients come first.
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
        // Evicting a stranger frees its thread.
        shared.slots.make_room();
    }
}
