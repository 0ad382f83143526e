//! A one-shot channel with progress: from one thread to another, received with a deadline.
//!
//! Owns: the value until both sides are gone. Never: its meaning.
//!
//! The sender may report progress before it sends the final value. Here for its size: a bounded channel of `crossbeam`
//! is 6 KiB of code for each type of message, 23 KiB for those used.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::RecvError;
use crate::sync::{lock, wait_for};

/// The sending side. Dropping it without a final value disconnects the channel.
#[derive(Debug)]
pub struct OnceSender<T>(Arc<Channel<T>>);

/// The receiving side.
#[derive(Debug)]
pub struct OnceReceiver<T>(Arc<Channel<T>>);

#[derive(Debug)]
enum ChannelState<T> {
    /// The sender lives, and may have reported progress.
    Open(Option<T>),
    Sent(T),
    Dropped,
}

#[derive(Debug)]
struct Channel<T> {
    state: Mutex<ChannelState<T>>,
    changed: Condvar,
}

pub fn oneshot<T>() -> (OnceSender<T>, OnceReceiver<T>) {
    let channel = Arc::new(Channel { state: Mutex::new(ChannelState::Open(None)), changed: Condvar::new() });
    (OnceSender(Arc::clone(&channel)), OnceReceiver(channel))
}

impl<T> OnceSender<T> {
    /// Reports progress; a later value replaces it.
    pub fn report(&self, value: T) {
        *self.0.state() = ChannelState::Open(Some(value));
        self.0.changed.notify_all();
    }

    /// Sends the final value. A receiver that is gone makes no difference.
    pub fn send(self, value: T) {
        *self.0.state() = ChannelState::Sent(value);
    }
}

impl<T> Drop for OnceSender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let ChannelState::Open(_) = *state {
            *state = ChannelState::Dropped;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

impl<T: Clone> OnceReceiver<T> {
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
                ChannelState::Sent(value) => return Ok(value.clone()),
                ChannelState::Open(Some(value)) if takes_progress => return Ok(value.clone()),
                ChannelState::Open(_) => {}
                ChannelState::Dropped => return Err(RecvError::Disconnected),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RecvError::Timeout);
            }
            state = wait_for(&self.0.changed, state, left);
        }
    }
}

impl<T> Channel<T> {
    fn state(&self) -> MutexGuard<'_, ChannelState<T>> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::soon;

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
