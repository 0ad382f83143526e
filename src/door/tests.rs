//! The door before a backend that is made for these tests; the whole daemon is attacked in `tests/it/attacks.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::handoff::Reply;

mod matrix;
mod real;

/// Longer than anything here takes; only a failing test waits for it.
const LIMIT: Duration = Duration::from_secs(20);

/// Answers in a way that the path asks for; `/echo` sends back what it was sent.
#[derive(Default)]
struct Fake {
    opened: AtomicU64,
    /// So many further attempts to open it panic.
    open_panics: AtomicU64,
    /// So many further attempts to open it fail.
    open_failures: AtomicU64,
    /// Hears how a quiet stream ended.
    stream_ended: Mutex<Option<Sender<io::Result<()>>>>,
    /// Says when a slow line may go on.
    slow: Mutex<Option<Receiver<()>>>,
}

struct FakeLine(Arc<Fake>);

struct FakeRequest {
    fake: Arc<Fake>,
    head: Vec<u8>,
    path: String,
}

/// Whether there was one left to be counted.
fn one_less(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Backend for Arc<Fake> {
    fn open(&self) -> io::Result<Box<dyn Line>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        assert!(!one_less(&self.open_panics), "on purpose");
        if one_less(&self.open_failures) {
            return Err(io::Error::other("on purpose"));
        }
        Ok(Box::new(FakeLine(Arc::clone(self))))
    }
}

impl Line for FakeLine {
    fn read(&mut self, head: &[u8]) -> io::Result<Box<dyn Request>> {
        let text = String::from_utf8_lossy(head);
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        match path.as_str() {
            "/lose" => return Err(io::Error::other("on purpose")),
            "/lose-by-panic" => panic!("on purpose"),
            "/slow" => {
                let slow = self.0.slow.lock().unwrap().take().unwrap();
                slow.recv_timeout(LIMIT).unwrap();
            }
            _ => {}
        }
        Ok(Box::new(FakeRequest { fake: Arc::clone(&self.0), head: head.to_owned(), path }))
    }
}

impl Request for FakeRequest {
    fn answer(&self, body: Vec<u8>, _: &dyn Client) -> Outcome {
        let whole =
            |status, body| Outcome::Whole(Reply { status, headers: vec![], content_type: Some("text/plain"), body });
        match self.path.as_str() {
            "/accept" => whole(202, b"accepted".to_vec()),
            "/panic" => panic!("on purpose"),
            "/quiet" => {
                let ended = self.fake.stream_ended.lock().unwrap().take().unwrap();
                let body = move |to: &mut dyn Write| {
                    ended.send(quiet(to)).unwrap();
                    Ok(())
                };
                Outcome::Stream { content_type: "text/plain", headers: vec![], body: Box::new(body) }
            }
            "/stream" => Outcome::Stream {
                content_type: "text/plain",
                headers: vec![("X-Further", "yes".into())],
                body: Box::new(|to| {
                    to.write_all(b"one")?;
                    to.write_all(b"three")
                }),
            },
            _ => whole(200, [&self.head[..], &body].concat()),
        }
    }
}

