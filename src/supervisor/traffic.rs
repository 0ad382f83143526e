//! The visitors of one server, between its supervisor and the proxy.
//!
//! Owns: where the present run can be connected to, how many requests are in flight to it, when a client last sent
//! something, and the totals of answers and bytes. Never: a socket, a request, a decision.
//!
//! This lock is a leaf. The supervisor ends a run here before its view shows that, so that no connection is made to an
//! address that may be another process's by then.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::model::machine::RunId;
use crate::model::spec::Port;
use crate::os::waker::Waker;
use crate::sync::lock;

#[derive(Debug, Default)]
pub struct Traffic(Mutex<TrafficState>);

#[derive(Debug, Default)]
struct TrafficState {
    in_flight: usize,
    last: Option<Instant>,
    totals: TrafficTotals,
    run: Option<VisitedRun>,
}

/// What visitors got since the server was created, or the daemon started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TrafficTotals {
    /// Answers by class, from 1xx (a tunnel) to 5xx. Those that the proxy gave in place of the server too.
    pub answers: [u64; 5],
    /// Bytes that were passed on to the server, heads too.
    pub received: u64,
    /// Bytes that were passed on to clients, heads too.
    pub sent: u64,
}

#[derive(Debug)]
struct VisitedRun {
    id: RunId,
    /// Where it is reached by its slug.
    main: Option<SocketAddr>,
    /// Where each of its ports is reached.
    all: Vec<SocketAddr>,
    inodes: Arc<[u64]>,
    /// `None` as long as no connection has asked for it: it takes a descriptor.
    end: Option<Arc<EndEvent>>,
}

/// Where a run can be connected to.
#[derive(Debug, Clone)]
pub struct VisitTarget {
    pub address: SocketAddr,
    /// The inodes of all listeners that a look has found in the run's processes, in ascending order.
    pub inodes: Arc<[u64]>,
    /// To be looked at after the connect, and waited for beside both sockets.
    pub end: Arc<EndEvent>,
}

/// The end of one run. As a descriptor it becomes readable at the end, and stays so.
#[derive(Debug)]
pub struct EndEvent {
    run: RunId,
    is_over: AtomicBool,
    waker: Waker,
}

impl EndEvent {
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Whether the run is over. Its address may be another process's then.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

impl AsFd for EndEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

/// A request to a server, until it is dropped.
#[derive(Debug)]
pub struct Visit(Arc<Traffic>);

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_flight -= 1;
        state.last = state.last.max(Some(Instant::now()));
    }
}

impl Traffic {
    /// Begins a request. To be held from before its server is looked for to the last byte of the answer, but not while
    /// the connection is a tunnel or waits for another request.
    pub fn begin(self: &Arc<Self>) -> Visit {
        self.state().in_flight += 1;
        Visit(Arc::clone(self))
    }

    /// Notes that a client has sent something through a tunnel.
    pub fn client_sent(&self, now: Instant) {
        let mut state = self.state();
        state.last = state.last.max(Some(now));
    }

    /// Counts an answer with this status.
    pub fn answered(&self, status: u16) {
        if let Some(count) = self.state().totals.answers.get_mut(usize::from(status / 100).wrapping_sub(1)) {
            *count += 1;
        }
    }

    /// Counts bytes that were passed on, to the server and to a client.
    pub fn passed_on(&self, received: usize, sent: usize) {
        let mut state = self.state();
        state.totals.received += received as u64;
        state.totals.sent += sent as u64;
    }

    /// The totals so far.
    pub fn totals(&self) -> TrafficTotals {
        self.state().totals
    }

