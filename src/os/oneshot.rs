//! A one-shot channel with progress: from one thread to another, received with a deadline.
//!
//! Owns: the value until both sides are gone. Never: its meaning.
//!
//! The sender may report progress before it sends the final value. A channel of `crossbeam` does the same with 6 KiB of code for
//! each type of message.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The sending side. Dropping it without a final value disconnects the channel.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving side.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

/// Why no value was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvError {
    /// The deadline has passed.
    Timeout,
    /// The sender is gone without a final value.
    Disconnected,
}

#[derive(Debug)]
enum State<T> {
    /// The sender lives, and may have reported progress.
    Open(Option<T>),
    Sent(T),
    Dropped,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// Creates a channel.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Open(None)), changed: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Reports progress; a later value replaces it.
    pub fn report(&self, value: T) {
        *self.0.state() = State::Open(Some(value));
        self.0.changed.notify_all();
    }

    /// Sends the final value. A receiver that is gone makes no difference.
    pub fn send(self, value: T) {
        *self.0.state() = State::Sent(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let State::Open(_) = *state {
            *state = State::Dropped;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

impl<T: Clone> Receiver<T> {
    /// Waits for the final value, but not past `deadline`. It stays there to be received again.
    ///
    /// # Errors
    /// There is none.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvError> {
        self.recv(deadline, false)
    }

    /// Waits for progress or the final value, but not past `deadline`.
    ///
    /// # Errors
    /// There is neither.
    pub fn recv_first(&self, deadline: Instant) -> Result<T, RecvError> {
        self.recv(deadline, true)
    }

    fn recv(&self, deadline: Instant, takes_progress: bool) -> Result<T, RecvError> {
        let mut state = self.0.state();
        loop {
            match &*state {
                State::Sent(value) => return Ok(value.clone()),
                State::Open(Some(value)) if takes_progress => return Ok(value.clone()),
                State::Open(_) => {}
                State::Dropped => return Err(RecvError::Disconnected),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RecvError::Timeout);
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_value_can_be_received_again() {
        let (sender, receiver) = oneshot();
        assert_eq!(receiver.recv_deadline(Instant::now()), Err(RecvError::Timeout));
        sender.send(7);
        assert_eq!(receiver.recv_deadline(soon()), Ok(7));
        assert_eq!(receiver.recv_first(Instant::now()), Ok(7));
    }

    #[test]
    fn progress_is_received_only_where_it_is_asked_for() {
        let (sender, receiver) = oneshot();
        sender.report(1);
        assert_eq!(receiver.recv_first(Instant::now()), Ok(1));
        assert_eq!(receiver.recv_deadline(Instant::now()), Err(RecvError::Timeout));
        std::thread::spawn(move || sender.send(2));
        assert_eq!(receiver.recv_deadline(soon()), Ok(2));
        let (sender, receiver) = oneshot();
        sender.report(1);
        drop(sender);
        assert_eq!(receiver.recv_first(soon()), Err(RecvError::Disconnected));
    }

    #[test]
    fn a_waiting_thread_wakes_at_the_value_and_at_its_loss() {
        let (sender, receiver) = oneshot();
        std::thread::spawn(move || sender.send("value"));
        assert_eq!(receiver.recv_deadline(soon()), Ok("value"));
        let (sender, receiver) = oneshot::<()>();
        std::thread::spawn(move || drop(sender));
        assert_eq!(receiver.recv_deadline(soon()), Err(RecvError::Disconnected));
    }
}
