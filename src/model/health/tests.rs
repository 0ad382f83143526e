use super::*;

use std::time::UNIX_EPOCH;

const REFUSED: CheckOutcome = CheckOutcome::Failed(CheckFailure::Refused);
const OK: CheckOutcome = CheckOutcome::Answered(200);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn check() -> HealthCheck {
    HealthCheck {
        path: "/".into(),
        interval: ms(2000),
        timeout: ms(1500),
        delay: Duration::ZERO,
        restart_after_failures: None,
    }
}

/// The machine with a clock that is moved by hand. It begins at the detection of the port.
struct Clocked {
    checks: Checks,
    begun: Instant,
    /// Milliseconds since the detection.
    time: u64,
    /// When each check began.
    checks_at: Vec<u64>,
    /// The changes, with their times.
    changes: Vec<(u64, HealthChange)>,
}

impl Clocked {
    fn new(check: &HealthCheck) -> Clocked {
        let begun = Instant::now();
        Clocked { checks: Checks::new(check, begun), begun, time: 0, checks_at: Vec::new(), changes: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.begun + ms(self.time)
    }

    fn at(&self) -> SystemTime {
        UNIX_EPOCH + ms(self.time)
    }

    /// Lets time pass up to `time`, deadline by deadline, as the prober does.
    fn pass(&mut self, time: u64) {
        loop {
            let deadline = self.checks.deadline().saturating_duration_since(self.begun).as_millis() as u64;
            if deadline > time {
                break;
            }
            self.time = self.time.max(deadline);
            match self.checks.timeout(self.now(), self.at()) {
                Due::Nothing => panic!("a deadline at which nothing is due is an endless loop"),
                Due::Begin => self.checks_at.push(self.time),
                Due::GiveUp(verdict) | Due::Report(verdict) => self.changes.push((self.time, verdict)),
            }
        }
        self.time = time;
        assert_eq!(self.checks.timeout(self.now(), self.at()), Due::Nothing);
    }

    fn outcome(&mut self, outcome: CheckOutcome) -> HealthChange {
        self.checks.outcome(outcome, self.now(), self.at())
    }

    /// Begins the next check and gives it this outcome at once.
    fn next(&mut self, outcome: CheckOutcome) -> HealthChange {
        let due = self.checks.deadline().saturating_duration_since(self.begun).as_millis() as u64;
        let before = self.checks_at.len();
        self.pass(due);
        assert_eq!(self.checks_at.len(), before + 1, "no check was due");
        self.outcome(outcome)
    }

    fn status(&self) -> HealthStatus {
        self.checks.health().status
    }

    fn failures(&self) -> u32 {
        self.checks.health().consecutive_failures
    }

    fn error(&self) -> Option<String> {
        self.checks.health().last_error.as_ref().map(CheckFailure::to_string)
    }
}

#[test]
fn the_first_check_comes_after_the_delay_and_the_others_at_the_interval() {
    let mut server = Clocked::new(&HealthCheck { delay: ms(5000), ..check() });
    assert_eq!(*server.checks.health(), Health::default());
    server.pass(4999);
    assert!(server.checks_at.is_empty());
    for time in [5000, 7000, 9000] {
        server.pass(time);
        // An answer that takes its time does not move the next check.
        server.pass(time + 700);
        server.outcome(OK);
    }
    assert_eq!(server.checks_at, [5000, 7000, 9000]);
}

#[test]
fn the_first_answer_may_take_25_seconds_of_one_request() {
    let mut server = Clocked::new(&check());
    server.pass(25_000);
    assert_eq!(server.checks_at, [0], "the server was asked again while it compiled");
    // Exceeding its time-out is reported, and is no failure.
    assert_eq!(server.changes, [(1500, HealthChange::Same)]);
    assert_eq!((server.status(), server.failures()), (HealthStatus::Checking, 0));
    assert_eq!(server.error().as_deref(), Some("no answer within 1500 ms"));
    assert_eq!(server.checks.health().last_check, Some(UNIX_EPOCH + ms(1500)));
    assert_eq!(server.outcome(OK), HealthChange::BecameHealthy);
    assert_eq!((server.status(), server.error()), (HealthStatus::Healthy, None));
    // The interval is over; from now on the time-out holds.
    server.pass(26_499);
    assert_eq!(server.checks_at, [0, 25_000]);
    server.pass(26_500);
    assert_eq!((server.status(), server.failures()), (HealthStatus::Healthy, 1));
    assert_eq!(server.changes[1..], [(26_500, HealthChange::Same)]);
}

#[test]
fn a_late_answer_that_is_no_success_is_a_failure() {
    let mut server = Clocked::new(&check());
    server.pass(25_000);
    assert_eq!(server.outcome(CheckOutcome::Answered(500)), HealthChange::Same);
    assert_eq!((server.status(), server.failures()), (HealthStatus::Checking, 1));
    assert_eq!(server.error().as_deref(), Some("answered 500"));
}

#[test]
fn a_request_is_given_up_after_60_seconds_and_another_follows() {
    let mut server = Clocked::new(&check());
    server.pass(60_000);
    assert_eq!(server.changes, [(1500, HealthChange::Same), (60_000, HealthChange::BecameUnhealthy)]);
    assert_eq!((server.status(), server.failures()), (HealthStatus::Unhealthy, 1));
    assert_eq!(server.error().as_deref(), Some("no answer within 60000 ms"));
    assert_eq!(server.checks_at, [0, 60_000]);
    // The second one has its 60 seconds too: it still has not succeeded.
    server.pass(100_000);
    assert_eq!(server.checks_at, [0, 60_000]);
    assert_eq!(server.outcome(OK), HealthChange::BecameHealthy);
}

#[test]
fn nothing_but_failures_are_unhealthy_after_60_seconds() {
    let mut server = Clocked::new(&HealthCheck { interval: ms(7000), ..check() });
    while server.time < 56_000 {
        assert_eq!(server.next(REFUSED), HealthChange::Same);
        assert_eq!(server.status(), HealthStatus::Checking);
    }
    assert_eq!(server.failures(), 9);
    server.pass(59_999);
    assert_eq!((server.status(), &*server.changes), (HealthStatus::Checking, &[][..]));
    // Not only at the next check, which may be an hour away.
    server.pass(60_000);
    assert_eq!(server.changes, [(60_000, HealthChange::BecameUnhealthy)]);
    assert_eq!((server.status(), server.failures()), (HealthStatus::Unhealthy, 9));
    assert_eq!(server.next(REFUSED), HealthChange::Same);
    assert_eq!(server.next(OK), HealthChange::BecameHealthy);
    assert_eq!((server.status(), server.failures()), (HealthStatus::Healthy, 0));
}

#[test]
fn the_60_seconds_begin_with_the_first_check() {
    let mut server = Clocked::new(&HealthCheck { delay: ms(50_000), ..check() });
    assert_eq!(server.next(REFUSED), HealthChange::Same);
    while server.time < 108_000 {
        assert_eq!(server.next(REFUSED), HealthChange::Same, "at {}", server.time);
    }
    server.pass(109_999);
    assert_eq!((server.status(), &*server.changes), (HealthStatus::Checking, &[][..]));
    server.pass(110_000);
    assert_eq!(server.changes, [(110_000, HealthChange::BecameUnhealthy)]);
}

#[test]
fn a_time_out_beyond_60_seconds_is_kept() {
    let mut server = Clocked::new(&HealthCheck { timeout: ms(300_000), ..check() });
    server.pass(299_999);
    assert_eq!((server.status(), &*server.changes), (HealthStatus::Checking, &[][..]));
    server.pass(300_000);
    assert_eq!(server.changes, [(300_000, HealthChange::BecameUnhealthy)]);
    assert_eq!(server.error().as_deref(), Some("no answer within 300000 ms"));
}

#[test]
fn no_failure_before_the_first_success_counts_against_the_server() {
    let mut server = Clocked::new(&HealthCheck { restart_after_failures: NonZeroU32::new(1), ..check() });
    for count in 1..=10 {
        assert_eq!(server.next(REFUSED), HealthChange::Same);
        assert_eq!((server.status(), server.failures()), (HealthStatus::Checking, count));
    }
    assert_eq!(server.next(OK), HealthChange::BecameHealthy);
    assert_eq!(server.failures(), 0);
    assert_eq!(server.next(REFUSED), HealthChange::RestartDue);
}

#[test]
fn three_failures_in_a_row_change_what_two_do_not() {
    let mut server = Clocked::new(&check());
    server.next(OK);
    for _ in 0..5 {
        assert_eq!(server.next(REFUSED), HealthChange::Same);
        assert_eq!(server.next(CheckOutcome::Answered(503)), HealthChange::Same);
        assert_eq!((server.status(), server.failures()), (HealthStatus::Healthy, 2));
        assert_eq!(server.next(OK), HealthChange::Same);
        assert_eq!(server.failures(), 0);
    }
    for verdict in [HealthChange::Same, HealthChange::Same, HealthChange::BecameUnhealthy, HealthChange::Same] {
        assert_eq!(server.next(CheckOutcome::Failed(CheckFailure::Closed)), verdict);
    }
    assert_eq!((server.status(), server.failures()), (HealthStatus::Unhealthy, 4));
    assert_eq!(server.next(OK), HealthChange::BecameHealthy);
    assert_eq!((server.status(), server.failures()), (HealthStatus::Healthy, 0));
    for verdict in [HealthChange::Same, HealthChange::Same, HealthChange::BecameUnhealthy] {
        assert_eq!(server.next(REFUSED), verdict);
    }
}

#[test]
fn a_restart_is_due_once_a_row() {
    for after in [1, 2, 3, 5] {
        let mut server = Clocked::new(&HealthCheck { restart_after_failures: NonZeroU32::new(after), ..check() });
        server.next(OK);
        for row in 0..2 {
            let verdicts: Vec<_> = (1..=6).map(|_| server.next(REFUSED)).collect();
            for (verdict, count) in verdicts.iter().zip(1..) {
                let expected = match count {
                    _ if count == after => HealthChange::RestartDue,
                    3 => HealthChange::BecameUnhealthy,
                    _ => HealthChange::Same,
                };
                assert_eq!(*verdict, expected, "failure {count} of row {row}, restart after {after}");
            }
            assert_eq!(server.status(), HealthStatus::Unhealthy);
            assert_eq!(server.next(OK), HealthChange::BecameHealthy);
        }
    }
}

#[test]
fn success_is_200_to_399() {
    for (status, is_success) in
        [(101, false), (199, false), (200, true), (204, true), (302, true), (399, true), (400, false), (503, false)]
    {
        let mut server = Clocked::new(&check());
        let verdict = server.next(CheckOutcome::Answered(status));
        assert_eq!(verdict == HealthChange::BecameHealthy, is_success, "{status}");
        assert_eq!(server.checks.health().last_status, Some(status));
        assert_eq!(server.error().is_none(), is_success);
    }
}

#[test]
fn what_is_known_is_of_the_last_check() {
    let mut server = Clocked::new(&check());
    server.next(CheckOutcome::Answered(503));
    assert_eq!((server.checks.health().last_status, server.error().as_deref()), (Some(503), Some("answered 503")));
    server.next(REFUSED);
    let expected = Health {
        status: HealthStatus::Checking,
        last_check: Some(UNIX_EPOCH + ms(2000)),
        last_took: Some(Duration::ZERO),
        last_status: None,
        last_error: Some(CheckFailure::Refused),
        consecutive_failures: 2,
    };
    assert_eq!(*server.checks.health(), expected);
}

#[test]
fn checks_never_overlap_however_slow_they_are() {
    let mut server = Clocked::new(&HealthCheck { interval: ms(100), ..check() });
    server.next(OK);
    // Each is given up after its time-out, and the next one follows at once.
    server.pass(6000);
    assert_eq!(server.checks_at, [0, 100, 1600, 3100, 4600]);
    assert_eq!(server.changes.len(), 3);
    assert_eq!(server.changes[2], (4600, HealthChange::BecameUnhealthy));
}

#[test]
fn after_a_pause_of_the_clock_nothing_is_made_up_for() {
    let mut server = Clocked::new(&check());
    server.next(OK);
    // The machine was suspended: one check is due, not a thousand.
    server.time = 2_000_000;
    assert_eq!(server.checks.timeout(server.now(), server.at()), Due::Begin);
    assert_eq!(server.outcome(OK), HealthChange::Same);
    assert_eq!(server.checks.deadline(), server.now() + ms(2000));
}

#[test]
fn an_outcome_without_a_check_changes_nothing() {
    let mut server = Clocked::new(&HealthCheck { delay: ms(10), ..check() });
    assert_eq!(server.outcome(OK), HealthChange::Same);
    assert_eq!(*server.checks.health(), Health::default());
}

#[test]
fn an_interval_of_nothing_is_no_endless_loop() {
    let mut server = Clocked::new(&HealthCheck { interval: Duration::ZERO, ..check() });
    for _ in 0..3 {
        server.next(REFUSED);
    }
    assert_eq!(server.checks_at, [0, 1, 2]);
}

#[test]
fn a_check_over_which_everything_was_paused_is_given_its_time_once_more() {
    let mut clocked = Clocked::new(&HealthCheck { restart_after_failures: NonZeroU32::new(1), ..check() });
    clocked.next(OK);
    clocked.pass(2000);
    // An hour later its time is long over.
    clocked.time = 3_600_000;
    assert_eq!(clocked.checks.timeout(clocked.now(), clocked.at()), Due::Nothing);
    assert_eq!(clocked.checks.deadline(), clocked.now() + ms(1500));
    let mut answered = Checks::clone(&clocked.checks);
    assert_eq!(answered.outcome(OK, clocked.now() + ms(10), clocked.at()), HealthChange::Same);
    // No answer comes, and another pause is no reason to wait for ever.
    clocked.time += 3_600_000;
    assert!(matches!(clocked.checks.timeout(clocked.now(), clocked.at()), Due::GiveUp(HealthChange::RestartDue)));
}

#[test]
fn a_check_that_could_not_be_made_counts_as_no_failure() {
    let mut clocked = Clocked::new(&HealthCheck { restart_after_failures: NonZeroU32::new(3), ..check() });
    clocked.next(OK);
    for _ in 0..10 {
        assert_eq!(clocked.next(CheckOutcome::Failed(CheckFailure::NoDescriptor)), HealthChange::Same);
    }
    assert_eq!((clocked.status(), clocked.failures()), (HealthStatus::Healthy, 0));
    assert_eq!(clocked.error().as_deref(), Some("not checked: servisor's limit on open files is reached"));
}

#[test]
fn failures_are_sentences() {
    for (failure, sentence) in [
        (CheckFailure::Refused, "connection refused"),
        (CheckFailure::NoAnswer(ms(1500)), "no answer within 1500 ms"),
        (CheckFailure::Status(503), "answered 503"),
        (CheckFailure::Closed, "closed the connection before the end of its answer's head"),
        (
            CheckFailure::ClosedAtOnce,
            "closed the connection before answering; checks are plain HTTP: does it speak TLS?",
        ),
        (
            CheckFailure::TlsAlert,
            "answered a plain HTTP request with a TLS alert: does it speak TLS? Checks are plain HTTP",
        ),
        (CheckFailure::NotHttp, "answered with something that is not HTTP"),
        (CheckFailure::HeadTooLong, "answered with interim responses and no final one within 16 KiB"),
        (CheckFailure::PortHeld("port 80 is held by pid 1 (x)".into()), "port 80 is held by pid 1 (x)"),
        (CheckFailure::Unreachable("no route".into()), "could not be connected to: no route"),
        (CheckFailure::NoDescriptor, "not checked: servisor's limit on open files is reached"),
    ] {
        assert_eq!(failure.to_string(), sentence);
    }
    for (word, status) in HealthStatus::ALL {
        assert_eq!(status.as_str(), word);
    }
}
