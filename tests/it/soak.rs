//! Random operations, crashes and faults against a model of what should be, compared after every step.
//!
//! `SOAK_SECONDS` is how long (30; `make soak` takes an hour), `SOAK_SEED` repeats the choices of a run; the seed of each is
//! printed. In the first half the daemon itself is killed now and then; in the second one it has to live on, and its memory
//! and descriptors must not grow.

use std::time::{Duration, Instant};

use crate::support::{Daemon, Random, number};

mod faults;
mod model;
mod noise;
mod steps;

use faults::Faults;
use model::Model;
use noise::Noise;

/// Servers at the same time, at most.
const SLUGS: u64 = 6;
/// What the allocator may hold back, and the parts of the daemon's memory that were never touched before: with glibc's, in a
/// run of seconds, more than the daemon has itself. `make soak` looks at the static binary, for long.
const NOISE_KIB: u64 = 256;
const NOISE_OF_A_SHORT_RUN_KIB: u64 = 4 * 1024;
const SHORT_RUN: u64 = 300;

/// With an arena for every other thread, glibc's allocator holds back a multiple.
const ONE_ARENA: [(&str, &str); 1] = [("MALLOC_ARENA_MAX", "1")];

/// A run of the soak.
struct Soak {
    daemon: Daemon,
    random: Random,
    model: Model,
    faults: Faults,
    operations: u64,
}

/// What the daemon has when it has no server: KiB of its own memory, and descriptors.
#[derive(Debug, Clone, Copy)]
struct Size {
    memory: u64,
    descriptors: usize,
    threads: usize,
}

impl Soak {
    fn new(seed: u64) -> Soak {
        let (daemon, random) = (Daemon::with(&[], &ONE_ARENA), Random::new(seed));
        Soak { daemon, random, model: Model::default(), faults: Faults::default(), operations: 0 }
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
            }
            noise.end();
            self.look_at_processes();
            if may_die && self.random.below(3) == 0 {
                self.kill_daemon();
            }
        }
    }

    /// The daemon without servers, when it has come to rest.
    fn size(&mut self) -> Size {
        self.delete_all();
        let pid = self.daemon.pid();
        crate::support::wait_until("connections and threads of servers are gone", || {
            let busy = ["conn", "sup:", "log:"].iter().map(|name| self.daemon.threads(name)).sum::<usize>();
            (busy == 0).then_some(())
        });
        Size {
            memory: self.daemon.memory_kib("Anonymous"),
            descriptors: crate::support::limits::open_descriptors(pid).len(),
            threads: self.daemon.threads(""),
        }
    }
}

#[test]
fn whatever_happens_it_is_as_the_model_says() {
    let seconds = number("SOAK_SECONDS").unwrap_or(30);
    let seed = number("SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    let begun = Instant::now();
    let mut soak = Soak::new(seed);
    soak.run(begun + Duration::from_secs(seconds) * 4 / 10, true);
    // Everything that is made once is made by now.
    soak.run(begun + Duration::from_secs(seconds) * 5 / 10, false);
    let mut sizes = vec![soak.size()];
    for tenth in 6..=10 {
        soak.run(begun + Duration::from_secs(seconds) * tenth / 10, false);
        sizes.push(soak.size());
    }
    let (before, after) = (sizes[0], sizes[sizes.len() - 1]);
    let memory: Vec<u64> = sizes.iter().map(|size| size.memory).collect();
    println!("KiB of its own without servers, a tenth of the time apart: {memory:?}");
    println!(
        "soak of {:?}, seed {seed}: {} operations, {} faults ({}), 0 deviations; before {before:?}, after {after:?}",
        begun.elapsed(),
        soak.operations,
        soak.faults.count(),
        soak.faults,
    );
    // Fewer threads are no leak: tiny_http lets idle ones of its pool go.
    assert_eq!(after.descriptors, before.descriptors);
    assert!(after.threads <= before.threads, "{} threads, {} before", after.threads, before.threads);
    let noise = if seconds < SHORT_RUN { NOISE_OF_A_SHORT_RUN_KIB } else { NOISE_KIB };
    // The peak of a moment stays with an allocator; what grows on and on does not stop at the largest of the first ones.
    let first = memory[..3].iter().max().unwrap();
    assert!(after.memory <= first + first / 20 + noise, "it grows: {memory:?}");
}
