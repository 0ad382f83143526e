//! What a client gets of an answer.

use super::super::response::{AnswerFraming, Answered, BrokenAnswer, HEAD_MAX, RequestContext, read};
use crate::http::head::{Persistence, Version};
use crate::http::visit::VisitEnd;

fn asked() -> RequestContext {
    RequestContext {
        is_head: false,
        version: Version::Http11,
        persistence: Persistence::KeepAlive,
        is_upgrade: false,
        port: 3000,
        origin: None,
        has_body_left: false,
    }
}

fn wire(lines: &str) -> String {
    format!("{}\r\n\r\n", lines.replace('\n', "\r\n"))
}

fn answered(lines: &str, asked: &RequestContext) -> Result<Answered, BrokenAnswer> {
    read(wire(lines).as_bytes(), 0, asked)
}

/// The lines of the client's head, and the framing.
#[track_caller]
fn passed(lines: &str, asked: &RequestContext) -> (Vec<String>, AnswerFraming, bool, VisitEnd) {
    let answered = answered(lines, asked).unwrap();
    let Answered::Final { length, head, framing, in_chunks, after, .. } = answered else { panic!("{answered:?}") };
    assert_eq!(length, wire(lines).len());
    let text = String::from_utf8(head).unwrap();
    let text = text.strip_suffix("\r\n\r\n").unwrap();
    (text.split("\r\n").map(str::to_owned).collect(), framing, in_chunks, after)
}

#[track_caller]
fn why(lines: &str) -> &'static str {
    answered(lines, &asked()).unwrap_err().0
}

#[test]
fn each_framing_is_understood_and_made_anew() {
    let (old, head) =
        (RequestContext { version: Version::Http10, ..asked() }, RequestContext { is_head: true, ..asked() });
    let early = RequestContext { has_body_left: true, ..asked() };
    let once = RequestContext { persistence: Persistence::Close, ..asked() };
    let length = "HTTP/1.1 200 OK\nContent-Length: 5";
    let chunks = "HTTP/1.1 200 OK\nTransfer-Encoding: Chunked";
    let to_end = "HTTP/1.0 200 OK\nX: y";
    for (lines, asked, framing, in_chunks, added, after) in [
        (length, asked(), AnswerFraming::Length(5), false, &["Content-Length: 5"][..], VisitEnd::KeepAlive),
        (
            length,
            old,
            AnswerFraming::Length(5),
            false,
            &["Content-Length: 5", "Connection: keep-alive"],
            VisitEnd::KeepAlive,
        ),
        (length, head, AnswerFraming::Length(0), false, &["Content-Length: 5"], VisitEnd::KeepAlive),
        (length, early, AnswerFraming::Length(5), false, &["Content-Length: 5", "Connection: close"], VisitEnd::Linger),
        (length, once, AnswerFraming::Length(5), false, &["Content-Length: 5", "Connection: close"], VisitEnd::Linger),
        (chunks, asked(), AnswerFraming::Chunks, true, &["Transfer-Encoding: chunked"], VisitEnd::KeepAlive),
        (to_end, asked(), AnswerFraming::ToEnd, true, &["X: y", "Transfer-Encoding: chunked"], VisitEnd::KeepAlive),
    ] {
        let (lines, read, chunked, then) = passed(lines, &asked);
        assert_eq!(
            (&lines[1..], read, chunked, then),
            (&added.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()[..], framing, in_chunks, after)
        );
    }
    let old = RequestContext { version: Version::Http10, ..asked() };
    for lines in [chunks, to_end] {
        let (lines, _, in_chunks, after) = passed(lines, &old);
        assert_eq!((lines.last().unwrap().as_str(), in_chunks, after), ("Connection: close", false, VisitEnd::Linger));
    }
    for status in ["204 No Content", "304 Not Modified"] {
        for more in ["", "\nTransfer-Encoding: chunked"] {
            let (lines, framing, in_chunks, after) = passed(&format!("HTTP/1.1 {status}{more}"), &asked());
            assert_eq!(
                (lines.len(), framing, in_chunks, after),
                (1, AnswerFraming::Length(0), false, VisitEnd::KeepAlive)
            );
        }
    }
    assert_eq!(passed("HTTP/1.1 304 Not Modified\nContent-Length: 9", &asked()).0[1], "Content-Length: 9");
}

