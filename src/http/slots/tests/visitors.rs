use super::*;

fn visitor(slots: &Arc<Slots>, visitors: &Arc<Visitors>) -> (Slot, UnixStream) {
    let connected = connect(slots);
    connected.0.become_visitor(visitors).unwrap();
    connected
}

#[test]
fn visitors_take_no_slot_of_the_api_and_have_a_cap_of_their_own() {
    let (slots, visitors) = (Arc::new(Slots::new(8)), Visitors::new(20));
    let api: Vec<_> = (0..7).map(|_| connect(&slots)).collect();
    let mut all: Vec<_> = (0..20).map(|_| visitor(&slots, &visitors)).collect();
    assert_eq!(visitors.count(), 20);
    assert!(api.iter().all(|(_, theirs)| !is_evicted(theirs)), "the API has lost none");
    let more = connect(&slots);
    assert_eq!(more.0.become_visitor(&visitors), Err(NoSlot::Full));
    // One that has its answer makes room, and is closed.
    assert!(all[3].0.enter(ConnectionActivity::Waiting));
    more.0.become_visitor(&visitors).unwrap();
    assert!(is_evicted(&all[3].1) && visitors.count() == 20);
    // An attack: at the cap a newcomer was closed without an answer, in the place of the one that it had evicted.
    let another = connect(&slots);
    assert_eq!(another.0.become_visitor(&visitors), Err(NoSlot::Full));
    assert!(!is_evicted(&more.1));
    drop(all.remove(3));
    assert_eq!(visitors.count(), 20);
    drop(all);
    assert_eq!(visitors.count(), 1);
    drop(more);
    assert_eq!(visitors.count(), 0);
}

#[test]
fn a_connection_can_serve_both_one_after_the_other() {
    let (slots, visitors) = (Arc::new(Slots::new(4)), Visitors::new(4));
    let both = connect(&slots);
    for _ in 0..3 {
        both.0.become_visitor(&visitors).unwrap();
        both.0.become_visitor(&visitors).unwrap();
        assert_eq!(visitors.count(), 1);
        assert!(both.0.enter(ConnectionActivity::Waiting));
        both.0.stop_visiting().unwrap();
        both.0.stop_visiting().unwrap();
        assert_eq!(visitors.count(), 0);
    }
    both.0.become_visitor(&visitors).unwrap();
    let api: Vec<_> = (0..3).map(|_| owner(&slots)).collect();
    let stranger = connect(&slots);
    assert!(both.0.enter(ConnectionActivity::Waiting));
    // Back at the API it is a stranger among others.
    std::thread::sleep(GRACE);
    both.0.stop_visiting().unwrap();
    assert!(is_evicted(&stranger.1) && api.iter().all(|(_, theirs)| !is_evicted(theirs)));
    slots.close();
    assert_eq!(both.0.become_visitor(&visitors), Err(NoSlot::Closed));
}

/// An attack: owners who came back from visits had all slots, and newcomers got 503.
#[test]
fn owners_who_come_back_from_visits_never_take_all() {
    let (slots, visitors) = (Arc::new(Slots::new(8)), Visitors::new(20));
    let owners: Vec<_> = (0..20)
        .map(|_| {
            let connected = owner(&slots);
            connected.0.become_visitor(&visitors).unwrap();
            connected
        })
        .collect();
    for (at, (slot, _)) in owners.iter().enumerate() {
        slot.stop_visiting().unwrap();
        assert!(slot.enter(ConnectionActivity::Waiting));
        let left = owners[..=at].iter().filter(|(_, theirs)| !is_evicted(theirs)).count();
        assert_eq!(left, (at + 1).min(6));
    }
    drop((connect(&slots), owner(&slots)));
    // One is not back while all others are busy.
    let back = owner(&slots);
    back.0.become_visitor(&visitors).unwrap();
    let busy: Vec<_> = (0..6).map(|_| owner(&slots)).collect();
    assert!(busy.iter().all(|(slot, _)| slot.enter(ConnectionActivity::Busy)));
    assert_eq!(back.0.stop_visiting(), Err(NoSlot::Full));
    drop(connect(&slots));
}

#[test]
fn a_stranger_who_comes_back_waits_for_one_that_has_asked_like_a_newcomer() {
    let (slots, visitors) = (Arc::new(Slots::new(4)), Visitors::new(4));
    let (back, _theirs) = visitor(&slots, &visitors);
    let mut all: Vec<_> = (0..4).map(|_| connect(&slots)).collect();
    all[0].1.write_all(b"G").unwrap();
    std::thread::sleep(GRACE);
    back.stop_visiting().unwrap();
    let ended: Vec<bool> = all.iter().map(|(_, theirs)| is_evicted(theirs)).collect();
    // The first has unread bytes, so that its end can't be seen by a look at them alone.
    assert!(ended[1] && all[0].0.enter(ConnectionActivity::Asking), "{ended:?}");
    assert_eq!((slots.entries().holders(), visitors.count()), (4, 0));
}
