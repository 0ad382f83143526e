//! One server under watch: its checks, and the connection of the present one.
//!
//! Owns: which connection is open, and who is told. Never: a wait; a rule of health (see `model::health`).

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::head;
use super::probe::{Drained, Probe, Rest};
use crate::model::health::{CheckOutcome, Checks, Due, Health, HealthChange};
use crate::model::spec::HealthCheck;
use crate::os::poll::{Interest, Poll};

/// As long as this, the rest of an answer may come after its head.
const REST_LIMIT: Duration = Duration::from_secs(1);

/// Who is told of a server's health.
pub type Notify = Box<dyn FnMut(Health, HealthChange) + Send>;

/// A server under watch.
pub struct Watched {
    address: SocketAddr,
    request: Vec<u8>,
    checks: Checks,
    connection: Connection,
    /// Its connection's place in the present wait.
    place: Option<usize>,
    notify: Notify,
}

enum Connection {
    None,
    Probing(Probe),
    Draining { rest: Rest, until: Instant },
}

impl Watched {
    /// A server that listens on `address` since `detected`.
    pub fn new(address: SocketAddr, check: &HealthCheck, detected: Instant, notify: Notify) -> Watched {
        Watched {
            address,
            request: head::request(check, address.port()),
            checks: Checks::new(check, detected),
            connection: Connection::None,
            place: None,
            notify,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When [`Watched::timeout`] wants to be called.
    pub fn deadline(&self) -> Instant {
        let checks = self.checks.deadline();
        match self.connection {
            Connection::Draining { until, .. } => checks.min(until),
            Connection::None | Connection::Probing(_) => checks,
        }
    }

    /// Does what is due at `now`.
    pub fn timeout(&mut self, now: Instant) {
        if let Connection::Draining { until, .. } = self.connection
            && until <= now
        {
            self.connection = Connection::None;
        }
        while self.checks.deadline() <= now {
            match self.checks.timeout(now, SystemTime::now()) {
                Due::Nothing => break,
                Due::Begin => self.begin(now),
                Due::GiveUp(verdict) => {
                    self.connection = Connection::None;
                    self.tell(verdict);
                }
                Due::Tell(verdict) => self.tell(verdict),
            }
        }
    }

    /// Takes part in a wait.
    pub fn join(&mut self, poll: &mut Poll) {
        self.place = match &self.connection {
            Connection::None => None,
            Connection::Probing(probe) => Some(poll.add(probe, probe.interest())),
            Connection::Draining { rest, .. } => Some(poll.add(rest, Interest::Read)),
        };
    }

    /// Goes on with what the wait has found.
    pub fn leave(&mut self, poll: &Poll) {
        if !self.place.take().is_some_and(|place| poll.is_ready(place)) {
            return;
        }
        match &mut self.connection {
            Connection::None => {}
            Connection::Probing(probe) => {
                if let Some(outcome) = probe.advance(&self.request) {
                    self.end(outcome, Instant::now());
                }
            }
            Connection::Draining { rest, .. } => match rest.drain() {
                Drained::Open => {}
                Drained::Over => self.connection = Connection::None,
            },
        }
    }

    fn begin(&mut self, now: Instant) {
        // The rest of the last answer, if it still comes: a server costs one descriptor and never two.
        self.connection = Connection::None;
        match Probe::begin(self.address) {
            Ok(probe) => self.connection = Connection::Probing(probe),
            Err(failure) => self.end(CheckOutcome::Failed(failure), now),
        }
    }

    fn end(&mut self, outcome: CheckOutcome, now: Instant) {
        let connection = std::mem::replace(&mut self.connection, Connection::None);
        if let (Connection::Probing(probe), CheckOutcome::Answered(_)) = (connection, &outcome) {
            let mut rest = probe.into_rest();
            if rest.drain() == Drained::Open {
                self.connection = Connection::Draining { rest, until: now + REST_LIMIT };
            }
        }
        let verdict = self.checks.outcome(outcome, now, SystemTime::now());
        self.tell(verdict);
    }

    fn tell(&mut self, verdict: HealthChange) {
        (self.notify)(self.checks.health().clone(), verdict);
    }
}
