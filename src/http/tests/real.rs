//! The front before the real tiny_http: whatever a stranger sends, the internal server must not notice.

use super::*;
use crate::api::http::Parser;

/// tiny_http as the API has it; each request is answered with its path.
struct Real {
    /// Has the parser's socket, for a new one too.
    _scratch: Scratch,
    parser: Mutex<Parser>,
    failed: AtomicU64,
}

struct RealRequest(String);

impl Real {
    fn new() -> Arc<Real> {
        let scratch = Scratch::new();
        let parser = Mutex::new(Parser::open(&scratch.0, "a.sock").unwrap());
        Arc::new(Real { _scratch: scratch, parser, failed: AtomicU64::new(0) })
    }
}

impl Service for Real {
    fn client_kind(&self, _: &[u8]) -> ClientKind {
        ClientKind::Stranger
    }

    fn admit(&self, head: &[u8], _: &mut LastRequest) -> HeadVerdict {
        match self.parser.lock().unwrap().read(head) {
            Ok(read) => {
                let request = Box::new(RealRequest(read.request().unwrap().url().to_owned()));
                HeadVerdict { client_kind: ClientKind::Stranger, step: NextStep::TakeBody(request) }
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::SeqCst);
                let reply = whole(599, error.to_string().into_bytes());
                HeadVerdict { client_kind: ClientKind::Stranger, step: NextStep::Reply(reply) }
            }
        }
    }
}

impl AdmittedRequest for RealRequest {
    fn call(self: Box<Self>, _: service::Body, _: &dyn Client) -> Outcome {
        Outcome::Whole(whole(200, self.0.into_bytes()))
    }
}

struct OpenedReal {
    front: Option<Front>,
    real: Arc<Real>,
    address: SocketAddr,
}

impl OpenedReal {
    fn new() -> OpenedReal {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let real = Real::new();
        let service: Arc<dyn Service> = Arc::clone(&real) as Arc<dyn Service>;
        let front = Front::open(Listener::Tcp(listener), service, None, FrontLimits::default()).unwrap();
        OpenedReal { front: Some(front), real, address }
    }

    fn exchange(&self, request: &[u8]) -> String {
        exchange_with(self.address, request)
    }
}

impl Drop for OpenedReal {
    fn drop(&mut self) {
        if let Some(front) = self.front.take() {
            front.close(Instant::now() + LIMIT);
        }
    }
}

#[test]
fn what_tiny_http_can_not_read_does_not_reach_it() {
    let front = OpenedReal::new();
    for name in ["Host", "Authorization", "Origin", "Accept", "Content-Type", "Access-Control-Request-Method"] {
        for value in [&b"\xff"[..], b"caf\xc3\xa9", b"a\x80b"] {
            let host = if name == "Host" { "" } else { "Host: x\r\n" };
            let head = format!("GET /odd HTTP/1.1\r\n{host}{name}: ");
            let answer = front.exchange(&[head.as_bytes(), value, b"\r\n\r\n"].concat());
            assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        }
    }
    // What is not passed on anyway may hold what it likes.
    let answer = front.exchange(b"GET /fine HTTP/1.1\r\nHost: x\r\nX-Name: caf\xc3\xa9\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/fine"), "{answer}");
    assert_eq!(front.real.failed.load(Ordering::SeqCst), 0);
}

#[test]
fn no_byte_anywhere_in_a_request_costs_the_internal_server() {
    let front = OpenedReal::new();
    let request = b"POST /a?b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nOrigin: o\r\nContent-Type: a/b\r\n\
                    Content-Length: 3\r\nConnection: close\r\n\r\nabc";
    // Every place, with the bytes that have a meaning somewhere.
    for at in 0..request.len() {
        for byte in [0, 9, 10, 13, 32, 44, 58, 127, 128, 255] {
            let mut changed = request.to_vec();
            changed[at] = byte;
            front.exchange(&changed);
        }
    }
    assert_eq!(front.real.failed.load(Ordering::SeqCst), 0, "a request was passed on that tiny_http can't read");
    assert!(front.exchange(request).starts_with("HTTP/1.1 200 "));
}
