//! What unit tests of several modules share.
//!
//! Owns: temporary directories, the limit of waits, random numbers with a seed. Never: anything of the daemon.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// For so long a test waits for what must happen.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Returns the deadline of a wait that begins now.
pub fn soon() -> Instant {
    Instant::now() + LIMIT
}

/// A generator of pseudorandom numbers (xorshift64) with a fixed seed: the same tests every time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A path of its own, removed on drop.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A path where nothing is yet.
    pub fn absent() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = fs::canonicalize(std::env::temp_dir()).unwrap();
        let path = directory.join(format!("servisor-unit-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Scratch(path)
    }

    /// An empty directory, for its owner only.
    pub fn new() -> Scratch {
        let scratch = Scratch::absent();
        DirBuilder::new().mode(0o700).create(&scratch.0).unwrap();
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
