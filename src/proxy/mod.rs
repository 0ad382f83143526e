//! Public URLs of managed servers: requests that the daemon receives under a server's name are passed on to the server.
//!
//! Owns: whose a request is, by its `Host` alone, and the numbers of visitors. `request` and `response` have the rules
//! about heads, `lane` and `relay` move the bytes, `call` has the order of it all, `proofs` knows which connections
//! lead to the run, `visitability` and `pages` make the errors in place of an answer, `cookie` the access key. Never:
//! the API (a name of a server never gets it), a server's life, TLS.

use std::sync::{Arc, Mutex};

use crate::access::{Access, Credentials};
use crate::handoff::Reply;
use crate::http::budget::Budget;
use crate::http::head::VISIT_HEADERS_MAX;
use crate::http::response::Refusal;
use crate::http::service::{ClientKind, HeadVerdict, LastRequest, NextStep, Service};
use crate::http::visit::{VisitEnd, VisitRequest, VisitService, Visitors};
use crate::model::public_url::{PublicUrl, Visited};
use crate::model::spec::Slug;
use crate::os::limits;
use crate::registry::Registry;
use crate::sorted::Sorted;
use crate::sync::lock;

mod call;
mod cookie;
mod exchange;
mod lane;
mod pages;
mod proofs;
mod relay;
mod request;
pub(crate) mod response;
#[cfg(test)]
mod tests;
mod visitability;

use call::VisitCall;
use exchange::Exchange;
use pages::{ProxyError, VisitorKind};
use proofs::Proofs;
use request::UnfitRequest;

/// Connections that serve visitors, beside those of the API.
const VISITORS_MAX: usize = 512;
/// The same for one server.
const VISITORS_OF_ONE: usize = 256;
/// The descriptors of a visitor: the two connections, and what wakes it while it is held.
const DESCRIPTORS_OF_ONE: u64 = 3;
/// Bytes of all heads of requests that are held.
const HEADS: usize = 4 * 1024 * 1024;
/// A head of this size takes none of them.
const HEAD_FREE: usize = 4 * 1024;

/// Bytes of all large pieces of bodies. A body that comes in chunks takes as many once more.
const PIECES: usize = 2 * 1024 * 1024;

pub struct Proxy {
    registry: Arc<Registry>,
    access: Access,
    template: PublicUrl,
    /// The ports of the daemon's own listeners.
    own_ports: Vec<u16>,
    visitors: Arc<Visitors>,
    /// How many visit each server.
    occupied: Mutex<Sorted<Slug, usize>>,
    /// The memory for large heads of requests that are held.
    heads: Arc<Budget>,
    /// The same for large pieces of bodies.
    pieces: Arc<Budget>,
    proofs: Proofs,
}

/// One of the slots for visitors of a server, freed on drop.
pub struct VisitorSlot<'a>(&'a Proxy, Slug);

impl Drop for VisitorSlot<'_> {
    fn drop(&mut self) {
        let mut occupied = lock(&self.0.occupied);
        let count = occupied.entry(self.1.clone());
        *count -= 1;
        if *count == 0 {
            occupied.remove(&self.1);
        }
    }
}

impl Proxy {
    pub fn new(registry: Arc<Registry>, access: Access, template: PublicUrl, own_ports: Vec<u16>) -> Arc<Proxy> {
        Arc::new(Proxy {
            registry,
            access,
            template,
            own_ports,
            visitors: Visitors::new(most_visitors(limits::open_files())),
            occupied: Mutex::default(),
            heads: Budget::new(HEADS),
            pieces: Budget::new(PIECES),
            proofs: Proofs::new(),
        })
    }

    /// The connections that serve visitors now.
    pub fn connections(&self) -> usize {
        self.visitors.count()
    }

    /// Returns what a host names.
    fn visited(&self, host: &[u8]) -> Visited {
        str::from_utf8(host).map_or(Visited::Malformed, |host| self.template.visited(host))
    }

