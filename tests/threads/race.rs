//! The control of `make test-threads`: two threads that count in the same place, which ThreadSanitizer has to report.

use std::thread;

static mut COUNT: u64 = 0;

fn main() {
    let count = || {
        for _ in 0..1000 {
            // SAFETY: none, and that is what this program is for.
            unsafe { COUNT += 1 }
        }
    };
    let both = [thread::spawn(count), thread::spawn(count)];
    both.into_iter().for_each(|one| one.join().unwrap());
}
