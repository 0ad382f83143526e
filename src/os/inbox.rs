//! The inbox of a thread: how others tell it something.
//!
//! Owns: the channel, which has no bound, so that a sender never waits. Never: what is told.
//!
//! All inboxes are channels of one and the same type, whatever is told: each further type of message would bring its
//! own copy of the channel's code, 6 KiB. What is told is rare (a start, an end, a question), so the box around it does
//! not matter.

use std::any::Any;
use std::marker::PhantomData;
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, TryRecvError, unbounded};

/// A message on its way.
type Parcel = Box<dyn Any + Send>;

/// The side of those who tell something.
#[derive(Debug)]
pub struct Sender<T> {
    parcels: crossbeam_channel::Sender<Parcel>,
    message: PhantomData<fn(T)>,
}

/// The side of the thread.
#[derive(Debug)]
pub struct Inbox<T> {
    parcels: crossbeam_channel::Receiver<Parcel>,
    message: PhantomData<fn() -> T>,
}

/// The thread takes nothing any more; what was sent is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// None has come in time.
    Yet,
    /// None will come: all senders are gone.
    EverMore,
}

/// An empty inbox.
pub fn inbox<T: Send + 'static>() -> (Sender<T>, Inbox<T>) {
    let (sender, receiver) = unbounded();
    (Sender { parcels: sender, message: PhantomData }, Inbox { parcels: receiver, message: PhantomData })
}

impl<T: Send + 'static> Sender<T> {
    /// Tells `message`, without waiting.
    ///
    /// # Errors
    /// The inbox is gone.
    pub fn send(&self, message: T) -> Result<(), Closed> {
        self.parcels.send(Box::new(message)).map_err(|_| Closed)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { parcels: self.parcels.clone(), message: PhantomData }
    }
}

impl<T: Send + 'static> Inbox<T> {
    /// Waits for the next message, but not past `deadline`; without one for as long as it takes.
    ///
    /// # Errors
    /// There is none in time, or none will come.
    pub fn recv_by(&self, deadline: Option<Instant>) -> Result<T, Nothing> {
        open(receive(&self.parcels, deadline)?)
    }

    /// The next message, if it is there.
    pub fn try_recv(&self) -> Result<T, Nothing> {
        match self.parcels.try_recv() {
            Ok(parcel) => open(parcel),
            Err(TryRecvError::Empty) => Err(Nothing::Yet),
            Err(TryRecvError::Disconnected) => Err(Nothing::EverMore),
        }
    }
}

fn receive(parcels: &crossbeam_channel::Receiver<Parcel>, deadline: Option<Instant>) -> Result<Parcel, Nothing> {
    let received = match deadline {
        Some(deadline) => parcels.recv_deadline(deadline),
        None => parcels.recv().map_err(RecvTimeoutError::from),
    };
    received.map_err(|error| match error {
        RecvTimeoutError::Timeout => Nothing::Yet,
        RecvTimeoutError::Disconnected => Nothing::EverMore,
    })
}

/// Only a `Sender<T>` puts anything into the inbox of `T`, so it is always one.
fn open<T: 'static>(parcel: Parcel) -> Result<T, Nothing> {
    parcel.downcast().map(|message| *message).map_err(|_| Nothing::EverMore)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn messages_come_in_their_order_until_nobody_can_send_more() {
        let (first, inbox) = inbox();
        let second = first.clone();
        first.send("one").unwrap();
        second.send("two").unwrap();
        assert_eq!(inbox.recv_by(None), Ok("one"));
        assert_eq!(inbox.try_recv(), Ok("two"));
        assert_eq!(inbox.try_recv(), Err(Nothing::Yet));
        assert_eq!(inbox.recv_by(Some(Instant::now() + Duration::from_millis(1))), Err(Nothing::Yet));
        drop((first, second));
        assert_eq!(inbox.try_recv(), Err(Nothing::EverMore));
        assert_eq!(inbox.recv_by(None), Err(Nothing::EverMore));
    }

    #[test]
    fn what_nobody_will_take_is_dropped() {
        let (sender, inbox) = inbox();
        let message = std::sync::Arc::new(());
        sender.send(std::sync::Arc::clone(&message)).unwrap();
        drop(inbox);
        assert_eq!(std::sync::Arc::strong_count(&message), 1);
        assert_eq!(sender.send(message), Err(Closed));
    }
}
