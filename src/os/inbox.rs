//! The inbox of a thread: an unbounded channel.
//!
//! Owns: the channel. A sender never waits. Never: what a message means.
//!
//! All inboxes share one channel of boxed messages: the code of a channel is 6 KiB for each type of message, 37 KiB for
//! the six types here. Messages are rare (a start, an end, a query), so the box does not matter.

use std::any::Any;
use std::marker::PhantomData;
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, TryRecvError, unbounded};

use super::RecvError;

type BoxedMessage = Box<dyn Any + Send>;

/// The sending side.
#[derive(Debug)]
pub struct Sender<T> {
    messages: crossbeam_channel::Sender<BoxedMessage>,
    message: PhantomData<fn(T)>,
}

/// The receiving side.
#[derive(Debug)]
pub struct Inbox<T> {
    messages: crossbeam_channel::Receiver<BoxedMessage>,
    message: PhantomData<fn() -> T>,
}

/// The inbox is dropped, and the message with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Disconnected;

/// Creates an empty inbox.
pub fn inbox<T: Send + 'static>() -> (Sender<T>, Inbox<T>) {
    let (sender, receiver) = unbounded();
    (Sender { messages: sender, message: PhantomData }, Inbox { messages: receiver, message: PhantomData })
}

impl<T: Send + 'static> Sender<T> {
    /// Sends `message`, without waiting.
    ///
    /// # Errors
    /// The inbox is dropped.
    pub fn send(&self, message: T) -> Result<(), Disconnected> {
        self.messages.send(Box::new(message)).map_err(|_| Disconnected)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { messages: self.messages.clone(), message: PhantomData }
    }
}

impl<T: Send + 'static> Inbox<T> {
    /// Waits for the next message, but not past `deadline`; without one for as long as it takes.
    ///
    /// # Errors
    /// There is none in time, or all senders are dropped.
    pub fn recv_by(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        open(receive(&self.messages, deadline)?)
    }

    /// The next message, if it is there.
    pub fn try_recv(&self) -> Result<T, RecvError> {
        match self.messages.try_recv() {
            Ok(message) => open(message),
            Err(TryRecvError::Empty) => Err(RecvError::Timeout),
            Err(TryRecvError::Disconnected) => Err(RecvError::Disconnected),
        }
    }
}

fn receive(
    messages: &crossbeam_channel::Receiver<BoxedMessage>,
    deadline: Option<Instant>,
) -> Result<BoxedMessage, RecvError> {
    let received = match deadline {
        Some(deadline) => messages.recv_deadline(deadline),
        None => messages.recv().map_err(RecvTimeoutError::from),
    };
    received.map_err(|error| match error {
        RecvTimeoutError::Timeout => RecvError::Timeout,
        RecvTimeoutError::Disconnected => RecvError::Disconnected,
    })
}

/// Only a `Sender<T>` puts anything into the inbox of `T`, so it is always one.
fn open<T: 'static>(message: BoxedMessage) -> Result<T, RecvError> {
    message.downcast().map(|message| *message).map_err(|_| RecvError::Disconnected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn messages_keep_their_order_until_all_senders_are_dropped() {
        let (first, inbox) = inbox();
        let second = first.clone();
        first.send("one").unwrap();
        second.send("two").unwrap();
        assert_eq!(inbox.recv_by(None), Ok("one"));
        assert_eq!(inbox.try_recv(), Ok("two"));
        assert_eq!(inbox.try_recv(), Err(RecvError::Timeout));
        assert_eq!(inbox.recv_by(Some(Instant::now() + Duration::from_millis(1))), Err(RecvError::Timeout));
        drop((first, second));
        assert_eq!(inbox.try_recv(), Err(RecvError::Disconnected));
        assert_eq!(inbox.recv_by(None), Err(RecvError::Disconnected));
    }

    #[test]
    fn a_message_without_an_inbox_is_dropped() {
        let (sender, inbox) = inbox();
        let message = std::sync::Arc::new(());
        sender.send(std::sync::Arc::clone(&message)).unwrap();
        drop(inbox);
        assert_eq!(std::sync::Arc::strong_count(&message), 1);
        assert_eq!(sender.send(message), Err(Disconnected));
    }
}
