//! A listener on the loopback addresses that answers as instructed, and the other side of a watch.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use crate::model::health::{Health, HealthChange, HealthStatus};
use crate::model::spec::HealthCheck;
use crate::os::thread;
use crate::prober::{Prober, Probing};
pub use crate::testing::{LIMIT, soon};

pub fn check() -> HealthCheck {
    HealthCheck {
        path: "/up".into(),
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(10),
        delay: Duration::ZERO,
        restart_after_failures: None,
    }
}

/// A listener that does with each connection, one after the other, what it was given to do. It takes the number of the
/// connection too.
pub struct Server {
    pub address: SocketAddr,
    leave: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Instant>>>,
}

impl Server {
    pub fn start(address: &str, mut serve: impl FnMut(usize, TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let (leave, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let server = Server { address: listener.local_addr().unwrap(), leave, accepted };
        let (leave, accepted) = (Arc::clone(&server.leave), Arc::clone(&server.accepted));
        let _ = thread::spawn("listener", thread::STACK, move || {
            for number in 0.. {
                let (stream, _) = listener.accept().unwrap();
                if leave.load(Ordering::SeqCst) {
                    break;
                }
                accepted.lock().unwrap().push(Instant::now());
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                serve(number, stream);
            }
        });
        server
    }

    /// Which answers the same each time.
    pub fn saying(address: &str, answer: &'static str) -> Server {
        Server::start(address, move |_, stream| say(stream, answer))
    }

    pub fn accepted(&self) -> Vec<Instant> {
        self.accepted.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// The head of the request, which is all of it.
pub fn listen(mut stream: &TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub fn say(mut stream: TcpStream, answer: &str) {
    listen(&stream);
    let _ = stream.write_all(answer.as_bytes());
}

/// What `notify` was called with.
pub type Notices = Receiver<(Health, HealthChange)>;

pub fn watch(prober: &Prober, address: SocketAddr, check: &HealthCheck) -> (Probing, Notices) {
    let (sender, notices) = unbounded();
    let probing = prober.watch(address, check, Instant::now(), move |health, verdict| {
        let _ = sender.send((health, verdict));
    });
    (probing, notices)
}

pub fn next(notices: &Notices) -> (Health, HealthChange) {
    notices.recv_timeout(LIMIT).unwrap()
}

/// Receives notices until `verdict`.
pub fn until(notices: &Notices, verdict: HealthChange) -> Health {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        let (health, given) = next(notices);
        if given == verdict {
            return health;
        }
    }
    panic!("{verdict:?} was not notified");
}

/// The sentence after the first check of `server`.
pub fn first_error(server: &Server) -> String {
    let prober = Prober::start().unwrap();
    let (_probing, notices) = watch(&prober, server.address, &check());
    let (health, verdict) = next(&notices);
    assert_eq!((health.status, health.consecutive_failures), (HealthStatus::Checking, 1));
    assert_eq!(verdict, HealthChange::Same);
    health.last_error.unwrap().to_string()
}
