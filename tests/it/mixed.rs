//! All kinds of bad clients at once, together with good ones: these get every answer, and nothing of those is left.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::attacks::reset;
use crate::support::{Client, Daemon, quiet_port, testchild};

/// The least duration of the test. It lasts until each good client has its rounds: the bad ones fill the queue of the
/// listener, so a slow machine needs longer.
const TIME: Duration = Duration::from_secs(6);
/// What each good client does at least.
const ROUNDS: usize = 4;
/// Far above the milliseconds that a call takes, far below the 30 s after which the SDK gives up.
const WORST: Duration = Duration::from_secs(10);

const REQUEST: &str = "GET /servers/web HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-token\r\n\r\n";
const POST: &str =
    "POST /servers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{";

/// A part of the attack that takes a moment; it is repeated until the end.
type Attack = fn(SocketAddr);

fn connect(address: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    // A client that is cut off in the middle is served enough.
    let _ = stream.write_all(bytes);
    Some(stream)
}

/// Requests that come a byte at a time, and never to their end.
fn slow(address: SocketAddr) {
    let begun = [&b""[..], b"GET /servers/web HT", &REQUEST.as_bytes()[..40], POST.as_bytes()];
    let mut streams: Vec<TcpStream> = (0..60).filter_map(|number| connect(address, begun[number % 4])).collect();
    for _ in 0..20 {
        streams.retain_mut(|stream| stream.write_all(b"x").is_ok());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Clients that have said that nothing more comes, in the middle of a request or behind one, and wait.
fn half_open(address: SocketAddr) {
    let begun = [REQUEST.as_bytes(), POST.as_bytes(), b"", b"GET"];
    let streams: Vec<TcpStream> = (0..40).filter_map(|number| connect(address, begun[number % 4])).collect();
    for mut stream in streams {
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0; 64]);
    }
}

/// Many at the same moment, who leave before they have an answer.
fn burst(address: SocketAddr) {
    let streams: Vec<TcpStream> = (0..80).filter_map(|_| connect(address, REQUEST.as_bytes())).collect();
    drop(streams);
}

/// Connections that are reset before, in and after a request.
fn resets(address: SocketAddr) {
    for bytes in [&b""[..], b"GET /ser", REQUEST.as_bytes(), POST.as_bytes(), b"\x16\x03\x01\x02\x00\x01"] {
        if let Some(stream) = connect(address, bytes) {
            reset(stream);
        }
    }
}

/// Hundreds of requests in one breath; only a part of the answers is read.
fn pipelined(address: SocketAddr) {
    if let Some(mut stream) = connect(address, REQUEST.repeat(300).as_bytes()) {
        let _ = stream.read_exact(&mut [0; 64 * 1024]);
    }
}

/// One after the other, what a client does. Every answer has to be the right one.
fn normal(client: &Client, pid: &Value, log: &str, number: usize) -> Vec<Duration> {
    let (own, begun) = (format!("own-{number}"), Instant::now());
    let (mut times, mut rounds) = (Vec::new(), 0);
    while begun.elapsed() < TIME || rounds < ROUNDS {
        rounds += 1;
        let mut timed = |call: &dyn Fn()| {
            let begun = Instant::now();
            call();
            times.push(begun.elapsed());
        };
        timed(&|| {
            let web = client.show("web");
            assert_eq!((&web["pid"], &web["status"], &web["restart_count"]), (pid, &json!("ready"), &json!(0)));
        });
        timed(&|| assert_eq!(client.get("/health").json()["status"], "ok"));
        timed(&|| assert_eq!(client.logs("web", ""), log));
        timed(&|| drop(client.create(&json!({"slug": own, "start": "sleep 600"})).server(201)));
        timed(&|| assert_eq!(client.delete(&format!("/servers/{own}")).status, 204));
        timed(&|| client.get("/servers/none").error(404).clear());
    }
    times
}

/// Ends the attacks, also when a good client has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn good_clients_get_every_answer_while_all_kinds_of_bad_ones_try() {
    let daemon = Daemon::start();
    let (address, port) = (daemon.client.address, quiet_port());
    let start = format!("{} listen stay", testchild());
    daemon.client.create(&json!({"slug": "web", "start": start, "port": port})).server(201);
    let before = daemon.client.wait_for_status("web", "ready");
    let log = format!("listening on {port}\n");
    let size = daemon.size();
    let (over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let attacks: [(Attack, usize); 5] = [(slow, 2), (half_open, 1), (burst, 1), (resets, 1), (pipelined, 2)];

    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        for (attack, copies) in attacks {
            for _ in 0..copies {
                let (over, rounds) = (&over, &rounds);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        attack(address);
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (client, pid, log) = (&daemon.client, &before["pid"], &log);
                scope.spawn(move || normal(client, pid, log, number))
            })
            .collect();
        let _over = Over(&over);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });

    times.sort_unstable();
    let (calls, worst) = (times.len(), times[times.len() - 1]);
    let (median, most) = (times[calls / 2], times[calls * 99 / 100]);
    let rounds = rounds.load(Ordering::Relaxed);
    println!("{calls} calls beside {rounds} rounds of attacks: median {median:?}, 99 % {most:?}, worst {worst:?}");
    assert!(rounds > 50, "{rounds} rounds of attacks show nothing");
    // A build with ThreadSanitizer is about ten times slower.
    let slower = if std::env::var_os("THREADS_BIN").is_some() { 10 } else { 1 };
    assert!(worst < WORST * slower, "{worst:?}");
    let after = daemon.client.show("web");
    for field in ["pid", "status", "restart_count", "started_at", "ready_at", "updated_at"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    daemon.until_as_small_as(size);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
