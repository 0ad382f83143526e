//! A run as JSON: the same in answers, events and files.
//!
//! Owns: the names and units of its fields. Never: a decision. What is not known is null.

use serde::Serialize;
use std::time::Duration;

use super::{EndedRun, Living};
use crate::model::time::rfc3339;
use crate::store::fields::millis;

#[derive(Debug, Serialize)]
pub struct RunInfo<'a> {
    run: u64,
    kind: &'static str,
    started_at: String,
    ready_at: Option<String>,
    ended_at: Option<String>,
    duration_ms: Option<u64>,
    pid: Option<u32>,
    reason: Option<&'static str>,
    exit_code: Option<i32>,
    exit_signal: Option<&'a str>,
    port: Option<u16>,
    sentence: Option<&'a str>,
    next: Option<&'static str>,
    cpu_ms: Option<u64>,
    max_rss_bytes: Option<u64>,
    survivors_killed: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<Vec<LineInfo<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail_truncated: Option<bool>,
}

#[derive(Debug, Serialize)]
struct LineInfo<'a> {
    stream: &'static str,
    line: &'a str,
}

/// Whether the last lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithTail {
    Yes,
    No,
}

impl<'a> RunInfo<'a> {
    /// A run that lives and has lasted so long.
    pub fn living(run: &Living, lasted: Duration) -> RunInfo<'static> {
        RunInfo { duration_ms: Some(millis(lasted)), tail: Some(Vec::new()), tail_truncated: Some(false), ..begun(run) }
    }

    /// A run that is over.
    pub fn ended(ended: &'a EndedRun, with_tail: WithTail) -> RunInfo<'a> {
        let line = |line: &'a super::tail::Line| LineInfo { stream: line.stream.as_str(), line: &line.text };
        let (tail, tail_truncated) = match with_tail {
            WithTail::Yes => (Some(ended.tail.lines.iter().map(line).collect()), Some(ended.tail.truncated)),
            WithTail::No => (None, None),
        };
        RunInfo {
            ended_at: Some(rfc3339(ended.ended_at)),
            duration_ms: ended.lasted.map(millis),
            reason: Some(ended.reason.as_str()),
            exit_code: ended.exit_code,
            exit_signal: ended.exit_signal.as_deref(),
            sentence: Some(&ended.sentence),
            next: Some(ended.next.as_str()),
            cpu_ms: ended.usage.map(|usage| millis(usage.cpu)),
            max_rss_bytes: ended.usage.map(|usage| usage.max_rss_bytes),
            survivors_killed: ended.survivors_killed,
            tail,
            tail_truncated,
            ..begun(&ended.run)
        }
    }
}

fn begun(run: &Living) -> RunInfo<'static> {
    RunInfo {
        run: run.number,
        kind: run.kind.as_str(),
        started_at: rfc3339(run.started_at),
        ready_at: run.ready_at.map(rfc3339),
        ended_at: None,
        duration_ms: None,
        pid: run.pid,
        reason: None,
        exit_code: None,
        exit_signal: None,
        port: run.port,
        sentence: None,
        next: None,
        cpu_ms: None,
        max_rss_bytes: None,
        survivors_killed: 0,
        tail: None,
        tail_truncated: None,
    }
}
