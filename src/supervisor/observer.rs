//! What is seen of a living start command: what it listens on, and what its health checks find.
//!
//! Owns: the watch and the probes of one run, how urgently they look, and what they have found last. Never: which port
//! is the server's (see `ports::choose`), what follows from it all (see `model::machine`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Context;
use super::system::{PortWatch, System};
use crate::model::health::{CheckFailure, Health, HealthChange};
use crate::model::machine::{Demand, Event, RunId};
use crate::model::spec::{HealthCheck, Port, ServerSpec};
use crate::model::view::WORKER_AFTER;
use crate::os::port;
use crate::ports::{CheckTarget, Choice, Listening, OpenPort, Pace, RequestedPort, Rules};
use crate::process::tracker::RunTree;

mod deferred_restart;

use deferred_restart::DeferredRestart;

/// A server that is expected to listen is watched closely for so long; the first start of a large application takes
/// its minutes.
const EXPECTED_FOR: Duration = Duration::from_secs(10 * 60);
/// For so long after a refused check the port is polled: it may be closed.
const CLOSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Sends the actor what was seen; called on the threads that see it.
pub type ObservationSink = Arc<dyn Fn(Observation) + Send + Sync>;

/// An observation of a run.
pub enum Observation {
    /// The listeners of the run, changed or not.
    Listening(Listening),
    /// A check has ended; the number of the probe.
    Health(u64, Health, HealthChange),
}

/// Whether a client waits for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    None,
    /// A client waits for its status.
    Some,
}

/// The checks of one port.
struct PortProbe<P> {
    number: u64,
    target: CheckTarget,
    health: Health,
    _probing: P,
}

pub struct RunObserver<S: System> {
    context: Arc<Context<S>>,
    spec: Arc<ServerSpec>,
    run: RunId,
    sink: ObservationSink,
    watch: S::PortWatch,
    pace: Pace,
    choice: Choice,
    requested: Option<Port>,
    /// Where each of its ports is reached.
    listeners: Vec<SocketAddr>,
    /// The inodes of its listeners.
    inodes: Arc<[u64]>,
    probes: Vec<PortProbe<S::Probing>>,
    /// The number of the last probe.
    last_probe: u64,
    health: Option<Health>,
    /// A restart that is due: the server may only have moved to another port.
    deferred_restart: Option<DeferredRestart>,
    /// Who listens on the requested port instead of the server.
    holder: Option<String>,
    /// Until then a change is likely.
    close_until: Instant,
}

impl<S: System> RunObserver<S> {
    /// Begins to look at `tree`, whose run was spawned just now, after `born`, with the port `requested`.
    #[inline(never)]
    pub fn open(
        context: &Arc<Context<S>>,
        spec: &Arc<ServerSpec>,
        run: RunId,
        tree: &RunTree,
        requested: Option<Port>,
        sink: ObservationSink,
        born: Instant,
    ) -> Box<RunObserver<S>> {
        let watched = Arc::clone(&sink);
        let notify = move |listening| watched(Observation::Listening(listening));
        let watch = context.system.watch_ports(tree, requested, born, notify);
        let demand = if spec.health_check.is_some() { Demand::Health } else { Demand::Listening };
        let rules = Rules { requested, ignored: spec.ignore_ports.clone(), ephemeral: port::ephemeral(), demand };
        Box::new(RunObserver {
            context: Arc::clone(context),
            run,
            sink,
            watch,
            pace: Pace::Fast,
            choice: Choice::new(rules, born),
            requested,
            listeners: Vec::new(),
            inodes: Arc::default(),
            probes: Vec::new(),
            last_probe: 0,
            health: spec.health_check.as_ref().map(|_| Health::default()),
            deferred_restart: None,
            holder: None,
            close_until: born + expected_for(spec),
            spec: Arc::clone(spec),
        })
    }

    pub fn port(&self) -> Option<Port> {
        self.choice.chosen().map(|open| open.port)
    }

    /// What its URL has to name because `localhost` would not lead to it.
    pub fn named(&self) -> Option<SocketAddr> {
        self.choice.chosen().and_then(|open| open.named())
    }

    /// Where its port is reached.
    pub fn address(&self) -> Option<SocketAddr> {
        self.choice.chosen().map(|open| open.probe)
    }