/// A stream with little to say; tells how its writes ended, `Ok` if they never failed.
fn quiet(to: &mut dyn Write) -> io::Result<()> {
    let limit = Instant::now() + LIMIT;
    while Instant::now() < limit {
        to.write_all(b":")?;
        // So few bytes that the client need not read them.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// An open door, closed at the end of the test.
struct Opened {
    door: Option<Door>,
    fake: Arc<Fake>,
    address: SocketAddr,
}

impl Opened {
    fn new(limits: Limits) -> Opened {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Arc::new(Fake::default());
        let door = Door::open(Listener::Tcp(listener), Arc::new(Arc::clone(&fake)), limits).unwrap();
        Opened { door: Some(door), fake, address }
    }

    fn connect(&self) -> TcpStream {
        connect_to(self.address)
    }

    /// Sends `request` on a connection of its own and reads until the other side has nothing more to say.
    fn exchange(&self, request: &[u8]) -> String {
        exchange_with(self.address, request)
    }

    /// Like [`Opened::exchange`], by a client that keeps its side open.
    fn exchange_open(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.close(Instant::now() + LIMIT);
        }
    }
}

fn connect_to(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

fn exchange_with(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect_to(address);
    // A refusal may come before everything is sent.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn read_some(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let door = Opened::new(Limits::default());
    let pipelined =
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /accept HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
                      GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = door.exchange(pipelined);
    let at = |text: &str| answers.find(text).unwrap_or_else(|| panic!("{text:?} is not in {answers:?}"));
    assert!(at("GET /1 ") < at("202 Accepted") && at("202 Accepted") < at("GET /3 "), "{answers}");
}

#[test]
fn a_panic_of_the_api_is_its_own() {
    let door = Opened::new(Limits::default());
    for _ in 0..20 {
        let answer = door.get("/panic");
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""code":"internal""#), "{answer}");
    }
    assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
    assert_eq!(door.fake.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn streams_come_in_chunks_or_to_the_end_of_the_connection() {
    let door = Opened::new(Limits::default());
    let chunked = door.exchange_open(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(chunked.contains("Transfer-Encoding: chunked\r\n") && chunked.contains("X-Further: yes\r\n"), "{chunked}");
    assert!(chunked.ends_with("\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"), "{chunked}");
    let plain = door.exchange_open(b"GET /stream HTTP/1.0\r\n\r\n");
    assert!(!plain.contains("chunked") && plain.ends_with("\r\n\r\nonethree"), "{plain}");
    let head = door.exchange_open(b"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n") && !head.contains("0\r\n\r\n"), "{head}");
}

#[test]
fn a_stream_learns_that_its_client_says_no_more() {
    let door = Opened::new(Limits::default());
    let (ended_tx, ended) = channel();
    *door.fake.stream_ended.lock().unwrap() = Some(ended_tx);
    let mut client = door.connect();
    client.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\nGET /pipelined HTTP/1.1\r\n").unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200 "));
    // It could still read: no write would fail by itself.
    client.shutdown(Shutdown::Write).unwrap();
    let error = ended.recv_timeout(LIMIT * 2).unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_stream_without_end_does_not_hold_the_closing_door() {
    let mut door = Opened::new(Limits::default());
    let (ended_tx, ended) = channel();
    *door.fake.stream_ended.lock().unwrap() = Some(ended_tx);
    let mut client = door.connect();
    client.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200 "));
    door.door.take().unwrap().close(Instant::now() + LIMIT * 10);
    // It was cut off; by itself it would have gone on.
    assert!(ended.try_recv().unwrap().is_err());
}

#[test]
fn a_lost_line_costs_one_request_which_was_not_carried_out() {
    let door = Opened::new(Limits::default());
    for round in 1..=3 {
        let answer = door.get("/lose");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1\r\n"), "{answer}");
        assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
        assert_eq!(door.fake.opened.load(Ordering::SeqCst), round + 1);
    }
    // Whose thread has lost it is told nothing; the next one finds another.
    assert_eq!(door.get("/lose-by-panic"), "");
    assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
}

#[test]
fn when_no_line_can_be_made_the_next_request_tries_again() {
    let door = Opened::new(Limits::default());
    assert!(door.get("/lose").starts_with("HTTP/1.1 503 "));
    door.fake.open_panics.store(1, Ordering::SeqCst);
    assert_eq!(door.get("/echo"), "");
    door.fake.open_failures.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(door.get("/echo").starts_with("HTTP/1.1 503 "));
    }
    assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
}

#[test]
fn lines_that_die_one_after_the_other_do_not_pile_up() {
    let door = Opened::new(Limits::default());
    let begun = Instant::now();
    let rounds = 5;
    for _ in 0..rounds {
        assert!(door.get("/lose").starts_with("HTTP/1.1 503 "));
    }
    assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
    assert!(begun.elapsed() >= Duration::from_millis(100) * (rounds - 1), "{:?}", begun.elapsed());
}

#[test]
fn a_line_that_is_slow_gets_others_beside_it() {
    let door = Opened::new(Limits::default());
    let (go, slow) = channel();
    *door.fake.slow.lock().unwrap() = Some(slow);
    let mut waiting = door.connect();
    waiting.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    while door.fake.slow.lock().unwrap().is_some() {
        std::thread::yield_now();
    }
    // The first attempt fails; it costs the one who has made it some time.
    door.fake.open_failures.store(1, Ordering::SeqCst);
    for _ in 0..20 {
        assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(door.fake.opened.load(Ordering::SeqCst), 3);
    go.send(()).unwrap();
    assert!(read_some(&mut waiting).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_client_that_trickles_is_told_so_and_holds_nobody_up() {
    let door = Opened::new(Limits { request: Duration::from_millis(300), ..Limits::default() });
    for begun in ["GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"] {
        let mut slow = door.connect();
        slow.write_all(begun.as_bytes()).unwrap();
        assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn a_silent_client_is_cut_without_a_word() {
    let door = Opened::new(Limits { idle: Duration::from_millis(100), ..Limits::default() });
    let mut silent = door.connect();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn at_the_cap_the_one_that_waits_for_longest_goes() {
    let door = Opened::new(Limits { connections: 4, ..Limits::default() });
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..4 {
        let mut stream = door.connect();
        stream.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_some(&mut stream).starts_with("HTTP/1.1 200 "));
        idle.push(stream);
    }
    for _ in 0..50 {
        assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(idle[0].read(&mut [0; 10]).unwrap(), 0, "the first one should be gone");
}

#[test]
fn a_burst_is_answered_whole() {
    let door = Opened::new(Limits::default());
    let clients: Vec<_> = (0..120)
        .map(|_| {
            let address = door.address;
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                let mut answers = 0;
                for _ in 0..20 {
                    stream.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                    answers += usize::from(read_some(&mut stream).starts_with("HTTP/1.1 200 "));
                }
                answers
            })
        })
        .collect();
    let answers: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(answers, 120 * 20);
}

#[test]
fn a_closed_door_lets_the_last_answer_out_and_nobody_in() {
    let mut door = Opened::new(Limits::default());
    let mut idle = door.connect();
    idle.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_some(&mut idle).starts_with("HTTP/1.1 200 "));
    door.door.take().unwrap().close(Instant::now() + LIMIT);
    assert_eq!(idle.read(&mut [0; 10]).unwrap(), 0);
    let refused = TcpStream::connect(door.address).and_then(|mut late| {
        late.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")?;
        late.read(&mut [0; 10])
    });
    assert!(matches!(refused, Err(_) | Ok(0)), "{refused:?}");
}