#[test]
fn what_can_be_understood_in_two_ways_is_no_answer() {
    for (lines, words) in [
        ("HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6", "two different lengths"),
        ("HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked", "both"),
        // hyper RUSTSEC-2021-0020, from the other side.
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked", "more than one"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked", "other than chunked"),
        ("HTTP/1.0 200 OK\nTransfer-Encoding: chunked", "HTTP/1.0"),
        ("HTTP/1.1 200 OK\nContent-Length: +5", "not a number"),
        ("HTTP/1.1 200 OK\nContent-Length: 5, 5", "not a number"),
        ("HTTP/1.1 200 OK\nContent-Length:", "not a number"),
        ("HTTP/1.1 200 OK\nContent-Length: 18446744073709551616", "not a number"),
        ("HTTP/2.0 200 OK", "status line"),
        ("ICY 200 OK", "status line"),
        ("\nHTTP/1.1 200 OK", "status line"),
        ("hello", "status line"),
        ("HTTP/1.1 abc", "status line"),
        ("HTTP/1.1 099 X", "none of HTTP"),
        ("HTTP/1.1 999 X", "none of HTTP"),
        ("HTTP/1.1 200 OK\nA b: c", "can't be read"),
        ("HTTP/1.1 200 OK\nA: b\n c", "can't be read"),
        ("HTTP/1.1 200 OK\nA: b\0c", "can't be read"),
        ("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket", "not asked for"),
    ] {
        assert!(why(lines).contains(words), "{lines}: {}", why(lines));
    }
    assert!(why(&format!("HTTP/1.1 200 OK{}", "\nA: b".repeat(300))).contains("256"));
    // Equal lengths have one meaning.
    assert_eq!(passed("HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5", &asked()).1, AnswerFraming::Length(5));
}

#[test]
fn a_head_is_awaited_only_as_long_as_it_can_become_one() {
    let whole = wire("HTTP/1.1 200 OK\nContent-Length: 5");
    for length in 0..whole.len() {
        assert_eq!(read(&whole.as_bytes()[..length], 0, &asked()), Ok(Answered::Incomplete), "{length}");
    }
    for bytes in ["h", "HTTP/2", "HTTPS/1.1", "\r\n", "\x16\x03\x01", "<html>"] {
        assert!(read(bytes.as_bytes(), 0, &asked()).unwrap_err().0.contains("status line"), "{bytes:?}");
    }
    // Go CVE-2025-22871, in a head: a bare LF ends a line for one parser and not for the other.
    assert!(read(b"HTTP/1.1 200 OK\nA: b\r\n", 0, &asked()).unwrap_err().0.contains("CRLF"));
    let long = wire(&format!("HTTP/1.1 200 OK\nA: {}", "a".repeat(HEAD_MAX)));
    assert!(read(long.as_bytes(), 0, &asked()).unwrap_err().0.contains("64 KiB"));
}

#[test]
fn interim_answers_are_skipped() {
    for status in ["100 Continue", "102 Processing", "103 Early Hints"] {
        let lines = format!("HTTP/1.1 {status}\nLink: </a>");
        assert_eq!(answered(&lines, &asked()), Ok(Answered::Interim(wire(&lines).len())));
    }
}

#[test]
fn a_tunnel_needs_the_consent_to_a_websocket() {
    let upgrade = RequestContext { is_upgrade: true, ..asked() };
    let consent = "HTTP/1.1 101 Switching Protocols\nSec-WebSocket-Accept: x\nConnection: upgrade\nUpgrade: WebSocket";
    let Ok(Answered::Switch { length, head }) = answered(consent, &upgrade) else { panic!() };
    assert_eq!(length, wire(consent).len());
    let expected = "HTTP/1.1 101 Switching Protocols\nSec-WebSocket-Accept: x\nUpgrade: websocket\nConnection: Upgrade";
    assert_eq!(String::from_utf8(head).unwrap(), wire(expected));
    // Pingora CVE-2026-2833: a tunnel before the consent, or without it, carries the client's next request past all
    // rules.
    assert!(answered("HTTP/1.1 101 X\nUpgrade: h2c", &upgrade).is_err());
    assert!(answered("HTTP/1.1 101 X", &upgrade).is_err());
    let (lines, framing, _, after) = passed("HTTP/1.1 200 OK\nContent-Length: 2\nUpgrade: websocket", &upgrade);
    assert_eq!((framing, after), (AnswerFraming::Length(2), VisitEnd::Linger));
    assert_eq!(lines[1..], ["Content-Length: 2", "Connection: close"]);
}

