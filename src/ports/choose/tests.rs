//! Stories of a run, each a table of what is open when, and what is the server's port then.

use super::*;
use crate::ports::listening::Localhost;
use std::net::Ipv4Addr;

const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn open(number: u16) -> OpenPort {
    OpenPort { port: port(number), probe: (Ipv4Addr::LOCALHOST, number).into(), localhost: Localhost::Here }
}

struct Story {
    choice: Choice,
    born: Instant,
}

impl Story {
    fn new(requested: u16, ignored: &[u16], demand: Demand) -> Story {
        let born = Instant::now();
        let ignored = ignored.iter().map(|number| port(*number)).collect();
        let rules = Rules { requested: Port::new(requested), ignored, ephemeral: EPHEMERAL, demand };
        Story { choice: Choice::new(rules, born), born }
    }

    fn at(&self, ms: u64) -> Instant {
        self.born + Duration::from_millis(ms)
    }

    /// The chosen port when these are open `ms` after the start of the run, after all deadlines before that.
    fn take(&mut self, ms: u64, numbers: &[u16]) -> u16 {
        self.run_to(ms);
        let now = self.at(ms);
        self.choice.take(&numbers.iter().map(|number| open(*number)).collect::<Vec<_>>(), now);
        self.chosen()
    }

    fn run_to(&mut self, ms: u64) {
        let mut now = self.born;
        while let Some(deadline) = self.choice.deadline(now).filter(|deadline| *deadline <= self.at(ms)) {
            now = deadline;
            self.choice.decide(now);
        }
    }

    fn chosen(&self) -> u16 {
        self.choice.chosen().map_or(0, |open| open.port.get())
    }

    fn checked(&self, ms: u64) -> Vec<u16> {
        self.choice.checked(self.at(ms)).iter().map(|checked| checked.port.get()).collect()
    }
}

