//! A request's head and body as the front reads them: the same in whatever pieces they come, and what is passed on can
//! be read in one way only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use servisor::fuzzing::{Chunked, Expects, BodyFraming, Head, FrontLimits, BodyProgress, Refusal, end, vet};

/// Small, so that inputs of a few hundred bytes reach them.
fn limits() -> FrontLimits {
    FrontLimits { head: 512, target: 64, body: 256, ..FrontLimits::default() }
}

#[derive(Debug, PartialEq)]
enum Read {
    Whole(Head, Vec<u8>, Vec<u8>),
    Unfinished,
    Refused(Refusal),
}

/// As `connection` does it, with `step` bytes at a time.
fn read(bytes: &[u8], step: usize) -> Read {
    let limits = limits();
    let mut pieces = bytes.chunks(step);
    let (mut input, mut searched) = (Vec::new(), 0);
    let mut head = None;
    let mut chunked = Chunked::new(limits.body);
    loop {
        if head.is_none() {
            match end(&input, searched, &limits) {
                Err(refusal) => return Read::Refused(refusal),
                Ok(None) => searched = input.len(),
                Ok(Some(end)) => match vet(&input[..end], &limits) {
                    Err(refusal) => return Read::Refused(refusal),
                    Ok(vetted) => {
                        input.drain(..end);
                        head = Some(vetted);
                    }
                },
            }
        }
        match head.as_ref().map(|head| head.framing) {
            None => {}
            Some(BodyFraming::Length(length)) if input.len() >= length => {
                let rest = input.split_off(length);
                return Read::Whole(head.unwrap(), input, [&rest, &pieces.collect::<Vec<_>>().concat()[..]].concat());
            }
            Some(BodyFraming::Length(_)) => {}
            Some(BodyFraming::Chunks) => match chunked.take(&mut input) {
                Err(refusal) => return Read::Refused(refusal),
                Ok(BodyProgress::Incomplete) => {}
                Ok(BodyProgress::Complete) => {
                    input.extend(pieces.flatten());
                    return Read::Whole(head.unwrap(), chunked.into_body(), input);
                }
            },
        }
        match pieces.next() {
            Some(piece) => input.extend_from_slice(piece),
            None => return Read::Unfinished,
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1));
    for step in [1, 2, 7, 64] {
        assert_eq!(read(bytes, step), whole, "in pieces of {step}");
    }
    let Read::Whole(head, body, _) = whole else { return };
    assert!(body.len() <= limits().body);
    // What is passed on is vetted once more, and comes out as it is: there is nothing left to understand in two ways.
    let passed = head.canonical;
    let limits = FrontLimits { head: 4096, ..limits() };
    // With HTTP/1.0 there may be none; a request that needs to know it is refused.
    if !passed.windows(8).any(|part| part == b"\r\nHost: ") {
        return;
    }
    assert_eq!(end(&passed, 0, &limits), Ok(Some(passed.len())));
    assert!(passed.is_ascii(), "tiny_http drops the connection");
    let vetted = vet(&passed, &limits).expect("it does not pass a second time");
    assert_eq!(vetted.framing, BodyFraming::Length(0));
    assert_eq!(vetted.expects, Expects::Nothing);
    assert_eq!(vetted.canonical, passed);
});
