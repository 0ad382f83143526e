//! Server-sent events, taken apart.
//!
//! Owns: the grammar of an event stream. Never: a connection, what an event means. Pure: bytes go in as they come.

use super::{CliExit, Failure};
use crate::json::{self, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    pub name: String,
    /// Its data, JSON for all streams of servisor's own.
    pub data: String,
}

impl SseEvent {
    /// Its data as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value, Failure> {
        json::parse(self.data.as_bytes()).map_err(|_| not_understood())
    }
}

/// A stream that makes no sense.
pub fn not_understood() -> Failure {
    Failure::new(CliExit::Failed, &["the daemon sends events that this version does not understand"])
}

/// What has come of a stream and was not used yet.
#[derive(Debug, Default)]
pub struct Stream {
    /// Bytes as they came.
    pub input: Vec<u8>,
    /// Up to here no line end was found.
    searched: usize,
    name: String,
    data: Option<String>,
}

impl Stream {
    /// The next whole event. Comments are skipped.
    pub fn take(&mut self) -> Option<SseEvent> {
        let mut at = 0;
        let mut found = None;
        while let Some(length) = self.line_length(at) {
            let line = String::from_utf8_lossy(&self.input[at..at + length]).into_owned();
            at += length + 1;
            self.searched = at;
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                if let Some(data) = self.data.take() {
                    found = Some(SseEvent { name, data });
                    break;
                }
            } else if let Some(value) = field(line, "event") {
                value.clone_into(&mut self.name);
            } else if let Some(value) = field(line, "data") {
                match &mut self.data {
                    None => self.data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                }
            }
        }
        self.searched = if found.is_some() { 0 } else { self.input.len() - at };
        self.input.drain(..at);
        found
    }

    fn line_length(&self, at: usize) -> Option<usize> {
        let from = self.searched.max(at);
        self.input[from..].iter().position(|&byte| byte == b'\n').map(|length| from - at + length)
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_any_split() {
        let wire = b": quiet\n\nid: 5f-1\nevent: server\ndata: {\"a\":\ndata: 1}\n\nevent: shutdown\r\ndata: {}\r\n\r\nevent: x\n\n";
        for step in 1..=wire.len() {
            let mut stream = Stream::default();
            let mut events = Vec::new();
            for part in wire.chunks(step) {
                stream.input.extend_from_slice(part);
                while let Some(event) = stream.take() {
                    events.push((event.name, event.data));
                }
            }
            let expected = [("server".to_owned(), "{\"a\":\n1}".to_owned()), ("shutdown".to_owned(), "{}".to_owned())];
            assert_eq!(events, expected, "{step}");
            assert!(stream.input.is_empty());
        }
    }
}
