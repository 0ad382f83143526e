//! One exchange with a server: a request on its way, and its answer.
//!
//! Owns: what is needed for it, without the head of the request, which a tunnel must not keep; and the error if
//! there is no answer. Never: a byte of either (see `relay`).

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::VisitorSlot;
use super::lane::Lane;
use super::pages::{ProxyError, VisitorKind};
use super::relay::{CLIENT_TAKES, NoAnswer, Relay, RelayEnd, Unblocked};
use crate::handoff::Reply;
use crate::http::response::{self, After, BodyIs, SendLimits};
use crate::http::visit::{VisitEnd, VisitRequest};
use crate::log::{self, Level};
use crate::os::proc::Process;
use crate::os::{Pid, peer};
use crate::supervisor::{Supervisor, Visit, VisitTarget};

/// The limit of an error in place of an answer.
const SEND: Duration = Duration::from_secs(10);

/// An exchange that can begin.
pub struct Exchange<'p> {
    pub server: Arc<Supervisor>,
    pub target: VisitTarget,
    pub stream: UnixStream,
    pub up: Lane,
    pub down: Lane,
    pub visit: Visit,
    pub _place: VisitorSlot<'p>,
    pub visitor: VisitorKind,
    pub is_head: bool,
}

impl Exchange<'_> {
    pub fn carry_out(self, request: &mut VisitRequest<'_>) -> VisitEnd {
        let client = request.slot.socket();
        peer::allow_stall(client, CLIENT_TAKES);
        let Ok(unblocked) = Unblocked::new(client) else { return VisitEnd::Close };
        let mut relay = Relay {
            client,
            server: self.stream,
            end: &self.target.end,
            is_run_ending: &|| is_ending(&self.server, &self.target),
            up: self.up,
            down: self.down,
            traffic: self.server.traffic(),
            visit: Some(self.visit),
        };
        let ended = relay.carry_out();
        *request.rest = relay.up.into_rest();
        drop((unblocked, relay.server));
        let slug = self.server.slug();
        let error = match ended {
            RelayEnd::Answered(end) => return end,
            RelayEnd::Cut if relay.down.ends_by_close => return VisitEnd::Reset,
            RelayEnd::Cut => return VisitEnd::Close,
            RelayEnd::Failed(NoAnswer::Ended) => {
                ProxyError::new(502, "no_answer", format!("{slug} has ended the connection without an answer"))
            }
            RelayEnd::Failed(NoAnswer::Broken(why)) => {
                log::server(Level::Debug, slug, format_args!("its answer to a visitor {}", why.0));
                ProxyError::new(502, "broken_answer", format!("{slug} can't be understood: its answer {}", why.0))
            }
            RelayEnd::Failed(NoAnswer::BadBody) => {
                ProxyError::new(400, "malformed", "the chunks of the body can't be read")
            }
            RelayEnd::Failed(NoAnswer::Timeout) => {
                ProxyError::new(408, "request_timeout", "the body of the request stopped arriving; send it again")
            }
        };
        let reply = error.reply(self.visitor);
        self.server.traffic().answered(reply.status);
        send(request, &reply, self.is_head)
    }
}

/// Whether the run is over or about to be. Its leader is looked at, because its sockets are closed before its exit is
/// seen. Without a descriptor for that nothing is known: an answer that may be cut must not look whole.
fn is_ending(server: &Supervisor, target: &VisitTarget) -> bool {
    let leader = server.view().pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::new);
    let lives = |pid| Process::read(pid).is_some_and(|process| !process.is_exiting());
    !leader.is_some_and(lives) || target.end.is_over()
}

/// Sends a reply of the proxy's own. The connection ends after it.
pub fn send(request: &VisitRequest<'_>, reply: &Reply, is_head: bool) -> VisitEnd {
    let pace = SendLimits { deadline: Some(Instant::now() + SEND), stall: SEND };
    let body = if is_head { BodyIs::LeftOut } else { BodyIs::Sent };
    match response::send(request.socket(), reply, After::Close, body, pace) {
        Ok(_) => VisitEnd::Linger,
        Err(_) => VisitEnd::Close,
    }
}
