//! The thread against real listeners.

use super::*;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{bounded, unbounded};

use crate::model::health::{CheckFailure, HealthStatus};

mod support;

use support::{LIMIT, Server, check, first_error, listen, next, say, soon, until, watch};

#[test]
fn a_good_answer_makes_healthy_on_every_local_address() {
    let prober = Prober::start().unwrap();
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let (head_tx, head) = unbounded();
        let server = Server::start(address, move |_, stream| {
            let _ = head_tx.send(listen(&stream));
            let _ = (&stream).write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        });
        let (_probing, notices) = watch(&prober, server.address, &check());
        let (health, verdict) = next(&notices);
        assert_eq!(verdict, HealthChange::BecameHealthy, "{address}: {health:?}");
        assert_eq!((health.status, health.last_status, health.last_error), (HealthStatus::Healthy, Some(204), None));
        assert!(health.last_check.is_some());
        let head = head.recv_timeout(LIMIT).unwrap();
        let host = format!("\r\nHost: localhost:{}\r\n", server.address.port());
        assert!(head.starts_with("GET /up HTTP/1.1\r\n") && head.contains(&host), "{head}");
        assert_eq!(next(&notices).1, HealthChange::Same);
    }
    assert_eq!(prober.close(soon()), Joined::Ended);
}

#[test]
fn each_failure_has_its_sentence() {
    let refusing = Server::saying("127.0.0.1:0", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(first_error(&refusing), "answered 503");
    let garbage = Server::saying("127.0.0.1:0", "SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(first_error(&garbage), "answered with something that is not HTTP");
    let half = Server::saying("127.0.0.1:0", "HTTP/1.1 200 OK\r\nContent-Le");
    assert_eq!(first_error(&half), "closed the connection before the end of its answer's head");
    let silent = Server::saying("127.0.0.1:0", "");
    assert_eq!(
        first_error(&silent),
        "closed the connection before answering; checks are plain HTTP: does it speak TLS?"
    );
    // Closing a socket that has unread bytes is a reset.
    let resetting = Server::start("[::1]:0", |_, stream| drop(stream.peek(&mut [0])));
    assert_eq!(
        first_error(&resetting),
        "closed the connection before answering; checks are plain HTTP: does it speak TLS?"
    );
    let alert = Server::saying("127.0.0.1:0", "\x15\x03\x03\0\x02\x02\x46");
    let sentence = "answered a plain HTTP request with a TLS alert: does it speak TLS? Checks are plain HTTP";
    assert_eq!(first_error(&alert), sentence);
}

#[test]
fn a_long_head_passes_by_its_status_line() {
    let prober = Prober::start().unwrap();
    let lines: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(5000)).into());
    let long = Server::saying("127.0.0.1:0", lines);
    let endless = Server::start("127.0.0.1:0", |_, mut stream| {
        listen(&stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while stream.write_all(&[b'y'; 1000]).is_ok() {}
    });
    for server in [long, endless] {
        let (_probing, notices) = watch(&prober, server.address, &check());
        assert_eq!(next(&notices).1, HealthChange::BecameHealthy);
    }
}

#[test]
fn where_nothing_listens_the_connection_is_refused() {
    let prober = Prober::start().unwrap();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address = TcpListener::bind(address).unwrap().local_addr().unwrap();
        let (_probing, notices) = watch(&prober, address, &check());
        let (health, _) = next(&notices);
        assert_eq!(health.last_error.unwrap().to_string(), "connection refused");
        // The checks continue and find a later listener.
        let _server = Server::saying(&address.to_string(), "HTTP/1.1 200 OK\r\n\r\n");
        until(&notices, HealthChange::BecameHealthy);
    }
}

#[test]
fn an_answer_in_pieces_after_interim_answers_is_one_answer() {
    let server = Server::start("127.0.0.1:0", |_, mut stream| {
        listen(&stream);
        stream.set_nodelay(true).unwrap();
        for byte in b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n" {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
    });
    let prober = Prober::start().unwrap();
    let (_probing, notices) = watch(&prober, server.address, &check());
    let (health, verdict) = next(&notices);
    assert_eq!((verdict, health.last_status), (HealthChange::BecameHealthy, Some(302)));
}

