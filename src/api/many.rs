//! The logs of many servers in one response or stream.
//!
//! Owns: which servers are read, and the form of a line. Never: the output of more than one server in memory at a time,
//! except the batch of each follower.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::follow::{EVENTS, HEARTBEAT, headers, waker};
use super::permits::Permit;
use super::reply;
use crate::error::Error;
use crate::handoff::{Outcome, StreamOut};
use crate::json;
use crate::logs::{Follower, Lines, NextOutput, Selection, SharedLog, Shown, StreamId};
use crate::model::spec::Slug;
use crate::os::waker::Waker;
use crate::registry::Registry;

/// An unfinished line is sent after so much silence.
const UNFINISHED_AFTER: Duration = Duration::from_secs(1);
/// Output is sent when there is this much of it, in bytes.
const CHUNK: usize = 16 * 1024;
/// After so many bytes of one server it is the next one's turn.
const TURN: u64 = 1024 * 1024;

/// A part of a server's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    pub stream: Selection,
    /// The number of last lines; all without it.
    pub tail: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManyQuery {
    /// The servers to read, from their creation on; all if empty.
    pub slugs: Vec<Slug>,
    pub log: LogQuery,
}

impl ManyQuery {
    fn wants(&self, slug: &Slug) -> bool {
        self.slugs.is_empty() || self.slugs.contains(slug)
    }

    fn tail(&self) -> Option<usize> {
        self.log.tail.and_then(|lines| usize::try_from(lines).ok())
    }
}

#[derive(Serialize)]
struct LogLineInfo<'a> {
    slug: &'a str,
    stream: &'static str,
    line: &'a str,
}

#[derive(Serialize)]
struct DroppedInfo<'a> {
    slug: &'a str,
    bytes: u64,
}

struct FollowedServer {
    slug: Slug,
    follower: Follower,
    lines: Lines,
    /// The time of the last output.
    output_at: Instant,
}

/// How it is with the output of a server after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterTurn {
    /// Read again: more may have been written already.
    More,
    /// More will be signalled.
    Quiet,
    /// The end: all is read, and no more will follow.
    Ended,
}

impl FollowedServer {
    fn new(slug: &Slug, log: &Arc<SharedLog>, query: &ManyQuery, waker: &Arc<Waker>) -> FollowedServer {
        let follower = Follower::new(Arc::clone(log), query.log.stream, query.tail(), waker);
        FollowedServer { slug: slug.clone(), follower, lines: Lines::default(), output_at: Instant::now() }
    }

    /// Passes available output to `show`, `most` bytes of it at most: a server may write as fast as it is read.
    fn read(&mut self, most: u64, show: &mut dyn FnMut(&Slug, Shown<'_>) -> io::Result<()>) -> io::Result<AfterTurn> {
        let FollowedServer { slug, follower, lines, output_at } = self;
        let mut left = most;
        while left > 0 {
            match follower.take(usize::try_from(left).unwrap_or(usize::MAX)) {
                NextOutput::Output(batch) => {
                    *output_at = Instant::now();
                    left = left.saturating_sub(batch.advance());
                    lines.take(batch, |shown| show(slug, shown))?;
                }
                NextOutput::Quiet => {
                    follower.shrink();
                    return Ok(AfterTurn::Quiet);
                }
                NextOutput::Ended => {
                    lines.flush(|shown| show(slug, shown))?;
                    return Ok(AfterTurn::Ended);
                }
            }
        }
        Ok(AfterTurn::More)
    }

    /// When its unfinished line is sent.
    fn unfinished_at(&self) -> Option<Instant> {
        self.lines.has_unfinished().then(|| self.output_at + UNFINISHED_AFTER)
    }
}

/// The buffered logs, as one JSON object that is streamed.
///
/// # Errors
/// No descriptor is left.
pub fn answer(registry: &Registry, query: ManyQuery) -> Result<Outcome, Error> {
    let waker = waker()?;
    let logs: Vec<(Slug, Arc<SharedLog>)> = registry
        .supervisors()
        .iter()
        .filter(|supervisor| query.wants(supervisor.slug()))
        .map(|supervisor| (supervisor.slug().clone(), Arc::clone(supervisor.log())))
        .collect();
    let body = move |to: &mut dyn StreamOut| {
        let mut text = br#"{"status":"success","message":"the newest output that is kept","data":{"lines":["#.to_vec();
        let mut is_first = true;
        let tail = query.tail().unwrap_or(usize::MAX);
        for (slug, log) in logs.into_iter().filter(|_| tail > 0) {
            let lines = Cell::new(0);
            let mut source = FollowedServer::new(&slug, &log, &query, &waker);
            let mut show = |slug: &Slug, shown: Shown<'_>| {
                if let Shown::Line(stream, bytes) | Shown::Part(stream, bytes) = shown {
                    lines.set(lines.get() + usize::from(matches!(shown, Shown::Line(..))));
                    if !std::mem::replace(&mut is_first, false) {
                        text.push(b',');
                    }
                    write_line(slug, stream, bytes, &mut text)?;
                }
                if text.len() >= CHUNK { send(&mut text, to) } else { Ok(()) }
            };
            // What comes meanwhile is of a later answer.
            let kept = source.follower.unread();
            source.read(kept, &mut show)?;
            // Both streams can end in an unfinished line.
            let mut room = tail.saturating_sub(lines.get());
            source.lines.flush(|shown| match room.checked_sub(1) {
                Some(less) => {
                    room = less;
                    show(&slug, shown)
                }
                None => Ok(()),
            })?;
        }
        text.extend_from_slice(b"]}}");
        send(&mut text, to)
    };
    Ok(Outcome::Stream { content_type: reply::JSON, headers: headers(), body: Box::new(body) })
}