    /// Takes a slot for a visitor of a server, if one is free.
    fn take_slot(&self, slug: &Slug) -> Option<VisitorSlot<'_>> {
        let mut occupied = lock(&self.occupied);
        let count = occupied.entry(slug.clone());
        if *count >= VISITORS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(VisitorSlot(self, slug.clone()))
    }

    /// Whether the value of a header has the token of the API.
    fn is_token(&self, name: &'static str, value: &[u8]) -> bool {
        let Ok(value) = str::from_utf8(value) else { return false };
        let credentials = match name {
            "Authorization" => Credentials { authorization: Some(value), ..Credentials::default() },
            _ => Credentials { api_key: Some(value), ..Credentials::default() },
        };
        self.access.is_proven(&credentials)
    }

    fn serve(&self, mut request: VisitRequest<'_>) -> VisitEnd {
        match self.prepare(&mut request) {
            Ok(exchange) => exchange.carry_out(&mut request),
            Err(end) => end,
        }
    }

    /// Does all for which the head is needed, and frees it. Not inlined, or a tunnel would keep its stack.
    #[inline(never)]
    fn prepare<'p>(&'p self, request: &mut VisitRequest<'_>) -> Result<Exchange<'p>, VisitEnd> {
        let bytes = std::mem::take(&mut request.head);
        let mut share = self.heads.share();
        if bytes.len() > HEAD_FREE && !share.try_grow_to(bytes.len()) {
            return Err(exchange::send(request, &Refusal::TooMuchForStrangers.reply(), false));
        }
        let mut headers = [httparse::EMPTY_HEADER; VISIT_HEADERS_MAX];
        let head = match request::vet(&bytes, &mut headers) {
            Ok(head) => head,
            Err(unfit) => return Err(exchange::send(request, &refusal(unfit), bytes.starts_with(b"HEAD "))),
        };
        let visitor = VisitorKind::of(&head);
        let send_error = |request: &_, error: &ProxyError| {
            Err(exchange::send(request, &error.reply(visitor), head.method == "HEAD"))
        };
        if head.is_loop() {
            let why = "the request has passed this proxy too often; its servers lead to each other";
            return send_error(request, &ProxyError::new(508, "loop", why));
        }
        let named = self.visited(head.host());
        if let Visited::Server { sought, scheme } = &named
            && let Some(visited) = self.registry.visited(sought)
        {
            return VisitCall { proxy: self, request, head: &head, scheme: *scheme, visitor }.prepare(&visited);
        }
        let error = match named {
            Visited::Server { .. } | Visited::Api => {
                let host = String::from_utf8_lossy(head.host());
                ProxyError::new(404, "no_such_server", format!("no server is known here by the name {host}"))
            }
            Visited::Malformed => ProxyError::new(400, "malformed", "the Host header is no name of a host"),
        };
        send_error(request, &error)
    }
}

/// How many visitors there may be where a process has at most `open_files`: they get half of these, so that the API can
/// still be reached and servers started. None of them is evicted as long as it is busy.
fn most_visitors(open_files: u64) -> usize {
    let most = open_files / 2 / DESCRIPTORS_OF_ONE;
    usize::try_from(most).map_or(VISITORS_MAX, |most| most.clamp(1, VISITORS_MAX))
}

/// The reply to a request that can't pass, whatever it is for.
fn refusal(unfit: UnfitRequest) -> Reply {
    let error = match unfit {
        UnfitRequest::Refused(refusal) => return refusal.of_visit().reply(),
        UnfitRequest::Method => ProxyError::new(405, "method_not_allowed", "CONNECT and TRACE do not pass this proxy"),
    };
    error.reply(VisitorKind::PROGRAM)
}

/// The proxy behind one listener.
pub struct ProxyListener {
    pub proxy: Arc<Proxy>,
    /// Whether the API is served there too.
    pub has_api: bool,
}

impl VisitService for ProxyListener {
    fn claims(&self, host: Option<&[u8]>) -> bool {
        let Some(host) = host else { return !self.has_api };
        match self.proxy.visited(host) {
            Visited::Server { .. } | Visited::Malformed => true,
            Visited::Api => !self.has_api,
        }
    }

    fn serve(&self, request: VisitRequest<'_>) -> VisitEnd {
        self.proxy.serve(request)
    }

    fn visitors(&self) -> &Arc<Visitors> {
        &self.proxy.visitors
    }
}

/// In place of the API behind a listener without it.
pub struct NoApi;

impl Service for NoApi {
    fn admit(&self, _: &[u8], _: &mut LastRequest) -> HeadVerdict {
        let error = ProxyError::new(404, "no_such_server", "no server is named");
        HeadVerdict { client_kind: ClientKind::Stranger, step: NextStep::Reply(error.reply(VisitorKind::PROGRAM)) }
    }

    fn client_kind(&self, _: &[u8]) -> ClientKind {
        ClientKind::Stranger
    }
}
