//! What the tests have in common.

mod client;
mod control;
mod daemon;
pub mod limits;
mod process;
mod random;
mod schema;
mod stream;

pub use client::{Answer, Client, exchange};
pub use control::{Child, Control};
pub use daemon::{Daemon, Scratch, TOKEN, made, testchild};
pub use process::{Finish, Guarded, log_with};
pub use random::{Random, number};
pub use schema::Document;
pub use stream::Stream;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

static PANICS: Mutex<String> = Mutex::new(String::new());

/// Keeps the text and place of each panic of this process, for [`panics`].
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{panic}\n"));
            before(panic);
        }));
    });
}

/// The panics so far. In a thread of a test they come before the one of its `join`.
fn panics() -> String {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Longer than anything takes on a busy machine; only a failing test waits for it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see.
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + LIMIT;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < limit, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Monotonic time in microseconds, as the children report it.
pub fn micros() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills what it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A port that was free a moment ago, with two more above it, and that no other test and no outgoing connection gets.
pub fn quiet_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Another range for each process; below what the system gives out by itself.
        let base = 10_000 + (std::process::id() % 20) as u16 * 1000;
        let port = base + NEXT.fetch_add(3, Ordering::Relaxed) % 999;
        if (port..port + 3).all(|port| std::net::TcpListener::bind(("::", port)).is_ok()) {
            return port;
        }
    }
}

/// One of a range of ports that nothing listens on; two tests at a time get different ones.
pub fn free_helper(range: std::ops::RangeInclusive<u16>) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = range.end() - range.start() + 1;
    let offset = std::process::id() as u16 % 50 + NEXT.fetch_add(1, Ordering::Relaxed);
    let mut ports = (0..count).map(|number| range.start() + (number + offset) % count);
    ports.find(|port| std::net::TcpListener::bind(("::", *port)).is_ok()).unwrap()
}

/// The middle one and the last one of some measured times.
pub fn median_and_max(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}