    /// Where each of its ports is reached.
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    pub fn inodes(&self) -> &Arc<[u64]> {
        &self.inodes
    }

    pub fn ports(&self) -> Vec<Port> {
        self.listeners.iter().filter_map(|address| Port::new(address.port())).collect()
    }

    /// The results of its checks; `None` without a health check.
    pub fn health(&self) -> Option<&Health> {
        self.health.as_ref()
    }

    /// Why it is not ready, if that can be seen from outside.
    pub fn reason(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// Takes what was seen, and gives what it means for the life-cycle.
    #[inline(never)]
    pub fn take(&mut self, observation: Observation, now: Instant) -> Vec<Event> {
        match observation {
            Observation::Listening(listening) => self.take_listening(listening, now),
            Observation::Health(number, health, verdict) => self.take_health(number, health, verdict, now),
        }
    }

    /// When [`RunObserver::timeout`] and [`RunObserver::adjust`] want to be called: when the choice may change, and
    /// when not to look closely any more.
    #[inline(never)]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let looks = [Some(self.close_until), self.choice.better_until()];
        let calms = looks.into_iter().flatten().filter(|at| self.pace == Pace::Fast && now < *at).min();
        let deferred = self.deferred_restart.as_ref().map(DeferredRestart::deadline);
        [self.choice.deadline(now), deferred, calms].into_iter().flatten().min()
    }

    /// Acts on the deadline if it has passed.
    #[inline(never)]
    pub fn timeout(&mut self, now: Instant) -> Vec<Event> {
        let before = self.choice.chosen();
        self.choice.decide(now);
        let mut events = self.follow(before, now);
        if self.deferred_restart.as_ref().is_some_and(|deferred| deferred.deadline() <= now) {
            events.extend(self.give_up());
        }
        events
    }

    /// Looks as closely as the moment asks for: `is_ready` means that nothing is waited for.
    #[inline(never)]
    pub fn adjust(&mut self, is_ready: bool, attention: Attention, now: Instant) {
        let may_get_better = self.choice.better_until().is_some_and(|until| now < until);
        let is_likely = now < self.close_until;
        // There is no better port than the present one, so nothing but its checks is waited for, each of which looks
        // too if it fails. A client that waits is not kept waiting by a check that takes its time.
        let is_best = self.choice.better_until().is_none() && (attention == Attention::None || self.health.is_none());
        let is_settled = if is_ready { !may_get_better } else { is_best };
        self.pace = match attention {
            _ if is_settled && !self.may_have_closed(now) => Pace::OnRequest,
            Attention::None if !is_likely && !may_get_better => Pace::OnRequest,
            Attention::None | Attention::Some => Pace::Fast,
        };
        self.watch.set_pace(self.pace);
    }

    /// Looks at the ports on request only: the run is ending. While a thousand end, polling would take a processor.
    pub fn stop_polling(&mut self) {
        self.pace = Pace::OnRequest;
        self.watch.set_pace(self.pace);
    }

    /// Whether the chosen port may have closed, so that it is polled although it was seen open.
    fn may_have_closed(&self, now: Instant) -> bool {
        let refused = self.health.as_ref().is_some_and(|health| health.last_error == Some(CheckFailure::Refused));
        (refused || self.deferred_restart.is_some()) && self.choice.chosen().is_some() && now < self.close_until
    }

    fn take_listening(&mut self, listening: Listening, now: Instant) -> Vec<Event> {
        let before = self.choice.chosen();
        self.listeners = listening.open.iter().map(|open| open.probe).collect();
        self.inodes = listening.inodes.into();
        self.choice.take(&listening.open, now);
        let mut events = self.follow(before, now);
        self.take_given(listening.given);
        events.extend(self.try_other_ports(now));
        events
    }

    /// Names the holder of its port once, if it has none itself.
    fn take_given(&mut self, given: RequestedPort) {
        let port = self.requested.filter(|_| given == RequestedPort::Foreign && self.choice.chosen().is_none());
        if port.is_some() == self.holder.is_some() {
            return;
        }
        self.holder = port.map(|port| match self.context.ports.holder(port) {
            Some(holder) => format!("port {port} is held by {holder}, which is not a process of this server"),
            None => format!(
                "port {port} is held by a process that servisor may not look into, and which is not one of this server's"
            ),
        });
        if let Some(health) = &mut self.health {
            health.last_error = self.holder.clone().map(CheckFailure::PortHeld);
        }
    }

