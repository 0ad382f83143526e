//! Whether something went on while one was looking.
//!
//! Owns: the count of what has begun and what is over. Never: what it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that is done again and again by some threads, and may blur what others see meanwhile.
#[derive(Debug, Default)]
pub struct Motion {
    begun: AtomicU64,
    over: AtomicU64,
}

/// It goes on as long as this lives.
pub struct Moving<'a>(&'a Motion);

/// How often it was over at some moment.
#[derive(Debug, Clone, Copy)]
pub struct Before(u64);

impl Motion {
    /// It begins.
    pub fn begin(&self) -> Moving<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Moving(self)
    }

    /// To be asked before a look, and given back after it.
    pub fn before(&self) -> Before {
        Before(self.over.load(Ordering::SeqCst))
    }

    /// Whether all that has begun by now was over then.
    pub fn was_at_rest_since(&self, before: Before) -> bool {
        self.begun.load(Ordering::SeqCst) == before.0
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.over.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_when_nothing_has_begun_and_nothing_goes_on() {
        let motion = Motion::default();
        let before = motion.before();
        assert!(motion.was_at_rest_since(before));
        let moving = motion.begin();
        assert!(!motion.was_at_rest_since(before) && !motion.was_at_rest_since(motion.before()));
        drop(moving);
        assert!(!motion.was_at_rest_since(before) && motion.was_at_rest_since(motion.before()));
    }
}
