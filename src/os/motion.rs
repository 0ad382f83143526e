//! Whether something is going on.
//!
//! Owns: the count of what has begun and is not over. Never: what it is.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Something that is done again and again by some threads, and may blur what others see meanwhile.
#[derive(Debug, Default)]
pub struct Motion(AtomicUsize);

/// It goes on as long as this lives.
pub struct Moving<'a>(&'a Motion);

impl Motion {
    /// It begins.
    pub fn begin(&self) -> Moving<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Moving(self)
    }

    /// Whether all that has begun is over.
    pub fn is_at_rest(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_when_nothing_goes_on() {
        let motion = Motion::default();
        assert!(motion.is_at_rest());
        let moving = motion.begin();
        let another = motion.begin();
        drop(moving);
        assert!(!motion.is_at_rest());
        drop(another);
        assert!(motion.is_at_rest());
    }
}
