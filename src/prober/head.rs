//! HTTP of a check: the request, and the head of the response.
//!
//! Owns: the bytes. Never: a socket, a judgement about the status. Pure.

use httparse::{EMPTY_HEADER, ParserConfig, Response, Status};

use crate::model::health::{CheckFailure, CheckOutcome};
use crate::model::spec::HealthCheck;

/// The limit of what is buffered until the final status line is known, interim responses included.
const KEPT_MAX: usize = 16 * 1024;
/// The limit of a head whose status line is known. Beyond it the status line alone counts.
const HEAD_MAX: usize = 256 * 1024;
/// Further headers are read but not parsed.
const HEADERS_MAX: usize = 200;
/// The type of a TLS record that is an alert, and the major version of all TLS versions.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// The request of a check. `Host` is always `localhost`: dev servers refuse unknown names, and all of them allow this
/// one.
pub fn request(check: &HealthCheck, port: u16) -> Vec<u8> {
    let (path, version) = (&check.path, env!("CARGO_PKG_VERSION"));
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: servisor/{version}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    text.into_bytes()
}

/// An incremental parser of a response's head.
#[derive(Debug)]
pub enum AnswerHead {
    /// The final status line is not known yet. These are the bytes so far.
    Open(Vec<u8>),
    /// The final status line is known and the head is long: no byte of it is kept.
    Long { status: u16, read: usize, line: LineState },
}

/// The state of the current line of a long head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineState {
    /// Without a byte, or with a CR alone.
    Empty,
    Begun,
}

impl AnswerHead {
    pub fn new() -> AnswerHead {
        AnswerHead::Open(Vec::new())
    }

    /// Takes the next piece; `None` while the head is not complete. Interim responses are skipped.
    pub fn take(&mut self, piece: &[u8]) -> Option<CheckOutcome> {
        match self {
            AnswerHead::Open(bytes) => {
                bytes.extend_from_slice(piece);
                let (length, one) = last_of(bytes);
                match one {
                    HeadKind::Final(outcome) => return Some(outcome),
                    HeadKind::Partial | HeadKind::Interim { .. } if bytes.len() < KEPT_MAX => return None,
                    HeadKind::Partial | HeadKind::Interim { .. } => {}
                    HeadKind::Long { status } => return self.stop_buffering(status, length),
                }
                match status_of(bytes.get(length..).unwrap_or_default()) {
                    Some(status) => self.stop_buffering(status, length),
                    None => Some(CheckOutcome::Failed(CheckFailure::HeadTooLong)),
                }
            }
            AnswerHead::Long { status, read, line } => {
                *read += piece.len();
                let is_over = ends_head(line, piece) || *read >= HEAD_MAX;
                is_over.then_some(CheckOutcome::Answered(*status))
            }
        }
    }

    /// The failure if the connection ends now.
    pub fn end(&self) -> CheckFailure {
        match self {
            AnswerHead::Open(bytes) if bytes.is_empty() => CheckFailure::ClosedAtOnce,
            AnswerHead::Open(bytes) if is_tls_alert(bytes) => CheckFailure::TlsAlert,
            AnswerHead::Open(_) | AnswerHead::Long { .. } => CheckFailure::Closed,
        }
    }

    /// Stops buffering. The final head begins at `begin`.
    fn stop_buffering(&mut self, status: u16, begin: usize) -> Option<CheckOutcome> {
        let AnswerHead::Open(bytes) =
            std::mem::replace(self, AnswerHead::Long { status, read: 0, line: LineState::Empty })
        else {
            return None;
        };
        self.take(bytes.get(begin..).unwrap_or_default())
    }
}

/// Whether `piece` has the empty line that ends a head.
fn ends_head(line: &mut LineState, piece: &[u8]) -> bool {
    piece.iter().any(|byte| {
        let (next, is_end) = match (*line, byte) {
            (LineState::Empty, b'\n') => (LineState::Empty, true),
            (LineState::Begun, b'\n') | (LineState::Empty, b'\r') => (LineState::Empty, false),
            (LineState::Empty | LineState::Begun, _) => (LineState::Begun, false),
        };
        *line = next;
        is_end
    })
}

