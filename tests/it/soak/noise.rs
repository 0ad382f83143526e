//! Clients that only look, or hang up, while the steps are taken.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::SLUGS;
use super::visits::who;
use crate::support::{Client, Daemon, Random};

pub struct Noise {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Noise {
    pub fn begin(daemon: &Daemon, random: &mut Random) -> Noise {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..2)
            .map(|_| {
                let (client, stop, mut random) =
                    (daemon.client.clone(), Arc::clone(&stop), Random::new(random.below(1 << 30)));
                std::thread::spawn(move || look(&client, &stop, &mut random))
            })
            .collect();
        Noise { stop, threads }
    }

    pub fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn look(client: &Client, stop: &AtomicBool, random: &mut Random) {
    // Some who follow a log and do not read it: their buffers fill up.
    let mut followers: Vec<TcpStream> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let slug = format!("s{}", random.below(SLUGS));
        match random.below(14) {
            0 => check(client, "/servers"),
            1 => check(client, "/ready"),
            2 => check(client, &format!("/servers/{slug}")),
            3 => check(client, &format!("/servers/{slug}/logs?tail=3")),
            4 => check(client, &format!("/servers/{slug}?wait_for=ready&timeout_ms=20")),
            5 => followers.push(client.begin("GET", &format!("/servers/{slug}/logs?follow=true"))),
            6 => check(client, "/metrics"),
            7 => check(client, &format!("/servers/{slug}/runs?limit=2")),
            8 | 9 => visit(client.address, &slug),
            10 => drop(visitor(client.address, &slug, "/ws", "Upgrade: websocket\r\nConnection: Upgrade")),
            11 => {
                // Leaves in the middle of an answer.
                let mut leaver = client.begin("GET", &format!("/servers/{slug}/logs?follow=true"));
                let _ = leaver.read(&mut [0; 64]);
            }
            _ => drop(client.begin("GET", &format!("/servers/{slug}?wait_for=stopped"))),
        }
        if followers.len() > 3 {
            followers.remove(random.below(4) as usize);
        }
        std::thread::sleep(Duration::from_millis(random.below(20)));
    }
}

/// A mere reader gets an answer, and no fault. None at all is for those who are cut off when descriptors are short.
fn check(client: &Client, target: &str) {
    if let Some(answer) = client.try_request("GET", target, &[], None) {
        assert!(answer.status < 500 || answer.status == 503, "{target}: {} {}", answer.status, answer.text());
    }
}

/// What a page that was left open asks for: it starts nothing.
fn visitor(address: SocketAddr, slug: &str, path: &str, more: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {slug}.localhost\r\nOrigin: http://elsewhere\r\n{more}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    Some(stream)
}

/// Who comes while servers are started and stopped gets no answer of another one. Who is held for long leaves.
fn visit(address: SocketAddr, slug: &str) {
    let Some(mut stream) = visitor(address, slug, "/who", "Connection: close") else { return };
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return };
    let status = head.split(' ').nth(1).unwrap_or_default();
    assert!(["200", "404", "502", "503"].contains(&status), "{slug}: {answer}");
    // One that is cut off with its run says nothing.
    let is_whole = head.contains(&format!("Content-Length: {}", body.len()));
    let is_its_own = || who(body).is_some_and(|(name, _)| name == slug);
    assert!(status != "200" || !is_whole || is_its_own(), "{slug}: {answer}");
}
