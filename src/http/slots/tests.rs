use std::io::{self, Read, Write};

use super::*;

mod visitors;

/// A connection with a slot, and the client's end of it.
fn connect(slots: &Arc<Slots>) -> (Slot, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (slots.admit(Arc::new(ours)).unwrap(), theirs)
}

fn is_evicted(theirs: &UnixStream) -> bool {
    peer::peek(theirs, &mut [0]) == Peeked::End
}

fn owner(slots: &Arc<Slots>) -> (Slot, UnixStream) {
    let connected = connect(slots);
    connected.0.promote().unwrap();
    connected
}

#[test]
fn a_new_connection_evicts_the_oldest_stranger_whatever_it_does() {
    for activity in [ConnectionActivity::Waiting, ConnectionActivity::Busy, ConnectionActivity::Streaming] {
        let slots = Arc::new(Slots::new(8));
        let mut all = vec![owner(&slots)];
        for _ in 0..7 {
            all.push(connect(&slots));
        }
        for (slot, _) in &all {
            assert!(slot.enter(activity));
        }
        for evicted in 1..7 {
            let newest = connect(&slots);
            // As a busy one it may not be taken for idle.
            all.push(newest);
            let ended: Vec<bool> = all.iter().map(|(_, theirs)| is_evicted(theirs)).collect();
            assert!(ended.iter().enumerate().all(|(at, ended)| *ended == (1..=evicted).contains(&at)), "{ended:?}");
        }
        assert!(!all[1].0.enter(ConnectionActivity::Busy) && all[0].0.enter(ConnectionActivity::Busy));
    }
}

#[test]
fn one_that_only_waits_goes_before_one_that_is_answered() {
    let slots = Arc::new(Slots::new(4));
    let busy = connect(&slots);
    assert!(busy.0.enter(ConnectionActivity::Busy));
    let idle = connect(&slots);
    let more = [connect(&slots), connect(&slots)];
    std::thread::sleep(FRESH);
    let newest = connect(&slots);
    assert!(is_evicted(&idle.1) && !is_evicted(&busy.1));
    drop((newest, more));
}

#[test]
fn one_whose_bytes_were_not_read_yet_is_not_evicted_for_that() {
    let slots = Arc::new(Slots::new(4));
    let mut all: Vec<_> = (0..4).map(|_| connect(&slots)).collect();
    for (_, theirs) in &mut all[..2] {
        theirs.write_all(b"G").unwrap();
    }
    std::thread::sleep(GRACE);
    let newest = connect(&slots);
    let ended: Vec<bool> = all.iter().map(|(_, theirs)| is_evicted(theirs)).collect();
    assert_eq!(ended, [false, false, true, false]);
    drop(newest);
}

#[test]
fn owners_make_room_for_owners_alone_and_never_take_all() {
    let slots = Arc::new(Slots::new(8));
    let owners: Vec<_> = (0..6).map(|_| owner(&slots)).collect();
    for (slot, _) in &owners[1..] {
        assert!(slot.enter(ConnectionActivity::Busy));
    }
    // Strangers come and go.
    for _ in 0..20 {
        drop(connect(&slots));
    }
    assert!(owners.iter().all(|(_, theirs)| !is_evicted(theirs)));
    let (next, _theirs) = owner(&slots);
    assert!(next.enter(ConnectionActivity::Busy));
    let ended: Vec<bool> = owners.iter().map(|(_, theirs)| is_evicted(theirs)).collect();
    assert_eq!(ended, [true, false, false, false, false, false]);
    let (last, _theirs) = connect(&slots);
    assert_eq!(last.promote(), Err(NoSlot::Full));
}

#[test]
fn a_shortage_costs_strangers_their_connection_before_owners() {
    let slots = Arc::new(Slots::new(8));
    let owners = [owner(&slots), owner(&slots)];
    assert!(owners[1].0.enter(ConnectionActivity::Busy));
    let stranger = connect(&slots);
    assert!(stranger.0.enter(ConnectionActivity::Busy));
    assert!(!slots.make_room(), "all are fresh");
    std::thread::sleep(FRESH);
    assert!(slots.make_room() && is_evicted(&stranger.1) && !is_evicted(&owners[0].1));
    assert!(slots.make_room() && is_evicted(&owners[0].1));
    assert!(!slots.make_room() && !is_evicted(&owners[1].1));
}

#[test]
fn evicted_connections_beside_the_slots_are_bounded() {
    let slots = Arc::new(Slots::new(4));
    let mut all: Vec<_> = (0..4 + EVICTED_MAX).map(|_| connect(&slots)).collect();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert_eq!(slots.admit(Arc::new(ours)).map(drop), Err(NoSlot::Full));
    all.remove(0);
    drop(connect(&slots));
    assert!(all[0].1.read(&mut [0; 1]).is_ok());
}

#[test]
fn one_that_has_asked_is_not_evicted_before_it_is_known_who_it_is() {
    let slots = Arc::new(Slots::new(4));
    let mut asking = connect(&slots);
    asking.1.write_all(b"GET").unwrap();
    let reads = connect(&slots);
    assert!(reads.0.enter(ConnectionActivity::Asking));
    let held = [connect(&slots), connect(&slots)];
    // However late our own threads are.
    std::thread::sleep(FRESH);
    let newest = connect(&slots);
    assert!(!is_evicted(&reads.1) && is_evicted(&held[0].1));
    let mut byte = [0; 4];
    asking.1.set_nonblocking(true).unwrap();
    assert_eq!(asking.1.read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(newest);
}
