//! What is seen of a living start command: what it listens on, and what its health checks find.
//!
//! Owns: the watch and the probe of one run, how urgently they look, and what they have found last. Never: what follows
//! from it (see `model::machine`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Context;
use crate::model::health::{Failure, Health, Verdict};
use crate::model::machine::{Event, RunId};
use crate::model::spec::ServerSpec;
use crate::model::view::WORKER_AFTER;
use crate::os::tree::Tree;
use crate::ports::{Listening, Pace, Watch};
use crate::prober::Probing;

/// A server that is expected to listen is watched closely for so long; the first start of a large application takes
/// its minutes.
const EXPECTED_FOR: Duration = Duration::from_secs(10 * 60);
/// After a check was refused its port may be closed: for so long that is looked for.
const DOUBT_FOR: Duration = Duration::from_secs(1);

/// Tells the actor what was seen; called on the threads that see it.
pub type Tell = Arc<dyn Fn(Sight) + Send + Sync>;

/// What was seen.
pub enum Sight {
    /// It listens on other ports than before.
    Listening(Listening),
    /// A check has ended; the address that was checked.
    Health(SocketAddr, Health, Verdict),
}

/// Whether somebody waits for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Nobody.
    None,
    /// A client waits for its status.
    Some,
}

/// The senses for one run.
pub struct Senses {
    context: Arc<Context>,
    spec: Arc<ServerSpec>,
    run: RunId,
    tell: Tell,
    watch: Watch,
    pace: Pace,
    probing: Option<(SocketAddr, Probing)>,
    listening: Listening,
    health: Option<Health>,
    /// Until then a change is likely.
    close_until: Instant,
}

impl Senses {
    /// Begins to look at `tree`, whose run was spawned just now, after `born`.
    pub fn open(
        context: &Arc<Context>,
        spec: &Arc<ServerSpec>,
        run: RunId,
        tree: &Tree,
        tell: Tell,
        born: Instant,
    ) -> Senses {
        let watcher_tell = Arc::clone(&tell);
        let hears = move |listening| watcher_tell(Sight::Listening(listening));
        let watch = context.watcher.watch(tree, spec.port, born, hears);
        Senses {
            context: Arc::clone(context),
            run,
            tell,
            watch,
            pace: Pace::Fast,
            probing: None,
            listening: Listening::default(),
            health: spec.health_check.as_ref().map(|_| Health::default()),
            close_until: born + patience(spec),
            spec: Arc::clone(spec),
        }
    }

    /// What it listens on.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// What its checks have found; `None` without a health check.
    pub fn health(&self) -> Option<&Health> {
        self.health.as_ref()
    }

    /// Takes what was seen, and gives what it means for the life-cycle.
    pub fn take(&mut self, sight: Sight, now: Instant) -> Vec<Event> {
        match sight {
            Sight::Listening(listening) => self.take_listening(listening, now),
            // News of an address that it has left, or of a port that was closed since.
            Sight::Health(address, ..) if self.probing.as_ref().is_none_or(|(probed, _)| *probed != address) => {
                Vec::new()
            }
            Sight::Health(_, health, verdict) => self.take_health(health, verdict, now),
        }
    }

    /// When [`Senses::adjust`] wants to be called: while it looks closely it is told when not to any more.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        (self.pace == Pace::Fast && now < self.close_until).then_some(self.close_until)
    }

    /// Looks as closely as the moment asks for: `is_ready` means that nothing is waited for.
    pub fn adjust(&mut self, is_ready: bool, attention: Attention, now: Instant) {
        // What fails its checks may not be what was waited for: a debugger, or the first of several. Nothing is better than
        // the requested port.
        let is_best = self.listening.chosen.is_some_and(|chosen| self.spec.port == Some(chosen.port));
        let is_likely = now < self.close_until;
        self.pace = match attention {
            _ if (is_ready || is_best) && !self.doubts(now) => Pace::OnRequest,
            Attention::None if !is_likely => Pace::OnRequest,
            Attention::None | Attention::Some => Pace::Fast,
        };
        self.watch.set_pace(self.pace);
    }

    /// It listens, and yet its closing is looked for.
    fn doubts(&self, now: Instant) -> bool {
        let refused = self.health.as_ref().is_some_and(|health| health.last_error == Some(Failure::Refused));
        refused && self.listening.chosen.is_some() && now < self.close_until
    }

    fn take_listening(&mut self, listening: Listening, now: Instant) -> Vec<Event> {
        let before = self.listening.chosen.map(|chosen| chosen.probe);
        let present = listening.chosen.map(|chosen| chosen.probe);
        self.listening = listening;
        if before == present {
            return Vec::new();
        }
        if self.health.is_some() {
            self.health = Some(Health::default());
        }
        self.probing = match (present, &self.spec.health_check) {
            (Some(address), Some(check)) => {
                let tell = Arc::clone(&self.tell);
                let tell = move |health, verdict| tell(Sight::Health(address, health, verdict));
                Some((address, self.context.prober.watch(address, check, tell)))
            }
            (_, _) => None,
        };
        match (before, present, &self.spec.health_check) {
            (_, None, _) => {
                self.close_until = now + patience(&self.spec);
                vec![Event::Silent(self.run)]
            }
            // What was found at the old address says nothing of the new one.
            (Some(_), Some(_), Some(_)) => vec![Event::Silent(self.run), Event::Listening(self.run)],
            (None, Some(_), _) | (Some(_), Some(_), None) => vec![Event::Listening(self.run)],
        }
    }

    fn take_health(&mut self, health: Health, verdict: Verdict, now: Instant) -> Vec<Event> {
        if health.last_error == Some(Failure::Refused) {
            self.close_until = now + DOUBT_FOR;
        }
        self.health = Some(health);
        match verdict {
            Verdict::Same => Vec::new(),
            Verdict::BecameHealthy => vec![Event::Healthy(self.run)],
            Verdict::BecameUnhealthy => vec![Event::Unhealthy(self.run)],
            Verdict::RestartDue => vec![Event::Unhealthy(self.run), Event::BeyondHope(self.run)],
        }
    }
}

fn patience(spec: &ServerSpec) -> Duration {
    if spec.port.is_some() || spec.health_check.is_some() { EXPECTED_FOR } else { WORKER_AFTER }
}
