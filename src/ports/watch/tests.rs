use super::*;
use crate::os::inherit::Strangers;
use crate::ports::listening::Localhost;
use crate::ports::{OpenPort, RequestedPort};
use crate::sorted::SortedSet;
use crate::testing::{LIMIT, soon};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::mpsc;

mod child;

use child::Server;

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

/// A watched server and the notifications about it.
struct Scene {
    tracker: Arc<ProcessTracker>,
    watcher: Arc<Watcher>,
    server: Server,
    watch: Watch,
    notices: mpsc::Receiver<Listening>,
}

impl Scene {
    fn new() -> Scene {
        let tracker = Arc::new(ProcessTracker::new(Strangers::Possible));
        let watcher = Watcher::start(Arc::clone(&tracker)).unwrap();
        let server = Server::start(&tracker);
        let (watch, notices) = watch(&watcher, &server, None);
        Scene { tracker, watcher, server, watch, notices }
    }
}

fn watch(watcher: &Watcher, server: &Server, requested: Option<Port>) -> (Watch, mpsc::Receiver<Listening>) {
    let (tx, notices) = mpsc::channel();
    (watcher.watch(&server.tree, requested, server.born, move |listening| drop(tx.send(listening))), notices)
}

fn next(notices: &mpsc::Receiver<Listening>) -> Listening {
    notices.recv_timeout(LIMIT).unwrap()
}

#[track_caller]
fn assert_only(listening: &Listening, number: u16, probe: SocketAddr) {
    let open = vec![OpenPort { port: port(number), probe, localhost: Localhost::Here }];
    assert_eq!((&listening.open, listening.given, listening.inodes.len()), (&open, RequestedPort::Free, 1));
}

fn ports(listening: &Listening) -> Vec<Port> {
    listening.open.iter().map(|open| open.port).collect()
}

#[test]
fn a_listener_is_reported_when_it_opens_and_closes() {
    let mut scene = Scene::new();
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    for (address, reached_by) in [
        ("0.0.0.0:0", v4),
        ("[::]:0", v4),
        ("127.0.0.1:0", v4),
        ("[::1]:0", v6),
        ("127.0.0.7:0", Ipv4Addr::new(127, 0, 0, 7).into()),
        ("v6only", v6),
    ] {
        let number = scene.server.listen(address);
        assert_only(&next(&scene.notices), number, SocketAddr::new(reached_by, number));
        scene.server.close();
        assert_eq!(next(&scene.notices), Listening::default(), "{address}");
    }
}

#[test]
fn a_grandchild_counts_and_a_stranger_does_not() {
    let mut scene = Scene::new();
    let _stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    scene.watcher.refresh(Instant::now(), soon());
    let mut grandchild = scene.server.spawn();
    let number = grandchild.listen("127.0.0.1:0");
    assert_only(&next(&scene.notices), number, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), number));
}

#[test]
fn a_listener_that_is_handed_over_stays_the_servers() {
    let mut scene = Scene::new();
    let number = scene.server.listen("127.0.0.1:0");
    next(&scene.notices);
    scene.server.hand_over();
    // Who looks for the first time now finds it with a child.
    let (_late, notices) = watch(&scene.watcher, &scene.server, None);
    drop(scene.watch);
    assert_only(&next(&notices), number, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), number));
    assert!(scene.notices.iter().next().is_none(), "nothing has changed for the first one");
}

#[test]
fn each_port_is_reported_with_the_others() {
    let mut scene = Scene::new();
    let first = scene.server.listen("127.0.0.1:0");
    next(&scene.notices);
    let mut other = scene.server.spawn();
    let second = other.listen("0.0.0.0:0");
    let mut both = [port(first), port(second)];
    both.sort_unstable();
    assert_eq!(ports(&next(&scene.notices)), both);
    scene.server.close();
    assert_only(&next(&scene.notices), second, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), second));
}

#[test]
fn two_servers_on_one_port_share_localhost() {
    let mut scene = Scene::new();
    let mut other = Server::start(&scene.tracker);
    let (_watch, notices) = watch(&scene.watcher, &other, None);
    let number = scene.server.listen("127.0.0.1:0");
    assert_eq!(next(&scene.notices).open[0].named(), None);
    other.listen(&format!("[::1]:{number}"));
    let ours: SocketAddr = (Ipv4Addr::LOCALHOST, number).into();
    let theirs: SocketAddr = (Ipv6Addr::LOCALHOST, number).into();
    assert_eq!(next(&scene.notices).open[0].named(), Some(ours));
    // The notice that it listens may come a moment before the other one is known.
    let named = |_| next(&notices).open.first().and_then(|open| open.named());
    assert!((0..2).map(named).any(|named| named == Some(theirs)));
    other.close();
    assert_eq!(next(&scene.notices).open[0].named(), None);
}

#[test]
fn a_request_is_answered_without_a_change() {
    let mut scene = Scene::new();
    let number = scene.server.listen("127.0.0.1:0");
    next(&scene.notices);
    scene.watch.set_pace(Pace::OnRequest);
    for _ in 0..3 {
        scene.watch.look();
        assert_eq!(ports(&next(&scene.notices)), [port(number)]);
    }
}

#[test]
fn a_foreign_process_on_the_requested_port_is_reported() {
    let mut scene = Scene::new();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = stranger.local_addr().unwrap().port();
    let (_watch, notices) = watch(&scene.watcher, &scene.server, Some(port(number)));
    let foreign = Listening { given: RequestedPort::Foreign, ..Listening::default() };
    assert_eq!(next(&notices), foreign);
    let own = scene.server.listen("127.0.0.1:0");
    let both = next(&notices);
    assert_eq!((ports(&both), both.given), (vec![port(own)], RequestedPort::Foreign));
    drop(stranger);
    assert_eq!(next(&notices).given, RequestedPort::Free);
}

