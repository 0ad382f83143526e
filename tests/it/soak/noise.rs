//! Clients that only look, or hang up, while the steps are taken.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::SLUGS;
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
        match random.below(8) {
            0 => check(client, "/servers"),
            1 => check(client, "/ready"),
            2 => check(client, &format!("/servers/{slug}")),
            3 => check(client, &format!("/servers/{slug}/logs?tail=3")),
            4 => check(client, &format!("/servers/{slug}?wait_for=ready&timeout_ms=20")),
            5 => followers.push(client.begin("GET", &format!("/servers/{slug}/logs?follow=true"))),
            6 => {
                // Leaves in the middle of an answer.
                let mut leaver = client.begin("GET", &format!("/servers/{slug}/logs?follow=true"));
                let _ = leaver.read(&mut [0; 64]);
            }
            _ => drop(client.begin("GET", &format!("/servers/{slug}?wait_for=stopped"))),
        }
        if followers.len() > 3 {
            followers.remove(random.below(4) as usize);
        }
        std::thread::sleep(std::time::Duration::from_millis(random.below(20)));
    }
}

/// A mere reader gets an answer, and no fault. None at all is for those who are cut off when descriptors are short.
fn check(client: &Client, target: &str) {
    if let Some(answer) = client.try_request("GET", target, &[], None) {
        assert!(answer.status < 500 || answer.status == 503, "{target}: {} {}", answer.status, answer.text());
    }
}
