//! Looks at servers: now, as soon as it is known well enough, or when they have come so far.
//!
//! Owns: how fresh an answer has to be, and the waiting for a state. Never: a wait without an end; it ends early when the
//! client has left or the daemon is ending.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::access::Caller;
use super::super::route::Wait;
use super::super::{Api, reply, wire};
use crate::error::Error;
use crate::handoff::{Client, Reply};
use crate::model::spec::Slug;
use crate::model::status::Status;
use crate::model::view::{Reach, Readiness, ServerView};
use crate::registry::Registry;
use crate::sorted::Sorted;

/// What an answer says about ports is never older than this.
const PORTS_AGE: Duration = Duration::from_secs(1);
/// A look takes a millisecond; a machine that is this slow gets what was known before.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);
/// Whether a client that waits is still there is looked at this often.
const PRESENCE_EVERY: Duration = Duration::from_secs(1);
/// As long as this a client without the token waits for everything.
const OPEN_WAIT_LIMIT: Duration = Duration::from_secs(60);

/// All servers, with what they use if `stats` says so.
pub fn list(api: &Api, stats: bool, warnings: &[String]) -> Reply {
    freshen(&api.registry);
    let stats = if stats { api.registry.stats() } else { Sorted::default() };
    reply::json(200, &wire::server_list(&api.registry.views(), &stats, warnings))
}

/// One server, as it is.
pub fn show(api: &Api, slug: &Slug) -> Result<Arc<ServerView>, Error> {
    let supervisor = api.registry.find(slug).ok_or_else(|| Error::server_not_found(slug.as_str()))?;
    let mut view = supervisor.view();
    if view.alive_since.is_some() {
        freshen(&api.registry);
        view = supervisor.view();
    }
    Ok(view)
}

/// One server, when it has come to a status, or can't any more, or the time is up.
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
            Reach::Reached => Look::Over("the server has come to the status that was waited for", view),
            Reach::Impossible => Look::Over("the server rests, and can't come to that status by itself", view),
            Reach::Possible => Look::Again(None),
        }
    });
    Ok(outcome.unwrap_or_else(|| ("the time is up; this is how the server is", supervisor.view())))
}

/// Whether everything can be used, now or as soon as it can.
pub fn ready(api: &Api, wait: Option<Wait<()>>, caller: Caller, client: &dyn Client) -> Result<Reply, Error> {
    let registry = &api.registry;
    match wait {
        None => freshen(registry),
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
                    (true, true) => Look::Over("", ()),
                    (_, _) => Look::Again(all.recheck_at),
                }
            });
        }
    }
    let views = registry.views();
    Ok(reply::json(200, &wire::ready(readiness(registry, &views), &views, &api.overlays.views())))
}

/// How long `caller` waits for everything that has asked for `limit`.
fn ready_limit(caller: Caller, limit: Duration) -> Duration {
    match caller {
        Caller::HasToken | Caller::AuthOff => limit,
        Caller::Anonymous => limit.min(OPEN_WAIT_LIMIT),
    }
}

/// Sees to it that what the views say of ports is new enough for an answer.
fn freshen(registry: &Registry) {
    if !registry.ports_are_newer(Instant::now(), PORTS_AGE) {
        registry.refresh_ports(Instant::now() + REFRESH_LIMIT);
    }
}

/// A daemon that is ending stops its servers as if by hand, which must not pass for readiness.
fn readiness(registry: &Registry, views: &[Arc<ServerView>]) -> Readiness {
    let all = Readiness::of(views, Instant::now());
    Readiness { reachable: all.reachable && !registry.is_closed(), ..all }
}

enum Look<T> {
    /// This is what was waited for.
    Over(&'static str, T),
    /// Not yet; by the passing of time alone not before that moment.
    Again(Option<Instant>),
}

/// What is waited for.
#[derive(Clone, Copy)]
enum Subject {
    One,
    All,
}

/// Looks at each change; `None` when the deadline has come, the client has left or the daemon is ending. Ports that nobody
/// waits for are not watched: whatever is found is looked at once more if it may be history.
fn wait_until<T>(
    registry: &Registry,
    client: &dyn Client,
    deadline: Instant,
    subject: Subject,
    look: impl Fn() -> Look<T>,
) -> Option<(&'static str, T)> {
    let mut is_first = true;
    loop {
        let seen = registry.changes().count();
        let is_over = || Instant::now() >= deadline || registry.is_closed() || !client.is_present();
        let mut found = look();
        // What has become of one server during the wait was seen by looks at that server, a moment ago.
        let may_be_history = match subject {
            Subject::One => std::mem::take(&mut is_first),
            Subject::All => true,
        };
        if may_be_history && !matches!(found, Look::Again(_)) || is_over() {
            freshen(registry);
            found = look();
        }
        let again = match found {
            Look::Over(message, found) => return Some((message, found)),
            Look::Again(again) => again,
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
