//! What a server answers to a visitor, which may be anything: the same in whatever pieces it comes, and what the client
//! gets can be understood in one way only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use servisor::fuzzing::{AnswerFraming, Answered, RequestContext, BrokenAnswer, Persistence, Version, read_answer};

/// The first byte says what was asked for.
fn asked(byte: u8) -> RequestContext {
    let is_set = |bit: u8| byte & 1 << bit != 0;
    RequestContext {
        is_head: is_set(0),
        version: if is_set(1) { Version::Http10 } else { Version::Http11 },
        persistence: if is_set(2) { Persistence::Close } else { Persistence::KeepAlive },
        is_upgrade: is_set(3),
        port: 3000,
        origin: is_set(4).then(|| b"https://web.example".to_vec()),
        has_body_left: is_set(5),
    }
}

/// As a lane does it, with `step` bytes at a time: the interim answers, and what came behind them.
fn read(bytes: &[u8], step: usize, asked: &RequestContext) -> (usize, Result<Answered, BrokenAnswer>) {
    let (mut input, mut searched, mut skipped) = (Vec::new(), 0, 0);
    let mut pieces = bytes.chunks(step);
    loop {
        match read_answer(&input, searched, asked) {
            Ok(Answered::Interim(length)) => {
                assert!(length <= input.len() && length > 0);
                input.drain(..length);
                (searched, skipped) = (0, skipped + length);
            }
            Ok(Answered::Incomplete) => {
                searched = input.len();
                match pieces.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None => return (skipped, Ok(Answered::Incomplete)),
                }
            }
            end => return (skipped, end),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let asked = asked(*first);
    let (skipped, whole) = read(bytes, bytes.len().max(1), &asked);
    for step in [1, 7, 64] {
        let (others, other) = read(bytes, step, &asked);
        // Which of two faults is seen first depends on what has come.
        assert_eq!((others, other.is_err()), (skipped, whole.is_err()), "in pieces of {step}");
        if whole.is_ok() {
            assert_eq!(other, whole, "in pieces of {step}");
        }
    }
    let (head, is_tunnel) = match &whole {
        Ok(Answered::Final { length, head, framing, in_chunks, .. }) => {
            assert!(skipped + length <= bytes.len());
            assert!(!in_chunks || asked.version == Version::Http11 && *framing != AnswerFraming::Length(0));
            (head, false)
        }
        Ok(Answered::Switch { length, head }) => {
            assert!(asked.is_upgrade && skipped + length <= bytes.len());
            (head, true)
        }
        Ok(Answered::Incomplete | Answered::Interim(_)) | Err(_) => return,
    };
    let mut headers = [httparse::EMPTY_HEADER; 300];
    let mut parsed = httparse::Response::new(&mut headers);
    assert_eq!(parsed.parse(head), Ok(httparse::Status::Complete(head.len())), "the client can't read it");
    let count = |name: &str| parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(count("Content-Length") + count("Transfer-Encoding") <= 1);
    assert!(count("Connection") <= 1 && count("Upgrade") == usize::from(is_tunnel) && count("Alt-Svc") == 0);
    // Understood once more it is the same: there is nothing left to understand in two ways.
    if let Ok(Answered::Final { in_chunks, .. }) = whole {
        let again = RequestContext { persistence: Persistence::KeepAlive, is_upgrade: false, ..asked };
        let Ok(Answered::Final { length, framing, .. }) = read_answer(head, 0, &again) else {
            panic!("it is no answer")
        };
        assert_eq!(length, head.len());
        assert!(!in_chunks || framing == AnswerFraming::Chunks);
    }
});
