//! Very many wrong members: the first are named, and the cost grows with their number only.

use std::time::Instant;

use super::*;

/// As many wrong members as fit into 100 overlays with 1000 patterns each: 305 KB.
fn body() -> Vec<u8> {
    let overlay = json!({"source": "/t", "target": "a", "ignore": vec![1; 1000]});
    with(json!({"overlays": vec![overlay; 100]}))
}

#[test]
fn of_a_hundred_thousand_wrong_members_the_first_hundred_are_named_and_the_others_counted() {
    let begun = Instant::now();
    let error = read(&body()).unwrap_err();
    let took = begun.elapsed();
    assert_eq!(error.wrong().len(), 101);
    assert_eq!(error.wrong()[99].field, "overlays[0].ignore[99]");
    assert_eq!(error.wrong()[100].field, "*");
    assert_eq!(error.wrong()[100].why, "stands for 99900 more that are wrong");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
