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
    table: WatchTable,
    /// The present moment.
    now: Instant,
    notices: Sorted<Id, Receiver<Listening>>,
}

impl Scene {
    fn new(watched: &[(Id, Option<u16>)]) -> Scene {
        let mut scene = Scene { table: WatchTable::default(), now: Instant::now(), notices: Sorted::default() };
        watched.iter().for_each(|(id, requested)| scene.add(*id, *requested));
        scene
    }

    fn add(&mut self, id: Id, requested: Option<u16>) {
        let (tx, rx) = channel();
        let notify: ListeningFn = Box::new(move |listening| drop(tx.send(listening)));
        let _ = self.table.add(id, WatchedRun::new(Pid::own(), requested.map(port), notify, self.now));
        self.notices.insert(id, rx);
    }

    fn look(&mut self, all: &[(u64, u16)]) {
        self.table.begin_look();
        self.table.update(&all.iter().map(|(inode, number)| listener(*inode, *number)).collect(), self.now);
    }

    /// Looks into all, or into all but `hidden`.
    fn find(&mut self, found: &[(u64, Id)], hidden: &[Id]) {
        let found = found.iter().copied().collect();
        let complete = self.table.watched.keys().copied().collect();
        self.table.take(&Searched { found, hidden: hidden.iter().copied().collect(), complete }, self.now);
    }

    /// The same when all that is there has settled.
    fn find_settled(&mut self, found: &[(u64, Id)], hidden: &[Id]) {
        self.now += SETTLED_AFTER;
        self.find(found, hidden);
    }

    /// What `id` is looked into for.
    fn wanted(&self, id: Id) -> Vec<u64> {
        let tasks = self.table.tasks(Scope::Urgent, self.now);
        tasks.iter().filter(|task| task.id == id).flat_map(|task| task.wanted.iter().copied()).collect()
    }

    /// The ports of the only news for `id`, `None` if there are none.
    fn news(&mut self, id: Id) -> Option<Vec<u16>> {
        self.table.notify();
        let news: Vec<_> = self.notices.get(&id).unwrap().try_iter().collect();
        assert!(news.len() <= 1, "{news:?}");
        news.first().map(|listening| listening.open.iter().map(|open| open.port.get()).collect())
    }
}

const A: Id = Id(1);
const B: Id = Id(2);

#[test]
fn what_is_older_than_a_server_is_not_looked_for_with_it() {
    let mut scene = Scene::new(&[(A, None)]);
    let before = scene.now;
    scene.look(&[(1, 80), (2, 81)]);
    scene.find(&[(1, A)], &[]);
    let after = before + Duration::from_millis(1);
    let mut born = |at: Instant| scene.table.add(B, WatchedRun::new(Pid::own(), None, Box::new(|_| {}), at));
    assert_eq!(born(after), Adoption::None);
    // Its listener was seen before it was watched itself.
    assert_eq!(born(before), Adoption::Possible);
    scene.find(&[(2, B)], &[]);
    assert_eq!(scene.table.add(Id(3), WatchedRun::new(Pid::own(), None, Box::new(|_| {}), before)), Adoption::None);
}

#[test]
fn a_change_is_reported_once_to_its_server() {
    let mut scene = Scene::new(&[(A, None), (B, None)]);
    scene.look(&[(1, 80), (2, 81)]);
    assert!(scene.table.take_unsearched() && !scene.table.take_unsearched());
    assert_eq!((scene.wanted(A), scene.wanted(B)), (vec![1, 2], vec![1, 2]));
    assert_eq!((scene.news(A), scene.news(B)), (None, None), "their owner is unknown");
    scene.find(&[(1, A)], &[]);
    assert_eq!((scene.news(A), scene.news(B)), (Some(vec![80]), None));
    scene.look(&[(1, 80), (2, 81)]);
    assert!(!scene.table.take_unsearched());
    assert_eq!((scene.news(A), scene.news(B)), (None, None));
    // Another listener on the same port, as after a quick restart of a worker: the same port, of another socket.
    scene.look(&[(3, 80), (2, 81)]);
    scene.find(&[(3, A)], &[]);
    assert_eq!(scene.news(A), Some(vec![80]));
    scene.look(&[(2, 81)]);
    assert_eq!(scene.news(A), Some(vec![]));
}

