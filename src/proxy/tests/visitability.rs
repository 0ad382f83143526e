//! What is made of each state of a server.

use std::time::Duration;

use super::super::pages::VisitorKind;
use super::super::visitability::{Visitability, hold_limit};
use crate::model::status::Status;

#[test]
fn a_server_is_visited_when_it_listens_and_runs() {
    let (soon, down, open) = (Visitability::Soon, Visitability::Down, Visitability::Open);
    for (status, reached, due, not_due) in [
        (Status::Installing, soon, soon, soon),
        (Status::Starting, soon, soon, soon),
        (Status::Restarting, soon, soon, soon),
        (Status::Running, open, soon, Visitability::NotListening),
        (Status::Ready, open, soon, Visitability::NotListening),
        (Status::Stopped, down, down, down),
        (Status::Failed, down, down, down),
    ] {
        let seen = [(true, true), (false, true), (false, false)].map(|(is, due)| Visitability::of(status, is, due));
        assert_eq!(seen, [reached, due, not_due], "{status:?}");
    }
}

#[test]
fn each_kind_of_client_is_held_for_a_time_of_its_own() {
    let page = VisitorKind { is_navigation: true, ..VisitorKind::PROGRAM };
    let refresh = VisitorKind { is_refresh: true, ..page };
    let times = [page, refresh, VisitorKind::PROGRAM].map(hold_limit);
    assert_eq!(times, [1500, 20_000, 25_000].map(Duration::from_millis));
}
