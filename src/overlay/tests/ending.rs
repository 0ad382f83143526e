//! Ends before the end: failures, deletions, shutdowns, and what the next attempt makes of them.

use std::collections::BTreeMap;

use super::*;
use crate::sync::lock;

fn names(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for line in portrait(directory) {
        found.push(line.split(' ').next().unwrap().to_owned());
    }
    found
}

/// A template with so much in it that a copy takes a while.
fn large(scratch: &Scratch) {
    for directory in 0..100 {
        for file in 0..50 {
            scratch.file(&format!("node_modules/d{directory}/f{file}"), vec![7; 20_000]);
        }
    }
    scratch.file("light", "light");
}

#[test]
fn what_vanishes_is_counted_and_the_copy_is_completed() {
    let scratch = Scratch::with_template();
    large(&scratch);
    let overlays = scratch.overlays();
    let overlay = overlays.create(scratch.spec("app")).unwrap();
    overlay.wait(Until::Usable, soon());
    wait_until("some files are copied", || (overlay.progress.stats().copied_files > 20).then_some(()));
    fs::rename(scratch.template().join("node_modules/d50"), scratch.0.join("away")).unwrap();
    fs::remove_dir_all(scratch.template().join("node_modules")).unwrap();
    overlay.wait(Until::Over, soon());
    let view = overlay.view();
    assert_eq!((view.status, view.error), (CopyStatus::Complete, None));
    assert!(view.stats.skipped.iter().any(|path| path.starts_with("node_modules/d")), "{:?}", view.stats.skipped);
    let left = names(&scratch.root().join("app"));
    assert!(left.iter().all(|name| !name.contains(".servisor")), "nothing temporary is left: {left:?}");
    assert!(!scratch.root().join("app/node_modules").is_symlink(), "no placeholder is left");
}

#[test]
fn a_delete_stops_the_copy_and_leaves_no_way_into_the_template() {
    let scratch = Scratch::with_template();
    large(&scratch);
    let before = portrait(&scratch.template());
    let overlays = scratch.overlays();
    let overlay = overlays.create(scratch.spec("app")).unwrap();
    overlay.wait(Until::Usable, soon());
    assert_eq!(fs::read_dir(scratch.root().join("app/node_modules/d3")).unwrap().count(), 50, "usable at once");
    overlays.delete(&overlay.id, DeleteFiles::Keep).unwrap();
    assert!(overlays.find(&overlay.id).is_none());
    assert!(matches!(overlays.delete(&overlay.id, DeleteFiles::Keep), Err(DeleteError::Unknown)));
    let left = names(&scratch.root().join("app"));
    assert!(left.iter().all(|name| !name.contains(".servisor")), "{left:?}");
    assert!(!scratch.root().join("app/node_modules").is_symlink());
    assert_same(&portrait(&scratch.template()), &before);
}

#[test]
fn a_delete_with_files_takes_what_was_made_and_nothing_else() {
    let scratch = Scratch::with_template();
    usual(&scratch);
    let before = portrait(&scratch.template());
    for strategy in [Strategy::Smart, Strategy::Copy] {
        let overlays = scratch.overlays();
        let app = scratch.root().join(strategy.as_str());
        fs::create_dir_all(app.join("src")).unwrap();
        // There before, and the same in size and time as the template's.
        fs::write(app.join("package.json"), "{}").unwrap();
        let time = fs::metadata(scratch.template().join("package.json")).unwrap().modified().unwrap();
        File::open(app.join("package.json")).unwrap().set_modified(time).unwrap();
        let_time_pass();
        let overlay = overlays.create(OverlaySpec { strategy, ..scratch.spec(strategy.as_str()) }).unwrap();
        overlay.wait(Until::Over, soon());
        fs::write(app.join("node_modules/p4/mine"), "added").unwrap();
        fs::write(app.join("packages/a/a.js"), "changed").unwrap();
        fs::remove_file(app.join("relative")).unwrap();
        symlink("elsewhere", app.join("relative")).unwrap();
        fs::remove_dir_all(app.join("bin")).unwrap();
        symlink(scratch.template().join("bin"), app.join("bin")).unwrap();
        overlays.delete(&overlay.id, DeleteFiles::Remove).unwrap();
        let expected = [
            "bin",
            "node_modules",
            "node_modules/p4",
            "node_modules/p4/mine",
            "package.json",
            "packages",
            "packages/a",
            "packages/a/a.js",
            "relative",
            "src",
        ];
        assert_eq!(names(&app), expected);
        assert_same(&portrait(&scratch.template()), &before);
    }
    let overlays = scratch.overlays();
    let overlay = overlays.create(scratch.spec("whole")).unwrap();
    overlay.wait(Until::Over, soon());
    overlays.delete(&overlay.id, DeleteFiles::Remove).unwrap();
    assert!(!scratch.root().join("whole").exists(), "a directory of its own goes too");
}