#[test]
fn each_server_is_looked_into_once_for_what_has_settled() {
    let mut scene = Scene::new(&[(A, None), (B, None)]);
    scene.look(&[(1, 80)]);
    let is_due = |scene: &Scene| scene.table.tasks(Scope::Urgent, scene.now).iter().any(|task| task.is_due);
    assert!(is_due(&scene), "it has come");
    scene.find(&[], &[]);
    assert!(!is_due(&scene) && scene.table.has_unsettled(scene.now));
    assert_eq!((scene.wanted(A), scene.wanted(B)), (vec![1], vec![1]), "a fork may have hidden it");
    // A waits no more when it has settled, so B alone is looked into.
    scene.table.set_pace(A, Pace::OnRequest, scene.now);
    assert!(scene.table.take_unsearched(), "when it came");
    scene.now += SETTLED_AFTER;
    assert!(is_due(&scene) && !scene.table.has_unsettled(scene.now));
    let complete = scene.table.tasks(Scope::Urgent, scene.now).iter().map(|task| task.id).collect();
    scene.table.take(&Searched { complete, ..Searched::default() }, scene.now);
    assert!(scene.table.tasks(Scope::Urgent, scene.now).is_empty());
    assert!(scene.table.has_unknown(), "A may have it");
    // B is not looked into for it again when A waits.
    scene.table.set_pace(A, Pace::Fast, scene.now);
    assert!(scene.table.take_unsearched());
    assert_eq!((scene.wanted(A), scene.wanted(B)), (vec![1], vec![]));
    scene.find(&[], &[]);
    assert!(!scene.table.has_unknown());
    scene.table.set_pace(A, Pace::Fast, scene.now);
    assert!(!scene.table.take_unsearched(), "the same stranger is no reason to look again");
    scene.look(&[(1, 80), (2, 81)]);
    assert!(scene.table.take_unsearched());
    assert_eq!((scene.wanted(A), scene.wanted(B)), (vec![2], vec![2]));
}

#[test]
fn what_an_unwatched_one_had_is_looked_for_again() {
    let mut scene = Scene::new(&[(A, None)]);
    scene.look(&[(1, 80)]);
    scene.find(&[(1, A)], &[]);
    assert!(scene.table.take_unsearched());
    scene.add(B, None);
    scene.table.remove(A);
    assert!(scene.table.take_unsearched());
    assert_eq!(scene.wanted(B), [1]);
    scene.find(&[(1, B), (2, A)], &[]);
    assert_eq!(scene.news(B), Some(vec![80]));
}

#[test]
fn a_walk_may_end_after_its_server() {
    let mut scene = Scene::new(&[(A, None), (B, None)]);
    scene.look(&[(1, 80)]);
    let late = Searched { found: [(1, A)].into_iter().collect(), complete: vec![A, B], ..Searched::default() };
    scene.table.remove(A);
    scene.table.take(&late, scene.now);
    assert_eq!((scene.wanted(B), scene.news(B)), (vec![1], None));
}

#[test]
fn the_requested_port_is_given_to_a_hidden_server_at_once() {
    let mut scene = Scene::new(&[(A, Some(80)), (B, Some(81))]);
    scene.look(&[(0, 81), (0, 90)]);
    scene.find(&[], &[A, B]);
    assert_eq!((scene.news(A), scene.news(B)), (None, Some(vec![81])));
    // B could have been looked into, and was seen not to have it.
    let mut scene = Scene::new(&[(A, Some(80)), (B, Some(81))]);
    scene.look(&[(1, 81)]);
    scene.find(&[], &[]);
    assert_eq!((scene.news(A), scene.news(B)), (None, None), "it may turn out to be its own");
    scene.find_settled(&[], &[]);
    assert_eq!(
        (scene.news(A), scene.news(B)),
        (None, Some(vec![])),
        "it is notified that a foreign process has its port"
    );
}

#[test]
fn what_is_new_is_given_to_the_only_hidden_server_that_waits() {
    let mut scene = Scene::new(&[]);
    scene.look(&[(1, 70)]);
    scene.add(A, Some(80));
    scene.look(&[(1, 70), (2, 71)]);
    scene.find_settled(&[], &[A]);
    assert_eq!(scene.news(A), None, "both may have been there before it");
    scene.look(&[(1, 70), (2, 71), (3, 3000)]);
    scene.find(&[], &[A]);
    assert_eq!(scene.news(A), None, "another server's proof may still follow");
    scene.find_settled(&[], &[A]);
    assert_eq!(scene.news(A), Some(vec![3000]));

    let mut scene = Scene::new(&[(A, None), (B, None)]);
    scene.look(&[]);
    scene.look(&[(3, 3000)]);
    scene.find_settled(&[], &[A, B]);
    assert_eq!((scene.news(A), scene.news(B)), (None, None), "it can be either's");
    scene.table.set_pace(B, Pace::OnRequest, scene.now);
    scene.find(&[], &[A, B]);
    assert_eq!((scene.news(A), scene.news(B)), (Some(vec![3000]), None));
}

#[test]
fn the_urgent_and_young_are_searched_first() {
    let mut scene = Scene::new(&[(A, None), (B, None), (Id(3), None)]);
    scene.look(&[(1, 80)]);
    scene.table.set_pace(Id(3), Pace::OnRequest, scene.now);
    let order =
        |scene: &Scene| scene.table.tasks(Scope::All, scene.now).iter().map(|task| task.id.0).collect::<Vec<_>>();
    assert_eq!(order(&scene), [2, 1, 3]);
    scene.table.set_pace(A, Pace::OnRequest, scene.now);
    assert!(scene.table.fast_since().is_some());
    assert_eq!(order(&scene), [2, 3, 1]);
    scene.table.set_pace(B, Pace::OnRequest, scene.now);
    assert_eq!(scene.table.fast_since(), None);
}
