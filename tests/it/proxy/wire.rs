//! What has broken other proxies, as requests and as answers of a server.

use super::*;

#[test]
fn requests_that_could_be_understood_in_two_ways_do_not_pass() {
    let proxied = Proxied::start(&[]);
    for (head, status) in [
        ("POST /count HTTP/1.1\nTransfer-Encoding: xchunked", 501),
        ("POST /count HTTP/1.1\nTransfer-Encoding: gzip, chunked", 501),
        ("POST /count HTTP/1.1\nTransfer-Encoding: chunked\nTransfer-Encoding: identity", 400),
        ("POST /count HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 5", 400),
        ("POST /count HTTP/1.1\nContent-Length: 5\nContent-Length: 6", 400),
        ("GET http://web.localhost/head HTTP/1.1", 400),
        ("GET /head#a?servisor_key=1 HTTP/1.1", 400),
        ("CONNECT web.localhost:80 HTTP/1.1", 405),
        ("TRACE / HTTP/1.1", 405),
        ("GET /head HTTP/1.1\nExpect: 200-ok", 417),
        ("GET /head HTTP/1.1\nX-Servisor-Hops: 5", 508),
    ] {
        let answer = proxied.open(head).answer();
        assert_eq!(answer.status, status, "{head}: {}", answer.text());
    }
    // Go CVE-2025-22871: a bare LF ends the size of a chunk, or what stands behind it, for one and not for the other.
    // The last is more than any number has room for: 2^64 and three.
    for chunk in ["3\nabc\r\n", "3;a\nb\r\nabc\r\n", "3\r\nabc\n", "10000000000000003\r\nabc\r\n"] {
        let mut visitor = proxied.open("POST /count HTTP/1.1\nTransfer-Encoding: chunked");
        visitor.send(format!("{chunk}0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n").as_bytes());
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("Connection")), (400, Some("close")), "{chunk:?}: {}", answer.text());
        assert_eq!(visitor.rest(), "", "{chunk:?}");
    }
    // tinyproxy #616: a coding spelled in another way is one all the same, and no second request is seen in the body.
    let mut visitor = proxied.open("POST /count HTTP/1.1\nConnection: close\nTransfer-Encoding: cHUNKED");
    visitor.send(b"1c\r\nGET /smuggled HTTP/1.1\r\n\r\n\r\n\r\n0\r\n\r\n");
    assert_eq!(visitor.answer().text(), "28");
    assert!(!proxied.daemon.client.logs("web", "").contains("smuggled"));
    assert_eq!(proxied.get("/head").status, 200);
}

#[test]
fn answers_that_could_be_understood_in_two_ways_are_none() {
    let proxied = Proxied::start(&[]);
    for (answer, words) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab", "two different lengths"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "both"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "more than one",
        ),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nab", "CRLF"),
        ("HTTP/0.9 200\r\n\r\n", "status line"),
        ("hello", "status line"),
        ("\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "status line"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "not asked for"),
        ("", "without an answer"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "without an answer"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "without an answer"),
    ] {
        let got = proxied.get(&raw(answer));
        assert_eq!(got.status, 502, "{answer:?}: {}", got.text());
        assert!(got.json()["error"].as_str().unwrap().contains(words), "{answer:?}: {}", got.text());
    }
    // The framing is broken. If that has come with the head, nothing is passed on; if it has come later, there is no last
    // chunk.
    for chunks in [
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "zz\r\n",
        "3\r\nab",
    ] {
        let path = raw(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        let rest = proxied.open(&format!("GET {path} HTTP/1.1\nConnection: close")).rest();
        let is_refused = rest.starts_with("HTTP/1.1 502 ") && rest.contains("has chunks that can't be read");
        let is_cut = rest.starts_with("HTTP/1.1 200 ") && !rest.ends_with("0\r\n\r\n");
        assert!(is_refused || is_cut, "{chunks:?}: {rest:?}");
    }
    let short = raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    let rest = proxied.open(&format!("GET {short} HTTP/1.1")).rest();
    assert!(rest.contains("Content-Length: 10\r\n") && rest.ends_with("\r\n\r\nabc"), "{rest:?}");
}

