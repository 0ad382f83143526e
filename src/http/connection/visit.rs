//! A request to a managed server, on the connection's own thread.
//!
//! Owns: the way from the front to the `VisitService` and back. Never: a byte of the
//! answer.

use std::net::Shutdown;

use super::super::head;
use super::super::input::End;
use super::super::response::{After, Refusal};
use super::super::slots::NoSlot;
use super::super::visit::{VisitEnd, VisitRequest, VisitService};
use super::Connection;
use crate::os::peer;
use crate::os::reserve_thread::RunsOn;

impl Connection<'_> {
    /// Has the request served whose head of `length` bytes was read.
    pub(super) fn visit(&mut self, service: &dyn VisitService, length: usize) -> Result<After, End> {
        if self.place == RunsOn::Reserve {
            return Err(Refusal::TooManyConnections.into());
        }
        self.slot.become_visitor(service.visitors()).map_err(refused)?;
        // The head takes the buffer with it, so that a tunnel keeps neither.
        let bytes = self.input.bytes();
        let rest = bytes.split_off(length);
        let head = std::mem::replace(bytes, rest);
        let request = VisitRequest { head, rest: self.input.bytes(), slot: self.slot };
        let end = super::contained(|| service.serve(request)).unwrap_or(VisitEnd::Close);
        match end {
            VisitEnd::KeepAlive => Ok(After::KeepAlive),
            VisitEnd::Linger => {
                self.linger();
                Err(End::Quiet)
            }
            VisitEnd::Close => {
                let _ = self.slot.socket().shutdown(Shutdown::Write);
                Err(End::Quiet)
            }
            VisitEnd::Reset => {
                peer::reset_at_close(self.slot.socket());
                Err(End::Quiet)
            }
        }
    }
}

impl Connection<'_> {
    /// A refusal of a head, with the limits that hold for its addressee: the API or a server.
    pub(super) fn in_figures_of_host(&mut self, refusal: Refusal) -> Refusal {
        let is_too_long = matches!(refusal, Refusal::TargetTooLong | Refusal::HeadTooLarge);
        match &self.shared.visits {
            Some(visits) if is_too_long && visits.claims(head::named_host(self.input.bytes())) => refusal.of_visit(),
            Some(_) | None => refusal,
        }
    }
}

/// The API's own requests take a slot of the API, after a visit too.
pub(super) fn refused(none: NoSlot) -> End {
    match none {
        NoSlot::Full => End::Refused(Refusal::TooManyConnections),
        NoSlot::Closed => End::Quiet,
    }
}
