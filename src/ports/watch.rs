//! On which ports the servers really listen: one thread for all of them.
//!
//! Owns: the thread `ports`, when it looks, and the handles by which others speak to it. Never: a decision about a
//! server; it reports what it sees, and only when that has changed.
//!
//! As long as some server is at a point where a listener is waited for ([`Pace::Fast`]) the kernel's listening sockets
//! are read every few milliseconds. Whose they are is looked for only when another one is among them, since that
//! takes a walk through the processes. With no such server the thread waits for a request, without a timer.

use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::listening::Listening;
use crate::log;
use crate::model::spec::Port;
use crate::os::RecvError;
use crate::os::inbox::{Inbox, Sender, inbox};
use crate::os::oneshot::{self, oneshot};
use crate::os::sockets::{self, ListeningSockets};
use crate::os::thread::{self, Joined, Thread};
use crate::process::tracker::{ProcessTracker, RunTree};
use crate::sync::lock;

mod scanner;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use scanner::SocketScanner;
use table::{Adoption, Scope, WatchTable, WatchedRun};

/// The time between two looks, at first and later. Reading the sockets takes well under a millisecond, and finding the
/// owner of a new one some milliseconds, so that it is seen within 25 ms.
const TICK: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(20);
/// The time between two looks grows with the time waited already: it is this part of it.
const TICK_PART: u32 = 1000;

/// Called with the listeners of a server at each change, on the watcher's thread: it must not block.
pub type ListeningFn = Box<dyn Fn(Listening) + Send>;

/// How urgent a change of a server's listeners is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Notified within 25 ms.
    Fast,
    /// Notified at a [`Watcher::refresh`], or with another server that is watched closely.
    OnRequest,
}

/// The result of a [`Watcher::refresh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// A scan was made, and all changes are published.
    Fresh,
    /// No scan was over in time.
    Late,
    /// The watcher is closed, or was lost in a fault that the log reports.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Id(u64);

enum WatchRequest {
    Watch(Id, WatchedRun),
    Unwatch(Id),
    Pace(Id, Pace),
    /// A scan, after which the server is notified of what it listens on, changed or not.
    Notify(Id),
    /// A look begun after the moment; the reply says that it is over.
    Look(Instant, oneshot::OnceSender<()>),
    Close,
}

/// What the thread writes and others read.
#[derive(Default)]
struct WatchState {
    /// When the last look that has left nothing open was begun.
    looked: Mutex<Option<Instant>>,
    wake_ups: AtomicU64,
}

impl WatchState {
    fn looked_after(&self, moment: Instant) -> bool {
        lock(&self.looked).is_some_and(|begun| begun >= moment)
    }
}

/// The handle of the thread `ports`.
pub struct Watcher {
    requests: Sender<WatchRequest>,
    next: AtomicU64,
    shared: Arc<WatchState>,
    thread: Thread,
}

/// A server that is watched; dropping it ends that. One change may still be on its way then.
pub struct Watch {
    id: Id,
    pace: Pace,
    requests: Sender<WatchRequest>,
}

impl Watcher {
    /// Starts the thread, before there is any server: what is listened on by now is never taken for a server's.
    ///
    /// # Errors
    /// The listening sockets can't be read, or no thread can be started.
    pub fn start(tracker: Arc<ProcessTracker>) -> io::Result<Arc<Watcher>> {
        let mut listeners = ListeningSockets::open()?;
        let match_or_not = sockets::inodes_match(&mut listeners)?;
        let mut before = Vec::new();
        listeners.read(&mut before)?;
        // Where the numbers do not show whose a socket is they may be the same for all.
        let before = before.iter().map(|listener| listener.inode).filter(|_| match_or_not).collect();
        if !match_or_not {
            log::warn(format_args!(
                "this system does not show which process has a listening socket; the ports of servers are guessed from \
                 what was asked for and from what is new"
            ));
        }
        Watcher::with(SocketScanner::new(listeners, tracker, match_or_not, before))
    }

    fn with(scanner: SocketScanner) -> io::Result<Arc<Watcher>> {
        let shared = Arc::new(WatchState::default());
        let (requests, inbox) = inbox();
        let watcher_thread = WatchThread {
            inbox,
            scanner,
            table: WatchTable::default(),
            shared: Arc::clone(&shared),
            waiting: Vec::new(),
            last: None,
            last_whole: None,
        };
        let thread = thread::spawn("ports", thread::SMALL_STACK, move || watcher_thread.run())?;
        Ok(Arc::new(Watcher { requests, next: AtomicU64::new(0), shared, thread }))
    }

    /// Watches the processes of `tree`, at first at [`Pace::Fast`]. `requested` is the port that the server was given,
    /// `born` a moment before its first process was; `notify` is called at each change, first when it listens
    /// at all.
    pub fn watch(
        &self,
        tree: &RunTree,
        requested: Option<Port>,
        born: Instant,
        notify: impl Fn(Listening) + Send + 'static,
    ) -> Watch {
        let id = Id(self.next.fetch_add(1, Ordering::Relaxed));
        let watched = WatchedRun::new(tree.leader, requested, Box::new(notify), born);
        // A closed watcher sends no notifications, here and below.
        let _ = self.requests.send(WatchRequest::Watch(id, watched));
        Watch { id, pace: Pace::Fast, requests: self.requests.clone() }
    }

