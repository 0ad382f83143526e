//! Whether a run is ready.
//!
//! Owns: the observations and marks of the current run, and the readiness that follows. Never: whether it lives (see
//! the parent).

/// A status set by a client; it overrides the observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusMark {
    Ready,
    /// Not ready yet.
    Running,
}

/// The observations and marks of one run. Empty at its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RunObservations {
    listens: bool,
    healthy: bool,
    mark: Option<StatusMark>,
}

/// What readiness requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demand {
    /// To listen on a port.
    Listening,
    /// To listen, and to pass the health check.
    Health,
}

impl RunObservations {
    pub(super) fn listening(self) -> RunObservations {
        RunObservations { listens: true, ..self }
    }

    /// Records that it listens on no port any more; its last health result is void.
    pub(super) fn silent(self) -> RunObservations {
        RunObservations { listens: false, healthy: false, ..self }
    }

    pub(super) fn healthy(self) -> RunObservations {
        RunObservations { listens: true, healthy: true, ..self }
    }

    pub(super) fn unhealthy(self) -> RunObservations {
        RunObservations { healthy: false, ..self }
    }

    /// Records a client's mark. `Running` holds back a run that would be ready; on any other it only removes an earlier
    /// mark.
    pub(super) fn marked(self, mark: StatusMark, demand: Demand) -> RunObservations {
        let unmarked = RunObservations { mark: None, ..self };
        match mark {
            StatusMark::Ready => RunObservations { mark: Some(StatusMark::Ready), ..self },
            StatusMark::Running if unmarked.ready(demand) => {
                RunObservations { mark: Some(StatusMark::Running), ..self }
            }
            StatusMark::Running => unmarked,
        }
    }

    /// Whether the run is ready.
    pub fn ready(self, demand: Demand) -> bool {
        match (self.mark, demand) {
            (Some(StatusMark::Ready), _) => true,
            (Some(StatusMark::Running), _) => false,
            (None, Demand::Listening) => self.listens,
            (None, Demand::Health) => self.listens && self.healthy,
        }
    }
}