/// The logs as they are written, as events; later servers are included.
///
/// # Errors
/// No descriptor is left.
pub fn stream(registry: Arc<Registry>, query: ManyQuery, place: Permit) -> Result<Outcome, Error> {
    let waker = waker()?;
    let mut sources = Vec::new();
    // Before the response begins, so that it includes all later output.
    take_in(&registry, &query, &waker, &mut sources);
    let body = move |to: &mut dyn StreamOut| {
        let _place = place;
        let _guard = registry.changes().wake_on_change(Arc::clone(&waker));
        let mut text = Vec::new();
        let mut sent_at = Instant::now();
        loop {
            waker.drain();
            let is_over = registry.is_closed();
            take_in(&registry, &query, &waker, &mut sources);
            let mut show = |slug: &Slug, shown: Shown<'_>| {
                write_event(slug, shown, &mut text)?;
                if text.len() >= CHUNK { send(&mut text, to) } else { Ok(()) }
            };
            let now = Instant::now();
            let (mut failed, mut has_more) = (Ok(()), false);
            sources.retain_mut(|source: &mut FollowedServer| {
                let read = source.read(TURN, &mut show).and_then(|after| {
                    has_more |= after == AfterTurn::More;
                    if source.unfinished_at().is_some_and(|at| at <= now) || is_over {
                        let slug = source.slug.clone();
                        source.lines.flush(|shown| show(&slug, shown))?;
                    }
                    Ok(after != AfterTurn::Ended)
                });
                read.unwrap_or_else(|error| {
                    failed = Err(error);
                    false
                })
            });
            failed?;
            if text.is_empty() && Instant::now() >= sent_at + HEARTBEAT {
                text.extend_from_slice(b": quiet\n\n");
            }
            if !text.is_empty() {
                send(&mut text, to)?;
                sent_at = Instant::now();
            }
            if is_over {
                return Ok(());
            }
            if has_more {
                continue;
            }
            text.shrink_to(CHUNK);
            let unfinished = sources.iter().filter_map(FollowedServer::unfinished_at).min();
            let heartbeat = sent_at + HEARTBEAT;
            to.wait(&waker, unfinished.map_or(heartbeat, |at| at.min(heartbeat)))?;
        }
    };
    Ok(Outcome::Stream { content_type: EVENTS, headers: headers(), body: Box::new(body) })
}

/// Adds the servers that are not read yet.
fn take_in(registry: &Registry, query: &ManyQuery, waker: &Arc<Waker>, sources: &mut Vec<FollowedServer>) {
    for supervisor in registry.supervisors() {
        let (slug, log) = (supervisor.slug(), supervisor.log());
        if query.wants(slug) && !sources.iter().any(|source| source.follower.reads(log)) {
            sources.push(FollowedServer::new(slug, log, query, waker));
        }
    }
}

fn send(text: &mut Vec<u8>, to: &mut dyn StreamOut) -> io::Result<()> {
    to.write_all(text)?;
    text.clear();
    Ok(())
}

fn write_event(slug: &Slug, shown: Shown<'_>, text: &mut Vec<u8>) -> io::Result<()> {
    match shown {
        Shown::Line(stream, bytes) | Shown::Part(stream, bytes) => {
            text.extend_from_slice(b"event: line\ndata: ");
            write_line(slug, stream, bytes, text)?;
        }
        Shown::Missed(bytes) => {
            text.extend_from_slice(b"event: dropped\ndata: ");
            json::append(text, &DroppedInfo { slug: slug.as_str(), bytes })?;
        }
    }
    text.write_all(b"\n\n")
}

fn write_line(slug: &Slug, stream: StreamId, bytes: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
    let line = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes));
    let line = LogLineInfo { slug: slug.as_str(), stream: stream.as_str(), line: &line };
    json::append(text, &line)
}
