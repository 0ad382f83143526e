//! From what the actor knows to what clients see.
//!
//! Owns: the making of a view. Never: a change of what it shows.

use std::sync::Arc;
use std::time::SystemTime;

use super::super::observer::RunObserver;
use super::super::run::Run;
use super::super::system::System;
use super::{Actor, Lifetime};
use crate::log::Level;
use crate::model::health::Health;
use crate::model::status::{self, Status};
use crate::model::view::{Activity, ServerView};

/// Whether readers of events have something to see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visible {
    Same,
    Changed,
}

impl<S: System> Actor<S> {
    /// Publishes the present state, if it differs visibly. A visit that finds a run finds the view of that run, or a
    /// later one: a run is over in `traffic` before that is visible, and can be visited after.
    #[inline(never)]
    pub(super) fn publish(&mut self) {
        let visited = self.visited_run();
        self.shared.traffic.end_others(visited);
        let changed = self.publish_view();
        if let (Some(run), Some(observer)) = (visited, &self.observer) {
            self.shared.traffic.show(run, observer.address(), observer.listeners(), observer.inodes());
        }
        // Who waits for the run to listen finds it there.
        match (changed, self.lifetime) {
            (Visible::Same, _) => {}
            (Visible::Changed, Lifetime::Serving | Lifetime::UntilIdle) => {
                self.context.changes.mark(&self.spec.slug);
            }
            // Its deletion is counted, and was its last change. A mark would stay, and be of the next one of its name.
            (Visible::Changed, Lifetime::Over) => self.context.changes.wake_all(),
        }
    }

    fn publish_view(&mut self) -> Visible {
        let last = self.shared.view();
        let status = Status::of(&self.machine);
        if status == Status::Ready && self.ready_at.is_none() {
            let now = SystemTime::now();
            self.ready_since = Some(self.now());
            self.ready_at = Some(now);
            let after = self.alive_since.map(|since| self.now().saturating_duration_since(since));
            self.shared.book.note(|run| (run.ready_at, run.ready_after) = (Some(now), after));
        }
        let observer = self.observer.as_deref();
        let detected = observer.and_then(RunObserver::port);
        let named = observer.and_then(RunObserver::named).map(|named| named.to_string());
        let allocated = match &self.reservation {
            Some(reservation) => Some(reservation.port()),
            None if Arc::ptr_eq(&last.spec, &self.spec) => last.port,
            None => None,
        };
        let starts_on_visit = self.starts_on_visit();
        let view = ServerView {
            spec: Arc::clone(&self.spec),
            status,
            reason: self.reason(),
            pid: self.run.as_ref().map(|run| run.pid().number()),
            port: detected.or(allocated),
            ports: observer.map(RunObserver::ports).unwrap_or_default(),
            is_listening: detected.is_some(),
            url: match (&self.context.proxy, detected) {
                (Some(_), port) if port.is_some() || starts_on_visit => {
                    self.context.public_url.behind_proxy(port.or(allocated), &self.spec.slug)
                }
                (Some(_), _) => None,
                (None, port) => port.map(|port| self.context.public_url.fill(port, &self.spec.slug, named.as_deref())),
            },
            key: self.key(),
            starts_on_visit,
            health: match &self.observer {
                Some(observer) => observer.health().cloned(),
                None => self.spec.health_check.as_ref().map(|_| Health::default()),
            },
            activity: Activity::of(&self.machine),
            overlays: self.record.overlays().to_vec(),
            waits_for: self
                .preparation
                .as_ref()
                .map(|preparation| preparation.waits_for().to_vec())
                .unwrap_or_default(),
            restarts: self.machine.restarts(),
            exit: self.machine.last_exit(),
            created_at: self.record.created_at(),
            updated_at: last.updated_at,
            started_at: self.started_at,
            ready_at: self.ready_at,
            alive_since: self.alive_since,
            last_run: self.shared.book.last_ended(),
        };
        if view == *last {
            return Visible::Same;
        }
        if view.status != last.status || view.reason != last.reason {
            let word = view.status.as_str();
            match &view.reason {
                Some(reason) => self.report(Level::Info, format_args!("{word} ({reason})")),
                None => self.report(Level::Info, format_args!("{word}")),
            }
        }
        if detected != last.port.filter(|_| last.is_listening)
            && let Some(port) = detected
        {
            self.shared.book.note(|run| run.port = Some(port.get()));
            self.report(Level::Info, format_args!("listens on port {port}"));
        }
        // A health check that changes nothing but its own account is no change for readers of events.
        if view.is_like(&last) {
            self.shared.publish(view);
            return Visible::Same;
        }
        self.shared.publish(ServerView { updated_at: SystemTime::now(), ..view });
        Visible::Changed
    }

    /// Why the status is what it is. A process that can't be ended, or that may be left, is said first.
    fn reason(&self) -> Option<String> {
        let seen = || Some(self.observer.as_ref()?.reason()?.to_owned());
        let install_left = || self.install_left.clone().filter(|_| self.machine.active());
        let signal = self.machine.phase().stop_rules(&self.spec).signal;
        let reason = status::reason_with(&self.machine, self.fault.as_deref(), signal);
        let reason = reason.or_else(seen).or_else(install_left);
        let obstacle = self.run.as_deref().and_then(Run::obstacle).filter(|_| self.machine.is_ending());
        match (obstacle, &self.unclaimed, reason) {
            (Some(obstacle), ..) => Some(format!("stopping: {obstacle}")),
            (None, Some(unclaimed), Some(reason)) => Some(format!("{reason}; {unclaimed}")),
            (None, Some(unclaimed), None) => Some(unclaimed.clone()),
            (None, None, reason) => reason,
        }
    }
}