fn is_tls_alert(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(TLS_ALERT).all(|(byte, wanted)| *byte == wanted)
}

/// Where the last head of `bytes` begins, and what it is.
fn last_of(bytes: &[u8]) -> (usize, HeadKind) {
    let mut begin = 0;
    loop {
        match read_one(bytes.get(begin..).unwrap_or_default()) {
            HeadKind::Interim { length } => begin += length,
            other => return (begin, other),
        }
    }
}

/// The status of a head that is not complete, if it is a final one.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let mut headers = [EMPTY_HEADER; 0];
    let mut response = Response::new(&mut headers);
    // Errors in the headers are ignored: the status line comes first.
    let _ = response.parse(bytes);
    response.code.filter(|code| !is_interim(*code))
}

/// 101 is final: another protocol than HTTP follows.
fn is_interim(status: u16) -> bool {
    matches!(status, 100 | 102..200)
}

/// One of several heads.
enum HeadKind {
    /// Incomplete.
    Partial,
    /// Another one follows after so many bytes.
    Interim { length: usize },
    /// The last one.
    Final(CheckOutcome),
    /// The last one has this status and more headers than are parsed.
    Long { status: u16 },
}

fn read_one(bytes: &[u8]) -> HeadKind {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    // Invalid headers are the server's own matter.
    let parsed = ParserConfig::default().ignore_invalid_headers_in_responses(true).parse_response(&mut response, bytes);
    match (parsed, response.code) {
        (Ok(Status::Partial), _) => HeadKind::Partial,
        (Ok(Status::Complete(length)), Some(status)) if is_interim(status) => HeadKind::Interim { length },
        (Ok(Status::Complete(_)), Some(status)) => HeadKind::Final(CheckOutcome::Answered(status)),
        (Err(httparse::Error::TooManyHeaders), Some(status)) if !is_interim(status) => HeadKind::Long { status },
        (Err(httparse::Error::TooManyHeaders), _) => HeadKind::Final(CheckOutcome::Failed(CheckFailure::HeadTooLong)),
        (Ok(Status::Complete(_)), None) | (Err(_), _) if is_tls_alert(bytes) => {
            HeadKind::Final(CheckOutcome::Failed(CheckFailure::TlsAlert))
        }
        (Ok(Status::Complete(_)), None) | (Err(_), _) => HeadKind::Final(CheckOutcome::Failed(CheckFailure::NotHttp)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(bytes: &[u8]) -> Option<CheckOutcome> {
        AnswerHead::new().take(bytes)
    }

    /// Reads `bytes` in pieces.
    fn read_in(bytes: &[u8], size: usize) -> Option<CheckOutcome> {
        let mut head = AnswerHead::new();
        bytes.chunks(size).find_map(|piece| head.take(piece))
    }

    fn whole(bytes: &[u8]) -> CheckOutcome {
        read(bytes).unwrap_or_else(|| panic!("{:?} is not complete", String::from_utf8_lossy(bytes)))
    }

    #[test]
    fn a_request_is_plain() {
        let check = HealthCheck {
            path: "/up?a=1".into(),
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            delay: Duration::ZERO,
            restart_after_failures: None,
        };
        let request = String::from_utf8(request(&check, 5173)).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let lines = [
            "GET /up?a=1 HTTP/1.1",
            "Host: localhost:5173",
            &format!("User-Agent: servisor/{version}"),
            "Accept: */*",
            "Connection: close",
            "",
            "",
        ];
        assert_eq!(request, lines.join("\r\n"));
    }

    #[test]
    fn a_head_says_the_same_wherever_it_is_split() {
        for (head, status) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200),
            ("HTTP/1.0 503 Service Unavailable\r\n\r\n", 503),
            ("HTTP/1.1 204\r\nX:y\r\n\r\n", 204),
            ("HTTP/1.1 200 OK\nX: y\n\n", 200),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 101),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 302 Found\r\n\r\n",
                302,
            ),
            ("HTTP/1.1 200 OK\r\nOdd Name: x\r\nFolded: a\r\n b\r\nX : y\r\nNo colon\r\n\r\n", 200),
        ] {
            let bytes = head.as_bytes();
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), None, "{:?}", &head[..end]);
            }
            assert_eq!(whole(bytes), CheckOutcome::Answered(status), "{head:?}");
            assert_eq!(whole(&[bytes, b"the body"].concat()), CheckOutcome::Answered(status), "{head:?}");
        }
    }

    #[test]
    fn what_is_not_http_is_known_at_once() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"<html>",
            b"220 mail ESMTP\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            b"\0",
        ] {
            assert_eq!(
                whole(bytes),
                CheckOutcome::Failed(CheckFailure::NotHttp),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn tls_is_known_by_its_alert_and_by_an_end_without_a_byte() {
        for alert in [&b"\x15\x03\x01\x00\x02\x02\x46"[..], b"\x15\x03\x03\x00\x02\x02\x16", b"\x15\x03\x01"] {
            assert_eq!(whole(alert), CheckOutcome::Failed(CheckFailure::TlsAlert), "{alert:?}");
        }
        let ended = |bytes: &[u8]| {
            let mut head = AnswerHead::new();
            head.take(bytes);
            head.end()
        };
        assert_eq!(ended(b""), CheckFailure::ClosedAtOnce);
        for text in ["HTTP/1.1 200 OK\r\nA: b", "HTTP/1.1", "H"] {
            assert_eq!(ended(text.as_bytes()), CheckFailure::Closed, "it is clear text: {text}");
        }
        assert_eq!(whole(b"\x16\x03\x01"), CheckOutcome::Failed(CheckFailure::NotHttp));
    }

    #[test]
    fn a_long_head_is_judged_by_its_status_line() {
        let lines = |count: usize| "X: y\r\n".repeat(count);
        for (status, head) in [
            (200, format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(100_000))),
            (200, format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(HEADERS_MAX + 1))),
            (503, format!("HTTP/1.1 503 X\r\n{}\r\n", lines(20_000))),
            (404, format!("HTTP/1.1 404\n{}\n", "X: y\n".repeat(5000))),
            (302, format!("HTTP/1.1 103 X\r\nLink: a\r\n\r\nHTTP/1.1 302 X\r\n{}\r\n", lines(10_000))),
        ] {
            for size in [1, 7, 4096, usize::MAX] {
                // A byte at a time is a parse each; that of the short ones will do.
                if size < 4096 && head.len() > 20_000 {
                    continue;
                }
                let bytes = head.as_bytes();
                assert_eq!(read_in(bytes, size), Some(CheckOutcome::Answered(status)), "{size}");
                assert_eq!(read_in(&bytes[..bytes.len() - 1], size), None, "{status} before its end, {size}");
            }
        }
    }

    #[test]
    fn what_is_read_has_its_limits() {
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'y'; HEAD_MAX]].concat();
        assert_eq!(read_in(&endless[..HEAD_MAX - 1], 4096), None);
        assert_eq!(read_in(&endless, 4096), Some(CheckOutcome::Answered(200)), "the status line alone counts then");
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(KEPT_MAX);
        assert_eq!(read_in(&interim, 4096), Some(CheckOutcome::Failed(CheckFailure::HeadTooLong)));
        let half = [b"HTTP/1.1 103 X\r\nX: ".as_slice(), &[b'y'; KEPT_MAX]].concat();
        assert_eq!(read_in(&half, 4096), Some(CheckOutcome::Failed(CheckFailure::HeadTooLong)));
        let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX));
        assert_eq!(whole(most.as_bytes()), CheckOutcome::Answered(200));
    }
}