#[test]
fn the_sockets_of_a_thread_with_its_own_table_count() {
    let mut scene = Scene::new();
    let number = scene.server.listen_apart();
    assert_only(&next(&scene.notices), number, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), number));
}

#[test]
fn a_late_watch_reports_known_listeners() {
    let mut scene = Scene::new();
    let numbers = [scene.server.listen("127.0.0.1:0"), scene.server.listen("127.0.0.1:0")];
    while next(&scene.notices).open.len() < 2 {}
    // In the place of the first watch, and beside it for a moment.
    let requested = numbers.into_iter().max().map(port);
    let (late, notices) = watch(&scene.watcher, &scene.server, requested);
    drop(scene.watch);
    let listening = next(&notices);
    assert_eq!(listening.open.len(), 2);
    assert!(scene.notices.iter().next().is_none(), "the first watch has ended");
    drop(late);
    assert!(notices.iter().next().is_none());
}

#[test]
fn each_server_has_its_own() {
    let mut scene = Scene::new();
    let mut other = Server::start(&scene.tracker);
    let (_watch, notices) = watch(&scene.watcher, &other, None);
    let (first, second) = (scene.server.listen("[::]:0"), other.listen("[::]:0"));
    assert_eq!((ports(&next(&scene.notices)), ports(&next(&notices))), (vec![port(first)], vec![port(second)]));
    scene.watcher.refresh(Instant::now(), soon());
    assert!(scene.notices.try_recv().is_err() && notices.try_recv().is_err());
}

#[test]
fn an_answer_has_also_those_who_wait_for_nothing() {
    let mut scene = Scene::new();
    let mut calm = Server::start(&scene.tracker);
    let (mut watch, notices) = watch(&scene.watcher, &calm, None);
    watch.set_pace(Pace::OnRequest);
    // The ticks for the first server may have seen the listeners before, and put off whose they are.
    let mut numbers: Vec<Port> = Vec::new();
    for _ in 0..5 {
        numbers.push(port(calm.listen("127.0.0.1:0")));
        scene.server.listen("127.0.0.1:0");
        next(&scene.notices);
        assert_eq!(scene.watcher.refresh(Instant::now(), soon()), Refreshed::Fresh);
        numbers.sort_unstable();
        assert_eq!(ports(&notices.try_iter().last().unwrap()), numbers);
    }
}

#[test]
fn with_nothing_urgent_it_sleeps_and_requests_are_answered_first() {
    let mut scene = Scene::new();
    scene.watch.set_pace(Pace::OnRequest);
    assert_eq!(scene.watcher.refresh(Instant::now(), soon()), Refreshed::Fresh);
    let wake_ups = || scene.watcher.shared.wake_ups.load(Ordering::Relaxed);
    let before = wake_ups();
    let number = scene.server.listen("127.0.0.1:0");
    // Room for a dozen ticks, if there were any.
    std::thread::sleep(*TICK.end() * 12);
    assert_eq!(wake_ups(), before);
    let asked = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(scene.watcher.refresh(asked, soon()), Refreshed::Fresh));
        }
    });
    assert_only(&scene.notices.try_recv().unwrap(), number, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), number));
    let after = wake_ups();
    assert_eq!(scene.watcher.refresh(asked, soon()), Refreshed::Fresh);
    assert_eq!(wake_ups(), after, "the last look is new enough");
    scene.watch.set_pace(Pace::Fast);
    scene.server.close();
    assert_eq!(next(&scene.notices), Listening::default());
}

#[test]
fn without_access_to_processes_the_requested_port_counts() {
    let tracker = Arc::new(ProcessTracker::new(Strangers::Possible));
    let watcher = Watcher::with(SocketScanner::new(
        ListeningSockets::open().unwrap(),
        Arc::clone(&tracker),
        false,
        SortedSet::default(),
    ))
    .unwrap();
    let mut server = Server::start(&tracker);
    let number = server.listen("127.0.0.1:0");
    let (_watch, notices) = watch(&watcher, &server, Some(port(number)));
    assert_eq!(ports(&next(&notices)), [port(number)]);
    server.close();
    assert_eq!(next(&notices), Listening::default());
}

#[test]
fn after_the_end_nothing_is_left_and_no_call_waits() {
    let scene = Scene::new();
    assert_eq!(scene.watcher.close(soon()), Joined::Ended);
    assert_eq!(scene.watcher.refresh(Instant::now(), soon()), Refreshed::Closed);
    assert!(scene.notices.iter().next().is_none(), "the closure is kept");
    let (_watch, notices) = watch(&scene.watcher, &scene.server, None);
    assert!(notices.iter().next().is_none());

    // The watcher's thread holds the tracker, its descriptor and its lists by the same value.
    let watcher = Watcher::start(Arc::clone(&scene.tracker)).unwrap();
    let (watch, notices) = watch(&watcher, &scene.server, None);
    drop(watcher);
    assert!(notices.iter().next().is_none(), "the thread ends with its owner, whatever else is left");
    drop(watch);
}

#[test]
fn the_longer_it_takes_the_rarer_the_looks() {
    let seconds = Duration::from_secs;
    assert_eq!([0, 5, 10, 20, 3600].map(|waited| tick(seconds(waited)).as_millis()), [5, 5, 10, 20, 20]);
}
