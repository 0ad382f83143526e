//! One request to a managed server.
//!
//! Owns: the order of access, hold and connect, and the error when one of them fails. Never: what follows (see
//! `exchange`), the form of an error (see `pages`).

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exchange::{self, Exchange};
use super::lane::Lane;
use super::pages::{ProxyError, VisitorKind};
use super::proofs::ListenerOwner;
use super::relay::{self, Unconnected};
use super::request::{UpstreamContext, UpstreamHead, VisitHead};
use super::response::RequestContext;
use super::visitability::{self, Visitability};
use super::{Proxy, VisitorSlot, cookie};
use crate::handoff::Reply;
use crate::http::head::{BodyFraming, Expects, Version};
use crate::http::visit::{VisitEnd, VisitRequest};
use crate::model::proxy::AccessKey;
use crate::model::public_url::Scheme;
use crate::model::spec::Port;
use crate::model::view::ServerView;
use crate::os::peer;
use crate::os::poll::{Interest, Poll};
use crate::os::waker::Waker;
use crate::registry::Visitable;
use crate::supervisor::{AttentionGuard, Supervisor, Visit, VisitTarget, WakeGuard};

/// A server that refuses a connection although it is seen to listen is tried again after this.
const RETRY: Duration = Duration::from_millis(100);
/// If no look has found within this that a listener at the address is the run's, it is another process's.
const SHARED_FOR: Duration = Duration::from_millis(600);
/// The limit of a look at the ports after a refusal.
const LOOK: Duration = Duration::from_secs(1);

/// A request that was vetted.
pub struct VisitCall<'a, 'p, 'r> {
    pub proxy: &'p Proxy,
    pub request: &'a mut VisitRequest<'r>,
    pub head: &'a VisitHead<'a>,
    pub scheme: Scheme,
    pub visitor: VisitorKind,
}

/// What wakes a held client's thread at each change, while its server is observed closely.
type Held<'a> = (Arc<Waker>, WakeGuard<'a>, AttentionGuard);

/// Why a server is not reached.
enum Unreached {
    /// The client is given the reason.
    Error(ProxyError),
    ClientLeft,
}

/// What was tried to reach a server.
struct Attempts {
    is_refused: bool,
    /// Whether its supervisor was context to start it.
    is_asked: bool,
    /// Since when another process is seen to listen at its address.
    shared_since: Option<Instant>,
}

/// Returns the error for a shortage of descriptors.
fn short(_: io::Error) -> Unreached {
    Unreached::Error(ProxyError::new(503, "busy", "the daemon is short of descriptors; try again soon"))
}

