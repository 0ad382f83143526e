//! One path alone, so that its instructions can be counted: `append N` takes so many lines of 100 bytes into a log,
//! `unwind N` catches so many panics.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use servisor::logs::{Selection, SharedLog, StreamId};
use servisor::os::thread::{Joined, SMALL_STACK, spawn};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [order, count] = &words[..] else { panic!("append N | unwind N") };
    let count = count.parse().unwrap();
    match order.as_str() {
        "append" => append(count),
        "unwind" => unwind(count),
        other => panic!("{other} is neither append nor unwind"),
    }
}

fn append(lines: u64) {
    let log = SharedLog::new(1 << 20);
    let line = [&[b'.'; 99][..], b"\n"].concat();
    for _ in 0..lines {
        log.append(StreamId::Stdout, &line);
    }
    assert!(log.render(Selection::Stdout, Some(1)).bytes == line);
}

/// Frames between a panic and the thread that catches it, each with a value to drop.
const FRAMES: u64 = 10;
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

/// The release has an unwinder and linker options of its own: this fails if a panic is not caught, or a frame not
/// cleaned up.
fn unwind(panics: u64) {
    std::panic::set_hook(Box::new(|_| {}));
    for _ in 0..panics {
        let thread = spawn("panics", SMALL_STACK, || descend(FRAMES)).unwrap();
        assert_eq!(thread.join_by(Instant::now() + Duration::from_secs(60)), Joined::Panicked);
    }
    assert_eq!(DROPPED.load(Ordering::SeqCst), panics * FRAMES);
}

#[inline(never)]
fn descend(frames: u64) {
    assert!(black_box(frames) > 0, "on purpose");
    let _dropped = Dropped;
    descend(frames - 1);
    black_box(());
}