#[test]
fn each_framing_comes_through() {
    let proxied = Proxied::start(&[]);
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\nmore", "abc"),
        ("HTTP/1.0 200 OK\r\n\r\nabc", "abc"),
        ("HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
        ("HTTP/1.1 204 No Content\r\n\r\nabc", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", ""),
    ] {
        for before in ["", interim] {
            let path = raw(&format!("{before}{answer}"));
            let has_body = !body.is_empty();
            let old = proxied.open(&format!("GET {path} HTTP/1.0")).rest();
            assert!(old.starts_with("HTTP/1.1 ") && !old.contains("chunked") && !old.contains("Link"), "{old}");
            assert!(old.ends_with(&format!("\r\n\r\n{body}")), "{old:?}");
            let mut visitor = proxied.open(&format!("GET {path} HTTP/1.1"));
            if has_body {
                assert_eq!(visitor.answer().text(), body);
            } else {
                visitor.read_to("\r\n\r\n");
            }
            // The connection is kept, and what the server has sent beyond its answer is on none.
            visitor.ask("HEAD /big/7 HTTP/1.1");
            assert!(visitor.read_to("\r\n\r\n").contains("Content-Length: 7\r\n"));
            visitor.ask("GET /head HTTP/1.1");
            assert_eq!(visitor.answer().status, 200);
        }
    }
}

#[test]
fn an_answer_before_the_body_was_read_ends_the_connection() {
    let proxied = Proxied::start(&[]);
    // CVE-2025-4366 of Pingora: what was left of the body was taken for the next request.
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n";
    let mut visitor = proxied.open("POST /early HTTP/1.1\nContent-Length: 2000000");
    visitor.send(smuggled);
    let answer = visitor.answer();
    assert_eq!((answer.text().as_str(), answer.header("Connection")), ("early", Some("close")), "{}", answer.head);
    visitor.send(smuggled);
    assert_eq!(visitor.rest(), "");
    // The same with an answer that the proxy gives in place of a server's.
    for (head, status) in [
        ("POST / HTTP/1.1\nHost: nope.localhost\nContent-Length: 2000", 404),
        ("POST / HTTP/1.1\nHost: nope.localhost\nTransfer-Encoding: chunked", 404),
        ("POST / HTTP/1.1\nX-Servisor-Hops: 5\nContent-Length: 2000", 508),
        ("TRACE / HTTP/1.1\nContent-Length: 2000", 405),
        ("POST /raw/00 HTTP/1.1\nContent-Length: 2000", 502),
    ] {
        let mut visitor = proxied.open(head);
        visitor.send(smuggled);
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("Connection")), (status, Some("close")), "{head}: {}", answer.head);
        assert_eq!(visitor.rest(), "", "{head}");
    }
    assert!(!proxied.daemon.client.logs("web", "").contains("smuggled"));
}

#[test]
fn a_client_that_expects_100_gets_it_from_the_proxy_alone() {
    let proxied = Proxied::start(&[]);
    let mut visitor = proxied.open("POST /count HTTP/1.1\nExpect: 100-continue\nContent-Length: 3");
    assert_eq!(visitor.read_to("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    visitor.send(b"abc");
    assert_eq!(visitor.answer().text(), "3");
    // CVE-2024-24791 of Go: after another answer than 100 the connection was in disorder.
    visitor.ask("POST /early HTTP/1.1\nExpect: 100-continue\nContent-Length: 3");
    assert_eq!(visitor.read_to("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(visitor.answer().text(), "early");
    visitor.send(b"GET /head HTTP/1.1\r\nHost: web.localhost\r\n\r\n");
    assert_eq!(visitor.rest(), "");
    assert!(!proxied.get("/head").text().contains("Expect"));
    // Nothing is asked of a client whose request is refused.
    let refused = proxied.open("POST / HTTP/1.1\nHost: nope.localhost\nExpect: 100-continue\nContent-Length: 3").rest();
    assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
}