#[test]
fn headers_of_the_servers_own_connection_are_removed() {
    let (lines, ..) = passed(
        "HTTP/1.1 200 Fine, thanks\nConnection: close, X-Inner\nX-Inner: 1\nKeep-Alive: timeout=5\nTrailer: X\n\
         Upgrade: h2\nAlt-Svc: h3=\":443\"\nProxy-Authenticate: Basic\nContent-Length: 0\nServer: me\nX_Odd: kept",
        &asked(),
    );
    assert_eq!(lines, ["HTTP/1.1 200 Fine, thanks", "Server: me", "X_Odd: kept", "Content-Length: 0"]);
}

#[test]
fn where_an_answer_leads() {
    for (url, path) in [
        ("http://localhost:3000/a?b#c", "/a?b#c"),
        ("https://LOCALHOST:3000", "/"),
        ("http://127.0.0.1:3000/a", "/a"),
        ("http://[::1]:3000?x", "/?x"),
        ("//localhost:3000/a", "/a"),
        // Never an open redirect.
        ("http://localhost:3000//evil.example/", "/evil.example/"),
        ("http://localhost:3000/\\evil.example/", "/evil.example/"),
        ("http://localhost:3000\\evil.example/", "/evil.example/"),
        ("http://localhost:3000/\t/evil.example", "/evil.example"),
        ("http://localhost:3000/\t\\\t/evil.example", "/evil.example"),
        // These are the server's own business.
        ("http://localhost:3001/a", "http://localhost:3001/a"),
        ("http://localhost/a", "http://localhost/a"),
        ("http://localhost:3000@evil.example/", "http://localhost:3000@evil.example/"),
        ("http://localhost:3000.evil.example/", "http://localhost:3000.evil.example/"),
        ("https://login.example/?to=http://localhost:3000/", "https://login.example/?to=http://localhost:3000/"),
        ("/a", "/a"),
        ("a", "a"),
        ("//evil.example", "//evil.example"),
    ] {
        let (lines, ..) = passed(&format!("HTTP/1.1 302 Found\nLocation: {url}\nContent-Length: 0"), &asked());
        assert_eq!(lines[1], format!("Location: {path}"));
    }
}

#[test]
fn cookies_lose_the_servers_own_domain() {
    for (given, passed_on) in [
        ("a=b; Domain=localhost; Path=/", "a=b; Path=/"),
        ("a=b; Path=/; domain = .Localhost", "a=b; Path=/"),
        ("a=b;domain=127.0.0.1;Secure", "a=b;Secure"),
        ("a=b; Domain=[::1]", "a=b"),
        ("a=b; Domain=example.com", "a=b; Domain=example.com"),
        ("Domain=localhost; Path=/", "Domain=localhost; Path=/"),
        ("a=b", "a=b"),
    ] {
        let (lines, ..) = passed(&format!("HTTP/1.1 200 OK\nSet-Cookie: {given}\nContent-Length: 0"), &asked());
        assert_eq!(lines[1], format!("Set-Cookie: {passed_on}"));
    }
}

#[test]
fn a_page_may_read_what_its_own_server_allows_it() {
    let own = RequestContext { origin: Some(b"https://web.example".to_vec()), ..asked() };
    for (asked, given, passed_on) in [
        (&own, "http://localhost:3000", "https://web.example"),
        (&own, "http://localhost:3001", "http://localhost:3001"),
        (&own, "*", "*"),
        (&asked(), "http://localhost:3000", "http://localhost:3000"),
    ] {
        let lines = format!("HTTP/1.1 200 OK\nAccess-Control-Allow-Origin: {given}\nContent-Length: 0");
        assert_eq!(passed(&lines, asked).0[1], format!("Access-Control-Allow-Origin: {passed_on}"));
    }
}
