use super::*;

/// Number, parent, state.
type Line = (i32, i32, char);

/// Processes that change while they are looked at, and what happens at each call.
struct World {
    living: Vec<Line>,
    /// Before the listing or reading of that number, these take the place of all others. Listings are -1, -2 and so on.
    changes: Vec<(i32, Vec<Line>)>,
    listings: i32,
    asked: Vec<i32>,
}

const OWN: i32 = 10;

impl World {
    fn new(living: &[Line]) -> World {
        World { living: living.to_vec(), changes: Vec::new(), listings: 0, asked: Vec::new() }
    }

    fn then(mut self, at: i32, living: &[Line]) -> World {
        self.changes.push((at, living.to_vec()));
        self
    }

    fn turn(&mut self, at: i32) {
        if let Some(place) = self.changes.iter().position(|(moment, _)| *moment == at) {
            self.living = self.changes.remove(place).1;
        }
    }

    fn read(&self, pid: Pid) -> Option<Process> {
        let (_, parent, state) = self.living.iter().find(|(number, ..)| *number == pid.raw())?;
        let line = format!("{pid} (x) {state} {parent} 5 5 0 -1 0 1 0 0 0 11 12 0 0 20 0 1 0 9 1000 2");
        Process::parse(pid, line.as_bytes())
    }

    /// The numbers that are found alive, with their parents, those of `mute` ending when they are asked.
    fn settled(self, mute: &[i32]) -> (Vec<(i32, i32)>, Completeness, Vec<i32>) {
        let world = std::cell::RefCell::new(self);
        let list = || {
            let mut world = world.borrow_mut();
            world.listings += 1;
            let at = -world.listings;
            world.turn(at);
            Ok(world.living.iter().filter_map(|(pid, ..)| Pid::new(*pid)).collect())
        };
        let read = |pid: Pid| {
            world.borrow_mut().turn(pid.raw());
            Ok(world.borrow().read(pid))
        };
        let ask = |process: &Process| {
            let mut world = world.borrow_mut();
            if process.parent == OWN {
                world.asked.push(process.pid.raw());
            }
            if !mute.contains(&process.pid.raw()) || process.parent != OWN {
                return Ok(Inspected::Read);
            }
            // It has ended, and what it leaves is a child of this process.
            let pid = process.pid.raw();
            world.living.retain(|(number, ..)| *number != pid);
            world.living.iter_mut().filter(|(_, parent, _)| *parent == pid).for_each(|child| child.1 = OWN);
            Ok(Inspected::Ended)
        };
        let (snapshot, completeness) = settle(list, read, ask).unwrap();
        let living = snapshot.all().filter(|process| process.is_alive());
        let found = living.map(|process| (process.pid.raw(), process.parent)).collect();
        (found, completeness, world.into_inner().asked)
    }
}

#[test]
fn when_nothing_happens_two_listings_are_enough() {
    let (found, completeness, asked) =
        World::new(&[(OWN, 0, 'S'), (20, OWN, 'S'), (30, 20, 'S'), (40, OWN, 'Z')]).settled(&[]);
    assert_eq!((found, completeness, asked), (vec![(OWN, 0), (20, OWN), (30, 20)], Completeness::Complete, vec![20]));
}

#[test]
fn a_child_born_after_the_listing_of_one_that_ended_before_it_was_read_is_found() {
    for late in [5, 35] {
        let world = World::new(&[(OWN, 0, 'S'), (20, OWN, 'S')]).then(20, &[(OWN, 0, 'S'), (late, OWN, 'S')]);
        let (found, completeness, asked) = world.settled(&[]);
        assert!(found.contains(&(late, OWN)) && asked.contains(&late), "{found:?}");
        assert_eq!(completeness, Completeness::Complete);
    }
}

#[test]
fn who_was_read_under_a_parent_that_has_ended_since_is_read_again_and_asked() {
    // 20 has a child with a lower number, which is read first.
    let world = World::new(&[(OWN, 0, 'S'), (15, 20, 'S'), (20, OWN, 'S')]).then(20, &[(OWN, 0, 'S'), (15, OWN, 'S')]);
    let (found, completeness, asked) = world.settled(&[]);
    assert_eq!((found, completeness, asked), (vec![(OWN, 0), (15, OWN)], Completeness::Complete, vec![15]));
    // The same, where it is seen as a zombie.
    let after = [(OWN, 0, 'S'), (15, OWN, 'S'), (20, OWN, 'Z')];
    let world = World::new(&[(OWN, 0, 'S'), (15, 20, 'S'), (20, OWN, 'S')]).then(20, &after);
    assert_eq!(world.settled(&[]).2, [15]);
}

#[test]
fn who_ends_before_it_has_shown_what_it_has_is_replaced_by_what_it_leaves() {
    let world = World::new(&[(OWN, 0, 'S'), (20, OWN, 'S'), (30, 20, 'S'), (31, 30, 'S')]);
    let (found, completeness, asked) = world.settled(&[20, 30]);
    assert_eq!((found, completeness, asked), (vec![(OWN, 0), (31, OWN)], Completeness::Complete, vec![20, 30, 31]));
}

#[test]
fn a_chain_of_births_and_deaths_is_followed_to_its_living_end() {
    let mut world = World::new(&[(OWN, 0, 'S'), (20, OWN, 'S')]);
    for step in 0..10 {
        world = world.then(20 + step, &[(OWN, 0, 'S'), (21 + step, OWN, 'S')]);
    }
    let (found, completeness, _) = world.settled(&[]);
    assert_eq!((found, completeness), (vec![(OWN, 0), (30, OWN)], Completeness::Complete));
}

#[test]
fn a_hidden_parent_does_not_blur_it() {
    let (found, completeness, _) = World::new(&[(OWN, 7, 'S'), (20, OWN, 'S')]).settled(&[]);
    assert_eq!((found, completeness), (vec![(OWN, 7), (20, OWN)], Completeness::Complete));
}

#[test]
fn without_an_end_of_births_it_is_blurred() {
    let mut world = World::new(&[(OWN, 0, 'S')]);
    for listing in 1..=LISTINGS_MAX as i32 {
        world = world.then(-listing, &[(OWN, 0, 'S'), (100 + listing, OWN, 'S')]);
    }
    assert_eq!(world.settled(&[]).1, Completeness::Incomplete);
}

#[test]
fn it_has_us_and_our_parent() {
    let (snapshot, _) = Snapshot::take_whole(|_| Ok(Inspected::Read)).unwrap();
    let me = snapshot.find(Pid::own()).unwrap();
    assert!(me.is_alive() && me.is_still_there());
    if let Some(parent) = Pid::new(me.parent) {
        assert!(snapshot.children(parent).any(|child| child.pid == Pid::own()));
    }
}