    /// Whether a look that was begun after `moment` is over.
    pub fn looked_after(&self, moment: Instant) -> bool {
        self.shared.looked_after(moment)
    }

    /// Returns when a look that was begun after `newer_than` is over and published, but not past `deadline`. Those
    /// who ask at the same time share one, and if the last one is new enough, none is made.
    pub fn refresh(&self, newer_than: Instant, deadline: Instant) -> Refreshed {
        if self.shared.looked_after(newer_than) {
            return Refreshed::Fresh;
        }
        let (done, over) = oneshot();
        if self.requests.send(WatchRequest::Look(newer_than, done)).is_err() {
            return Refreshed::Closed;
        }
        match over.recv_deadline(deadline) {
            Ok(()) => Refreshed::Fresh,
            Err(RecvError::Timeout) => Refreshed::Late,
            Err(RecvError::Disconnected) => Refreshed::Closed,
        }
    }

    /// Ends the thread, and waits for that, but not past `deadline`.
    pub fn close(&self, deadline: Instant) -> Joined {
        let _ = self.requests.send(WatchRequest::Close);
        self.thread.join_by(deadline)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.requests.send(WatchRequest::Close);
    }
}

impl Watch {
    /// Sets how soon changes are noticed, from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        if self.pace != pace {
            self.pace = pace;
            let _ = self.requests.send(WatchRequest::Pace(self.id, pace));
        }
    }

    /// Asks for a look, after which `notify` is called whether something has changed or not.
    pub fn look(&self) {
        let _ = self.requests.send(WatchRequest::Notify(self.id));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.requests.send(WatchRequest::Unwatch(self.id));
    }
}

/// The state of the thread.
struct WatchThread {
    inbox: Inbox<WatchRequest>,
    scanner: SocketScanner,
    table: WatchTable,
    shared: Arc<WatchState>,
    /// Who waits for a look that leaves nothing open.
    waiting: Vec<(Instant, oneshot::OnceSender<()>)>,
    /// When the last look was over.
    last: Option<Instant>,
    /// When the last look was begun that has left nothing open.
    last_whole: Option<Instant>,
}

impl WatchThread {
    fn run(mut self) {
        loop {
            let mut request = self.inbox.recv_by(self.next_tick());
            self.shared.wake_ups.fetch_add(1, Ordering::Relaxed);
            let mut is_asked = false;
            // All that are there before the look, so that they share it.
            loop {
                match request {
                    Ok(WatchRequest::Watch(id, watched)) => match self.table.add(id, watched) {
                        Adoption::Possible => self.scanner.look_again(Instant::now()),
                        Adoption::None => {}
                    },
                    Ok(WatchRequest::Unwatch(id)) => self.table.remove(id),
                    Ok(WatchRequest::Pace(id, pace)) => self.table.set_pace(id, pace, Instant::now()),
                    Ok(WatchRequest::Notify(id)) => {
                        self.table.ask(id);
                        is_asked = true;
                    }
                    Ok(WatchRequest::Look(newer_than, done)) => self.waiting.push((newer_than, done)),
                    Err(RecvError::Timeout) => break,
                    Ok(WatchRequest::Close) | Err(RecvError::Disconnected) => return,
                }
                request = self.inbox.try_recv();
            }
            let is_due = self.next_tick().is_some_and(|tick| tick <= Instant::now());
            if self.waiting.iter().any(|(newer_than, _)| self.is_old(*newer_than)) {
                self.look(Scope::All);
            } else if is_due || is_asked {
                self.look(Scope::Urgent);
            }
            for (newer_than, done) in std::mem::take(&mut self.waiting) {
                if self.is_old(newer_than) {
                    self.waiting.push((newer_than, done));
                } else {
                    done.send(());
                }
            }
        }
    }

    fn is_old(&self, newer_than: Instant) -> bool {
        self.last_whole.is_none_or(|begun| begun < newer_than)
    }

    /// When the next look is due by itself.
    fn next_tick(&self) -> Option<Instant> {
        if self.scanner.is_walking() || !self.waiting.is_empty() {
            return self.last.map(|over| over + self.scanner.cooldown());
        }
        let fast_since = self.table.fast_since()?;
        Some(match self.last {
            Some(over) => over + tick(over.saturating_duration_since(fast_since)).max(self.scanner.cooldown()),
            None => fast_since,
        })
    }

    fn look(&mut self, scope: Scope) {
        let whole = self.scanner.look(&mut self.table, scope, Instant::now());
        self.table.notify();
        if whole.is_some() {
            self.last_whole = whole;
            *lock(&self.shared.looked) = whole;
        }
        self.last = Some(Instant::now());
    }
}

/// The time to the next look, when a listener has been waited for so long.
fn tick(waited: Duration) -> Duration {
    (waited / TICK_PART).clamp(*TICK.start(), *TICK.end())
}
