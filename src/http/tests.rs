//! The front with a fake service; `tests/it/attacks` attacks the whole daemon.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::service::{AdmittedRequest, ClientKind, HeadVerdict, LastRequest, NextStep};
use super::*;
use crate::handoff::{Client, Outcome, Reply, StreamOut};
use crate::testing::{LIMIT, Scratch};

mod matrix;
mod real;
mod strangers;
mod visits;

/// Answers in a way that the path asks for; `/echo` sends back what it was sent. A head with `Bearer t` is an owner's.
#[derive(Default)]
struct Fake {
    /// Requests that were decided about.
    admitted: AtomicU64,
    /// Requests that were carried out.
    called: Arc<AtomicU64>,
    /// Receives how a quiet stream ended.
    stream_ended: Mutex<Option<Sender<io::Result<()>>>>,
    /// Releases a slow request.
    slow: Mutex<Option<Receiver<()>>>,
}

struct FakeRequest {
    called: Arc<AtomicU64>,
    quiet: Option<Sender<io::Result<()>>>,
    slow: Option<Receiver<()>>,
    head: Vec<u8>,
    path: String,
}

impl Service for Fake {
    fn client_kind(&self, head: &[u8]) -> ClientKind {
        let is_owner = String::from_utf8_lossy(head).contains("Bearer t\r\n");
        if is_owner { ClientKind::Owner } else { ClientKind::Stranger }
    }

    fn admit(&self, head: &[u8], _: &mut LastRequest) -> HeadVerdict {
        self.admitted.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8_lossy(head);
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let client_kind = self.client_kind(head);
        let request = FakeRequest {
            called: Arc::clone(&self.called),
            quiet: if path == "/quiet" { self.stream_ended.lock().unwrap().take() } else { None },
            slow: if path == "/slow" { self.slow.lock().unwrap().take() } else { None },
            head: head.to_owned(),
            path,
        };
        let step = match request.path.as_str() {
            "/admit-panic" => panic!("on purpose"),
            "/refused" => NextStep::Reply(whole(401, b"refused".to_vec())),
            "/skip" => NextStep::SkipBody(Box::new(request)),
            _ => NextStep::TakeBody(Box::new(request)),
        };
        HeadVerdict { client_kind, step }
    }
}

fn whole(status: u16, body: Vec<u8>) -> Reply {
    Reply { status, headers: vec![], content_type: Some("text/plain"), body: body.into() }
}