    /// Where the present run is reached: at `port`, or at its main one. `None` if it does not listen there, or if
    /// nothing runs.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn target(&self, port: Option<Port>) -> io::Result<Option<VisitTarget>> {
        let mut state = self.state();
        let Some(run) = &mut state.run else { return Ok(None) };
        let address = match port {
            Some(port) => run.all.iter().find(|address| address.port() == port.get()).copied(),
            None => run.main,
        };
        let Some(address) = address else { return Ok(None) };
        let end = match &run.end {
            Some(end) => Arc::clone(end),
            None => {
                let end = EndEvent { run: run.id, is_over: AtomicBool::new(false), waker: Waker::new()? };
                Arc::clone(run.end.insert(Arc::new(end)))
            }
        };
        Ok(Some(VisitTarget { address, inodes: Arc::clone(&run.inodes), end }))
    }

    /// Whether the present run listens on `port`.
    pub fn listens_on(&self, port: Port) -> bool {
        self.state().run.as_ref().is_some_and(|run| run.all.iter().any(|address| address.port() == port.get()))
    }

    /// How many requests are in flight, and when the last one ended or a client last sent something.
    pub(super) fn activity(&self) -> (usize, Option<Instant>) {
        let state = self.state();
        (state.in_flight, state.last)
    }

    /// Sets the present run, its addresses, and the inodes of its listeners.
    pub(super) fn show(&self, id: RunId, main: Option<SocketAddr>, all: &[SocketAddr], inodes: &Arc<[u64]>) {
        let mut state = self.state();
        let ended = match &mut state.run {
            Some(run) if run.id == id => {
                if run.main != main || run.all != all {
                    (run.main, run.all) = (main, all.to_vec());
                }
                run.inodes = Arc::clone(inodes);
                return;
            }
            other => other.replace(VisitedRun { id, main, all: all.to_vec(), inodes: Arc::clone(inodes), end: None }),
        };
        finish(ended);
    }

    /// Ends connections to all runs but `present`.
    pub(super) fn end_others(&self, present: Option<RunId>) {
        let ended = {
            let mut state = self.state();
            if state.run.as_ref().map(|run| run.id) == present { None } else { state.run.take() }
        };
        finish(ended);
    }

    /// Ends connections to the present run.
    pub(super) fn end(&self) {
        self.end_others(None);
    }

    fn state(&self) -> MutexGuard<'_, TrafficState> {
        lock(&self.0)
    }
}

fn finish(run: Option<VisitedRun>) {
    if let Some(end) = run.and_then(|run| run.end) {
        end.is_over.store(true, Ordering::SeqCst);
        end.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::poll::{Interest, Poll};
    use std::time::Duration;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_target_lasts_as_long_as_its_run() {
        let traffic = Traffic::default();
        assert!(traffic.target(None).unwrap().is_none());
        let inodes: [Arc<[u64]>; 2] = [[7].into(), [7, 9].into()];
        traffic.show(RunId(1), None, &[address(3000)], &inodes[0]);
        assert!(traffic.target(None).unwrap().is_none());
        traffic.show(RunId(1), Some(address(3000)), &[address(3000), address(4000)], &inodes[0]);
        assert_eq!(traffic.target(None).unwrap().unwrap().inodes, inodes[0]);
        traffic.show(RunId(1), Some(address(3000)), &[address(3000), address(4000)], &inodes[1]);
        let main = traffic.target(None).unwrap().unwrap();
        assert_eq!(main.inodes, inodes[1]);
        let other = traffic.target(Port::new(4000)).unwrap().unwrap();
        assert_eq!((main.address, other.address), (address(3000), address(4000)));
        assert!(traffic.target(Port::new(5000)).unwrap().is_none() && !traffic.listens_on(Port::new(5000).unwrap()));
        assert!(Arc::ptr_eq(&main.end, &other.end) && !main.end.is_over());
        traffic.show(RunId(2), Some(address(3000)), &[address(3000)], &inodes[0]);
        assert!(main.end.is_over());
        let next = traffic.target(None).unwrap().unwrap();
        assert!(!next.end.is_over() && next.end.run() == RunId(2));
        traffic.end();
        assert!(next.end.is_over() && traffic.target(None).unwrap().is_none());
        for end in [&main.end, &next.end] {
            let mut poll = Poll::default();
            let place = poll.add(&**end, Interest::Read);
            poll.wait(Some(Duration::ZERO)).unwrap();
            assert!(poll.is_ready(place));
        }
    }

    #[test]
    fn a_request_counts_until_it_is_dropped_and_bytes_count_at_their_time() {
        let traffic = Arc::new(Traffic::default());
        assert_eq!(traffic.activity(), (0, None));
        let later = Instant::now() + Duration::from_secs(60);
        let (one, other) = (traffic.begin(), traffic.begin());
        assert_eq!(traffic.activity().0, 2);
        drop(one);
        let (count, ended) = traffic.activity();
        assert!(count == 1 && ended.is_some());
        traffic.client_sent(later);
        traffic.client_sent(later - Duration::from_secs(30));
        assert_eq!(traffic.activity(), (1, Some(later)));
        drop(other);
        assert_eq!(traffic.activity().0, 0);
    }
}
