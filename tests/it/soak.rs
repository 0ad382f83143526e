//! Random operations, crashes and faults against a model of what should be, compared after every step.
//!
//! `SOAK_SECONDS` is how long (60; `make soak` takes an hour), `SOAK_SEED` repeats the choices of a run; the seed of
//! each is printed. In the first tenth the daemon itself is killed now and then, in the second one it warms up. From
//! then on it has to live, is looked at again and again when it is idle, and must not grow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Daemon, LIMIT, Random, number};

mod commands;
mod faults;
mod figures;
mod model;
mod noise;
mod steps;
mod visits;
mod watcher;

use faults::Faults;
use figures::Counted;
use model::Model;
use noise::Noise;
use visits::Held;
use watcher::Watcher;

/// Servers at the same time, at most.
const SLUGS: u64 = 6;
/// From the first looks to the last ones memory may grow by so many hundredths.
const GROWTH_MAX: u64 = 5;
/// What else a shorter run may: a page that is touched for the first time late counts for much in it. In the first
/// minutes after its last death the static binary gets from 380 to 530 KiB, and stays there. With glibc's allocator, in
/// a run of seconds, it is more than the daemon has itself. `make soak` has a long run, of the static binary.
const LONG_RUN: u64 = 20 * 60;
const NOISE_OF_A_SHORTER_RUN_KIB: u64 = 256;
const SHORT_RUN: u64 = 120;
const NOISE_OF_A_SHORT_RUN_KIB: u64 = 4 * 1024;

/// With an arena for every other thread, glibc's allocator holds back a multiple.
const ONE_ARENA: [(&str, &str); 1] = [("MALLOC_ARENA_MAX", "1")];

/// Every server has a public URL.
const OPTIONS: [&str; 1] = ["--proxy"];

/// A run of the soak.
struct Soak {
    daemon: Daemon,
    random: Random,
    model: Model,
    /// The servers as they were at the last comparison.
    seen: BTreeMap<String, Value>,
    /// Streams of servers that run.
    held: Vec<Held>,
    watcher: Watcher,
    counted: Counted,
    faults: Faults,
    operations: u64,
}

/// What the daemon has when it has no server: KiB of its own memory, descriptors and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    memory: u64,
    descriptors: usize,
    threads: usize,
}

impl Soak {
    fn new(seed: u64) -> Soak {
        Soak {
            daemon: Daemon::with(&OPTIONS, &ONE_ARENA),
            random: Random::new(seed),
            model: Model::default(),
            seen: BTreeMap::default(),
            held: Vec::new(),
            watcher: Watcher::default(),
            counted: Counted::default(),
            faults: Faults::default(),
            operations: 0,
        }
    }

    /// Does one thing after the other for a while.
    fn run(&mut self, end: Instant, may_die: bool) {
        while Instant::now() < end {
            let noise = Noise::begin(&self.daemon, &mut self.random);
            for _ in 0..30 {
                match self.random.below(12) {
                    0 => self.fault(),
                    _ => self.operation(),
                }
                self.compare();
                self.look_at_held();
            }
            noise.end();
            self.look_at_processes();
            if may_die && self.random.below(3) == 0 {
                self.kill_daemon();
            }
        }
    }

    /// The daemon without servers, when it is idle: it has what it had `before`, or what it has stays the
    /// same.
    fn size(&mut self, before: Option<&Size>) -> Size {
        self.delete_all();
        self.watch();
        self.watcher.leave();
        let limit = Instant::now() + LIMIT;
        loop {
            let busy: Vec<_> = ["conn", "sup:", "log:"].iter().flat_map(|name| self.daemon.calls(name)).collect();
            if busy.is_empty() {
                break;
            }
            assert!(Instant::now() < limit, "threads of connections or servers are still there: {busy:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        let limit = Instant::now() + LIMIT;
        let (mut last, pause) = match before {
            Some(before) => ((before.descriptors, before.threads), Duration::from_millis(2)),
            None => (self.daemon.size(), Duration::from_secs(1)),
        };
        loop {
            std::thread::sleep(pause);
            let now = self.daemon.size();
            if now == last || Instant::now() > limit {
                let memory = self.daemon.memory_kib("Anonymous");
                return Size { memory, descriptors: now.0, threads: now.1 };
            }
            last = before.map_or(now, |_| last);
        }
    }
}

/// The middle one, in KiB.
fn median(sizes: &[Size]) -> u64 {
    let mut memory: Vec<u64> = sizes.iter().map(|size| size.memory).collect();
    memory.sort_unstable();
    memory[memory.len() / 2]
}

#[test]
fn whatever_happens_it_is_as_the_model_says() {
    let seconds = number("SOAK_SECONDS").unwrap_or(60);
    let seed = number("SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    let (begun, whole) = (Instant::now(), Duration::from_secs(seconds));
    let mut soak = Soak::new(seed);
    soak.run(begun + whole / 10, true);
    soak.run(begun + whole / 5, false);
    let mut sizes = vec![soak.size(None)];
    let looks = (seconds / 90).clamp(1, 39) as u32;
    for look in 1..=looks {
        soak.run(begun + whole / 5 + whole * 4 / 5 * look / looks, false);
        sizes.push(soak.size(sizes.first()));
    }
    let part = sizes.len().div_ceil(4);
    let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
    let (before, after) = (median(&sizes[..part]), median(&sizes[sizes.len() - part..]));
    println!(
        "idle, {:?} apart, KiB of its own: {:?}",
        whole * 4 / 5 / looks,
        sizes.iter().map(|size| size.memory).collect::<Vec<_>>()
    );
    println!(
        "soak of {:?}, seed {seed}: {} operations, {} faults ({}), 0 deviations; idle {} to {} descriptors, {} to {} \
         threads, {before} to {after} KiB (the medians of the first and of the last {part} of {} looks)",
        begun.elapsed(),
        soak.operations,
        soak.faults.count(),
        soak.faults,
        first.descriptors,
        last.descriptors,
        first.threads,
        last.threads,
        sizes.len(),
    );
    let counts = |size: &Size| (size.descriptors, size.threads);
    assert!(sizes.iter().all(|size| counts(size) == counts(&first)), "descriptors or threads are others: {sizes:#?}");
    let noise = match seconds {
        LONG_RUN.. => 0,
        SHORT_RUN.. => NOISE_OF_A_SHORTER_RUN_KIB,
        _ => NOISE_OF_A_SHORT_RUN_KIB,
    };
    // Under ThreadSanitizer most of it is the sanitizer's.
    let is_the_daemon_s = std::env::var_os("THREADS_BIN").is_none();
    assert!(
        !is_the_daemon_s || after <= before + before * GROWTH_MAX / 100 + noise,
        "it grows from {before} to {after} KiB"
    );
}
