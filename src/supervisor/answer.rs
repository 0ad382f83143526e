//! What comes of a request to a supervisor, and the waiting for it.
//!
//! Owns: the answers and how long they are waited for. Never: what is done about a request.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Supervisor;
use crate::model::machine::CommandRefusal;
use crate::model::view::ServerView;
use crate::os::oneshot::{self, Unsaid};

/// What comes of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// What was asked for is so; this is how the server was then.
    Done(Arc<ServerView>),
    /// It made no sense, and nothing has changed.
    Refused(CommandRefusal),
    /// What has to outlive the daemon can't be stored, and nothing has changed.
    NotStored(Arc<io::Error>),
    /// The daemon is ending.
    ShuttingDown,
}

/// A configuration that was handed over: it is stored or refused first.
pub struct Creation {
    pub(super) stored: oneshot::Receiver<()>,
    pub(super) pending: Pending,
}

impl Creation {
    /// Waits until the configuration is stored or refused, but not past `deadline`. What becomes of the server then is
    /// the answer that is pending.
    ///
    /// # Errors
    /// Neither has happened in time.
    pub fn settle(self, deadline: Instant) -> Result<Pending, Unsettled> {
        match self.stored.recv_deadline(deadline) {
            Ok(()) | Err(Unsaid::Lost) => Ok(self.pending),
            Err(Unsaid::Late) => Err(Unsettled),
        }
    }
}

/// Whether a configuration is stored is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled;

/// A request that was sent and not answered yet.
pub struct Pending {
    pub(super) answer: oneshot::Receiver<Answer>,
    pub(super) supervisor: Arc<Supervisor>,
}

/// What waiting for a [`Pending`] came to.
#[derive(Debug, Clone)]
pub enum Waited {
    /// An answer.
    Answered(Answer),
    /// None in time. The work goes on; this is how the server is.
    Late(Arc<ServerView>),
    /// The supervisor is gone, or lost the request in a fault of its own.
    Lost,
}

impl Pending {
    /// How the server is now, without waiting.
    pub fn view(&self) -> Arc<ServerView> {
        self.supervisor.view()
    }

    /// Waits for the answer, but not past `deadline`.
    pub fn wait(&self, deadline: Instant) -> Waited {
        match self.answer.recv_deadline(deadline) {
            Ok(answer) => Waited::Answered(answer),
            Err(Unsaid::Late) => Waited::Late(self.supervisor.view()),
            Err(Unsaid::Lost) => Waited::Lost,
        }
    }
}
