//! Whether a living run can be used.
//!
//! Owns: what was seen and said of the present run, and what follows from it. Never: whether it lives (see the parent).

/// What a user has said of a run, whatever is seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// It can be used.
    Ready,
    /// It is not to be used yet.
    Running,
}

/// What is known of a run beyond its being alive. It starts empty with each run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Signs {
    listens: bool,
    healthy: bool,
    mark: Option<Mark>,
}

/// Whether health counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demand {
    /// It is enough to listen.
    Listening,
    /// A health check has to have passed.
    Health,
}

impl Signs {
    /// It was seen to listen.
    pub(super) fn listening(self) -> Signs {
        Signs { listens: true, ..self }
    }

    /// It listens no more: whoever asked for its health has nobody to ask.
    pub(super) fn silent(self) -> Signs {
        Signs { listens: false, healthy: false, ..self }
    }

    /// Its health check has passed.
    pub(super) fn healthy(self) -> Signs {
        Signs { listens: true, healthy: true, ..self }
    }

    /// Its health checks have failed too often.
    pub(super) fn unhealthy(self) -> Signs {
        Signs { healthy: false, ..self }
    }

    /// A user has said `mark`. To be held back means something only where it would be ready by itself; elsewhere it
    /// takes back what was said before.
    pub(super) fn marked(self, mark: Mark, demand: Demand) -> Signs {
        let unmarked = Signs { mark: None, ..self };
        match mark {
            Mark::Ready => Signs { mark: Some(Mark::Ready), ..self },
            Mark::Running if unmarked.ready(demand) => Signs { mark: Some(Mark::Running), ..self },
            Mark::Running => unmarked,
        }
    }

    /// What it all comes to.
    pub fn ready(self, demand: Demand) -> bool {
        match (self.mark, demand) {
            (Some(Mark::Ready), _) => true,
            (Some(Mark::Running), _) => false,
            (None, Demand::Listening) => self.listens,
            (None, Demand::Health) => self.listens && self.healthy,
        }
    }
}
