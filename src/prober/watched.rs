//! One watched server: its checks, and the connection of the present one.
//!
//! Owns: which connection is open, and the notification of the health. Never: a wait; a rule of health (see
//! `model::health`).

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::head;
use super::probe::{Drained, Probe, Rest};
use crate::model::health::{CheckOutcome, Checks, Due, Health, HealthChange};
use crate::model::spec::HealthCheck;
use crate::os::poll::{Interest, Poll};

/// The limit of the wait for the rest of a response after its head.
const REST_LIMIT: Duration = Duration::from_secs(1);

/// Called with each health of a server.
pub type HealthFn = Box<dyn FnMut(Health, HealthChange) + Send>;

pub struct Watched {
    address: SocketAddr,
    request: Vec<u8>,
    checks: Checks,
    connection: CheckConnection,
    /// The index of its connection in the present wait.
    place: Option<usize>,
    notify: HealthFn,
}

enum CheckConnection {
    None,
    Probing(Probe),
    Draining { rest: Rest, until: Instant },
}

impl Watched {
    /// A server that listens on `address` since `detected`.
    pub fn new(address: SocketAddr, check: &HealthCheck, detected: Instant, notify: HealthFn) -> Watched {
        Watched {
            address,
            request: head::request(check, address.port()),
            checks: Checks::new(check, detected),
            connection: CheckConnection::None,
            place: None,
            notify,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When [`Watched::timeout`] has to be called.
    pub fn deadline(&self) -> Instant {
        let checks = self.checks.deadline();
        match self.connection {
            CheckConnection::Draining { until, .. } => checks.min(until),
            CheckConnection::None | CheckConnection::Probing(_) => checks,
        }
    }

    /// Does what is due at `now`.
    pub fn timeout(&mut self, now: Instant) {
        if let CheckConnection::Draining { until, .. } = self.connection
            && until <= now
        {
            self.connection = CheckConnection::None;
        }
        while self.checks.deadline() <= now {
            match self.checks.timeout(now, SystemTime::now()) {
                Due::Nothing => break,
                Due::Begin => self.begin(now),
                Due::GiveUp(verdict) => {
                    self.connection = CheckConnection::None;
                    self.publish(verdict);
                }
                Due::Report(verdict) => self.publish(verdict),
            }
        }
    }

    /// Adds its connection to a wait.
    pub fn add_to(&mut self, poll: &mut Poll) {
        self.place = match &self.connection {
            CheckConnection::None => None,
            CheckConnection::Probing(probe) => Some(poll.add(probe, probe.interest())),
            CheckConnection::Draining { rest, .. } => Some(poll.add(rest, Interest::Read)),
        };
    }

    /// Proceeds after the wait.
    pub fn proceed(&mut self, poll: &Poll) {
        if !self.place.take().is_some_and(|place| poll.is_ready(place)) {
            return;
        }
        match &mut self.connection {
            CheckConnection::None => {}
            CheckConnection::Probing(probe) => {
                if let Some(outcome) = probe.advance(&self.request) {
                    self.end(outcome, Instant::now());
                }
            }
            CheckConnection::Draining { rest, .. } => match rest.drain() {
                Drained::Open => {}
                Drained::Over => self.connection = CheckConnection::None,
            },
        }
    }

    fn begin(&mut self, now: Instant) {
        // Closes the connection of the last check if its body still arrives: one descriptor per server, never two.
        self.connection = CheckConnection::None;
        match Probe::begin(self.address) {
            Ok(probe) => self.connection = CheckConnection::Probing(probe),
            Err(failure) => self.end(CheckOutcome::Failed(failure), now),
        }
    }

    fn end(&mut self, outcome: CheckOutcome, now: Instant) {
        let connection = std::mem::replace(&mut self.connection, CheckConnection::None);
        if let (CheckConnection::Probing(probe), CheckOutcome::Answered(_)) = (connection, &outcome) {
            let mut rest = probe.into_rest();
            if rest.drain() == Drained::Open {
                self.connection = CheckConnection::Draining { rest, until: now + REST_LIMIT };
            }
        }
        let verdict = self.checks.outcome(outcome, now, SystemTime::now());
        self.publish(verdict);
    }

    fn publish(&mut self, verdict: HealthChange) {
        (self.notify)(self.checks.health().clone(), verdict);
    }
}
