//! The matrix of odd input: what is refused, with which status, and what passes in which form.

use super::*;

/// What the API would see of `request`.
fn seen(request: &[u8]) -> String {
    let answer = Opened::new(FrontLimits::default()).exchange(request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn what_passes_is_written_anew() {
    for (request, canonical) in [
        ("GET /a?b=%20 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /a?b=%20 HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("GET /a HTTP/1.0\r\n\r\n", "GET /a HTTP/1.1\r\n\r\n"),
        (
            "POST /a HTTP/1.1\r\nhost:x\r\nX-Odd: 1\r\nCookie: c\r\nAUTHORIZATION:  Bearer t \r\nContent-Length: 3\r\nTE: x\r\n\
             Connection: close\r\n\r\nabc",
            "POST /a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\nabc",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: x\r\n\r\nabc",
        ),
        ("frob /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "frob /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        assert_eq!(seen(request.as_bytes()), canonical);
    }
}

#[test]
fn what_could_be_understood_in_two_ways_is_refused() {
    let front = Opened::new(FrontLimits::default());
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(5000));
    let endless_target = format!("GET /{}", "a".repeat(20_000));
    let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(17_000));
    let many_headers = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(70));
    let cases: &[(&str, u16)] = &[
        ("GET / HTTP/1.1\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n: x\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: \u{e4}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \u{e4}\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /\u{e4} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("G\u{e4}T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("hello\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000000\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999999\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n", 413),
        (&long_target, 414),
        (&endless_target, 414),
        ("POST / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n", 417),
        (&long_head, 431),
        (&many_headers, 431),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
    ];
    for (request, status) in cases {
        let answer = front.exchange(request.as_bytes());
        let shown = &request[..request.len().min(100)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer:?}");
        assert!(
            answer.contains("Connection: close\r\n") && answer.contains(r#"{"status":"error","error":""#),
            "{answer}"
        );
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
    }
    assert_eq!(front.fake.called.load(Ordering::SeqCst), 0, "none of it may be carried out");
    assert!(front.get("/echo").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_body_that_is_too_large_is_refused_while_it_is_being_sent_and_the_client_sees_why() {
    let front = Opened::new(FrontLimits::default());
    let mut stream = front.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n").unwrap();
    for _ in 0..1000 {
        stream.write_all(&[b'x'; 4000]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn leave_to_send_a_body_is_given_only_to_those_who_may() {
    let front = Opened::new(FrontLimits::default());
    let mut stream = front.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(read_some(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    assert!(read_some(&mut stream).starts_with("HTTP/1.1 200 "));
    let too_much = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n";
    assert!(front.exchange(too_much.as_bytes()).starts_with("HTTP/1.1 413 "));
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let front = Opened::new(FrontLimits::default());
    let answer = front.exchange(b"HEAD /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.contains("Content-Length: 0"), "{answer}");
}

#[test]
fn a_request_in_any_split_is_the_same_request() {
    let request = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let front = Opened::new(FrontLimits::default());
    let whole = front.exchange(request);
    for step in [1, 2, 3, 7, 50] {
        let mut stream = front.connect();
        stream.set_nodelay(true).unwrap();
        for part in request.chunks(step) {
            stream.write_all(part).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, whole, "{step}");
    }
}
