use super::*;
use crate::testing::Scratch;

impl Scratch {
    fn is_empty(&self) -> bool {
        fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

fn url(read: &ParsedRequest) -> &str {
    read.request().unwrap().url()
}

#[test]
fn heads_are_read_one_after_the_other_while_requests_are_still_being_answered() {
    let directory = Scratch::new();
    let mut parser = Parser::open(&directory.0, "a.sock").unwrap();
    let mut kept = Vec::new();
    for number in 0..200 {
        let read = parser.read(format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(url(&read), format!("/{number}"));
        // In whatever order they are over.
        if number % 3 == 0 {
            kept.insert(kept.len() / 2, read);
        }
    }
    drop(kept);
    assert_eq!(url(&parser.read(b"POST /last HTTP/1.1\r\n\r\n").unwrap()), "/last");
    assert!(!parser.has_written(), "tiny_http has answered something");
}

#[test]
fn its_socket_has_no_name_afterwards_in_a_directory_with_a_long_name_either() {
    for name in ["short", &"-long".repeat(30)] {
        let outer = Scratch::new();
        let directory = Scratch(outer.0.join(name));
        fs::create_dir(&directory.0).unwrap();
        let mut parser = Parser::open(&directory.0, "a.sock").unwrap();
        assert!(directory.is_empty());
        assert_eq!(url(&parser.read(b"GET /a HTTP/1.1\r\n\r\n").unwrap()), "/a");
        // A file that an earlier daemon has left is replaced.
        fs::write(directory.0.join("a.sock"), "").unwrap();
        Parser::open(&directory.0, "a.sock").unwrap();
        assert!(directory.is_empty());
    }
}

#[test]
fn what_tiny_http_does_not_read_is_an_error_soon() {
    let directory = Scratch::new();
    for odd in
        [&b"\xff\xff\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nExpect: x\r\n\r\n"]
    {
        let mut parser = Parser::open(&directory.0, "a.sock").unwrap();
        // After all looks in vain it would be another one.
        let error = parser.read(odd).map(|read| url(&read).to_owned()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other, "{odd:?}: {error}");
    }
}

#[test]
fn without_a_directory_there_is_none() {
    let directory = Scratch::new();
    assert!(Parser::open(&directory.0.join("none"), "a.sock").is_err());
    assert!(Parser::open(&directory.0, &"long".repeat(50)).is_err());
    assert!(directory.is_empty());
}

#[test]
fn a_parser_that_fails_costs_no_request_that_a_fresh_one_can_read() {
    let directory = Scratch::new();
    let parsers = Parsers::new(&directory.0).unwrap();
    // tiny_http answers this one by itself and ends the connection: the next head goes to a parser that is dead.
    for _ in 0..3 {
        parsers.break_one();
        assert_eq!(url(&parsers.read(b"GET /a HTTP/1.1\r\n\r\n").unwrap()), "/a");
        assert_eq!(parsers.count(), 1);
    }
}

#[test]
fn parsers_that_fail_one_after_the_other_do_not_pile_up() {
    let directory = Scratch::new();
    let parsers = Parsers::new(&directory.0).unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        assert!(parsers.read(b"\xff\xff\r\n\r\n").is_err());
    }
    assert_eq!(url(&parsers.read(b"GET /a HTTP/1.1\r\n\r\n").unwrap()), "/a");
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(parsers.count(), 1);
}

#[test]
fn a_rush_makes_more_parsers_which_are_closed_after_it() {
    let directory = Scratch::new();
    let parsers = Parsers::new(&directory.0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for number in 0..200 {
                    let head = format!("GET /{number} HTTP/1.1\r\n\r\n");
                    assert_eq!(url(&parsers.read(head.as_bytes()).unwrap()), format!("/{number}"));
                }
            });
        }
    });
    assert!(parsers.count() <= 4);
    parsers.close_idle();
    assert_eq!(parsers.count(), 1);
    assert_eq!(url(&parsers.read(b"GET /a HTTP/1.1\r\n\r\n").unwrap()), "/a");
}

#[test]
fn a_parser_that_is_slow_gets_others_beside_it() {
    let directory = Scratch::new();
    let parsers = Parsers::new(&directory.0).unwrap();
    let held = parsers.take().unwrap();
    assert_eq!(url(&parsers.read(b"GET /a HTTP/1.1\r\n\r\n").unwrap()), "/a");
    assert_eq!(parsers.count(), 2);
    drop(held);
    assert_eq!(parsers.count(), 1);
}
