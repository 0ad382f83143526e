//! A client's thread: one request after the other.
//!
//! Owns: the order of head, verdict, body, call and answer, and their deadlines. Never: two requests at a time; a byte of
//! a body before the verdict; a read from the client while a request is carried out.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Limits;
use super::body::Chunked;
use super::budget::Budget;
use super::head::{Expects, Framing, Head, Persistence, Version};
use super::input::{End, Input};
use super::response::{self, After, BodyIs, Pace, Refusal};
use super::service::{Body, Request, Service, Standing, Step};
use super::slots::{Activity, NoSlot, Slot, Slots};
use crate::handoff::{Client, Outcome, Reply, StreamBody};
use crate::log;
use crate::os::reserve_thread::RunsOn;
use crate::os::thread::panic_text;
use crate::os::{peer, retry};

/// After a refusal the client may still be sending; so much and so long is read and thrown away, so that it gets to
/// see the refusal and not a reset.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_BUFFER: usize = 4 * 1024;
/// A blocked write looks at the clock this often.
const WRITE_TICK: Duration = Duration::from_secs(1);
/// A chunked body takes its share in steps of so many bytes.
const SHARE_STEP: usize = 64 * 1024;
/// Answers up to this size cost a stranger no share.
const ANSWER_FREE: usize = 4 * 1024;

/// On the thread in reserve an owner waits no longer than this, and a stranger not at all: the next one may need it, to stop
/// what has all threads.
const RESERVE_WAIT: Duration = Duration::from_secs(1);

/// What all connections share.
pub struct Shared {
    /// What is allowed.
    pub limits: Limits,
    /// What answers requests.
    pub service: Arc<dyn Service>,
    /// Who is connected.
    pub slots: Arc<Slots>,
    /// The memory for bodies.
    pub bodies: Arc<Budget>,
    /// The memory for what of strangers is large.
    pub strangers: Arc<Budget>,
}

/// Serves a client until it leaves or has to. On the thread in reserve it is served one request.
pub fn serve(shared: &Shared, slot: Slot, place: RunsOn) {
    let mut connection = Connection {
        shared,
        place,
        begun: Instant::now(),
        slot: &slot,
        input: Input::new(slot.socket()),
        standing: Standing::Stranger,
        sent: Sent::default(),
    };
    match connection.serve() {
        Ok(()) | Err(End::Quiet) => {}
        Err(End::Refused(refusal)) => {
            if connection.send(&refusal.reply(), After::Close, BodyIs::Sent).is_ok() {
                connection.linger();
            }
        }
    }
    drop(slot);
    shared.service.settle();
}

struct Connection<'a> {
    shared: &'a Shared,
    place: RunsOn,
    begun: Instant,
    slot: &'a Slot,
    input: Input<'a>,
    standing: Standing,
    /// What a stranger was sent: pipelined requests do not make more time of it.
    sent: Sent,
}

/// An account of sending.
#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    bytes: usize,
    spent: Duration,
}