impl<'p> VisitCall<'_, 'p, '_> {
    /// Does all that comes before the exchange.
    ///
    /// # Errors
    /// There is no exchange: what becomes of the connection after the answer.
    pub fn prepare(mut self, visited: &Visitable) -> Result<Exchange<'p>, VisitEnd> {
        let server = &visited.server;
        // Who has no key takes no place, and is no visitor that would keep a server from its idle stop.
        let has_key = match self.show_key(&server.view().key) {
            Ok(has_key) => has_key,
            Err(reply) => return Err(self.send(server, &reply)),
        };
        let visit = server.traffic().begin();
        let Some(place) = self.proxy.take_slot(server.slug()) else {
            return Err(self.send_error(
                server,
                &ProxyError::new(503, "busy", "too many clients visit this server; try again soon"),
            ));
        };
        match self.reach(server, visited.port, has_key) {
            Ok((target, stream)) => Ok(self.exchange(server, target, stream, visit, place)),
            Err(Unreached::Error(error)) => Err(self.send_error(server, &error)),
            Err(Unreached::ClientLeft) => Err(VisitEnd::Close),
        }
    }

    /// Whether the client has shown the server's key.
    ///
    /// # Errors
    /// It has not, and needs it; or its browser is to keep it as a cookie.
    fn show_key(&self, key: &Option<AccessKey>) -> Result<bool, Reply> {
        let Some(key) = key else { return Ok(false) };
        let (fields, target) = (self.head.fields, self.head.target);
        // Also if it was shown otherwise: it must not stay in the address of a page.
        if self.head.method == "GET" && !self.visitor.is_upgrade && cookie::in_query(target).any(|shown| key.is(shown))
        {
            let cookie = cookie::set(key.secret(), self.scheme == Scheme::Https);
            let without = cookie::local(&cookie::without_key(target));
            let headers = vec![("Location", without), ("Set-Cookie", cookie), ("Cache-Control", "no-store".to_owned())];
            return Err(Reply { status: 303, headers, content_type: None, body: Vec::new().into() });
        }
        let mut shown = fields.all("X-Servisor-Key").filter_map(|value| str::from_utf8(value).ok());
        if shown.any(|shown| key.is(shown)) || fields.all("Cookie").flat_map(cookie::keys).any(|shown| key.is(shown)) {
            return Ok(true);
        }
        const HOW: &str = "a key is needed to visit this server; open its access_url, or send it as X-Servisor-Key";
        Err(ProxyError::new(401, "key_needed", HOW).reply(self.visitor))
    }

    /// Connects to the server. While it starts, the client is held.
    fn reach(
        &self,
        server: &Arc<Supervisor>,
        port: Option<Port>,
        has_key: bool,
    ) -> Result<(VisitTarget, UnixStream), Unreached> {
        let registry = &self.proxy.registry;
        let deadline = Instant::now() + visitability::hold_limit(self.visitor);
        let mut attempts = Attempts { is_refused: false, is_asked: false, shared_since: None };
        let mut held: Option<Held<'_>> = None;
        loop {
            if let Some((waker, ..)) = &held {
                waker.drain();
            }
            // Before the view: see `Visitable`.
            let target = server.traffic().target(port).map_err(short)?;
            let target = target.filter(|target| !self.proxy.own_ports.contains(&target.address.port()));
            let view = server.view();
            let now = Instant::now();
            let visitability = Visitability::of(view.status, target.is_some(), visitability::is_due(&view, port, now));
            let mut retry = None;
            let visitability = match (visitability, target) {
                (Visitability::Open, Some(target)) => match self.attempt(&target, &view, &mut attempts, now)? {
                    Some(stream) => return Ok((target, stream)),
                    None => {
                        retry = Some(Instant::now() + RETRY);
                        visitability
                    }
                },
                (Visitability::Down, _) if view.starts_on_visit && self.visitor.may_start() => {
                    if !std::mem::replace(&mut attempts.is_asked, true) {
                        server.visit();
                    }
                    Visitability::Soon
                }
                (Visitability::Open | Visitability::Soon, _) => visitability,
                (Visitability::Down | Visitability::NotListening, _) => {
                    return Err(Unreached::Error(visitability::error(
                        &view,
                        visitability,
                        attempts.is_refused,
                        has_key,
                    )));
                }
            };
            if now >= deadline || registry.is_closed() {
                return Err(Unreached::Error(visitability::error(&view, visitability, attempts.is_refused, has_key)));
            }
            match &held {
                Some((waker, ..)) => self.hold(waker, retry.map_or(deadline, |retry| retry.min(deadline)))?,
                None => {
                    let waker = Arc::new(Waker::new().map_err(short)?);
                    let guard = registry.changes().wake_on_change(Arc::clone(&waker));
                    // What has changed before is looked at once more.
                    held = Some((waker, guard, server.attend()));
                }
            }
        }
    }

    /// Connects to a server that listens; `None` if it does not accept yet.
    fn attempt(
        &self,
        target: &VisitTarget,
        view: &ServerView,
        attempts: &mut Attempts,
        now: Instant,
    ) -> Result<Option<UnixStream>, Unreached> {
        let registry = &self.proxy.registry;
        match self.connect(target, attempts.shared_since.is_some()) {
            Ok(stream) => return Ok(Some(stream)),
            Err(Unconnected::ClientLeft) => return Err(Unreached::ClientLeft),
            Err(Unconnected::Shortage) => return Err(short(io::Error::last_os_error())),
            Err(Unconnected::Shared) => {
                // It may be a new listener of the run that was not found yet.
                let since = *attempts.shared_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= SHARED_FOR {
                    return Err(Unreached::Error(visitability::shared(view, target.address)));
                }
                registry.refresh_ports(now + LOOK);
            }
            Err(Unconnected::Refused) => {
                if !std::mem::replace(&mut attempts.is_refused, true) {
                    registry.refresh_ports(now + LOOK);
                }
            }
        }
        Ok(None)
    }

    /// Waits until something has changed, or `until`.
    fn hold(&self, waker: &Waker, until: Instant) -> Result<(), Unreached> {
        let mut poll = Poll::default();
        poll.add(waker, Interest::Read);
        let left = poll.add(self.request.socket(), Interest::Left);
        let patience = until.saturating_duration_since(Instant::now());
        if poll.wait(Some(patience)).is_err() || poll.is_ready(left) {
            return Err(Unreached::ClientLeft);
        }
        Ok(())
    }

    /// Connects to `target`, if it is the run's alone at this moment.
    fn connect(&self, target: &VisitTarget, was_shared: bool) -> Result<UnixStream, Unconnected> {
        let check = || match self.proxy.proofs.check(target, Instant::now()) {
            ListenerOwner::Run => Ok(()),
            ListenerOwner::None => Err(Unconnected::Refused),
            ListenerOwner::Foreign => Err(Unconnected::Shared),
        };
        // A stranger that has the port does not see each try.
        if was_shared {
            check()?;
        }
        let stream = relay::connect(target, self.request.socket())?;
        check().map(|()| stream)
    }

    /// The exchange with a server that was reached.
    fn exchange(
        &mut self,
        server: &Arc<Supervisor>,
        target: VisitTarget,
        stream: UnixStream,
        visit: Visit,
        place: VisitorSlot<'p>,
    ) -> Exchange<'p> {
        let head = self.head;
        let UpstreamHead { bytes, origin } = head.for_server(&UpstreamContext {
            port: target.address.port(),
            mode: server.view().spec.proxy.host,
            scheme: self.scheme.as_str(),
            client: peer::address(self.request.socket()),
            is_token: &|name, value| self.proxy.is_token(name, value),
        });
        let rest = std::mem::take(self.request.rest);
        let is_missing = rest.is_empty() && head.framing != BodyFraming::Length(0);
        let interim: &[u8] = match (head.expects, head.version) {
            (Expects::Continue, Version::Http11) if is_missing => b"HTTP/1.1 100 Continue\r\n\r\n",
            (Expects::Continue | Expects::Nothing, _) => b"",
        };
        let share = || self.proxy.pieces.share();
        let up = match head.framing {
            _ if head.is_upgrade => Lane::of_upgrade(bytes, rest, share()),
            BodyFraming::Length(length) => Lane::of_request(bytes, Some(length as u64), rest, share()),
            BodyFraming::Chunks => Lane::of_request(bytes, None, rest, share()),
        };
        let context = RequestContext {
            is_head: head.method == "HEAD",
            version: head.version,
            persistence: head.persistence,
            is_upgrade: head.is_upgrade,
            port: target.address.port(),
            origin,
            has_body_left: false,
        };
        let (is_head, down) = (context.is_head, Lane::of_answer(context, interim, share()));
        Exchange {
            server: Arc::clone(server),
            target,
            stream,
            up,
            down,
            visit,
            _place: place,
            visitor: self.visitor,
            is_head,
        }
    }

    fn send_error(&self, server: &Supervisor, error: &ProxyError) -> VisitEnd {
        self.send(server, &error.reply(self.visitor))
    }

    fn send(&self, server: &Supervisor, reply: &Reply) -> VisitEnd {
        server.traffic().answered(reply.status);
        exchange::send(self.request, reply, self.head.method == "HEAD")
    }
}
