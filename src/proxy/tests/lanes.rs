//! The lanes between two pairs of sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use super::super::lane::{Lane, LaneError, Needs};
use super::super::response::{BrokenAnswer, RequestContext};
use crate::http::budget::{Budget, Share};
use crate::http::head::{Persistence, Version};
use crate::http::visit::VisitEnd;

/// The ends of a lane's source and sink: what is written to the first comes out of the second.
struct Ends {
    theirs: [UnixStream; 2],
    ours: [UnixStream; 2],
}

impl Ends {
    fn new() -> Ends {
        let [(source, ours), (sink, theirs)] = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
        for socket in [&ours, &sink, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        Ends { theirs: [source, theirs], ours: [ours, sink] }
    }

    fn pump(&self, lane: &mut Lane) -> Result<Needs, LaneError> {
        loop {
            match lane.pump(&self.ours[0], &self.ours[1]) {
                Ok(Needs::Turn) => {}
                Ok(Needs::EndCheck) => lane.confirm_end(),
                other => return other,
            }
        }
    }

    /// All that has come out of the sink.
    fn got(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.theirs[1].read_to_end(&mut all);
        all
    }
}

fn share() -> Share {
    Budget::new(0).share()
}

fn asked(version: Version, is_upgrade: bool) -> RequestContext {
    RequestContext {
        is_head: false,
        version,
        persistence: Persistence::KeepAlive,
        is_upgrade,
        port: 1,
        origin: None,
        has_body_left: false,
    }
}

/// What the client gets of `wire`, which comes in pieces of `step` bytes, and how that ends.
fn answered(wire: &[u8], step: usize, version: Version) -> (Vec<u8>, Result<Needs, LaneError>) {
    let mut ends = Ends::new();
    let mut lane = Lane::of_answer(asked(version, false), b"", share());
    let (mut got, mut result) = (Vec::new(), Ok(Needs::Source));
    for piece in wire.chunks(step) {
        ends.theirs[0].write_all(piece).unwrap();
        result = ends.pump(&mut lane);
        got.extend(ends.got());
        if result != Ok(Needs::Source) {
            return (got, result);
        }
    }
    ends.theirs[0].shutdown(Shutdown::Write).unwrap();
    if result == Ok(Needs::Source) {
        result = ends.pump(&mut lane);
        got.extend(ends.got());
    }
    (got, result)
}

/// A body in chunks, whatever their sizes.
fn unchunked(mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = wire.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(&wire[..end]).ok()?, 16).ok()?;
        wire = &wire[end + 2..];
        body.extend_from_slice(wire.get(..size)?);
        assert_eq!(wire.get(size..size + 2)?, b"\r\n");
        wire = &wire[size + 2..];
        if size == 0 {
            return wire.is_empty().then_some(body);
        }
    }
}

#[test]
fn an_answer_is_the_same_in_whatever_pieces_it_comes() {
    let chunks = b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde";
    let to_end = b"HTTP/1.0 200 OK\r\n\r\nabcde";
    for wire in [&chunks[..], length, to_end] {
        for step in 1..=wire.len() {
            let (got, result) = answered(wire, step, Version::Http11);
            let end = got.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
            let head = String::from_utf8_lossy(&got[..end]);
            let body = if head.contains("chunked") { unchunked(&got[end..]) } else { Some(got[end..].to_vec()) };
            assert_eq!((body.as_deref(), result), (Some(&b"abcde"[..]), Ok(Needs::Nothing)), "{step} {head}");
            let (got, result) = answered(wire, step, Version::Http10);
            assert!(got.ends_with(b"\r\n\r\nabcde") && result == Ok(Needs::Nothing), "{step}");
        }
    }
}

#[test]
fn what_ends_too_early_has_no_end() {
    for (wire, error) in [
        (&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"[..], LaneError::CutOff),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc", LaneError::Unreadable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", LaneError::Unreadable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", LaneError::CutOff),
        (b"HTTP/1.1 200 OK\r\nContent", LaneError::CutOff),
        (b"", LaneError::CutOff),
    ] {
        for step in [1, 5, 100] {
            let (got, result) = answered(wire, step, Version::Http11);
            let expected = match error {
                // The client has nothing of it yet, and gets a reason.
                LaneError::Unreadable if got.is_empty() => {
                    LaneError::Broken(BrokenAnswer("has chunks that can't be read"))
                }
                other => other,
            };
            assert_eq!(result, Err(expected), "{step}");
            assert!(!got.ends_with(b"0\r\n\r\n"), "{got:?}");
        }
    }
}

