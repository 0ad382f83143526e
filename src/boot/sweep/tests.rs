use super::*;

#[test]
fn a_leftover_has_our_name_and_another_life() {
    let is_left = |marker| is_of_another_life(marker, "cafe-1", "new");
    assert!(is_left("cafe-1.old.web.1") && is_left("cafe-1.old.a.b.1"));
    for other in
        ["cafe-1.new.web.1", "cafe-12.old.web.1", "cafe.old.web.1", "cafe-1", "cafe-1.old", "", "x.cafe-1.old.a"]
    {
        assert!(!is_left(other), "{other}");
    }
}

#[test]
fn this_process_and_its_parents_are_spared() {
    let lineage = lineage();
    assert!(lineage.contains(&Pid::own()) && lineage.len() > 1);
}
