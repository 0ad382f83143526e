//! How many clients may be kept at something that takes long.
//!
//! Owns: the counts and their limits. Never: what the clients are kept at.
//!
//! Each kind of client has places of its own, so that no client without the token takes one of an owner's. An owner that
//! waits or follows a log keeps its connection; the limits together leave some of them to owners that are answered at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Code, Error};

/// As many logs are followed at the same time.
pub const STREAMS_MAX: usize = 32;
/// As many clients read events.
pub const EVENT_READERS_MAX: usize = 16;
/// As many clients with the token wait for a server, or for everything to be ready.
pub const WAITS_MAX: usize = 128;
/// As many clients without the token wait for everything to be ready. They can be evicted at any time, and their threads
/// take up to a second to end: less than the connections that may be on their way out.
pub const OPEN_WAITS_MAX: usize = 32;

/// Places of one kind.
#[derive(Debug)]
pub struct Places {
    most: usize,
    /// What is full when they are, and what to do without one; both fit into a sentence.
    words: [&'static str; 2],
    taken: Arc<AtomicUsize>,
}

/// One of them; dropping it gives it free.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// For those who follow a log.
    pub fn for_streams() -> Places {
        Places::new(STREAMS_MAX, ["logs are being followed", "leave one of them, or ask without follow"])
    }

    /// For those who read events.
    pub fn for_event_readers() -> Places {
        Places::new(EVENT_READERS_MAX, ["clients read events", "leave one of them, or ask for the servers instead"])
    }

    /// For owners that wait.
    pub fn for_waits() -> Places {
        Places::new(WAITS_MAX, ["clients wait for servers", "ask without wait_for or wait"])
    }

    /// For clients without the token that wait.
    pub fn for_open_waits() -> Places {
        Places::new(
            OPEN_WAITS_MAX,
            ["clients without the access token wait for everything", "ask without wait, or with the token"],
        )
    }

    fn new(most: usize, words: [&'static str; 2]) -> Places {
        Places { most, words, taken: Arc::default() }
    }

    /// A place.
    ///
    /// # Errors
    /// 503 when none is free.
    pub fn take(&self) -> Result<Place, Error> {
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more) {
            Ok(_) => Ok(Place(Arc::clone(&self.taken))),
            Err(_) => {
                let [full, advice] = self.words;
                Err(Error::new(Code::Busy, format!("{} {full}, and no more can; {advice}", self.most)))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let places = Places::for_streams();
        let all: Vec<Place> = (0..STREAMS_MAX).map(|_| places.take().unwrap()).collect();
        let refusal = places.take().unwrap_err();
        assert_eq!(refusal.code(), Code::Busy);
        assert!(refusal.sentence().starts_with("32 logs are being followed"), "{refusal}");
        drop(all);
        assert!(places.take().is_ok());
    }

    #[test]
    fn the_long_calls_leave_connections_to_the_others() {
        let connections = crate::http::FrontLimits::default().connections;
        // Owners have all but 32 of them.
        assert!(STREAMS_MAX + EVENT_READERS_MAX + WAITS_MAX + 32 <= connections - 32);
        const { assert!(OPEN_WAITS_MAX <= 32) };
    }
}