/// The run may have been killed: what has come is passed on, and no end.
#[test]
fn an_end_that_is_not_meant_is_none() {
    for version in [Version::Http11, Version::Http10] {
        let mut ends = Ends::new();
        let mut lane = Lane::of_answer(asked(version, false), b"", share());
        ends.theirs[0].write_all(b"HTTP/1.1 200 OK\r\n\r\nabc").unwrap();
        ends.theirs[0].shutdown(Shutdown::Write).unwrap();
        // The head, with which the body has come.
        assert_eq!(lane.pump(&ends.ours[0], &ends.ours[1]), Ok(Needs::Source));
        for _ in 0..2 {
            assert_eq!(lane.pump(&ends.ours[0], &ends.ours[1]), Ok(Needs::EndCheck));
        }
        let got = String::from_utf8(ends.got()).unwrap();
        assert!(got.trim_end().ends_with("abc"), "{got}");
    }
}

/// A short answer is one write: the client is woken once.
#[test]
fn what_comes_with_a_head_goes_with_it() {
    for (wire, body) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"[..], &b"abcde"[..]),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
            b"5\r\nabcde\r\n0\r\n\r\n",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    ] {
        let mut ends = Ends::new();
        // Each write is a message of its own.
        let (sink, theirs) = UnixDatagram::pair().unwrap();
        ends.ours[1] = UnixStream::from(OwnedFd::from(sink));
        let mut lane = Lane::of_answer(asked(Version::Http11, false), b"", share());
        ends.theirs[0].write_all(wire).unwrap();
        assert_eq!((lane.first_need(), ends.pump(&mut lane)), (Needs::Source, Ok(Needs::Nothing)));
        let mut got = vec![0; 1024];
        let count = theirs.recv(&mut got).unwrap();
        got.truncate(count);
        assert!(got.ends_with(&[b"\r\n\r\n", body].concat()), "{}", String::from_utf8_lossy(&got));
    }
}

#[test]
fn bodies_of_requests_leave_what_follows_them() {
    for (length, wire, body) in [
        (Some(3), &b"abcGET /next"[..], &b"abc"[..]),
        (None, b"3\r\nabc\r\n0\r\n\r\nGET /next", b"3\r\nabc\r\n0\r\n\r\n"),
        (Some(0), b"GET /next", b""),
    ] {
        for read in [0, 2, wire.len()] {
            let mut ends = Ends::new();
            let mut lane = Lane::of_request(b"head;".to_vec(), length, wire[..read].to_vec(), share());
            ends.theirs[0].write_all(&wire[read..]).unwrap();
            assert_eq!(ends.pump(&mut lane), Ok(Needs::Nothing));
            let got = ends.got();
            let rest = got.strip_prefix(b"head;").unwrap();
            match length {
                Some(_) => assert_eq!(rest, body),
                None => assert_eq!(unchunked(rest).as_deref(), Some(&b"abc"[..])),
            }
            assert!(lane.is_over());
            // The rest is read, or still in the socket.
            let mut next = lane.into_rest();
            let _ = (&ends.ours[0]).read_to_end(&mut next);
            assert_eq!(next, b"GET /next", "{length:?} {read}");
        }
    }
}

