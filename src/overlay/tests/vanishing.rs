//! Templates that are worked on while they are copied.

use std::sync::atomic::AtomicBool;

use super::*;

/// Copies while `work` is done to the template again and again; gives how much was seen to vanish.
fn copied_during(strategy: Strategy, heavy: &str, work: impl Fn(&Path, usize) + Sync) -> u64 {
    let mut vanished = 0;
    for round in 0..50 {
        let scratch = Scratch::with_template();
        for number in 0..400 {
            scratch.file(&format!("src/{}/f{number}", number % 20), "x");
            scratch.file(&format!("{heavy}/p{}/f{number}", number % 20), "x");
            symlink("f0", scratch.template().join(format!("src/{}/l{number}", number % 20))).unwrap();
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in (0..400).cycle().take_while(|_| !is_over.load(Ordering::SeqCst)) {
                    work(&scratch.template(), number);
                }
            });
            let view = over(&scratch.overlays(), OverlaySpec { strategy, ..scratch.spec("app") });
            is_over.store(true, Ordering::SeqCst);
            assert_eq!((view.status, view.error.as_deref()), (CopyStatus::Complete, None));
            vanished += view.stats.skipped_count;
            assert!(!scratch.root().join("app").join(heavy).is_symlink());
        });
        if vanished > 5 && round > 2 {
            break;
        }
    }
    vanished
}

#[test]
fn files_and_links_that_vanish_are_counted() {
    for strategy in [Strategy::Smart, Strategy::Copy] {
        let vanished = copied_during(strategy, "node_modules", |template, number| {
            let directory = number % 20;
            for path in [format!("src/{directory}/f{number}"), format!("src/{directory}/l{number}")] {
                let _ = fs::remove_file(template.join(path));
            }
            let _ = fs::remove_file(template.join(format!("node_modules/p{directory}/f{number}")));
        });
        assert!(vanished > 0, "{strategy:?}");
    }
}

#[test]
fn directories_that_vanish_or_become_something_else_are_counted() {
    for (strategy, heavy) in [(Strategy::Smart, "vendor"), (Strategy::Copy, "node_modules")] {
        let vanished = copied_during(strategy, heavy, |template, number| {
            for directory in [format!("src/{}", number % 20), format!("{heavy}/p{}", number % 20)] {
                let path = template.join(directory);
                let _ = fs::remove_dir_all(&path);
                match number % 3 {
                    0 => drop(symlink("/nowhere", &path)),
                    1 => drop(fs::write(&path, "a file now")),
                    _ => {}
                }
            }
        });
        assert!(vanished > 0, "{strategy:?}");
    }
}

#[test]
fn a_heavy_directory_that_vanishes_leaves_nothing_in_its_place() {
    let scratch = Scratch::with_template();
    for number in 0..2000 {
        scratch.file(&format!("node_modules/f{number}"), "x".repeat(5000));
    }
    scratch.file("packages/a/vendor/x", "x");
    scratch.file("packages/a/own", "x");
    let overlays = scratch.overlays();
    let overlay = overlays.create(scratch.spec("app")).unwrap();
    overlay.wait(Until::Usable, soon());
    let _ = fs::remove_dir_all(scratch.template().join("packages/a/vendor"));
    overlay.wait(Until::Over, soon());
    let view = overlay.view();
    assert_eq!((view.status, view.error), (CopyStatus::Complete, None));
    let vendor = scratch.root().join("app/packages/a/vendor");
    assert!(!vendor.is_symlink() && scratch.root().join("app/packages/a/own").is_file());
    // Where the copy was faster, it is there.
    assert!(vendor.join("x").exists() || view.stats.skipped_count > 0, "{:?}", view.stats);
}
