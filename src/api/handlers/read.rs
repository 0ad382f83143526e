//! Reading servers, at once or after a wait for a state.
//!
//! Owns: the age limit of what a response shows, and the waits. Never: a wait without a limit; it also ends when the
//! client has left or the daemon shuts down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::route::Wait;
use super::super::{Api, reply, wire};
use crate::access::Caller;
use crate::error::Error;
use crate::handoff::{Client, Reply};
use crate::model::spec::Slug;
use crate::model::status::Status;
use crate::model::view::{Reach, Readiness, ServerView};
use crate::registry::Registry;
use crate::sorted::Sorted;

/// The age limit of the ports in a response.
const PORTS_AGE: Duration = Duration::from_secs(1);
/// The limit of a refresh, which usually takes a millisecond; later the response shows the last known ports.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);
/// The interval at which the presence of a waiting client is checked.
const PRESENCE_EVERY: Duration = Duration::from_secs(1);
/// The limit of a wait for readiness without the token.
const OPEN_WAIT_LIMIT: Duration = Duration::from_secs(60);

/// All servers, with their resource use if `stats`.
pub fn list(api: &Api, stats: bool, warnings: &[String]) -> Reply {
    refresh_ports(&api.registry);
    let stats = if stats { api.registry.stats() } else { Sorted::default() };
    reply::json(200, &wire::server_list(&api.registry.views(), &stats, warnings))
}

pub fn show(api: &Api, slug: &Slug) -> Result<Arc<ServerView>, Error> {
    let supervisor = api.registry.find(slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
    let mut view = supervisor.view();
    if view.alive_since.is_some() {
        refresh_ports(&api.registry);
        view = supervisor.view();
    }
    Ok(view)
}

/// One server, after it has reached a status, can't reach it any more, or the time is up.
pub fn show_when(
    api: &Api,
    slug: &Slug,
    wait: Wait<Status>,
    client: &dyn Client,
) -> Result<(&'static str, Arc<ServerView>), Error> {
    let supervisor = api.registry.find(slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
    let _place = api.waits.take()?;
    let _waiting = supervisor.attend();
    let deadline = Instant::now() + wait.limit;
    let outcome = wait_until(&api.registry, client, deadline, Subject::One, || {
        let view = supervisor.view();
        match view.reach_of(wait.goal) {
            Reach::Reached => WaitState::Done("the server has reached the status", view),
            Reach::Impossible => {
                WaitState::Done("the server is inactive and can't reach that status without a start", view)
            }
            Reach::Possible => WaitState::Pending(None),
        }
    });
    Ok(outcome.unwrap_or_else(|| ("the time is up; this is how the server is", supervisor.view())))
}

/// Readiness of all servers, now or after a wait for it.
pub fn ready(api: &Api, wait: Option<Wait<()>>, caller: Caller, client: &dyn Client) -> Result<Reply, Error> {
    let registry = &api.registry;
    match wait {
        None => refresh_ports(registry),
        Some(wait) => {
            let places = match caller {
                Caller::HasToken | Caller::AuthOff => &api.waits,
                Caller::Anonymous => &api.open_waits,
            };
            let _place = places.take()?;
            let deadline = Instant::now() + ready_limit(caller, wait.limit);
            let _waiting: Vec<_> = registry.supervisors().iter().map(|supervisor| supervisor.attend()).collect();
            wait_until(registry, client, deadline, Subject::All, || {
                let all = readiness(registry, &registry.views());
                match (all.reachable, all.healthy) {
                    (true, true) => WaitState::Done("", ()),
                    (_, _) => WaitState::Pending(all.recheck_at),
                }
            });
        }
    }
    let views = registry.views();
    Ok(reply::json(200, &wire::ready(readiness(registry, &views), &views, &api.overlays.views())))
}

/// The limit of a wait for readiness by `caller`, who has requested `limit`.
fn ready_limit(caller: Caller, limit: Duration) -> Duration {
    match caller {
        Caller::HasToken | Caller::AuthOff => limit,
        Caller::Anonymous => limit.min(OPEN_WAIT_LIMIT),
    }
}

/// Refreshes the ports in the views if they are older than `PORTS_AGE`.
fn refresh_ports(registry: &Registry) {
    if !registry.ports_are_newer(Instant::now(), PORTS_AGE) {
        registry.refresh_ports(Instant::now() + REFRESH_LIMIT);
    }
}

/// Readiness of all servers; false during the shutdown, when stopped servers must not count as ready.
fn readiness(registry: &Registry, views: &[Arc<ServerView>]) -> Readiness {
    let all = Readiness::of(views, Instant::now());
    Readiness { reachable: all.reachable && !registry.is_closed(), ..all }
}

enum WaitState<T> {
    Done(&'static str, T),
    /// Not before this moment, unless something changes.
    Pending(Option<Instant>),
}

#[derive(Clone, Copy)]
enum Subject {
    One,
    All,
}

/// Calls `check` after each change, until it is done; `None` at the deadline, when the client has left, or at shutdown.
/// Ports are watched only while a client waits for them, so a first result is checked again with refreshed ports.
fn wait_until<T>(
    registry: &Registry,
    client: &dyn Client,
    deadline: Instant,
    subject: Subject,
    check: impl Fn() -> WaitState<T>,
) -> Option<(&'static str, T)> {
    let mut is_first = true;
    loop {
        let seen = registry.changes().count();
        let is_over = || Instant::now() >= deadline || registry.is_closed() || !client.is_present();
        let mut found = check();
        // During a wait for one server its ports are watched, so only the first result may be stale.
        let may_be_stale = match subject {
            Subject::One => std::mem::take(&mut is_first),
            Subject::All => true,
        };
        if may_be_stale && !matches!(found, WaitState::Pending(_)) || is_over() {
            refresh_ports(registry);
            found = check();
        }
        let again = match found {
            WaitState::Done(message, found) => return Some((message, found)),
            WaitState::Pending(again) => again,
        };
        if is_over() {
            return None;
        }
        let now = Instant::now();
        let until = [Some(deadline), Some(now + PRESENCE_EVERY), again].into_iter().flatten().min();
        registry.changes().wait(seen, until.unwrap_or(deadline));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_token_readiness_is_waited_for_a_minute_at_most() {
        let hour = Duration::from_secs(3600);
        assert_eq!(ready_limit(Caller::Anonymous, hour), Duration::from_secs(60));
        assert_eq!(ready_limit(Caller::Anonymous, Duration::from_secs(5)), Duration::from_secs(5));
        for caller in [Caller::HasToken, Caller::AuthOff] {
            assert_eq!(ready_limit(caller, hour), hour);
        }
    }
}
