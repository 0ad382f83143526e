//! One word from one thread to another, and a wait for it with a limit.
//!
//! Owns: the word from when it is said to when nobody can ask for it any more. Never: what it means.
//!
//! A channel does this too, with the code for many words, senders and receivers, 6 KiB of it for each type of word.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The side that says it. Dropping it without a word says that there will be none.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The side that waits for it.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

/// Why there is no word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// It was not said in time.
    Late,
    /// It will not be said: the sender is gone.
    Lost,
}

#[derive(Debug)]
struct Shared<T> {
    word: Mutex<Result<T, Unsaid>>,
    said: Condvar,
}

/// The two sides of a word that is not said yet.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { word: Mutex::new(Err(Unsaid::Late)), said: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Says it. Whoever waited may have given up; that makes no difference here.
    pub fn send(self, word: T) {
        *self.0.word() = Ok(word);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut word = self.0.word();
        if word.is_err() {
            *word = Err(Unsaid::Lost);
        }
        drop(word);
        self.0.said.notify_all();
    }
}

impl<T: Clone> Receiver<T> {
    /// Waits for it, but not past `deadline`. It stays there for who asks again.
    ///
    /// # Errors
    /// It was not said.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, Unsaid> {
        let mut word = self.0.word();
        while matches!(*word, Err(Unsaid::Late)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            word = self.0.said.wait_timeout(word, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        word.clone()
    }
}

impl<T> Shared<T> {
    fn word(&self) -> MutexGuard<'_, Result<T, Unsaid>> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_word_that_was_said_is_there_for_whoever_asks() {
        let (sender, receiver) = oneshot();
        assert_eq!(receiver.recv_deadline(Instant::now()), Err(Unsaid::Late));
        sender.send(7);
        assert_eq!(receiver.recv_deadline(soon()), Ok(7));
        assert_eq!(receiver.recv_deadline(Instant::now()), Ok(7));
    }

    #[test]
    fn who_waits_hears_it_from_another_thread_and_that_it_will_never_come() {
        let (sender, receiver) = oneshot();
        std::thread::spawn(move || sender.send("word"));
        assert_eq!(receiver.recv_deadline(soon()), Ok("word"));
        let (sender, receiver) = oneshot::<()>();
        std::thread::spawn(move || drop(sender));
        assert_eq!(receiver.recv_deadline(soon()), Err(Unsaid::Lost));
    }
}
