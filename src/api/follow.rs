//! Followed logs on the wire.
//!
//! Owns: the two forms of a stream, and its heartbeat. Never: what is read (see `logs`), the connection of the client.
//!
//! Plain text has the bytes as the server wrote them, line by line; a line that stays unfinished is sent after a moment
//! and continued later. Events have one line each, named after its stream; an unfinished line waits for its end,
//! because an event can't be continued.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::permits::Permit;
use super::reply;
use crate::error::{Code, Error};
use crate::handoff::{Outcome, StreamOut};
use crate::logs::{Follower, Lines, NextOutput, Selection, SharedLog, Shown, StreamId};
use crate::os::waker::Waker;

#[cfg(test)]
mod tests;

/// The content type of events.
pub const EVENTS: &str = "text/event-stream";
/// The interval of comments in a quiet stream of events, so that proxies keep the connection.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// An unfinished line is sent after so much silence. The parts of one write arrive within microseconds; 20 ms are not
/// noticeable.
const UNFINISHED_AFTER: Duration = Duration::from_millis(20);
/// Output is sent when there is this much of it, in bytes.
const CHUNK: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The bytes as the server wrote them.
    Plain,
    /// Server-sent events.
    Events,
}

/// The stream of `log` from its last `tail` lines (all without it), until it ends or the client leaves.
///
/// # Errors
/// No descriptor is left.
pub fn stream(
    log: Arc<SharedLog>,
    selection: Selection,
    tail: Option<usize>,
    form: Form,
    place: Permit,
) -> Result<Outcome, Error> {
    let content_type = match form {
        Form::Plain => reply::PLAIN,
        Form::Events => EVENTS,
    };
    let waker = waker()?;
    // Before the response begins, so that it includes all later output.
    let mut follower = Follower::new(log, selection, tail, &waker);
    let body = move |to: &mut dyn StreamOut| {
        let _place = place;
        follow(&mut follower, &waker, Sink::new(form, to))
    };
    Ok(Outcome::Stream { content_type, headers: headers(), body: Box::new(body) })
}

/// Creates a waker for a stream.
///
/// # Errors
/// No descriptor is left.
pub fn waker() -> Result<Arc<Waker>, Error> {
    let waker = Waker::new().map_err(|error| {
        Error::new(Code::Busy, format!("the system has no descriptor for another stream ({error}); try again later"))
    })?;
    Ok(Arc::new(waker))
}

/// The headers of a stream. The second one is for proxies that buffer responses.
pub fn headers() -> Vec<(&'static str, String)> {
    vec![("Cache-Control", "no-store".into()), ("X-Accel-Buffering", "no".into())]
}

fn follow(follower: &mut Follower, waker: &Waker, mut sink: Sink<'_>) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut output_at = Instant::now();
    loop {
        waker.drain();
        match follower.take(usize::MAX) {
            NextOutput::Output(batch) => {
                lines.take(batch, |shown| sink.show(shown))?;
                sink.send()?;
                output_at = Instant::now();
                continue;
            }
            NextOutput::Quiet => {}
            NextOutput::Ended => {
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
            sink.heartbeat()?;
        } else {
            sink.to.wait(waker, if shows_unfinished { life_at.min(unfinished_at) } else { life_at })?;
        }
    }
}

/// The output to a client.
struct Sink<'a> {
    form: Form,
    to: &'a mut dyn StreamOut,
    unsent: Vec<u8>,
    /// When something was last sent, or the client's presence checked.
    sent_at: Instant,
    /// The stream of the unfinished line at the end of the plain text.
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
                // In an event stream a carriage return ends a line too: send a new `data:` line.
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

    fn heartbeat(&mut self) -> io::Result<()> {
        self.unsent = Vec::new();
        self.sent_at = Instant::now();
        match self.form {
            // Plain text has no invisible heartbeat. TCP keepalive detects a vanished client.
            Form::Plain => Ok(()),
            Form::Events => self.to.write_all(b": quiet\n\n"),
        }
    }
}
