//! A log that is followed: how it looks on the wire, and how many there may be.
//!
//! Owns: the two forms of a stream, its signs of life, and the cap on streams. Never: what is read (see `logs`), how the
//! client is connected.
//!
//! Plain text has the bytes as the server wrote them, a line when it is whole; one that stays unfinished is shown as far
//! as it goes after a moment, and continues later. Events have one line each, named after its stream; one that is
//! unfinished waits for its end, because an event can't go on.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::places::Place;
use super::reply;
use crate::error::{Code, Error};
use crate::handoff::{Outcome, StreamOut};
use crate::logs::{Follower, Lines, Next, Selection, SharedLog, Shown, StreamId};
use crate::os::waker::Waker;

#[cfg(test)]
mod tests;

/// The content type of events.
pub const EVENTS: &str = "text/event-stream";
/// A quiet stream of events is sent a comment this often: it keeps proxies on the way awake.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// After so much silence a line that has not ended is shown as far as it goes. A program's single write comes within
/// microseconds; a person does not notice 20 ms.
const UNFINISHED_AFTER: Duration = Duration::from_millis(20);
/// What is to be sent is sent when there is this much of it, in bytes.
const CHUNK: usize = 16 * 1024;

/// In which form a log is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The bytes as the server wrote them.
    Plain,
    /// Server-sent events.
    Events,
}

/// The stream of `log`, beginning with its last `tail` lines (all without it), until it ends or the client leaves.
///
/// # Errors
/// The system has no descriptor for it.
pub fn stream(
    log: Arc<SharedLog>,
    selection: Selection,
    tail: Option<usize>,
    form: Form,
    place: Place,
) -> Result<Outcome, Error> {
    let content_type = match form {
        Form::Plain => reply::PLAIN,
        Form::Events => EVENTS,
    };
    let waker = waker()?;
    // Before the answer begins: what is written after it is new to the client.
    let mut follower = Follower::new(log, selection, tail, &waker);
    let body = move |to: &mut dyn StreamOut| {
        let _place = place;
        follow(&mut follower, &waker, Sink::new(form, to))
    };
    Ok(Outcome::Stream { content_type, headers: headers(), body: Box::new(body) })
}

/// A waker for a stream.
///
/// # Errors
/// The system has no descriptor for it.
pub fn waker() -> Result<Arc<Waker>, Error> {
    let waker = Waker::new().map_err(|error| {
        Error::new(Code::Busy, format!("the system has no descriptor for another stream ({error}); try again later"))
    })?;
    Ok(Arc::new(waker))
}

/// The headers of a stream. The second one is for proxies that would collect a stream before they pass it on.
pub fn headers() -> Vec<(&'static str, String)> {
    vec![("Cache-Control", "no-store".into()), ("X-Accel-Buffering", "no".into())]
}

fn follow(follower: &mut Follower, waker: &Waker, mut sink: Sink<'_>) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut output_at = Instant::now();
    loop {
        waker.drain();
        match follower.take() {
            Next::Output(batch) => {
                lines.take(batch, |shown| sink.show(shown))?;
                sink.send()?;
                output_at = Instant::now();
                continue;
            }
            Next::Quiet => {}
            Next::Ended => {
                lines.flush(|shown| sink.show(shown))?;
                return sink.send();
            }
        }
        let now = Instant::now();
        let life_at = sink.sent_at + HEARTBEAT;
        let shows_unfinished = sink.form == Form::Plain && lines.has_unfinished();
        let unfinished_at = output_at + UNFINISHED_AFTER;
        if shows_unfinished && now >= unfinished_at {
            lines.flush(|shown| sink.show(shown))?;
            sink.send()?;
        } else if now >= life_at {
            follower.shrink();
            sink.sign_of_life()?;
        } else {
            sink.to.wait(waker, if shows_unfinished { life_at.min(unfinished_at) } else { life_at })?;
        }
    }
}

/// What goes to a client.
struct Sink<'a> {
    form: Form,
    to: &'a mut dyn StreamOut,
    unsent: Vec<u8>,
    /// When the client was last sent something, or asked whether it is there.
    sent_at: Instant,
    /// Plain text ends in the middle of a line of this stream.
    open: Option<StreamId>,
}

impl<'a> Sink<'a> {
    fn new(form: Form, to: &'a mut dyn StreamOut) -> Sink<'a> {
        Sink { form, to, unsent: Vec::new(), sent_at: Instant::now(), open: None }
    }

    fn show(&mut self, shown: Shown<'_>) -> io::Result<()> {
        match self.form {
            Form::Plain => self.show_plain(shown),
            Form::Events => self.show_event(shown),
        }
        if self.unsent.len() < CHUNK { Ok(()) } else { self.send() }
    }

    fn show_plain(&mut self, shown: Shown<'_>) {
        let stream = match shown {
            Shown::Line(stream, _) | Shown::Part(stream, _) => Some(stream),
            Shown::Missed(_) => None,
        };
        if self.open.is_some() && self.open != stream {
            self.unsent.push(b'\n');
        }
        self.open = None;
        match shown {
            Shown::Line(_, bytes) => {
                self.unsent.extend_from_slice(bytes);
                self.unsent.push(b'\n');
            }
            Shown::Part(stream, bytes) => {
                self.unsent.extend_from_slice(bytes);
                self.open = Some(stream);
            }
            Shown::Missed(bytes) => {
                let note = format!("servisor: {bytes} bytes are missing here: they were not read in time\n");
                self.unsent.extend_from_slice(note.as_bytes());
            }
        }
    }

    fn show_event(&mut self, shown: Shown<'_>) {
        match shown {
            Shown::Line(stream, bytes) | Shown::Part(stream, bytes) => {
                let name: &[u8] = match stream {
                    StreamId::Stdout => b"event: stdout\n",
                    StreamId::Stderr => b"event: stderr\n",
                };
                self.unsent.extend_from_slice(name);
                let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
                // To a reader of events a carriage return ends a line too; it gets a line feed there.
                for part in String::from_utf8_lossy(bytes).split('\r') {
                    self.unsent.extend_from_slice(b"data: ");
                    self.unsent.extend_from_slice(part.as_bytes());
                    self.unsent.push(b'\n');
                }
                self.unsent.push(b'\n');
            }
            Shown::Missed(bytes) => {
                self.unsent.extend_from_slice(format!("event: dropped\ndata: {bytes}\n\n").as_bytes());
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        self.to.write_all(&self.unsent)?;
        self.unsent.clear();
        self.sent_at = Instant::now();
        Ok(())
    }

    fn sign_of_life(&mut self) -> io::Result<()> {
        self.unsent = Vec::new();
        self.sent_at = Instant::now();
        match self.form {
            // Plain text has nothing that can't be seen. Keepalive looks for a client that vanished.
            Form::Plain => Ok(()),
            Form::Events => self.to.write_all(b": quiet\n\n"),
        }
    }
}