#[test]
fn what_a_user_puts_in_a_placeholders_place_stays() {
    let scratch = Scratch::with_template();
    large(&scratch);
    let overlays = scratch.overlays();
    // The copy may be faster than this test; then it is tried again.
    let replaced = (0..50).any(|round| {
        let target = format!("app{round}");
        let heavy = scratch.root().join(&target).join("node_modules");
        let overlay = overlays.create(scratch.spec(&target)).unwrap();
        overlay.wait(Until::Usable, soon());
        let is_first = fs::remove_file(&heavy).is_ok() && fs::create_dir(&heavy).is_ok();
        let is_first = is_first && fs::write(heavy.join("mine"), "mine").is_ok();
        overlay.wait(Until::Over, soon());
        if is_first {
            assert_eq!(overlay.view().status, CopyStatus::Complete);
            assert_eq!(overlay.view().stats.skipped, ["node_modules"]);
            assert_eq!(names(&scratch.root().join(&target)), ["light", "node_modules", "node_modules/mine"]);
        }
        is_first
    });
    assert!(replaced);
}

/// Keeps records, as a store would.
#[derive(Default)]
struct StoredOverlay(Mutex<BTreeMap<OverlayId, record::StoredOverlay>>);

impl Records for StoredOverlay {
    fn save(&self, record: &record::StoredOverlay) -> io::Result<()> {
        lock(&self.0).insert(record.id.clone(), record.clone());
        Ok(())
    }

    fn remove(&self, id: &OverlayId) -> io::Result<()> {
        lock(&self.0).remove(id);
        Ok(())
    }
}

fn parsed(records: &StoredOverlay) -> Vec<record::StoredOverlay> {
    lock(&records.0).values().cloned().collect()
}