#[test]
fn a_sink_that_takes_nothing_holds_one_piece() {
    let memory = Budget::new(1024 * 1024);
    let mut ends = Ends::new();
    let mut lane = Lane::of_request(Vec::new(), Some(u64::MAX), Vec::new(), memory.share());
    let piece = vec![b'x'; 8 * 1024 * 1024];
    ends.theirs[0].set_nonblocking(true).unwrap();
    let (mut sent, mut taken) = (0, 0);
    loop {
        let more = ends.theirs[0].write(&piece).unwrap_or(0);
        let needs = ends.pump(&mut lane).unwrap();
        sent += more;
        taken += lane.moved;
        if more == 0 && needs == Needs::Sink {
            break;
        }
    }
    assert!(sent > taken, "{sent} {taken}");
    assert!(memory.free() < 1024 * 1024, "its pieces became larger");
    lane.give_back();
    assert!(!lane.has_buffer(), "it waits without a memory of its own but for what is on its way");
    let got = ends.got().len();
    assert!(got > 0 && ends.pump(&mut lane).is_ok() && !ends.got().is_empty(), "it continues where it has stopped");
    while ends.pump(&mut lane) != Ok(Needs::Source) {
        ends.got();
    }
    assert!(lane.has_buffer(), "what comes next needs no new memory");
    lane.give_back();
    assert_eq!((memory.free(), lane.has_buffer()), (1024 * 1024, false));
}

/// An attack: what came behind a large chunked body was kept outside all limits, 126 KiB of it.
#[test]
fn requests_behind_a_chunked_body_are_kept_in_a_piece() {
    let chunk = [b"40000\r\n".to_vec(), vec![b'x'; 0x40000], b"\r\n".to_vec()].concat();
    let next = b"GET /next".repeat(30_000);
    let wire = [&chunk.repeat(8)[..], b"0\r\n\r\n", &next].concat();
    let memory = Budget::new(1024 * 1024);
    let mut ends = Ends::new();
    ends.theirs[0].set_nonblocking(true).unwrap();
    let mut lane = Lane::of_request(Vec::new(), None, Vec::new(), memory.share());
    let (mut sent, mut largest) = (0, 0);
    while ends.pump(&mut lane) != Ok(Needs::Nothing) {
        ends.got();
        sent += (&ends.theirs[0]).write(&wire[sent..]).unwrap_or(0);
        largest = largest.max(1024 * 1024 - memory.free());
    }
    assert!(largest > 0, "its pieces became larger");
    let rest = lane.into_rest();
    assert!(next.starts_with(&rest) && rest.len() <= 16 * 1024 && rest.capacity() == rest.len(), "{}", rest.capacity());
}

#[test]
fn nothing_of_a_client_passes_before_the_consent() {
    let mut ends = Ends::new();
    let mut up = Lane::of_upgrade(b"head;".to_vec(), b"early;".to_vec(), share());
    ends.theirs[0].write_all(b"more").unwrap();
    assert_eq!(ends.pump(&mut up), Ok(Needs::Consent));
    assert_eq!(ends.got(), b"head;");
    up.release();
    assert_eq!(ends.pump(&mut up), Ok(Needs::Source));
    assert_eq!(ends.got(), b"early;more");
    let mut answer = Ends::new();
    let mut down = Lane::of_answer(asked(Version::Http11, true), b"", share());
    answer.theirs[0].write_all(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\nframe").unwrap();
    assert_eq!(answer.pump(&mut down), Ok(Needs::Source));
    assert!(down.has_switched && down.after == Some(VisitEnd::Close));
    assert!(answer.got().ends_with(b"Connection: Upgrade\r\n\r\nframe"));
}

#[test]
fn damaged_answers_are_the_same_in_whatever_pieces_they_come() {
    let whole = b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nLocation: http://localhost:1//a\r\nSet-Cookie: a=b; Domain=localhost\r\n\
                  Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
    let mut seed: u64 = 7;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..400 {
        let mut wire = whole.to_vec();
        for _ in 0..=next(3) {
            let at = next(wire.len());
            match next(3) {
                0 => wire[at] = b"\r\n:; \0\x80H05a"[next(11)],
                1 => drop(wire.remove(at)),
                _ => wire.insert(at, b"\r\n:; \0\x80H05a"[next(11)]),
            }
        }
        let (got, result) = answered(&wire, wire.len(), Version::Http10);
        let (in_pieces, ended) = answered(&wire, 1 + next(9), Version::Http10);
        assert_eq!(result.is_ok(), ended.is_ok(), "{:?}", String::from_utf8_lossy(&wire));
        if result.is_ok() {
            assert_eq!(got, in_pieces, "{:?}", String::from_utf8_lossy(&wire));
        }
    }
}
