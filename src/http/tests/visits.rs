//! Requests that are not for the API.

use std::sync::Arc;

use super::super::visit::{VisitEnd, VisitRequest, VisitService, Visitors};
use super::*;

/// Serves the host `v`, by the head and what was read after it.
struct FakeVisits(Arc<Visitors>);

impl VisitService for FakeVisits {
    fn claims(&self, host: Option<&[u8]>) -> bool {
        host == Some(b"v")
    }

    fn serve(&self, request: VisitRequest<'_>) -> VisitEnd {
        let body = format!("visit of {} bytes, {} connections", request.head.len(), self.0.count());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        request.socket().write_all((head + &body).as_bytes()).unwrap();
        if request.head.starts_with(b"GET /last") { VisitEnd::Close } else { VisitEnd::KeepAlive }
    }

    fn visitors(&self) -> &Arc<Visitors> {
        &self.0
    }
}

fn open(most: usize) -> Opened {
    Opened::with(FrontLimits::default(), Some(Arc::new(FakeVisits(Visitors::new(most)))))
}

#[test]
fn one_connection_serves_the_api_and_visitors() {
    let front = open(1);
    let answers = front.exchange_open(
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: v\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\r\n\
          GET /last HTTP/1.1\r\nHost: v\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    let at = |text: &str| answers.find(text).unwrap_or_else(|| panic!("{text:?} is not in {answers:?}"));
    assert!(at("GET /1 ") < at("visit of 28 bytes, 1 connections") && at("visit of 28") < at("GET /3 "), "{answers}");
    assert!(at("GET /3 ") < at("visit of 31 bytes") && !answers.contains("never"), "{answers}");
    assert_eq!(front.fake.admitted.load(Ordering::SeqCst), 2);
}

#[test]
fn the_limits_of_a_head_are_those_of_the_host() {
    let front = open(8);
    let head = |host: &str, length: usize| {
        let head = format!("GET /last HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX: ");
        head.clone() + &"a".repeat(length - head.len() - 4) + "\r\n\r\n"
    };
    for (host, length, status) in [
        ("v", 32 * 1024 - 1, "200"),
        ("v", 32 * 1024 + 1, "431"),
        ("x", 16 * 1024 - 1, "200"),
        ("x", 16 * 1024 + 1, "431"),
    ] {
        let answer = front.exchange(head(host, length).as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host} {length}: {answer}");
    }
    // One that can't be read, or has two hosts, belongs to none: it is refused.
    for host in ["v\r\nHost: v", "v\r\nHost: x", "v\r\nX y: z"] {
        let answer = front.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host:?}: {answer}");
    }
}

#[test]
fn too_many_visitors_are_refused_and_the_api_answers() {
    let front = open(0);
    let answer = front.exchange(b"GET / HTTP/1.1\r\nHost: v\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1\r\n"), "{answer}");
    assert!(front.get("/echo").starts_with("HTTP/1.1 200 "));
}

#[test]
fn visits_of_owners_do_not_lock_the_api() {
    let limits = FrontLimits { connections: 8, ..FrontLimits::default() };
    let front = Opened::with(limits, Some(Arc::new(FakeVisits(Visitors::new(64)))));
    let ask = |stream: &mut TcpStream, host: &str| {
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer t\r\n\r\n").as_bytes())?;
        let mut buffer = [0; 4096];
        stream.read(&mut buffer)
    };
    // One after the other: a connection without a request gives way to the next ones.
    let mut owners: Vec<TcpStream> = Vec::new();
    for _ in 0..20 {
        let mut owner = front.connect();
        assert!(ask(&mut owner, "x").unwrap() > 0 && ask(&mut owner, "v").unwrap() > 0);
        owners.push(owner);
    }
    for owner in &mut owners {
        let _ = ask(owner, "x");
        assert!(front.get("/health").starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_refusal_has_the_figures_of_whom_the_head_is_for() {
    let front = open(8);
    for (host, target, more, status, figures) in [
        ("v", 1, "X: a\r\n".repeat(100), 431, "32 KiB or more than 100"),
        ("x", 1, "X: a\r\n".repeat(100), 431, "16 KiB or more than 64"),
        ("v", 1, format!("X: {}\r\n", "a".repeat(33 * 1024)), 431, "32 KiB or more than 100"),
        ("x", 1, format!("X: {}\r\n", "a".repeat(33 * 1024)), 431, "16 KiB or more than 64"),
        ("v", 20 * 1024, format!("X: {}\r\n", "a".repeat(15 * 1024)), 414, "longer than 16 KiB"),
        ("x", 20 * 1024, String::new(), 414, "longer than 4 KiB"),
    ] {
        let head = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n", "a".repeat(target));
        let answer = front.exchange(head.as_bytes());
        let is_so = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(figures);
        assert!(is_so, "{host} {status} {figures}: {answer}");
    }
}