#[test]
fn the_next_daemon_continues() {
    let scratch = Scratch::with_template();
    large(&scratch);
    usual(&scratch);
    for strategy in [Strategy::Smart, Strategy::Copy] {
        let records = Arc::new(StoredOverlay::default());
        let first = Overlays::new(&scratch.root(), records.clone(), Vec::new());
        let overlay = first.create(OverlaySpec { strategy, ..scratch.spec(strategy.as_str()) }).unwrap();
        wait_until("some files are copied", || (overlay.progress.stats().copied_files > 100).then_some(()));
        first.close();
        first.join_by(soon());
        assert!(matches!(first.create(scratch.spec("late")), Err(CreateError::ShuttingDown)));
        // What a daemon that was killed leaves behind.
        let app = scratch.root().join(strategy.as_str());
        fs::write(app.join(format!(".servisor-overlay-{}-99", overlay.id)), "half").unwrap();
        fs::create_dir_all(app.join(format!(".servisor-overlay-{}-98/x/y", overlay.id))).unwrap();
        fs::write(app.join(".servisor-overlay-other-1"), "not ours").unwrap();
        let _ = fs::remove_dir_all(app.join("src"));
        // Should it have been over before the close: by its record it was not.
        let mut kept = parsed(&records);
        kept.iter_mut().for_each(|record| record.status = CopyStatus::InProgress);
        let second = Overlays::new(&scratch.root(), records.clone(), kept);
        assert_eq!(second.views()[0].id, overlay.id);
        second.resume();
        let view = second.wait(&overlay.id, Until::Over, soon()).unwrap();
        assert_eq!((view.status, view.error.clone()), (CopyStatus::Complete, None));
        assert_eq!(view.stats.skipped, Vec::<String>::new(), "what the first attempt made is no stranger's");
        fs::remove_file(app.join(".servisor-overlay-other-1")).unwrap();
        File::open(&app).unwrap().set_modified(fs::metadata(scratch.template()).unwrap().modified().unwrap()).unwrap();
        let expected = portrait(&scratch.template());
        assert_same(&portrait(&app), &expected);
        let count = expected.iter().filter(|line| !line.split(' ').nth(1).unwrap().starts_with('4')).count();
        assert_eq!(view.stats.copied_files, count as u64);
        // Once more: it is complete, and stays as the user has changed it.
        fs::remove_file(app.join("light")).unwrap();
        let kept = parsed(&records);
        let third = Overlays::new(&scratch.root(), records, kept);
        third.resume();
        assert_eq!(third.views()[0], view);
        assert!(!app.join("light").exists());
        third.delete(&overlay.id, DeleteFiles::Remove).unwrap();
        assert!(!app.exists(), "{:?}", names(&app));
    }
}

#[test]
fn a_store_that_fails_lets_nothing_begin() {
    struct Full;
    impl Records for Full {
        fn save(&self, _: &record::StoredOverlay) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(28))
        }
        fn remove(&self, _: &OverlayId) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(28))
        }
    }
    let scratch = Scratch::with_template();
    scratch.file("x", "x");
    let overlays = Overlays::new(&scratch.root(), Arc::new(Full), Vec::new());
    assert!(matches!(overlays.create(scratch.spec("app")), Err(CreateError::Storage(_))));
    assert_eq!(overlays.views(), []);
    assert!(!scratch.root().join("app").exists());
}

/// A store that looks at a tree whenever it is to forget a record, and is full for as many times.
struct Watchful {
    target: PathBuf,
    refusals: AtomicU32,
    seen: Mutex<Vec<Vec<String>>>,
}

impl Watchful {
    fn new(target: PathBuf, refusals: u32) -> Arc<Watchful> {
        Arc::new(Watchful { target, refusals: AtomicU32::new(refusals), seen: Mutex::default() })
    }
}

impl Records for Watchful {
    fn save(&self, _: &record::StoredOverlay) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &OverlayId) -> io::Result<()> {
        let ways = portrait(&self.target).into_iter();
        let ways = ways.filter(|line| line.starts_with("node_modules 120777") || line.contains(".servisor"));
        lock(&self.seen).push(ways.collect());
        let full = |left: u32| left.checked_sub(1);
        match self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, full) {
            Ok(_) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Err(_) => Ok(()),
        }
    }
}

#[test]
fn when_its_record_is_gone_no_placeholder_is_left() {
    let scratch = Scratch::with_template();
    large(&scratch);
    // The copy may be faster than this test; then it is tried again.
    let was_early = (0..50).any(|round| {
        let target = format!("app{round}");
        let app = scratch.root().join(&target);
        let records = Watchful::new(app.clone(), 0);
        let overlays = Overlays::new(&scratch.root(), records.clone(), Vec::new());
        let overlay = overlays.create(scratch.spec(&target)).unwrap();
        overlay.wait(Until::Usable, soon());
        let was_early = app.join("node_modules").is_symlink();
        overlays.delete(&overlay.id, DeleteFiles::Keep).unwrap();
        assert_eq!(*lock(&records.seen), [Vec::<String>::new()]);
        was_early
    });
    assert!(was_early);
}