impl Connection<'_> {
    fn serve(&mut self) -> Result<(), End> {
        let limits = &self.shared.limits;
        self.slot.socket().set_write_timeout(Some(limits.write.min(WRITE_TICK)))?;
        loop {
            if !self.slot.enter(Activity::Waiting) {
                return Ok(());
            }
            self.input.await_request(Instant::now() + limits.idle)?;
            let deadline = Instant::now() + limits.request;
            let share = (self.standing == Standing::Stranger).then(|| self.shared.strangers.share());
            let mut head = self.input.head(limits, deadline, share)?;
            if self.place == RunsOn::Reserve {
                head.persistence = Persistence::Close;
            }
            if !self.slot.enter(Activity::Asking) {
                return Ok(());
            }
            let after = self.exchange(&head, deadline)?;
            if after == After::Close {
                // The client has its answer; what it still sends means nothing.
                let _ = self.slot.socket().shutdown(Shutdown::Write);
                return Ok(());
            }
        }
    }

    /// From a head to its answer.
    fn exchange(&mut self, head: &Head, deadline: Instant) -> Result<After, End> {
        // The one place where a request could be given to another service.
        let service = &self.shared.service;
        let Some(verdict) = contained(|| service.admit(&head.canonical)) else {
            return self.reply(head, &Refusal::Panicked.reply());
        };
        if verdict.standing == Standing::Owner {
            self.promote()?;
        }
        if !self.slot.enter(Activity::Busy) {
            return Err(End::Quiet);
        }
        let (request, body) = match verdict.step {
            Step::Reply(reply) => return self.reply(head, &reply),
            Step::TakeBody(request) => (request, self.body(head, deadline)?),
            // Without leave to send it the client sends no body, and the answer ends the connection.
            Step::SkipBody(request) if self.awaits_leave(head) => {
                let outcome = self.call(request, Body::default());
                return self.answer(&Head { persistence: Persistence::Close, ..head.clone() }, outcome);
            }
            Step::SkipBody(request) => {
                self.skip_body(head, deadline)?;
                (request, Body::default())
            }
        };
        let outcome = self.call(request, body);
        self.answer(head, outcome)
    }

    /// The client has shown the token.
    fn promote(&mut self) -> Result<(), End> {
        if self.standing == Standing::Stranger {
            self.slot.promote().map_err(|none| match none {
                NoSlot::Full => End::Refused(Refusal::TooManyConnections),
                NoSlot::Closed => End::Quiet,
            })?;
            self.standing = Standing::Owner;
        }
        Ok(())
    }

    /// Answers from the head alone. What there is of a body stays unread, and the connection ends.
    fn reply(&mut self, head: &Head, reply: &Reply) -> Result<After, End> {
        let has_body = head.framing != Framing::Length(0);
        let after = if has_body { After::Close } else { after(head) };
        let body = if head.is_head { BodyIs::LeftOut } else { BodyIs::Sent };
        self.send(reply, after, body)?;
        if has_body {
            self.linger();
        }
        Ok(after)
    }

    fn call(&self, request: Box<dyn Request>, body: Body) -> Outcome {
        // A panic of a handler is its own.
        contained(|| request.call(body, self)).unwrap_or_else(|| Outcome::Whole(Refusal::Panicked.reply()))
    }

    /// Whether the client waits for `100 Continue`.
    fn awaits_leave(&self, head: &Head) -> bool {
        let is_missing = match head.framing {
            Framing::Length(length) => self.input.len() < length,
            Framing::Chunks => self.input.is_empty(),
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
        let mut give_leave = self.awaits_leave(head).then(|| self.slot.socket());
        let mut leave = || match give_leave.take() {
            Some(mut socket) => socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
            None => Ok(()),
        };
        let bytes = match head.framing {
            Framing::Length(length) => {
                let deadline = deadline + grow(length)?;
                leave()?;
                self.input.body(length, deadline)?
            }
            Framing::Chunks => {
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

    /// Reads a body that means nothing, and keeps none of it.
    fn skip_body(&mut self, head: &Head, deadline: Instant) -> Result<(), End> {
        match head.framing {
            Framing::Length(length) => self.input.skip(length, deadline),
            Framing::Chunks => {
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

    /// Sends an answer within its time. A stranger has that time once, and room for a large answer only as far as there is.
    fn send(&mut self, reply: &Reply, after: After, body: BodyIs) -> Result<(), End> {
        let limits = &self.shared.limits;
        if self.standing == Standing::Owner {
            self.sent = Sent::default();
        }
        let mut share = self.shared.strangers.share();
        let kept = match &reply.body {
            Cow::Owned(bytes) if self.standing == Standing::Stranger && bytes.len() > ANSWER_FREE => bytes.len(),
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
        let pace = Pace { deadline: Some(deadline), stall: limits.write };
        let sent = response::send(self.slot.socket(), reply, after, body, pace)?;
        self.sent = Sent { bytes: self.sent.bytes.saturating_add(sent), spent: self.sent.spent + begun.elapsed() };
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
            Version::Http10 => response::Framing::Close,
            Version::Http11 => response::Framing::Chunks,
        };
        if !self.slot.enter(Activity::Streaming) {
            return Err(End::Quiet);
        }
        let pace = Pace { deadline: None, stall: self.shared.limits.stall };
        let mut writer = response::begin_stream(self.slot.socket(), content_type, headers, framing, pace)?;
        if head.is_head {
            return Ok(After::Close);
        }
        match catch_unwind(AssertUnwindSafe(|| body(&mut writer))) {
            Ok(written) => written?,
            // The end is left out: that is how the client sees that it is not whole.
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
        // If it can't be half closed, or the slot is needed, there is nothing to wait for.
        if !self.slot.enter(Activity::Waiting) || socket.shutdown(Shutdown::Write).is_err() {
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

/// What `call` gives, or `None` after a panic, which is logged.
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
        let has_time = match (self.place, self.standing) {
            (RunsOn::Own, _) => true,
            (RunsOn::Reserve, Standing::Owner) => self.begun.elapsed() < RESERVE_WAIT,
            (RunsOn::Reserve, Standing::Stranger) => false,
        };
        has_time && !peer::has_left(self.slot.socket())
    }

    fn connections(&self) -> usize {
        self.slot.connections()
    }
}
