//! The door before a backend that is made for these tests; the whole daemon is attacked in `tests/it/attacks.rs`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

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
    /// Hears how a quiet stream ended.
    stream_ended: Mutex<Option<Sender<io::Result<()>>>>,
    tickets: Mutex<HashMap<u64, Later>>,
    next_ticket: AtomicU64,
}

impl Backend for Arc<Fake> {
    fn open(&self) -> io::Result<Vec<UnixStream>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let panics = self.open_panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(panics.is_err(), "on purpose");
        (0..2)
            .map(|_| {
                let (ours, theirs) = UnixStream::pair()?;
                let fake = Arc::clone(self);
                std::thread::spawn(move || fake.serve(theirs));
                Ok(ours)
            })
            .collect()
    }

    fn claim(&self, ticket: u64) -> Option<Later> {
        self.tickets.lock().unwrap().remove(&ticket)
    }
}

impl Fake {
    fn serve(&self, mut stream: UnixStream) {
        let mut input = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let whole = loop {
                if let Some(length) = whole_request(&input) {
                    break length;
                }
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => input.extend_from_slice(&buffer[..count]),
                }
            };
            let request: Vec<u8> = input.drain(..whole).collect();
            let text = String::from_utf8_lossy(&request).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = match path.as_str() {
                "/lose" => return,
                "/torn" => b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(),
                "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
                "/later" | "/panic" | "/stream" | "/quiet" => self.ticket(&path),
                _ => whole_answer(&request),
            };
            if stream.write_all(&answer).is_err() || path == "/torn" {
                return;
            }
        }
    }

    fn ticket(&self, path: &str) -> Vec<u8> {
        let later = match path {
            "/later" => Later::Reply(Box::new(|_| Reply {
                status: 202,
                headers: vec![],
                content_type: Some("text/plain"),
                body: b"later".to_vec(),
            })),
            "/panic" => Later::Reply(Box::new(|_| panic!("on purpose"))),
            "/quiet" => {
                let ended = self.stream_ended.lock().unwrap().take().unwrap();
                let body = move |to: &mut dyn Write| {
                    ended.send(quiet(to)).unwrap();
                    Ok(())
                };
                Later::Stream { content_type: "text/plain", headers: vec![], body: Box::new(body) }
            }
            _ => Later::Stream {
                content_type: "text/plain",
                headers: vec![("X-Further", "yes".into())],
                body: Box::new(|to| {
                    to.write_all(b"one")?;
                    to.write_all(b"three")
                }),
            },
        };
        let number = self.next_ticket.fetch_add(1, Ordering::SeqCst);
        self.tickets.lock().unwrap().insert(number, later);
        let name = crate::handoff::TICKET_HEADER;
        format!("HTTP/1.1 200 OK\r\n{name}: {number}\r\nContent-Length: 0\r\n\r\n").into_bytes()
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

fn whole_request(input: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(input);
    let head = text.find("\r\n\r\n")? + 4;
    let length: usize = text[..head].split("Content-Length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    (input.len() >= head + length).then_some(head + length)
}

fn whole_answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: tiny-http (Rust)\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
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
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
                      GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = door.exchange(pipelined);
    let at = |text: &str| answers.find(text).unwrap_or_else(|| panic!("{text:?} is not in {answers:?}"));
    assert!(at("GET /1 ") < at("202 Accepted") && at("202 Accepted") < at("GET /3 "), "{answers}");
}

#[test]
fn work_that_was_left_runs_here_and_its_panic_is_its_own() {
    let door = Opened::new(Limits::default());
    assert!(door.get("/later").ends_with("\r\n\r\nlater"));
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
fn a_panic_while_the_backend_is_begun_anew_is_not_the_last_attempt() {
    let door = Opened::new(Limits::default());
    door.fake.open_panics.store(1, Ordering::SeqCst);
    assert!(door.get("/lose").starts_with("HTTP/1.1 500 "));
    // Whose thread made the attempt is told nothing; the next one finds a backend.
    assert_eq!(door.get("/echo"), "");
    assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
}

#[test]
fn backends_that_die_one_after_the_other_do_not_pile_up() {
    let door = Opened::new(Limits::default());
    let begun = Instant::now();
    let rounds = 5;
    for _ in 0..rounds {
        assert!(door.get("/lose").starts_with("HTTP/1.1 500 "));
    }
    assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
    assert!(begun.elapsed() >= Duration::from_millis(100) * (rounds - 1), "{:?}", begun.elapsed());
}

#[test]
fn a_lost_backend_costs_one_request_and_is_begun_anew() {
    let door = Opened::new(Limits::default());
    for (round, path) in ["/lose", "/torn", "/chunks"].iter().enumerate() {
        let answer = door.get(path);
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("may have been carried out"), "{answer}");
        assert!(door.get("/echo").starts_with("HTTP/1.1 200 "));
        assert_eq!(door.fake.opened.load(Ordering::SeqCst), round as u64 + 2);
    }
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