/// What is open from a moment on, and the chosen port then; 0 is none.
type Steps = [(u64, &'static [u16], u16)];

#[track_caller]
fn run(requested: u16, ignored: &[u16], steps: &Steps) {
    for demand in [Demand::Listening, Demand::Health] {
        let mut story = Story::new(requested, ignored, demand);
        for (ms, numbers, expected) in steps {
            assert_eq!(story.take(*ms, numbers), *expected, "{requested} {numbers:?} after {ms} ms, {demand:?}");
        }
    }
}

#[test]
fn the_choice_among_several_that_are_there() {
    for (requested, numbers, expected) in [
        (3000, &[][..], 0),
        (0, &[3000], 3000),
        (0, &[3000, 8080], 3000),
        (8080, &[3000, 8080], 8080),
        (40000, &[3000, 40000], 40000),
        (9229, &[3000, 9229], 9229),
        (0, &[5678, 9229, 9230, 10000, 24678, 44000], 10000),
        (0, &[9328, 9330], 9330),
        (0, &[24777, 24778], 24778),
        (0, &[32767, 32768], 32767),
        (0, &[60999, 61000], 61000),
    ] {
        run(requested, &[], &[(100, numbers, expected)]);
    }
}

#[test]
fn an_ordinary_port_waits_a_second_for_the_requested_one() {
    run(3000, &[], &[(100, &[5173], 0), (1099, &[5173], 0), (1100, &[5173], 5173), (9000, &[3000, 5173], 3000)]);
    run(3000, &[], &[(100, &[5173], 0), (900, &[3000, 5173], 3000), (5000, &[5173], 5173)]);
    // What was open beside it has waited for it once, and does not again; what comes after it does.
    run(3000, &[], &[(100, &[8080], 0), (900, &[3000, 5173, 8080], 3000), (1200, &[5173, 8080], 5173)]);
    run(3000, &[], &[(100, &[3000], 3000), (900, &[5173], 0), (1900, &[5173], 5173)]);
    // Of two the one that has waited; of those that have, the lowest.
    run(3000, &[], &[(100, &[8080], 0), (600, &[5173, 8080], 0), (1100, &[5173, 8080], 8080)]);
    run(3000, &[], &[(100, &[5173, 8080], 0), (1100, &[5173, 8080], 5173)]);
    run(0, &[], &[(100, &[5173], 5173)]);
}

#[test]
fn a_better_port_takes_its_place_within_ten_seconds() {
    run(3000, &[], &[(100, &[5173], 0), (10_000, &[3000, 5173], 3000)]);
    run(3000, &[], &[(100, &[5173], 0), (10_001, &[3000, 5173], 5173), (11_000, &[3000], 3000)]);
    // Among equals the choice stays, as long as it is there.
    run(0, &[], &[(100, &[8080], 8080), (200, &[3000, 8080], 8080), (300, &[3000], 3000), (400, &[3000, 8080], 3000)]);
}

#[test]
fn a_port_of_the_last_rank_has_to_be_alone_for_five_seconds() {
    for number in [5678, 9229, 9230, 9329, 24678, 24777, 32768, 44000, 60999] {
        let alone: &'static [u16] = vec![number].leak();
        let both: &'static [u16] = vec![3001, number].leak();
        for requested in [0, 3000] {
            run(requested, &[], &[(1000, alone, 0), (5999, alone, 0), (6000, alone, number), (60_000, alone, number)]);
        }
        // A better one takes its place at any time.
        run(0, &[], &[(0, alone, 0), (5000, alone, number), (600_000, both, 3001)]);
        run(3000, &[], &[(0, alone, 0), (5000, alone, number), (600_000, both, number), (601_000, both, 3001)]);
        // It counts from the moment when it is alone.
        run(0, &[], &[(0, both, 3001), (9000, alone, 0), (13_999, alone, 0), (14_000, alone, number)]);
        run(number, &[], &[(0, alone, number)]);
    }
    run(0, &[], &[(0, &[9229], 0), (3000, &[9229, 44000], 0), (5000, &[9229, 44000], 9229)]);
    run(0, &[], &[(0, &[44000, 45000], 0), (5000, &[44000, 45000], 44000)]);
}

#[test]
fn the_ports_of_a_server_s_own_helpers() {
    run(0, &[3001], &[(0, &[3001], 0), (4000, &[3001, 8080], 8080)]);
    run(0, &[3001], &[(0, &[3001], 0), (5000, &[3001], 3001)]);
    run(3001, &[3001], &[(0, &[3001], 3001)]);
}

#[test]
fn the_issue_s_two_servers() {
    // Its helper listens two seconds before it does.
    run(4000, &[], &[(300, &[45000], 0), (2300, &[4000, 45000], 4000)]);
    run(0, &[], &[(300, &[24678], 0), (1300, &[21390, 24678], 21390)]);
}

#[test]
fn without_checks_none_is_checked_and_time_is_asked_for_only_while_it_matters() {
    let mut story = Story::new(3000, &[], Demand::Listening);
    assert_eq!(story.choice.deadline(story.born), None);
    story.take(0, &[5173]);
    assert_eq!(story.choice.deadline(story.born), Some(story.at(1000)));
    story.take(1500, &[5173]);
    assert_eq!((story.choice.deadline(story.at(1500)), story.checked(1500)), (None, vec![]));
    assert_eq!(story.choice.better_until(), Some(story.at(10_000)));
    story.take(2000, &[3000, 5173]);
    assert_eq!((story.choice.deadline(story.at(2000)), story.choice.better_until()), (None, None));
    story.take(3000, &[44000]);
    assert_eq!(story.choice.deadline(story.at(3000)), Some(story.at(8000)));
}

#[test]
fn the_others_are_checked_one_after_the_other_until_one_passes() {
    let mut story = Story::new(3000, &[], Demand::Health);
    story.take(0, &[3000, 5000, 6000, 9229]);
    assert_eq!(story.checked(0), [3000]);
    story.choice.failed(port(3000));
    assert_eq!(story.checked(10), [3000, 5000], "one after the other");
    story.choice.failed(port(5000));
    story.choice.failed(port(6000));
    assert_eq!(story.checked(60_000), [3000, 5000, 6000], "never one of the last rank while there is a better one");
    story.choice.passed(port(6000));
    assert_eq!((story.chosen(), story.checked(50_000)), (6000, vec![6000, 3000]), "it may be slow");
    story.choice.failed_too_long(port(3000));
    assert_eq!(story.checked(60_000), [6000]);
    // What has not opened early is not better than what has passed.
    assert_eq!(story.take(61_000, &[3000, 6000]), 6000);
    assert_eq!(story.take(62_000, &[3000]), 3000);
    assert_eq!(story.checked(62_000), [3000]);
}

#[test]
fn a_better_port_that_opens_early_is_tried_beside_the_one_that_has_passed() {
    let mut story = Story::new(3000, &[], Demand::Health);
    story.take(0, &[5173]);
    story.take(1000, &[5173]);
    assert_eq!((story.chosen(), story.checked(1000)), (5173, vec![5173]));
    story.choice.passed(port(5173));
    assert_eq!(story.take(4000, &[3000, 4000, 5173]), 5173);
    assert_eq!(story.checked(4000), [5173, 3000]);
    story.choice.failed(port(3000));
    assert_eq!(story.chosen(), 5173);
    story.choice.passed(port(3000));
    assert_eq!((story.chosen(), story.checked(4000)), (3000, vec![3000]));
    let mut late = Story::new(3000, &[], Demand::Health);
    late.take(0, &[5173]);
    late.take(1000, &[5173]);
    late.choice.passed(port(5173));
    late.take(11_000, &[3000, 5173]);
    assert_eq!(late.checked(11_000), [5173]);
    assert_eq!(late.choice.others(late.at(11_000)).len(), 1, "unless its port no longer answers");
}

#[test]
fn a_port_of_the_last_rank_is_never_checked_early_or_beside_a_better_one() {
    let mut story = Story::new(3000, &[], Demand::Health);
    story.take(0, &[24678]);
    assert!(story.checked(4999).is_empty());
    story.take(5000, &[24678]);
    assert_eq!(story.checked(5000), [24678]);
    // The ordinary one still waits for the requested one.
    assert_eq!(story.take(6000, &[8080, 24678]), 24678);
    assert!(story.checked(6000).is_empty());
    story.run_to(7000);
    assert_eq!((story.chosen(), story.checked(7000)), (8080, vec![8080]));
    story.choice.failed(port(8080));
    assert_eq!(story.checked(60_000), [8080]);
}

#[test]
fn no_more_than_sixteen_are_checked_at_a_time() {
    let mut story = Story::new(0, &[], Demand::Health);
    let numbers: Vec<u16> = (3000..3100).collect();
    story.take(0, &numbers);
    numbers.iter().for_each(|number| story.choice.failed(port(*number)));
    assert_eq!(story.checked(0).len(), 16);
}
