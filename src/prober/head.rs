//! What is said in a probe: the request, and the head of the answer.
//!
//! Owns: the bytes. Never: a socket, a judgement about the status. Pure.

use httparse::{EMPTY_HEADER, ParserConfig, Response, Status};

use crate::model::health::{Failure, Outcome};
use crate::model::spec::HealthCheck;

/// So many bytes of an answer are read at most, interim answers included (nginx and Node allow their peers as much).
pub const ANSWER_MAX: usize = 16 * 1024;
/// More than Apache and nginx let a program send.
const HEADERS_MAX: usize = 200;

/// The request of a check. `Host` is `localhost`, whatever the address: dev servers refuse names that they don't know, and
/// all of them know this one.
pub fn request(check: &HealthCheck, port: u16) -> Vec<u8> {
    let (path, version) = (&check.path, env!("CARGO_PKG_VERSION"));
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: servisor/{version}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    text.into_bytes()
}

/// What the first bytes of an answer say; `None` while the head is not complete. Interim answers are passed over.
pub fn read(mut bytes: &[u8]) -> Option<Outcome> {
    let is_full = bytes.len() >= ANSWER_MAX;
    loop {
        match read_one(bytes) {
            One::Partial if is_full => return Some(Outcome::Failed(Failure::HeadTooLong)),
            One::Partial => return None,
            One::Interim { length } => bytes = bytes.get(length..).unwrap_or_default(),
            One::Final(outcome) => return Some(outcome),
        }
    }
}

/// One head out of possibly several.
enum One {
    /// It goes on.
    Partial,
    /// Another one follows after so many bytes.
    Interim { length: usize },
    /// The last one.
    Final(Outcome),
}

fn read_one(bytes: &[u8]) -> One {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    // Whether the server is careful about its headers is not the question.
    let parsed = ParserConfig::default().ignore_invalid_headers_in_responses(true).parse_response(&mut response, bytes);
    match (parsed, response.code) {
        (Ok(Status::Partial), _) => One::Partial,
        // With 101 the head is over, and something else than HTTP begins.
        (Ok(Status::Complete(length)), Some(100 | 102..200)) => One::Interim { length },
        (Ok(Status::Complete(_)), Some(status)) => One::Final(Outcome::Answered(status)),
        (Err(httparse::Error::TooManyHeaders), _) => One::Final(Outcome::Failed(Failure::HeadTooLong)),
        (Ok(Status::Complete(_)), None) | (Err(_), _) => One::Final(Outcome::Failed(Failure::NotHttp)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn whole(bytes: &[u8]) -> Outcome {
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
            assert_eq!(whole(bytes), Outcome::Answered(status), "{head:?}");
            assert_eq!(whole(&[bytes, b"the body"].concat()), Outcome::Answered(status), "{head:?}");
        }
    }

    #[test]
    fn what_is_not_http_is_known_at_once() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"\x15\x03\x01\x00\x02\x02\x46",
            b"<html>",
            b"220 mail ESMTP\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            b"\0",
        ] {
            assert_eq!(whole(bytes), Outcome::Failed(Failure::NotHttp), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_head_has_its_limits() {
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'y'; ANSWER_MAX]].concat();
        assert_eq!(read(&endless[..ANSWER_MAX - 1]), None);
        assert_eq!(whole(&endless[..ANSWER_MAX]), Outcome::Failed(Failure::HeadTooLong));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(ANSWER_MAX);
        assert_eq!(whole(&interim[..ANSWER_MAX]), Outcome::Failed(Failure::HeadTooLong));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(whole(many.as_bytes()), Outcome::Failed(Failure::HeadTooLong));
        let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX));
        assert_eq!(whole(most.as_bytes()), Outcome::Answered(200));
    }
}