    /// Takes what has become of the choice: what is checked, and what that means.
    fn follow(&mut self, before: Option<OpenPort>, now: Instant) -> Vec<Event> {
        let present = self.choice.chosen();
        let (from, to) = (before.map(|open| open.probe), present.map(|open| open.probe));
        if from != to {
            self.deferred_restart = None;
        }
        self.check(now);
        if from == to {
            return Vec::new();
        }
        if self.health.is_some() {
            let probe = self.probes.iter().find(|probe| Some(probe.target.probe) == to);
            self.health = Some(probe.map(|probe| probe.health.clone()).unwrap_or_default());
        }
        match (from, to, &self.spec.health_check) {
            (_, None, _) => {
                self.close_until = now + expected_for(&self.spec);
                vec![Event::Silent(self.run)]
            }
            // What was found at the old address says nothing of the new one.
            (Some(_), Some(_), Some(_)) => vec![Event::Silent(self.run), Event::Listening(self.run)],
            (None, Some(_), _) | (Some(_), Some(_), None) => vec![Event::Listening(self.run)],
        }
    }

    /// Checks the ports that are to be checked, and no others.
    fn check(&mut self, now: Instant) {
        let Some(check) = self.spec.health_check.clone() else { return };
        let wanted = match &self.deferred_restart {
            Some(deferred) => deferred.targets().to_vec(),
            None => self.choice.checked(now),
        };
        self.probes.retain(|probe| wanted.contains(&probe.target));
        for target in wanted {
            if self.probes.iter().all(|probe| probe.target != target) {
                self.begin(target, &check);
            }
        }
    }

    fn begin(&mut self, target: CheckTarget, check: &HealthCheck) {
        self.last_probe += 1;
        let (number, sink) = (self.last_probe, Arc::clone(&self.sink));
        let notify = move |health, verdict| sink(Observation::Health(number, health, verdict));
        let probing = self.context.system.probe(target.probe, check, target.since, notify);
        self.probes.push(PortProbe { number, target, health: Health::default(), _probing: probing });
    }

    fn take_health(&mut self, number: u64, health: Health, verdict: HealthChange, now: Instant) -> Vec<Event> {
        // News of an address that it has left, or of a port that was closed since.
        let Some(probe) = self.probes.iter_mut().find(|probe| probe.number == number) else { return Vec::new() };
        probe.health = health.clone();
        let target = probe.target;
        let is_chosen = self.port() == Some(target.port);
        match &health.last_error {
            None if verdict == HealthChange::BecameHealthy => {
                self.choice.passed(target.port);
                self.deferred_restart = None;
                self.holder = None;
                self.health = Some(health);
                self.check(now);
                return vec![Event::Healthy(self.run)];
            }
            None | Some(CheckFailure::NoDescriptor) => {}
            Some(_) => {
                self.choice.failed(target.port);
                if is_chosen && health.status != crate::model::health::HealthStatus::Healthy {
                    // Another port may have opened since, which is then tried beside it.
                    self.watch.look();
                }
                self.check(now);
            }
        }
        if !is_chosen {
            if verdict == HealthChange::BecameUnhealthy {
                self.choice.failed_too_long(target.port);
                self.check(now);
            }
            return self.other_port_failed(target);
        }
        if health.last_error == Some(CheckFailure::Refused) {
            self.close_until = now + CLOSE_AFTER_REFUSAL;
        }
        self.health = Some(health);
        match verdict {
            HealthChange::Same | HealthChange::BecameHealthy => Vec::new(),
            HealthChange::BecameUnhealthy => vec![Event::Unhealthy(self.run)],
            HealthChange::RestartDue => {
                self.defer_restart(now);
                vec![Event::Unhealthy(self.run)]
            }
        }
    }
}

fn expected_for(spec: &ServerSpec) -> Duration {
    if spec.port.is_some() || spec.health_check.is_some() { EXPECTED_FOR } else { WORKER_AFTER }
}
