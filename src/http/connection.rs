//! The thread of a connection: one request after the other.
//!
//! Owns: the order of head, verdict, body, call and answer, and their deadlines. Never: two requests at a time; a byte
//! of a body before the verdict; a read from the client while a request is carried out.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::FrontLimits;
use super::body::Chunked;
use super::budget::Budget;
use super::head::{self, BodyFraming, Expects, Head, Persistence, Version};
use super::heads::Heads;
use super::input::{End, Input};
use super::response::{self, After, BodyIs, Refusal, SendLimits};
use super::service::{AdmittedRequest, Body, ClientKind, LastRequest, NextStep, Service};
use super::slots::{ConnectionActivity, Slot, Slots};
use super::visit::VisitService;
use crate::handoff::{Client, Outcome, Reply, StreamBody};
use crate::log;
use crate::os::reserve_thread::RunsOn;
use crate::os::thread::panic_text;
use crate::os::{peer, retry};

mod visit;

/// After a refusal, the time and bytes for which a client that still sends is read and the data discarded, so that it
/// receives the refusal and not a reset.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_BUFFER: usize = 4 * 1024;
/// The interval at which a blocked write checks its deadline.
const WRITE_TICK: Duration = Duration::from_secs(1);
/// The step, in bytes, in which a chunked body takes its share.
const SHARE_STEP: usize = 64 * 1024;
/// Responses up to this size take no share of the memory for strangers.
const ANSWER_FREE: usize = 4 * 1024;

/// The limit of an owner's wait on the thread in reserve; a stranger does not wait there. The next client may need the
/// thread to stop the server that uses up all others.
const RESERVE_WAIT: Duration = Duration::from_secs(1);

pub struct FrontState {
    pub limits: FrontLimits,
    /// The limits while it is not known whom a request is for.
    pub reading: FrontLimits,
    pub service: Arc<dyn Service>,
    /// Serves the requests to managed servers, if there is a proxy.
    pub visits: Option<Arc<dyn VisitService>>,
    pub slots: Arc<Slots>,
    pub bodies: Arc<Budget>,
    /// The long heads of strangers that are not complete.
    pub heads: Heads,
    /// The memory for these, and for large responses of strangers.
    pub strangers: Arc<Budget>,
}

/// Serves a connection until it ends. On the thread in reserve, serves one request.
pub fn serve(shared: &FrontState, slot: Slot, place: RunsOn) {
    let mut connection = Connection {
        shared,
        place,
        begun: Instant::now(),
        slot: &slot,
        input: Input::new(slot.socket()),
        client_kind: ClientKind::Stranger,
        sent: SendAccount::default(),
        kept: None,
    };
    match connection.serve() {
        Ok(()) | Err(End::Quiet) => {}
        Err(End::Refused(refusal)) => {
            let refusal = connection.in_figures_of_host(refusal);
            if connection.send(&refusal.reply(), After::Close, BodyIs::Sent).is_ok() {
                connection.linger();
            }
        }
    }
    drop(slot);
    shared.service.settle();
}

struct Connection<'a> {
    shared: &'a FrontState,
    place: RunsOn,
    begun: Instant,
    slot: &'a Slot,
    input: Input<'a>,
    client_kind: ClientKind,
    /// What was sent to a stranger: pipelined requests share one time limit.
    sent: SendAccount,
    kept: LastRequest,
}

/// Bytes sent, and the time that it took.
#[derive(Debug, Default, Clone, Copy)]
struct SendAccount {
    bytes: usize,
    spent: Duration,
}

