//! The exchange between a client and a server, both ways at once, on the thread of the client's connection.
//!
//! Owns: the connection to the server, the waits and their limits, and when an exchange is over. Never: a rule about a
//! head (see `request`, `response`), more than one piece of a body in each direction (see `lane`).
//!
//! It waits by `poll(2)` for both sockets and for the end of the run. A quiet tunnel has no deadline and, 100 ms after
//! the last byte, no buffer: it costs nothing until a byte comes. At the end of its run the connection to a server is
//! shut, so that it is never in use when another process may have the port.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::lane::{Lane, LaneError, Needs};
use super::response::BrokenAnswer;
use crate::http::visit::VisitEnd;
use crate::os::connect;
use crate::os::poll::{Interest, Poll};
use crate::supervisor::{EndEvent, Traffic, Visit, VisitTarget};

/// The limit of a connect. Servers are on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// A client that sends a body makes progress within this.
const CLIENT_SENDS: Duration = Duration::from_secs(60);
/// A client that gets an answer takes some of it within this.
pub const CLIENT_TAKES: Duration = Duration::from_secs(300);
/// The buffers of a lane that moves nothing for this long are given back. To map and unmap them for each wait was half
/// of the time of a large body.
const QUIET: Duration = Duration::from_millis(100);

/// Why there is no connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconnected {
    /// Nothing listens, nothing accepts in time, or the run is over.
    Refused,
    /// Another process listens there, perhaps beside the run.
    Shared,
    /// The daemon has no descriptor for it.
    Shortage,
    ClientLeft,
}

/// Connects to a server. The stream never blocks.
pub fn connect(target: &VisitTarget, client: &UnixStream) -> Result<UnixStream, Unconnected> {
    let begun = connect::begin(target.address)
        .map_err(|error| if crate::os::is_shortage(&error) { Unconnected::Shortage } else { Unconnected::Refused })?;
    let _ = begun.set_nodelay(true);
    let deadline = Instant::now() + CONNECT_LIMIT;
    let mut poll = Poll::default();
    loop {
        poll.clear();
        let server = poll.add(&begun, Interest::Write);
        let left = poll.add(client, Interest::Left);
        let over = poll.add(&*target.end, Interest::Read);
        let patience = deadline.saturating_duration_since(Instant::now());
        if poll.wait(Some(patience)).is_err() || patience.is_zero() || poll.is_ready(over) {
            return Err(Unconnected::Refused);
        }
        if poll.is_ready(server) {
            break;
        }
        if poll.is_ready(left) {
            return Err(Unconnected::ClientLeft);
        }
    }
    // What has accepted is the run's only if the run is not over by now.
    if !matches!(begun.take_error(), Ok(None)) || target.end.is_over() {
        return Err(Unconnected::Refused);
    }
    Ok(as_unix(begun))
}

/// One type for both sockets: the system calls are the same.
fn as_unix(stream: TcpStream) -> UnixStream {
    UnixStream::from(OwnedFd::from(stream))
}

/// How an exchange ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// The client has its answer; what it has sent beyond the request is in the first lane.
    Answered(VisitEnd),
    /// The connection to the client can't be used any more.
    Cut,
    /// The client has nothing of an answer.
    Failed(NoAnswer),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// The server has ended the connection.
    Ended,
    Broken(BrokenAnswer),
    /// The body of the request can't be read.
    BadBody,
    /// The body of the request stopped arriving.
    Timeout,
}

pub struct Relay<'a> {
    pub client: &'a UnixStream,
    pub server: UnixStream,
    pub end: &'a EndEvent,
    /// Whether the run is over or about to be, which may have ended the connection in the middle of an answer.
    pub is_run_ending: &'a dyn Fn() -> bool,
    /// From the client to the server.
    pub up: Lane,
    /// From the server to the client.
    pub down: Lane,
    pub traffic: &'a Traffic,
    /// The request in flight; a tunnel is none.
    pub visit: Option<Visit>,
}

/// Where the waits of one turn stand in the poll.
#[derive(Default)]
struct Waits {
    client: Option<usize>,
    server: Option<usize>,
    left: Option<usize>,
    broken: Option<usize>,
    end: Option<usize>,
}

