//! What is made of each state of a server.

use std::time::Duration;

use super::super::pages::Asker;
use super::super::standing::{Standing, patience};
use crate::model::status::Status;

#[test]
fn a_server_is_visited_when_it_listens_and_runs() {
    let (soon, down, open) = (Standing::Soon, Standing::Down, Standing::Open);
    for (status, reached, due, not_due) in [
        (Status::Installing, soon, soon, soon),
        (Status::Starting, soon, soon, soon),
        (Status::Restarting, soon, soon, soon),
        (Status::Running, open, soon, Standing::Absent),
        (Status::Ready, open, soon, Standing::Absent),
        (Status::Stopped, down, down, down),
        (Status::Failed, down, down, down),
    ] {
        let seen = [(true, true), (false, true), (false, false)].map(|(is, due)| Standing::of(status, is, due));
        assert_eq!(seen, [reached, due, not_due], "{status:?}");
    }
}

#[test]
fn each_kind_of_client_is_held_for_a_time_of_its_own() {
    let page = Asker { is_navigation: true, ..Asker::PROGRAM };
    let refresh = Asker { is_refresh: true, ..page };
    let times = [page, refresh, Asker::PROGRAM].map(patience);
    assert_eq!(times, [1500, 20_000, 25_000].map(Duration::from_millis));
}