#[test]
fn a_server_that_answers_without_listening_has_answered() {
    let server = Server::start("127.0.0.1:0", |_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    let prober = Prober::start().unwrap();
    let (_probing, notices) = watch(&prober, server.address, &check());
    assert_eq!(next(&notices).1, HealthChange::BecameHealthy);
    for _ in 0..10 {
        assert_eq!(next(&notices).0.last_error, None);
    }
}

#[test]
fn the_first_answer_may_be_late_and_is_asked_for_once() {
    let (compiled_tx, compiled) = bounded::<()>(0);
    let server = Server::start("127.0.0.1:0", move |_, stream| {
        let _ = compiled.recv();
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let prober = Prober::start().unwrap();
    let timeout = Duration::from_millis(30);
    let check = HealthCheck { timeout, interval: Duration::from_millis(20), ..check() };
    let (_probing, notices) = watch(&prober, server.address, &check);
    let (health, verdict) = next(&notices);
    assert_eq!((verdict, health.last_error), (HealthChange::Same, Some(CheckFailure::NoAnswer(timeout))));
    assert_eq!((health.status, health.consecutive_failures), (HealthStatus::Checking, 0));
    // Many intervals later it is still the same request.
    assert!(notices.recv_timeout(Duration::from_millis(400)).is_err());
    assert_eq!(server.accepted().len(), 1);
    drop(compiled_tx);
    assert_eq!(next(&notices).1, HealthChange::BecameHealthy);
}

#[test]
fn a_server_that_hangs_and_recovers_is_unhealthy_in_between() {
    let is_stuck = Arc::new(AtomicBool::new(false));
    let mut held = Vec::new();
    let stuck = Arc::clone(&is_stuck);
    let server = Server::start("127.0.0.1:0", move |_, stream| match stuck.load(Ordering::SeqCst) {
        true => held.push(stream),
        false => say(stream, "HTTP/1.1 200 OK\r\n\r\n"),
    });
    let prober = Prober::start().unwrap();
    // Long enough for a good answer on a busy machine.
    let timeout = Duration::from_millis(500);
    let restart_after_failures = std::num::NonZeroU32::new(4);
    let check = HealthCheck { timeout, restart_after_failures, ..check() };
    let (_probing, notices) = watch(&prober, server.address, &check);
    until(&notices, HealthChange::BecameHealthy);
    is_stuck.store(true, Ordering::SeqCst);
    let health = until(&notices, HealthChange::BecameUnhealthy);
    assert_eq!((health.status, health.consecutive_failures), (HealthStatus::Unhealthy, 3));
    assert_eq!(health.last_error, Some(CheckFailure::NoAnswer(timeout)));
    assert_eq!(until(&notices, HealthChange::RestartDue).consecutive_failures, 4);
    is_stuck.store(false, Ordering::SeqCst);
    assert_eq!(until(&notices, HealthChange::BecameHealthy).consecutive_failures, 0);
}

#[test]
fn a_hung_server_does_not_move_its_neighbours_checks() {
    const INTERVAL: Duration = Duration::from_millis(100);
    const CHECKS: usize = 20;
    // It hangs after its first answer: from then on one check after the other runs into its time-out.
    let mut held = Vec::new();
    let hanging = Server::start("127.0.0.1:0", move |number, stream| match number {
        0 => say(stream, "HTTP/1.1 200 OK\r\n\r\n"),
        _ => held.push(stream),
    });
    let neighbours: Vec<_> =
        (0..9).map(|_| Server::saying("127.0.0.1:0", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).collect();
    let prober = Prober::start().unwrap();
    let check = HealthCheck { interval: INTERVAL, ..check() };
    let hung = watch(&prober, hanging.address, &HealthCheck { timeout: Duration::from_millis(150), ..check.clone() });
    let watched: Vec<_> = neighbours.iter().map(|server| watch(&prober, server.address, &check)).collect();
    for (_probing, notices) in &watched {
        for _ in 0..CHECKS {
            assert_eq!(next(notices).0.status, HealthStatus::Healthy);
        }
    }
    until(&hung.1, HealthChange::BecameUnhealthy);
    for server in &neighbours {
        let accepted = server.accepted();
        let mut gaps: Vec<_> = accepted.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort();
        let median = gaps[gaps.len() / 2];
        let range = INTERVAL * 8 / 10..INTERVAL * 12 / 10;
        assert!(range.contains(&median), "the median is {median:?}: {gaps:?}");
    }
}

#[test]
fn a_body_is_taken_so_that_the_server_can_finish_it() {
    const BODY: usize = 200_000;
    let (finished_tx, finished) = unbounded();
    let server = Server::start("127.0.0.1:0", move |_, mut stream| {
        listen(&stream);
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes()).unwrap();
        let written = [b'x'; BODY / 100];
        let result = (0..100).try_for_each(|_| stream.write_all(&written));
        // The end of the other side comes without an error when nothing was left unread.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = finished_tx.send(result.and_then(|()| stream.read(&mut [0])).map_err(|error| error.kind()));
    });
    let prober = Prober::start().unwrap();
    let check = HealthCheck { interval: Duration::from_secs(60), ..check() };
    let (_probing, notices) = watch(&prober, server.address, &check);
    assert_eq!(next(&notices).1, HealthChange::BecameHealthy);
    assert_eq!(finished.recv_timeout(LIMIT).unwrap(), Ok(0));
}

#[test]
fn an_endless_body_is_left_alone() {
    let (broken_tx, broken) = unbounded();
    let server = Server::start("127.0.0.1:0", move |_, mut stream| {
        listen(&stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 1000]).is_ok() {}
        let _ = broken_tx.send(());
    });
    let prober = Prober::start().unwrap();
    let check = HealthCheck { interval: Duration::from_secs(60), ..check() };
    let (_probing, notices) = watch(&prober, server.address, &check);
    assert_eq!(next(&notices).1, HealthChange::BecameHealthy);
    broken.recv_timeout(LIMIT).unwrap();
}

#[test]
fn the_end_of_a_watch_ends_its_connection_and_frees_what_it_had() {
    let (ended_tx, ended) = unbounded();
    let server = Server::start("127.0.0.1:0", move |_, stream| {
        listen(&stream);
        let _ = ended_tx.send((&stream).read(&mut [0]).unwrap());
    });
    let prober = Prober::start().unwrap();
    let (probing, notices) =
        watch(&prober, server.address, &HealthCheck { timeout: Duration::from_millis(20), ..check() });
    assert_eq!(next(&notices).1, HealthChange::Same);
    drop(probing);
    assert_eq!(ended.recv_timeout(LIMIT).unwrap(), 0, "the connection is open");
    assert!(notices.recv_timeout(LIMIT).is_err_and(|error| error.is_disconnected()), "the closure is kept");
}

#[test]
fn the_end_of_the_prober_ends_all() {
    let server = Server::saying("127.0.0.1:0", "HTTP/1.1 200 OK\r\n\r\n");
    let prober = Prober::start().unwrap();
    let (probing, notices) = watch(&prober, server.address, &check());
    until(&notices, HealthChange::BecameHealthy);
    assert_eq!(prober.close(soon()), Joined::Ended);
    while notices.recv_timeout(LIMIT).is_ok() {}
    // All of this is harmless afterwards.
    let (late, no_notices) = watch(&prober, server.address, &check());
    drop((probing, late, prober));
    assert!(no_notices.recv_timeout(LIMIT).is_err_and(|error| error.is_disconnected()));
}

#[test]
fn a_panic_costs_one_server_s_checks() {
    let server = Server::saying("127.0.0.1:0", "HTTP/1.1 200 OK\r\n\r\n");
    let prober = Prober::start().unwrap();
    let (called_tx, called) = unbounded();
    let _bad = prober.watch(server.address, &check(), Instant::now(), move |_, _| {
        called_tx.send(()).unwrap();
        panic!("on purpose");
    });
    let (_probing, notices) = watch(&prober, server.address, &check());
    assert!(called.recv_timeout(LIMIT).is_ok());
    assert!(called.recv_timeout(LIMIT).is_err_and(|error| error.is_disconnected()), "it was called again");
    until(&notices, HealthChange::BecameHealthy);
    assert_eq!(prober.close(soon()), Joined::Ended);
}

/// Whether the thread with this path below `/proc` sleeps, and how often it has gone to sleep.
fn sleep_of(thread: &str) -> (bool, u64) {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let value = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    (value("State:").starts_with('S'), value("voluntary_ctxt_switches:").parse().unwrap())
}

#[test]
fn without_a_server_the_thread_never_wakes() {
    let server = Server::saying("127.0.0.1:0", "HTTP/1.1 200 OK\r\n\r\n");
    let prober = Prober::start().unwrap();
    let (thread_tx, threads) = unbounded();
    let probing = prober.watch(server.address, &check(), Instant::now(), move |_, _| {
        let _ = thread_tx.send(fs::read_link("/proc/thread-self").unwrap());
    });
    let thread = threads.recv_timeout(LIMIT).unwrap().display().to_string();
    drop(probing);
    while threads.recv_timeout(LIMIT).is_ok() {}
    let begun = Instant::now();
    loop {
        let before = sleep_of(&thread);
        std::thread::sleep(Duration::from_millis(300));
        if before.0 && sleep_of(&thread) == before {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "it wakes and wakes");
    }
    assert_eq!(prober.close(soon()), Joined::Ended);
}

/// The limit on open files is that of a whole process; so this runs in one of its own.
#[test]
fn without_a_descriptor_no_check_is_made_and_the_next_one_follows_in_time() {
    const INSIDE: &str = "SERVISOR_TEST_OF_DESCRIPTORS";
    if std::env::var_os(INSIDE).is_none() {
        let myself = std::env::current_exe().unwrap();
        let name = "prober::tests::without_a_descriptor_no_check_is_made_and_the_next_one_follows_in_time";
        let script = r#"ulimit -S -n 64 && exec "$0" --exact "$1" --nocapture"#;
        let output = Command::new("/bin/sh").args(["-c", script]).arg(myself).arg(name).env(INSIDE, "1").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let prober = Prober::start().unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    let begun = Instant::now();
    let (_probing, notices) = watch(&prober, listener.local_addr().unwrap(), &check());
    for _ in 1..=5 {
        let (health, verdict) = next(&notices);
        assert_eq!((health.last_error, verdict), (Some(CheckFailure::NoDescriptor), HealthChange::Same));
        assert_eq!(health.consecutive_failures, 0);
    }
    assert!(begun.elapsed() >= check().interval * 4, "it spins");
    drop(files);
    say(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\n\r\n");
    until(&notices, HealthChange::BecameHealthy);
}