/// The state of an exchange.
struct RelayState {
    up: Needs,
    down: Needs,
    /// When each lane has last moved something.
    up_since: Instant,
    down_since: Instant,
    /// Whether the server takes nothing any more.
    is_up_broken: bool,
    /// Whether the run is over.
    is_over: bool,
    is_tunnel: bool,
}

impl Relay<'_> {
    /// Carries it out. The client's socket must not block.
    pub fn carry_out(&mut self) -> RelayEnd {
        let now = Instant::now();
        let mut state = RelayState {
            up: Needs::Turn,
            down: self.down.first_need(),
            up_since: now,
            down_since: now,
            is_up_broken: false,
            is_over: false,
            is_tunnel: false,
        };
        let mut poll = Poll::default();
        loop {
            if let Err(end) = self.take_turn(&mut state, &mut poll) {
                return end;
            }
        }
    }

    /// Moves what can be moved, and waits for more.
    ///
    /// # Errors
    /// It is over.
    fn take_turn(&mut self, state: &mut RelayState, poll: &mut Poll) -> Result<(), RelayEnd> {
        if state.up == Needs::Turn {
            self.pump_up(state)?;
        }
        if state.down == Needs::Turn {
            self.pump_down(state)?;
        }
        if state.down == Needs::Nothing {
            match self.down.after {
                Some(after) if !state.is_tunnel => {
                    let has_body_left = state.is_up_broken || !self.up.is_over();
                    return Err(RelayEnd::Answered(if has_body_left { VisitEnd::Linger } else { after }));
                }
                _ if state.is_over || state.up == Needs::Nothing => return Err(RelayEnd::Answered(VisitEnd::Close)),
                _ => {
                    let _ = self.client.shutdown(Shutdown::Write);
                }
            }
        }
        self.wait(state, poll)
    }

    fn pump_up(&mut self, state: &mut RelayState) -> Result<(), RelayEnd> {
        let pumped = self.up.pump(self.client, &self.server);
        self.traffic.passed_on(self.up.moved, 0);
        match pumped {
            Ok(needs) => state.up = needs,
            // It may have answered before: a refusal of the body, for example.
            Err(LaneError::Sink) if !state.is_tunnel => (state.up, state.is_up_broken) = (Needs::Nothing, true),
            Err(LaneError::Unreadable) if self.down.after.is_none() => {
                return Err(RelayEnd::Failed(NoAnswer::BadBody));
            }
            Err(_) => return Err(RelayEnd::Cut),
        }
        state.up_since = Instant::now();
        if state.is_tunnel && self.up.moved > 0 {
            self.traffic.client_sent(state.up_since);
        }
        if state.is_tunnel && state.up == Needs::Nothing {
            let _ = self.server.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    fn pump_down(&mut self, state: &mut RelayState) -> Result<(), RelayEnd> {
        self.down.note_body_left(!self.up.is_over());
        let pumped = self.down.pump(&self.server, self.client);
        self.traffic.passed_on(0, self.down.moved);
        if let Some(status) = self.down.status.take() {
            self.traffic.answered(status);
        }
        match pumped {
            Ok(needs) => state.down = needs,
            Err(LaneError::Broken(why)) => return Err(RelayEnd::Failed(NoAnswer::Broken(why))),
            Err(LaneError::CutOff) if self.down.after.is_none() => return Err(RelayEnd::Failed(NoAnswer::Ended)),
            Err(_) => return Err(RelayEnd::Cut),
        }
        if self.down.moved > 0 || state.down != Needs::Sink {
            state.down_since = Instant::now();
        }
        if state.down == Needs::EndCheck {
            if state.is_over || (self.is_run_ending)() {
                return Err(RelayEnd::Cut);
            }
            self.down.confirm_end();
            return self.pump_down(state);
        }
        if self.down.has_switched && !state.is_tunnel {
            state.is_tunnel = true;
            self.visit = None;
            self.up.release();
            // Of the request's head.
            self.up.give_back();
            return self.pump_up(state);
        }
        Ok(())
    }

    /// Waits until a lane can move something.
    fn wait(&mut self, state: &mut RelayState, poll: &mut Poll) -> Result<(), RelayEnd> {
        let (up, down) = (state.up, state.down);
        let deadlines = [
            (up == Needs::Source && !state.is_tunnel).then(|| state.up_since + CLIENT_SENDS),
            (down == Needs::Sink).then(|| state.down_since + CLIENT_TAKES),
        ];
        let mut limit = deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(Instant::now()));
        if limit.is_some_and(|limit| limit.is_zero()) {
            let is_sender = up == Needs::Source && self.down.after.is_none();
            return Err(if is_sender { RelayEnd::Failed(NoAnswer::Timeout) } else { RelayEnd::Cut });
        }
        let has_buffers = self.up.has_buffer() || self.down.has_buffer();
        if has_buffers {
            limit = Some(limit.map_or(QUIET, |limit| limit.min(QUIET)));
        }
        let has_turn = up == Needs::Turn || down == Needs::Turn;
        if has_turn {
            limit = Some(Duration::ZERO);
        }
        let waits = self.wait_for(poll, state);
        if poll.wait(limit).is_err() {
            return Err(RelayEnd::Cut);
        }
        let is_ready = |place: Option<usize>| place.is_some_and(|place| poll.is_ready(place));
        if is_ready(waits.left) || is_ready(waits.broken) {
            return Err(RelayEnd::Cut);
        }
        if is_ready(waits.end) {
            // What it has sent can still be read, and then comes the end.
            state.is_over = true;
            let _ = self.server.shutdown(Shutdown::Both);
        }
        // Both lanes may wait for the same socket, and one of them must not pass for moved because the other one is.
        let can_read = |place: Option<usize>| place.is_some_and(|place| poll.is_readable(place));
        let can_write = |place: Option<usize>| place.is_some_and(|place| poll.is_writable(place));
        let is_over = state.is_over;
        if up == Needs::Source && can_read(waits.client) || up == Needs::Sink && (can_write(waits.server) || is_over) {
            state.up = Needs::Turn;
        }
        if down == Needs::Source && (can_read(waits.server) || is_over)
            || down == Needs::Sink && can_write(waits.client)
        {
            state.down = Needs::Turn;
        }
        if has_buffers {
            self.give_back_quiet(state);
        }
        Ok(())
    }

    /// Gives back the memory of each lane that is quiet. The other one may be busy for as long as it likes.
    fn give_back_quiet(&mut self, state: &RelayState) {
        let now = Instant::now();
        let is_quiet = |needs, since| needs != Needs::Turn && now.saturating_duration_since(since) >= QUIET;
        if is_quiet(state.up, state.up_since) {
            self.up.give_back();
        }
        if is_quiet(state.down, state.down_since) {
            self.down.give_back();
        }
    }

    /// Adds all that is waited for.
    fn wait_for(&self, poll: &mut Poll, state: &RelayState) -> Waits {
        let (up, down) = (state.up, state.down);
        poll.clear();
        let mut waits = Waits::default();
        if !state.is_over {
            waits.end = Some(poll.add(self.end, Interest::Read));
        }
        let interest = |reads: bool, writes: bool| match (reads, writes) {
            (true, true) => Some(Interest::Both),
            (true, false) => Some(Interest::Read),
            (false, true) => Some(Interest::Write),
            (false, false) => None,
        };
        match interest(up == Needs::Source, down == Needs::Sink) {
            Some(interest) => waits.client = Some(poll.add(self.client, interest)),
            // It has half closed a tunnel, which is no reason to end it.
            None if state.is_tunnel => waits.broken = Some(poll.add(self.client, Interest::Broken)),
            None => waits.left = Some(poll.add(self.client, Interest::Left)),
        }
        if let Some(interest) = interest(down == Needs::Source, up == Needs::Sink) {
            waits.server = Some(poll.add(&self.server, interest));
        }
        waits
    }
}

/// Takes the blocking away from a client's socket for the time of an exchange.
pub struct Unblocked<'a>(&'a UnixStream);

impl<'a> Unblocked<'a> {
    pub fn new(client: &'a UnixStream) -> io::Result<Unblocked<'a>> {
        client.set_nonblocking(true).map(|()| Unblocked(client))
    }
}

impl Drop for Unblocked<'_> {
    fn drop(&mut self) {
        let _ = self.0.set_nonblocking(false);
    }
}