impl AdmittedRequest for FakeRequest {
    fn call(self: Box<Self>, body: service::Body, client: &dyn Client) -> Outcome {
        self.called.fetch_add(1, Ordering::SeqCst);
        match self.path.as_str() {
            "/accept" => Outcome::Whole(whole(202, b"accepted".to_vec())),
            "/panic" => panic!("on purpose"),
            "/slow" => {
                let slow = self.slow.unwrap();
                while client.is_present() && slow.recv_timeout(Duration::from_millis(10)).is_err() {}
                Outcome::Whole(whole(200, b"slow".to_vec()))
            }
            "/large" => Outcome::Whole(whole(200, vec![b'x'; 64 * 1024])),
            "/quiet" => {
                let ended = self.quiet.unwrap();
                let body = move |to: &mut dyn StreamOut| {
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
            _ => Outcome::Whole(whole(200, [&self.head[..], body.bytes()].concat())),
        }
    }
}

/// A stream of few bytes; returns how its writes ended, `Ok` if none failed.
fn quiet(to: &mut dyn StreamOut) -> io::Result<()> {
    let limit = Instant::now() + LIMIT;
    while Instant::now() < limit {
        to.write_all(b":")?;
        // So few bytes that the client need not read them.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// An open front, closed at the end of the test.
struct Opened {
    front: Option<Front>,
    fake: Arc<Fake>,
    address: SocketAddr,
}

impl Opened {
    fn new(limits: FrontLimits) -> Opened {
        Opened::with(limits, None)
    }

    fn with(limits: FrontLimits, visits: Option<Arc<dyn VisitService>>) -> Opened {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Arc::new(Fake::default());
        let service: Arc<dyn Service> = Arc::clone(&fake) as Arc<dyn Service>;
        let front = Front::open(Listener::Tcp(listener), service, visits, limits).unwrap();
        Opened { front: Some(front), fake, address }
    }

    fn connect(&self) -> TcpStream {
        connect_to(self.address)
    }

    /// Sends `request` on a connection of its own and reads to the end.
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
        if let Some(front) = self.front.take() {
            front.close(Instant::now() + LIMIT);
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
    let front = Opened::new(FrontLimits::default());
    let pipelined =
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /accept HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
                      GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = front.exchange(pipelined);
    let at = |text: &str| answers.find(text).unwrap_or_else(|| panic!("{text:?} is not in {answers:?}"));
    assert!(at("GET /1 ") < at("202 Accepted") && at("202 Accepted") < at("GET /3 "), "{answers}");
}

#[test]
fn a_panic_of_the_api_is_its_own() {
    let front = Opened::new(FrontLimits::default());
    for path in ["/panic", "/admit-panic"].repeat(10) {
        let answer = front.get(path);
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""code":"internal""#), "{answer}");
    }
    assert!(front.get("/echo").starts_with("HTTP/1.1 200 "));
}

#[test]
fn streams_come_in_chunks_or_to_the_end_of_the_connection() {
    let front = Opened::new(FrontLimits::default());
    let chunked = front.exchange_open(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(chunked.contains("Transfer-Encoding: chunked\r\n") && chunked.contains("X-Further: yes\r\n"), "{chunked}");
    assert!(chunked.ends_with("\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"), "{chunked}");
    let plain = front.exchange_open(b"GET /stream HTTP/1.0\r\n\r\n");
    assert!(!plain.contains("chunked") && plain.ends_with("\r\n\r\nonethree"), "{plain}");
    let head = front.exchange_open(b"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n") && !head.contains("0\r\n\r\n"), "{head}");
}

#[test]
fn a_stream_ends_when_its_client_half_closes() {
    let front = Opened::new(FrontLimits::default());
    let (ended_tx, ended) = channel();
    *front.fake.stream_ended.lock().unwrap() = Some(ended_tx);
    let mut client = front.connect();
    client.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\nGET /pipelined HTTP/1.1\r\n").unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200 "));
    // It could still read: no write would fail by itself.
    client.shutdown(Shutdown::Write).unwrap();
    let error = ended.recv_timeout(LIMIT * 2).unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_stream_without_end_does_not_hold_the_closing_front() {
    let mut front = Opened::new(FrontLimits::default());
    let (ended_tx, ended) = channel();
    *front.fake.stream_ended.lock().unwrap() = Some(ended_tx);
    let mut client = front.connect();
    client.write_all(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_some(&mut client).starts_with("HTTP/1.1 200 "));
    front.front.take().unwrap().close(Instant::now() + LIMIT * 10);
    // It was cut off; it has no end of its own.
    assert!(ended.try_recv().unwrap().is_err());
}

#[test]
fn a_client_that_trickles_is_refused_and_delays_no_other() {
    let front = Opened::new(FrontLimits { request: Duration::from_millis(300), ..FrontLimits::default() });
    for begun in ["GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"] {
        let mut slow = front.connect();
        slow.write_all(begun.as_bytes()).unwrap();
        assert!(front.get("/echo").starts_with("HTTP/1.1 200 "));
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn a_silent_client_is_closed_without_a_response() {
    let front = Opened::new(FrontLimits { idle: Duration::from_millis(100), ..FrontLimits::default() });
    let mut silent = front.connect();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn at_the_cap_the_longest_idle_connection_is_evicted() {
    let front = Opened::new(FrontLimits { connections: 4, ..FrontLimits::default() });
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..4 {
        let mut stream = front.connect();
        stream.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_some(&mut stream).starts_with("HTTP/1.1 200 "));
        idle.push(stream);
    }
    for _ in 0..50 {
        assert!(front.get("/echo").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(idle[0].read(&mut [0; 10]).unwrap(), 0, "the first one should be gone");
}

#[test]
fn a_burst_is_answered_whole() {
    let front = Opened::new(FrontLimits::default());
    let clients: Vec<_> = (0..120)
        .map(|_| {
            let address = front.address;
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
fn a_closed_front_sends_the_last_answer_and_accepts_no_more() {
    let mut front = Opened::new(FrontLimits::default());
    let mut idle = front.connect();
    idle.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_some(&mut idle).starts_with("HTTP/1.1 200 "));
    front.front.take().unwrap().close(Instant::now() + LIMIT);
    assert_eq!(idle.read(&mut [0; 10]).unwrap(), 0);
    let refused = TcpStream::connect(front.address).and_then(|mut late| {
        late.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")?;
        late.read(&mut [0; 10])
    });
    assert!(matches!(refused, Err(_) | Ok(0)), "{refused:?}");
}
