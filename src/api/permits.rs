//! Permits for requests that keep their connection for long.
//!
//! Owns: the counts and their limits. Never: the requests.
//!
//! Each kind of request has permits of its own, so that clients without the token take none of an owner's. Together the
//! limits leave connections to owners whose requests are answered at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Code, Error};

/// The limit of followed logs.
pub const STREAMS_MAX: usize = 32;
pub const EVENT_READERS_MAX: usize = 16;
/// The limit of clients with the token that wait for a server, or for everything to be ready.
pub const WAITS_MAX: usize = 128;
/// The limit of clients without the token that wait for everything to be ready. They can be evicted at any time, and
/// their threads take up to a second to end: fewer than the evicted connections that may exist.
pub const OPEN_WAITS_MAX: usize = 32;

#[derive(Debug)]
pub struct Permits {
    most: usize,
    /// What is full when none is left, and what to do then; both are parts of a sentence.
    words: [&'static str; 2],
    taken: Arc<AtomicUsize>,
}

/// One of them, released on drop.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Permits {
    pub fn for_streams() -> Permits {
        Permits::new(STREAMS_MAX, ["logs are being followed", "leave one of them, or ask without follow"])
    }

    pub fn for_event_readers() -> Permits {
        Permits::new(EVENT_READERS_MAX, ["clients read events", "leave one of them, or ask for the servers instead"])
    }

    pub fn for_waits() -> Permits {
        Permits::new(WAITS_MAX, ["clients wait for servers", "ask without wait_for or wait"])
    }

    pub fn for_open_waits() -> Permits {
        Permits::new(
            OPEN_WAITS_MAX,
            ["clients without the access token wait for everything", "ask without wait, or with the token"],
        )
    }

    fn new(most: usize, words: [&'static str; 2]) -> Permits {
        Permits { most, words, taken: Arc::default() }
    }

    /// Takes one.
    ///
    /// # Errors
    /// 503 when none is left.
    pub fn take(&self) -> Result<Permit, Error> {
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more) {
            Ok(_) => Ok(Permit(Arc::clone(&self.taken))),
            Err(_) => {
                let [full, advice] = self.words;
                Err(Error::new(Code::Busy, format!("{} {full}, and no more can; {advice}", self.most)))
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_released() {
        let permits = Permits::for_streams();
        let all: Vec<Permit> = (0..STREAMS_MAX).map(|_| permits.take().unwrap()).collect();
        let refusal = permits.take().unwrap_err();
        assert_eq!(refusal.code(), Code::Busy);
        assert!(refusal.sentence().starts_with("32 logs are being followed"), "{refusal}");
        drop(all);
        assert!(permits.take().is_ok());
    }

    #[test]
    fn the_long_calls_leave_connections_to_the_others() {
        let connections = crate::http::FrontLimits::default().connections;
        // Owners have all but 32 of them.
        assert!(STREAMS_MAX + EVENT_READERS_MAX + WAITS_MAX + 32 <= connections - 32);
        const { assert!(OPEN_WAITS_MAX <= 32) };
    }
}
