//! The thread that checks the health of all servers.
//!
//! Owns: the handle to that thread, and its loop. Never: a rule of health (see `model::health`), a server's life-cycle.
//!
//! No connection ever blocks the thread: a server that accepts and never answers costs a descriptor and delays no
//! other. With no server to watch the thread waits without a timer.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::log;
use crate::model::health::{Health, HealthChange};
use crate::model::spec::HealthCheck;
use crate::os::RecvError;
use crate::os::inbox::{Inbox, Sender, inbox};
use crate::os::poll::{Interest, Poll};
use crate::os::thread::{self, Joined, Thread, panic_text};
use crate::os::waker::Waker;
use crate::sorted::Sorted;

pub(crate) mod head;
mod probe;
#[cfg(test)]
mod tests;
mod watched;

use watched::Watched;

/// The pause after an error of `poll(2)`.
const POLL_RETRY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct WatchId(u64);

/// A message to the thread.
enum ProberMessage {
    Watch(WatchId, Box<Watched>),
    Unwatch(WatchId),
    Close,
}

/// The thread's inbox and waker.
#[derive(Clone)]
struct Mailbox {
    /// Unbounded: messages are as rare as starts and ends of runs.
    messages: Sender<ProberMessage>,
    waker: Arc<Waker>,
}

impl Mailbox {
    /// A thread that has ended needs no messages: ignore the error.
    fn send(&self, message: ProberMessage) {
        let _ = self.messages.send(message);
        self.waker.wake();
    }
}

/// The owner's side of the thread. Dropping it ends the thread.
pub struct Prober {
    mailbox: Mailbox,
    thread: Thread,
    next: AtomicU64,
}

/// The watch of a server, ended on drop. A notification that is under way then still arrives, so its receiver has to
/// check which run it is about.
pub struct Probing {
    id: WatchId,
    mailbox: Mailbox,
}

impl Prober {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be started, or no descriptor is left.
    pub fn start() -> io::Result<Arc<Prober>> {
        let (sender, messages) = inbox();
        let waker = Arc::new(Waker::new()?);
        let mailbox = Mailbox { messages: sender, waker: Arc::clone(&waker) };
        let thread = thread::spawn("prober", thread::STACK, move || work(&messages, &waker))?;
        Ok(Arc::new(Prober { mailbox, thread, next: AtomicU64::new(0) }))
    }

    /// Starts to check what listens on `address` (a wildcard is reached over loopback), whose port was detected at
    /// `detected`. After each check, and when time alone changes the health, `notify` is called with the health; it
    /// must not block, since it runs on the thread of all checks.
    pub fn watch(
        &self,
        address: SocketAddr,
        check: &HealthCheck,
        detected: Instant,
        notify: impl FnMut(Health, HealthChange) + Send + 'static,
    ) -> Probing {
        let id = WatchId(self.next.fetch_add(1, Ordering::Relaxed));
        let watched = Watched::new(address, check, detected, Box::new(notify));
        self.mailbox.send(ProberMessage::Watch(id, Box::new(watched)));
        Probing { id, mailbox: self.mailbox.clone() }
    }

    /// Ends the thread and all checks, and waits for it, but not past `deadline`.
    pub fn close(&self, deadline: Instant) -> Joined {
        self.mailbox.send(ProberMessage::Close);
        self.thread.join_by(deadline)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.mailbox.send(ProberMessage::Close);
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.mailbox.send(ProberMessage::Unwatch(self.id));
    }
}

/// The body of the thread.
fn work(messages: &Inbox<ProberMessage>, waker: &Waker) {
    let mut all: Sorted<WatchId, Box<Watched>> = Sorted::default();
    let mut poll = Poll::default();
    loop {
        loop {
            match messages.try_recv() {
                Ok(ProberMessage::Watch(id, watched)) => drop(all.insert(id, watched)),
                Ok(ProberMessage::Unwatch(id)) => drop(all.remove(&id)),
                Ok(ProberMessage::Close) | Err(RecvError::Disconnected) => return,
                Err(RecvError::Timeout) => break,
            }
        }
        let now = Instant::now();
        for_each(&mut all, &mut |watched| watched.timeout(now));
        poll.clear();
        let waker_place = poll.add(waker, Interest::Read);
        for watched in all.values_mut() {
            watched.add_to(&mut poll);
        }
        let deadline = all.values().map(|watched| watched.deadline()).min();
        let limit = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if let Err(error) = poll.wait(limit) {
            log::error(format_args!("health checks can't be waited for, the next attempt follows: {error}"));
            std::thread::sleep(POLL_RETRY);
            continue;
        }
        if poll.is_ready(waker_place) {
            waker.drain();
        }
        // Before any time-out: a response that arrived while the machine was suspended is in time.
        for_each(&mut all, &mut |watched| watched.proceed(&poll));
    }
}

/// A panic ends the checks of the server that it hit, and no other's.
fn for_each(all: &mut Sorted<WatchId, Box<Watched>>, turn: &mut dyn FnMut(&mut Watched)) {
    all.retain(|_, watched| match catch_unwind(AssertUnwindSafe(|| turn(watched))) {
        Ok(()) => true,
        Err(panic) => {
            let (address, text) = (watched.address(), panic_text(&*panic));
            log::error(format_args!("the health check of {address} panicked, it ends with this run: {text}"));
            false
        }
    });
}