#[test]
fn an_overlay_that_can_not_be_forgotten_is_copied_on() {
    let scratch = Scratch::with_template();
    large(&scratch);
    let was_early = (0..50).any(|round| {
        let target = format!("app{round}");
        let app = scratch.root().join(&target);
        let records = Watchful::new(app.clone(), 2);
        let overlays = Overlays::new(&scratch.root(), records.clone(), Vec::new());
        let overlay = overlays.create(scratch.spec(&target)).unwrap();
        overlay.wait(Until::Usable, soon());
        let refused = overlays.delete(&overlay.id, DeleteFiles::Keep);
        assert!(matches!(refused, Err(DeleteError::Storage(_))), "{refused:?}");
        let was_early = !overlay.status().is_over();
        let view = overlays.wait(&overlay.id, Until::Over, soon()).unwrap();
        assert_eq!((view.status, view.error), (CopyStatus::Complete, None));
        assert_eq!((view.stats.copied_files, view.stats.skipped), (5001, Vec::new()));
        assert_eq!(names(&app), names(&scratch.template()));
        // Nothing is copied again of what is complete.
        fs::remove_file(app.join("light")).unwrap();
        assert!(matches!(overlays.delete(&overlay.id, DeleteFiles::Keep), Err(DeleteError::Storage(_))));
        assert_eq!(overlay.join_by(soon()), Joined::Ended);
        assert!(!app.join("light").exists());
        overlays.delete(&overlay.id, DeleteFiles::Remove).unwrap();
        assert!(overlays.views().is_empty() && !app.exists());
        was_early
    });
    assert!(was_early);
}

#[test]
fn of_several_who_delete_it_at_once_one_does() {
    let scratch = Scratch::with_template();
    scratch.file("x", "x");
    for round in 0..20 {
        // The first one can't, and the next one takes its turn.
        let records = Watchful::new(scratch.root(), round % 2);
        let overlays = Overlays::new(&scratch.root(), records, Vec::new());
        let overlay = overlays.create(scratch.spec(&format!("app{round}"))).unwrap();
        let delete = || {
            let (overlays, id) = (Arc::clone(&overlays), overlay.id.clone());
            std::thread::spawn(move || overlays.delete(&id, DeleteFiles::Keep))
        };
        let all: Vec<_> = [delete(), delete(), delete()].into_iter().map(|thread| thread.join().unwrap()).collect();
        let count = |of: fn(&Result<(), DeleteError>) -> bool| all.iter().filter(|one| of(one)).count();
        assert_eq!(count(|one| one.is_ok()), 1, "{all:?}");
        assert_eq!(count(|one| matches!(one, Err(DeleteError::Storage(_)))), (round % 2) as usize, "{all:?}");
        assert_eq!(count(|one| matches!(one, Err(DeleteError::Unknown))), 2 - (round % 2) as usize, "{all:?}");
    }
}

#[test]
fn watchers_get_each_change_once() {
    let scratch = Scratch::with_template();
    usual(&scratch);
    let overlays = scratch.overlays();
    let (sender, changes) = crossbeam_channel::unbounded();
    let watcher: OverlayWatcher = Arc::new(move |id, change| sender.send((id.clone(), change.clone())).unwrap());
    let overlay = overlays.create(scratch.spec("app")).unwrap();
    let status = overlays.subscribe(&overlay.id, watcher.clone()).unwrap();
    overlay.wait(Until::Over, soon());
    if !status.is_over() {
        let last = std::iter::from_fn(|| changes.recv_timeout(LIMIT).ok()).find(|(_, change)| *change != Change::Begun);
        assert_eq!(last, Some((overlay.id.clone(), Change::Complete)));
    }
    assert_eq!(overlay.subscribe(watcher), CopyStatus::Complete);
    assert!(changes.try_recv().is_err());
}
