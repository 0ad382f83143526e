//! The replies to requests, and the wait for them.
//!
//! Owns: the outcomes, and how long they are waited for. Never: the effect of a request.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Supervisor;
use crate::model::machine::CommandRefusal;
use crate::model::view::ServerView;
use crate::os::thread::Joined;
use crate::os::{RecvError, oneshot};
use crate::ports::Unavailable;

/// A supervisor that drops its inbox ends within this time.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The outcome of a request.
#[derive(Debug, Clone)]
pub enum CommandReply {
    /// The configuration is stored; the outcome of its start follows. Only [`Pending::wait_stored`] returns it.
    Stored,
    /// The request is carried out; the server as it was then.
    Done(Arc<ServerView>),
    /// The request is not possible in this state. Nothing has changed.
    Refused(CommandRefusal),
    /// The configuration insists on a port that is not free. Nothing has changed.
    PortTaken(Arc<Unavailable>),
    /// What has to outlive the daemon can't be stored. Nothing has changed.
    NotStored(Arc<io::Error>),
    ShuttingDown,
    /// No outcome by the deadline; the server as it is. The work continues.
    Late(Arc<ServerView>),
    /// The supervisor ended, or panicked during the request.
    Lost,
}

/// A request that was sent and has no reply yet.
pub struct Pending {
    pub(super) reply: oneshot::OnceReceiver<CommandReply>,
    pub(super) supervisor: Arc<Supervisor>,
}

impl Pending {
    /// The server as it is, without a wait.
    pub fn view(&self) -> Arc<ServerView> {
        self.supervisor.view()
    }

    /// Waits for the final reply, but not past `deadline`.
    pub fn wait(&self, deadline: Instant) -> CommandReply {
        self.received(self.reply.recv_deadline(deadline))
    }

    /// Waits until a new configuration is stored or refused, but not past `deadline`.
    pub fn wait_stored(&self, deadline: Instant) -> CommandReply {
        self.received(self.reply.recv_first(deadline))
    }

    /// Why there was no reply ([`CommandReply::Lost`]): the supervisor has ended, as after a deletion, or it is `Late`,
    /// since it lives on after a panic.
    pub fn end_of_supervisor(&self) -> Joined {
        self.supervisor.join_by(Instant::now() + END_LIMIT)
    }

    fn received(&self, received: Result<CommandReply, RecvError>) -> CommandReply {
        match received {
            Ok(reply) => reply,
            Err(RecvError::Timeout) => CommandReply::Late(self.view()),
            Err(RecvError::Disconnected) => CommandReply::Lost,
        }
    }
}