impl Connection<'_> {
    fn serve(&mut self) -> Result<(), End> {
        let limits = &self.shared.limits;
        self.slot.socket().set_write_timeout(Some(limits.write.min(WRITE_TICK)))?;
        loop {
            if !self.slot.enter(ConnectionActivity::Waiting) {
                return Ok(());
            }
            self.input.await_request(Instant::now() + limits.idle)?;
            let deadline = Instant::now() + limits.request;
            let room =
                (self.client_kind == ClientKind::Stranger).then(|| self.shared.heads.room(self.slot.shared_socket()));
            let length = self.input.head(&self.shared.reading, deadline, room)?;
            if let Some(visits) = &self.shared.visits
                && head::host(&self.input.bytes()[..length]).is_ok_and(|host| visits.claims(host))
            {
                self.visit(&**visits, length)?;
                continue;
            }
            self.slot.stop_visiting().map_err(visit::refused)?;
            let mut head = self.input.vetted(length, limits)?;
            if self.place == RunsOn::Reserve {
                head.persistence = Persistence::Close;
            }
            if !self.slot.enter(ConnectionActivity::Asking) {
                return Ok(());
            }
            let after = self.exchange(&head, deadline)?;
            if after == After::Close {
                // The client has its response; the rest of its data is discarded.
                let _ = self.slot.socket().shutdown(Shutdown::Write);
                return Ok(());
            }
        }
    }

    /// Answers one request.
    fn exchange(&mut self, head: &Head, deadline: Instant) -> Result<After, End> {
        let service = &self.shared.service;
        let Some(verdict) = contained(|| service.admit(&head.canonical, &mut self.kept)) else {
            return self.reply(head, &Refusal::Panicked.reply());
        };
        if verdict.client_kind == ClientKind::Owner {
            self.promote()?;
        }
        if !self.slot.enter(ConnectionActivity::Busy) {
            return Err(End::Quiet);
        }
        let (request, body) = match verdict.step {
            NextStep::Reply(reply) => return self.reply(head, &reply),
            NextStep::TakeBody(request) => (request, self.body(head, deadline)?),
            // Without `100 Continue` the client sends no body, and the response ends the connection.
            NextStep::SkipBody(request) if self.expects_continue(head) => {
                let outcome = self.call(request, Body::default());
                return self.answer(&Head { persistence: Persistence::Close, ..head.clone() }, outcome);
            }
            NextStep::SkipBody(request) => {
                self.skip_body(head, deadline)?;
                (request, Body::default())
            }
        };
        let outcome = self.call(request, body);
        self.answer(head, outcome)
    }

    /// The client has shown the token.
    fn promote(&mut self) -> Result<(), End> {
        if self.client_kind == ClientKind::Stranger {
            self.slot.promote().map_err(visit::refused)?;
            self.client_kind = ClientKind::Owner;
        }
        Ok(())
    }

    /// Answers from the head alone. A body stays unread, and the connection ends.
    fn reply(&mut self, head: &Head, reply: &Reply) -> Result<After, End> {
        let has_body = head.framing != BodyFraming::Length(0);
        let after = if has_body { After::Close } else { after(head) };
        let body = if head.is_head { BodyIs::LeftOut } else { BodyIs::Sent };
        self.send(reply, after, body)?;
        if has_body {
            self.linger();
        }
        Ok(after)
    }

    fn call(&self, request: Box<dyn AdmittedRequest>, body: Body) -> Outcome {
        // A panic of a handler ends this request alone.
        contained(|| request.call(body, self)).unwrap_or_else(|| Outcome::Whole(Refusal::Panicked.reply()))
    }

    /// Whether the client waits for `100 Continue`.
    fn expects_continue(&self, head: &Head) -> bool {
        let is_missing = match head.framing {
            BodyFraming::Length(length) => self.input.len() < length,
            BodyFraming::Chunks => self.input.is_empty(),
        };
        head.expects == Expects::Continue && is_missing && head.version == Version::Http11
    }

    /// Reads a body as soon as there is room for it.
    fn body(&mut self, head: &Head, deadline: Instant) -> Result<Body, End> {
        let limits = &self.shared.limits;
        let mut share = self.shared.bodies.share();
        let mut grow = |length: usize| {
            let begun = Instant::now();
            if !share.grow_to(length, begun + limits.turn) {
                return Err(End::Refused(Refusal::TooManyBodies));
            }
            Ok(begun.elapsed())
        };
        let mut give_leave = self.expects_continue(head).then(|| self.slot.socket());
        let mut leave = || match give_leave.take() {
            Some(mut socket) => socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
            None => Ok(()),
        };
        let bytes = match head.framing {
            BodyFraming::Length(length) => {
                let deadline = deadline + grow(length)?;
                leave()?;
                self.input.body(length, deadline)?
            }
            BodyFraming::Chunks => {
                let mut chunked = Chunked::new(limits.body);
                let mut room = 0;
                self.input.chunks(&mut chunked, deadline, |chunked, length| {
                    let mut waited = Duration::ZERO;
                    if room == 0 || length > room {
                        room = (length.max(1).next_multiple_of(SHARE_STEP)).min(limits.body + SHARE_STEP);
                        waited = grow(room)?;
                        chunked.reserve(room.min(limits.body));
                        leave()?;
                    }
                    Ok(waited)
                })?;
                chunked.into_body()
            }
        };
        Ok(Body::new(bytes, share))
    }

    /// Reads a body and discards it.
    fn skip_body(&mut self, head: &Head, deadline: Instant) -> Result<(), End> {
        match head.framing {
            BodyFraming::Length(length) => self.input.skip(length, deadline),
            BodyFraming::Chunks => {
                let mut chunked = Chunked::skipped(self.shared.limits.body);
                self.input.chunks(&mut chunked, deadline, |_, _| Ok(Duration::ZERO))
            }
        }
    }

    fn answer(&mut self, head: &Head, outcome: Outcome) -> Result<After, End> {
        let after = after(head);
        let reply = match outcome {
            Outcome::Whole(reply) => reply,
            Outcome::Stream { content_type, headers, body } => return self.stream(head, content_type, headers, body),
        };
        let body = if head.is_head { BodyIs::LeftOut } else { BodyIs::Sent };
        self.send(&reply, after, body)?;
        Ok(after)
    }

    /// Sends a response within its time limit. Strangers have that time once per connection, and share the memory for
    /// large responses.
    fn send(&mut self, reply: &Reply, after: After, body: BodyIs) -> Result<(), End> {
        let limits = &self.shared.limits;
        if self.client_kind == ClientKind::Owner {
            self.sent = SendAccount::default();
        }
        let mut share = self.shared.strangers.share();
        let kept = match &reply.body {
            Cow::Owned(bytes) if self.client_kind == ClientKind::Stranger && bytes.len() > ANSWER_FREE => bytes.len(),
            Cow::Owned(_) | Cow::Borrowed(_) => 0,
        };
        if !share.try_grow_to(kept) {
            return Err(Refusal::TooMuchForStrangers.into());
        }
        let begun = Instant::now();
        let bytes = self.sent.bytes.saturating_add(reply.body.len());
        let allowed = limits.answer.max(Duration::from_secs((bytes / limits.rate) as u64));
        if self.sent.spent >= allowed {
            return Err(End::Quiet);
        }
        let deadline = begun + (allowed - self.sent.spent);
        let pace = SendLimits { deadline: Some(deadline), stall: limits.write };
        let sent = response::send(self.slot.socket(), reply, after, body, pace)?;
        self.sent =
            SendAccount { bytes: self.sent.bytes.saturating_add(sent), spent: self.sent.spent + begun.elapsed() };
        Ok(())
    }

    fn stream(
        &self,
        head: &Head,
        content_type: &'static str,
        headers: Vec<(&'static str, String)>,
        body: StreamBody,
    ) -> Result<After, End> {
        if self.place == RunsOn::Reserve {
            return Err(Refusal::TooManyConnections.into());
        }
        let framing = match head.version {
            Version::Http10 => response::StreamFraming::Close,
            Version::Http11 => response::StreamFraming::Chunks,
        };
        if !self.slot.enter(ConnectionActivity::Streaming) {
            return Err(End::Quiet);
        }
        let pace = SendLimits { deadline: None, stall: self.shared.limits.stall };
        let mut writer = response::begin_stream(self.slot.socket(), content_type, headers, framing, pace)?;
        if head.is_head {
            return Ok(After::Close);
        }
        match catch_unwind(AssertUnwindSafe(|| body(&mut writer))) {
            Ok(written) => written?,
            // Without the last chunk the client sees that the stream is incomplete.
            Err(panic) => {
                log::error(format_args!("a stream panicked: {}", panic_text(&*panic)));
                return Err(End::Quiet);
            }
        }
        writer.finish()?;
        Ok(After::Close)
    }

    fn linger(&self) {
        let mut socket = self.slot.socket();
        // If it can't be half closed, or the slot is needed, don't linger.
        if !self.slot.enter(ConnectionActivity::Waiting) || socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER_LIMIT;
        let mut left = LINGER_BYTES;
        let mut buffer = [0; LINGER_BUFFER];
        while left > 0 {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() || socket.set_read_timeout(Some(patience)).is_err() {
                return;
            }
            match retry(|| socket.read(&mut buffer)) {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }
}

fn after(head: &Head) -> After {
    match (head.persistence, head.version) {
        (Persistence::Close, _) => After::Close,
        (Persistence::KeepAlive, Version::Http11) => After::KeepAlive,
        (Persistence::KeepAlive, Version::Http10) => After::KeepAliveInWords,
    }
}

/// Returns the result of `call`, or `None` after a panic, which is logged.
fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(panic) => {
            log::error(format_args!("a request handler panicked: {}", panic_text(&*panic)));
            None
        }
    }
}

impl Client for Connection<'_> {
    fn is_present(&self) -> bool {
        let has_time = match (self.place, self.client_kind) {
            (RunsOn::Own, _) => true,
            (RunsOn::Reserve, ClientKind::Owner) => self.begun.elapsed() < RESERVE_WAIT,
            (RunsOn::Reserve, ClientKind::Stranger) => false,
        };
        has_time && !peer::has_left(self.slot.socket())
    }

    fn connections(&self) -> usize {
        self.slot.connections()
    }
}
