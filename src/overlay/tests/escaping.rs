//! Nothing is written outside of the target, whatever process swaps in symlinks.

use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn a_relative_target_stays_in_the_root() {
    let scratch = Scratch::with_template();
    scratch.file("x", "x");
    let outside = scratch.0.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, scratch.root().join("out")).unwrap();
    symlink("../outside", scratch.root().join("up")).unwrap();
    symlink("/nowhere", scratch.root().join("dangling")).unwrap();
    symlink("loop", scratch.root().join("loop")).unwrap();
    fs::create_dir(scratch.root().join("real")).unwrap();
    symlink("real", scratch.root().join("in")).unwrap();
    fs::write(scratch.root().join("file"), "").unwrap();
    let overlays = scratch.overlays();
    for target in ["out", "out/deeper", "up", "up/a/b", "dangling", "dangling/x", "loop/x", "file", "file/x"] {
        match overlays.create(scratch.spec(target)) {
            Err(CreateError::Fields(wrong)) => {
                assert!(wrong.len() == 1 && wrong[0].0 == "target", "{target}: {wrong:?}")
            }
            other => panic!("{target}: {other:?}"),
        }
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(over(&overlays, scratch.spec("in/deeper")).status, CopyStatus::Complete);
    assert!(scratch.root().join("real/deeper/x").is_file());
    // An absolute one is taken as it is.
    let absolute = scratch.root().join("out/wanted").display().to_string();
    assert_eq!(over(&overlays, scratch.spec(&absolute)).status, CopyStatus::Complete);
    assert!(outside.join("wanted/x").is_file());
}

fn names_only(field: &str, refused: &Result<Arc<Overlay>, CreateError>) -> bool {
    matches!(refused, Err(CreateError::Fields(wrong)) if wrong.len() == 1 && wrong[0].0 == field)
}

#[test]
fn a_source_has_to_be_there_and_not_around_its_target() {
    let scratch = Scratch::with_template();
    let overlays = scratch.overlays();
    let file = scratch.file("x", "x");
    for source in [scratch.0.join("missing"), file] {
        let refused = overlays.create(OverlaySpec { source, ..scratch.spec("app") });
        assert!(names_only("source", &refused), "{refused:?}");
    }
    symlink(scratch.template(), scratch.0.join("alias")).unwrap();
    for target in ["template", "template/inner/deeper", "alias/inner"] {
        let target = scratch.0.join(target).display().to_string();
        let refused = overlays.create(scratch.spec(&target));
        assert!(names_only("target", &refused), "{refused:?}");
    }
    assert_eq!(fs::read_dir(scratch.template()).unwrap().count(), 1);
}

#[test]
fn a_symlinked_folder_in_the_target_is_not_entered() {
    let scratch = Scratch::with_template();
    usual(&scratch);
    let outside = scratch.0.join("outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    let app = scratch.root().join("app");
    fs::create_dir_all(&app).unwrap();
    symlink(&outside, app.join("src")).unwrap();
    symlink(&outside, app.join("node_modules")).unwrap();
    let view = scratch.copied("app", Strategy::Smart);
    assert_eq!(view.stats.skipped, ["node_modules", "src"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_dir(outside.join("deep")).unwrap().count(), 0);
}

#[test]
fn a_symlink_that_is_swapped_in_leads_nowhere() {
    let scratch = Scratch::with_template();
    let outside = scratch.0.join("outside");
    fs::create_dir(&outside).unwrap();
    for directory in 0..40 {
        for file in 0..40 {
            scratch.file(&format!("d{directory}/e/f{file}"), "x");
        }
    }
    for round in 0..6 {
        let strategy = if round % 2 == 0 { Strategy::Copy } else { Strategy::Smart };
        let target = format!("app{round}");
        let app = scratch.root().join(&target);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Swaps each directory that appears for a symlink to the outside, as fast as it can.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for entry in fs::read_dir(&app).into_iter().flatten().flatten() {
                        let path = entry.path();
                        let inner = path.join("e");
                        if inner.is_dir() && !inner.is_symlink() && fs::rename(&inner, path.join("moved")).is_ok() {
                            let _ = symlink(&outside, &inner);
                        }
                        if fs::rename(&path, scratch.root().join(format!("was{round}-{:?}", entry.file_name()))).is_ok()
                        {
                            let _ = symlink(&outside, &path);
                        }
                    }
                }
            });
            // Complete or failed, as the race goes.
            let _ = over(&scratch.overlays(), OverlaySpec { strategy, ..scratch.spec(&target) });
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "round {round}");
    }
}

#[test]
fn an_empty_directory_outside_is_not_removed_through_a_swapped_parent() {
    let scratch = Scratch::with_template();
    let (root, outside) = (scratch.root(), scratch.0.join("outside"));
    fs::create_dir_all(root.join("way/app")).unwrap();
    fs::create_dir_all(outside.join("app")).unwrap();
    let target = Target::parse("way/app").unwrap();
    let own = super::super::place::existing(&root, &target).unwrap();
    // Between the last look and the removal.
    fs::rename(root.join("way"), root.join("away")).unwrap();
    symlink(&outside, root.join("way")).unwrap();
    let _ = super::super::place::remove_empty(&root, &target, &own);
    assert!(outside.join("app").exists() && root.join("away/app").exists());
    // Nor another directory that has its name by now.
    fs::remove_file(root.join("way")).unwrap();
    fs::create_dir_all(root.join("way/app")).unwrap();
    let _ = super::super::place::remove_empty(&root, &target, &own);
    assert!(root.join("way/app").exists());
    let other = super::super::place::existing(&root, &target).unwrap();
    super::super::place::remove_empty(&root, &target, &other).unwrap();
    assert!(!root.join("way/app").exists() && root.join("way").exists());
}
