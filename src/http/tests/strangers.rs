//! What clients without the token can hold, and what they can't.

use super::*;

const OWNER: &str = "Authorization: Bearer t\r\n";

fn owner_get(front: &Opened, path: &str) -> String {
    front.exchange(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{OWNER}Connection: close\r\n\r\n").as_bytes())
}

#[test]
fn a_refused_request_is_answered_before_its_body_is_read_and_without_leave_to_send_it() {
    let front = Opened::new(FrontLimits::default());
    for framing in ["Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut stream = front.connect();
            let head = format!("POST /refused HTTP/1.1\r\nHost: x\r\n{framing}{expect}\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = String::new();
            let begun = Instant::now();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("Connection: close\r\n"), "{answer}");
            assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the body");
        }
    }
    // Without a body the connection stays.
    let mut stream = front.connect();
    for _ in 0..2 {
        stream.write_all(b"GET /refused HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_some(&mut stream).starts_with("HTTP/1.1 401 "));
    }
}

#[test]
fn a_body_that_means_nothing_is_skipped_and_never_asked_for() {
    let front = Opened::new(FrontLimits { bodies: 0, ..FrontLimits::default() });
    let mut stream = front.connect();
    for request in [
        "POST /skip HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST /skip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_some(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("abc"), "{answer}");
    }
    let mut stream = front.connect();
    stream.write_all(b"POST /skip HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close\r\n"), "{answer}");
}

#[test]
fn all_bodies_together_have_one_budget_and_wait_for_their_turn() {
    let limits = FrontLimits { bodies: 256 * 1024, turn: Duration::from_millis(300), ..FrontLimits::default() };
    let front = Opened::new(limits);
    let post = |framing: &str| {
        let mut stream = front.connect();
        stream.write_all(format!("POST /echo HTTP/1.1\r\nHost: x\r\n{OWNER}{framing}\r\n").as_bytes()).unwrap();
        stream
    };
    let mut first = post("Content-Length: 200000\r\n");
    first.write_all(&[b'x'; 100_000]).unwrap();
    while front.fake.admitted.load(Ordering::SeqCst) < 1 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    for framing in ["Content-Length: 100000\r\n", "Content-Length: 100000\r\nExpect: 100-continue\r\n"] {
        let mut second = post(framing);
        let answer = read_some(&mut second);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1\r\n"), "{answer}");
    }
    let mut chunked = post("Transfer-Encoding: chunked\r\n");
    chunked.write_all(b"20000\r\n").unwrap();
    chunked.write_all(&[b'y'; 0x20000]).unwrap();
    assert!(read_some(&mut chunked).starts_with("HTTP/1.1 503 "));
    // A turn comes when another body is through.
    let mut third = post("Content-Length: 100000\r\n");
    third.write_all(&[b'z'; 100_000]).unwrap();
    first.write_all(&[b'x'; 100_000]).unwrap();
    for stream in [&mut first, &mut third] {
        assert!(read_some(stream).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn strangers_in_all_states_leave_room_for_an_owner() {
    let front = Opened::new(FrontLimits { connections: 8, ..FrontLimits::default() });
    let (_go, slow) = channel();
    let mut kept = Vec::new();
    // An owner's connection, idle the whole time.
    let mut own = front.connect();
    let request = format!("GET /echo HTTP/1.1\r\nHost: x\r\n{OWNER}\r\n");
    own.write_all(request.as_bytes()).unwrap();
    assert!(read_some(&mut own).starts_with("HTTP/1.1 200 "));
    *front.fake.slow.lock().unwrap() = Some(slow);
    for number in 0..200 {
        let mut stream = front.connect();
        let bytes: &[u8] = [
            &b""[..],
            b"GET /ec",
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
            b"POST /skip HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
            b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n",
        ][number % 5];
        let bytes = if number == 0 { b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" } else { bytes };
        let _ = stream.write_all(bytes);
        kept.push(stream);
        if number % 10 == 9 {
            assert!(owner_get(&front, "/echo").starts_with("HTTP/1.1 200 "), "{number}");
            own.write_all(request.as_bytes()).unwrap();
            assert!(read_some(&mut own).starts_with("HTTP/1.1 200 "), "{number}");
        }
    }
}

#[test]
fn pipelined_requests_of_a_stranger_do_not_make_more_time() {
    let limits = FrontLimits { answer: Duration::from_millis(500), rate: 1 << 30, ..FrontLimits::default() };
    let front = Opened::new(limits);
    let mut slow = front.connect();
    slow.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let _ = slow.write_all("GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000).as_bytes());
    let begun = Instant::now();
    // It makes progress all the time, and it does not help.
    let mut buffer = [0; 4096];
    let mut taken = 0;
    loop {
        match slow.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => taken += count,
        }
        if begun.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(begun.elapsed() < LIMIT, "after {taken} bytes it is still open");
    }
    assert!(taken < 2000 * 64 * 1024);
}

#[test]
fn large_heads_and_answers_of_strangers_share_little_memory() {
    let front = Opened::new(FrontLimits { strangers: 20 * 1024, ..FrontLimits::default() });
    // One answer of 64 KiB has no room, an owner's has.
    let answer = front.get("/large");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(owner_get(&front, "/large").starts_with("HTTP/1.1 200 "));
    let long = format!("GET /echo HTTP/1.1\r\nHost: x\r\nX: {}\r\n", "y".repeat(8000));
    let mut holding = front.connect();
    holding.write_all(long.as_bytes()).unwrap();
    let answer = front.exchange(format!("{long}\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    holding.write_all(b"\r\n").unwrap();
    assert!(read_some(&mut holding).starts_with("HTTP/1.1 200 "));
    // Without room for one, there is none.
    let front = Opened::new(FrontLimits { strangers: 4 * 1024, ..FrontLimits::default() });
    assert!(front.exchange(format!("{long}\r\n").as_bytes()).starts_with("HTTP/1.1 503 "));
}

/// An attack: 40 heads without an end held the memory, and a long head that came at once got 503.
#[test]
fn of_long_heads_the_one_that_is_unfinished_for_longest_is_cut() {
    let limits = FrontLimits { strangers: 20 * 1024, request: 3 * LIMIT, ..FrontLimits::default() };
    let front = Opened::new(limits);
    let part = format!("GET /echo HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(4100));
    let mut slow: Vec<TcpStream> = (0..40).map(|_| front.connect()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(part.as_bytes()).unwrap());
    let long = format!("GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n", "b".repeat(5000));
    let begun = Instant::now();
    loop {
        // While those still come it may be the oldest itself.
        let mut stream = front.connect();
        let mut answer = String::new();
        let _ = stream.write_all(long.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        if answer.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{answer}");
    }
}

#[test]
fn a_stream_that_is_not_written_to_sees_its_client_leave() {
    let front = Opened::new(FrontLimits::default());
    let (ended_tx, ended) = channel();
    *front.fake.stream_ended.lock().unwrap() = Some(ended_tx);
    let mut client = front.connect();
    client.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200 "));
    drop(client);
    assert!(ended.recv_timeout(Duration::from_secs(2)).unwrap().is_err());
}
