//! Strangers while the system has no thread to give.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::flood::{self, WAYS};
use crate::starve::tasks;
use crate::support::wait_until;

/// Within this the owner has its answer. A stranger may keep the thread in reserve for a quarter of a second; the rest
/// is for a machine that is busy with the bomb and the flood.
const PROMPT: Duration = Duration::from_secs(5);

#[test]
fn a_fork_bomb_and_a_flood_of_strangers_do_not_keep_a_stop_from_its_server() {
    let (daemon, uid) = tasks::daemon();
    let client = &daemon.client;
    let starved = tasks::explode(&daemon, uid);
    let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = client.address;
    let mut attackers = Vec::new();
    for mut way in WAYS {
        way.count = way.count.min(20);
        let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
        attackers.push(thread::spawn(move || flood::hold(address, way, &stop, &connections)));
    }
    let (stop_too, connections_too) = (Arc::clone(&stop), Arc::clone(&connections));
    attackers.push(thread::spawn(move || flood::flood(address, &stop_too, &connections_too)));
    wait_until("strangers are there", || (connections.load(Ordering::SeqCst) > 500).then_some(()));
    let mut longest = Duration::ZERO;
    let mut within = |call: &dyn Fn()| {
        let begun = Instant::now();
        call();
        longest = longest.max(begun.elapsed());
    };
    for _ in 0..10 {
        within(&|| drop(client.show("bomb")));
    }
    within(&|| assert_eq!(client.post("/servers/bomb/stop").server(200)["status"], "stopped"));
    stop.store(true, Ordering::SeqCst);
    println!(
        "{} connections of strangers; the longest call of the owner took {longest:?}",
        connections.load(Ordering::SeqCst)
    );
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    assert!(longest < PROMPT, "{longest:?}");
    drop(starved);
    assert_eq!(daemon.descendants(), []);
}
