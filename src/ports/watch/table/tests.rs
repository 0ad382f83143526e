use super::*;
use crate::os::sockets::Family;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, channel};

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn listener(inode: u64, number: u16) -> ListeningSocket {
    ListeningSocket { inode, ip: Ipv4Addr::LOCALHOST.into(), port: port(number), family: Family::Own }
}

struct Scene {
    table: Table,
    told: Sorted<Id, Receiver<Listening>>,
}

impl Scene {
    fn new(watched: &[(Id, Option<u16>)]) -> Scene {
        let mut scene = Scene { table: Table::default(), told: Sorted::default() };
        watched.iter().for_each(|(id, requested)| scene.add(*id, *requested));
        scene
    }

    fn add(&mut self, id: Id, requested: Option<u16>) {
        let (tx, rx) = channel();
        let notify: Notify = Box::new(move |listening| drop(tx.send(listening)));
        let _ = self.table.add(id, Watched::new(Pid::own(), requested.map(port), notify, Instant::now()));
        self.told.insert(id, rx);
    }

    fn look(&mut self, all: &[(u64, u16)]) {
        self.table.begin_look();
        self.table.update(&all.iter().map(|(inode, number)| listener(*inode, *number)).collect(), Instant::now());
    }

    fn find(&mut self, found: &[(u64, Id)], hidden: &[Id], is_last: bool) {
        let searched = Searched { found: found.iter().copied().collect(), hidden: hidden.iter().copied().collect() };
        self.table.take(&searched, Scope::Urgent, is_last, Instant::now());
    }

    /// The ports of the only news for `id`, `None` if there are none.
    fn news(&mut self, id: Id) -> Option<Vec<u16>> {
        self.table.tell();
        let news: Vec<_> = self.told.get(&id).unwrap().try_iter().collect();
        assert!(news.len() <= 1, "{news:?}");
        news.first().map(|listening| listening.open.iter().map(|open| open.port.get()).collect())
    }
}

const A: Id = Id(1);
const B: Id = Id(2);

#[test]
fn what_is_older_than_a_server_is_not_looked_for_with_it() {
    let mut scene = Scene::new(&[(A, None)]);
    let before = Instant::now();
    scene.look(&[(1, 80), (2, 81)]);
    scene.find(&[(1, A)], &[], true);
    let after = Instant::now();
    let mut born = |at: Instant| scene.table.add(B, Watched::new(Pid::own(), None, Box::new(|_| {}), at));
    assert_eq!(born(after), Heirs::None);
    // Its listener was seen before it was watched itself.
    assert_eq!(born(before), Heirs::Possible);
    scene.find(&[(2, B)], &[], true);
    assert_eq!(scene.table.add(Id(3), Watched::new(Pid::own(), None, Box::new(|_| {}), before)), Heirs::None);
}

#[test]
fn a_change_is_told_once_and_to_whom_it_concerns() {
    let mut scene = Scene::new(&[(A, None), (B, None)]);
    scene.look(&[(1, 80), (2, 81)]);
    assert!(scene.table.take_unsearched() && !scene.table.take_unsearched());
    assert_eq!(scene.table.sought(Scope::Urgent), SortedSet::from([1, 2]));
    assert_eq!((scene.news(A), scene.news(B)), (None, None), "nobody knows whose they are");
    scene.find(&[(1, A)], &[], true);
    assert_eq!((scene.news(A), scene.news(B)), (Some(vec![80]), None));
    assert_eq!(scene.table.sought(Scope::Urgent), SortedSet::default(), "the other is a stranger's");
    assert_eq!(scene.table.unowned(), SortedSet::from([2]));
    scene.look(&[(1, 80), (2, 81)]);
    assert!(!scene.table.take_unsearched());
    assert_eq!((scene.news(A), scene.news(B)), (None, None));
    // Another listener on the same port, as after a quick restart of a worker: nothing that anyone could see.
    scene.look(&[(3, 80), (2, 81)]);
    scene.find(&[(3, A)], &[], true);
    assert_eq!(scene.news(A), None);
    scene.look(&[(2, 81)]);
    assert_eq!(scene.news(A), Some(vec![]));
}

#[test]
fn what_an_unwatched_one_had_is_looked_for_again() {
    let mut scene = Scene::new(&[(A, None)]);
    scene.look(&[(1, 80)]);
    scene.find(&[(1, A)], &[], true);
    assert!(scene.table.take_unsearched());
    scene.add(B, None);
    scene.table.remove(A);
    assert!(scene.table.take_unsearched());
    assert_eq!(scene.table.sought(Scope::Urgent), SortedSet::from([1]));
    scene.find(&[(1, B)], &[], true);
    assert_eq!(scene.news(B), Some(vec![80]));
}

#[test]
fn the_requested_port_is_given_to_a_hidden_server_at_once() {
    let mut scene = Scene::new(&[(A, Some(80)), (B, Some(81))]);
    scene.look(&[(0, 81), (0, 90)]);
    scene.find(&[], &[A, B], false);
    assert_eq!((scene.news(A), scene.news(B)), (None, Some(vec![81])));
    // B could have been looked into, and was seen not to have it.
    let mut scene = Scene::new(&[(A, Some(80)), (B, Some(81))]);
    scene.look(&[(1, 81)]);
    scene.find(&[], &[A], true);
    assert_eq!((scene.news(A), scene.news(B)), (None, Some(vec![])), "it is told that a foreign process has its port");
}

#[test]
fn what_is_new_is_given_to_the_only_hidden_server_that_waits() {
    let mut scene = Scene::new(&[]);
    scene.look(&[(1, 70)]);
    scene.add(A, Some(80));
    scene.look(&[(1, 70), (2, 71)]);
    scene.find(&[], &[A], true);
    assert_eq!(scene.news(A), None, "both may have been there before it");
    scene.look(&[(1, 70), (2, 71), (3, 3000)]);
    scene.find(&[], &[A], false);
    assert_eq!(scene.news(A), None, "somebody else's proof may still come");
    scene.find(&[], &[A], true);
    assert_eq!(scene.news(A), Some(vec![3000]));

    let mut scene = Scene::new(&[(A, None), (B, None)]);
    scene.look(&[]);
    scene.look(&[(3, 3000)]);
    scene.find(&[], &[A, B], true);
    assert_eq!((scene.news(A), scene.news(B)), (None, None), "it can be either's");
    scene.table.set_pace(B, Pace::OnRequest, Instant::now());
    scene.find(&[], &[A, B], true);
    assert_eq!((scene.news(A), scene.news(B)), (Some(vec![3000]), None));
}

#[test]
fn the_urgent_and_young_are_searched_first() {
    let mut scene = Scene::new(&[(A, None), (B, None), (Id(3), None)]);
    scene.table.set_pace(Id(3), Pace::OnRequest, Instant::now());
    assert_eq!(scene.table.places().iter().map(|place| place.id.0).collect::<Vec<_>>(), [2, 1, 3]);
    scene.table.set_pace(A, Pace::OnRequest, Instant::now());
    assert!(scene.table.fast_since().is_some());
    scene.table.set_pace(B, Pace::OnRequest, Instant::now());
    assert_eq!(scene.table.fast_since(), None);
}
