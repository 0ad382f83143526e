//! What a copy keeps and what it leaves out.

use super::*;

#[test]
fn both_strategies_keep_everything_and_leave_the_template_alone() {
    let scratch = Scratch::with_template();
    usual(&scratch);
    let before = portrait(&scratch.template());
    for (target, strategy) in [("smart", Strategy::Smart), ("copy", Strategy::Copy), ("a/b/c", Strategy::Smart)] {
        let view = scratch.copied(target, strategy);
        let copy = scratch.root().join(target);
        assert_same(&portrait(&copy), &before);
        assert_same(&portrait(&scratch.template()), &before);
        let count = |directories: bool| {
            before.iter().filter(|line| line.split(' ').nth(1).unwrap().starts_with('4') == directories).count() as u64
        };
        assert_eq!((view.stats.copied_files, view.stats.copied_dirs), (count(false), count(true) + 1), "{target}");
        assert_eq!(view.stats.skipped, Vec::<String>::new());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode();
        assert_eq!(mode(&copy), mode(&scratch.template()));
    }
}

#[test]
fn what_is_left_out_is_listed() {
    let scratch = Scratch::with_template();
    usual(&scratch);
    scratch.file(".git/HEAD", "ref");
    scratch.file("packages/a/.git", "gitdir: elsewhere");
    scratch.file("src/debug.log", "");
    scratch.file("node_modules/p3/x.log", "");
    scratch.file("dist/x", "");
    let pipe = std::ffi::CString::new(scratch.template().join("pipe").as_os_str().as_bytes()).unwrap();
    make_pipe(&pipe);
    let ignore = ["*.log", "/dist/", "p7"].map(str::to_owned).to_vec();
    for (target, strategy) in [("smart", Strategy::Smart), ("copy", Strategy::Copy)] {
        let view = over(&scratch.overlays(), OverlaySpec { ignore: ignore.clone(), strategy, ..scratch.spec(target) });
        assert_eq!(view.status, CopyStatus::Complete);
        let expected =
            [".git", "dist", "node_modules/p3/x.log", "node_modules/p7", "packages/a/.git", "pipe", "src/debug.log"];
        assert_eq!(view.stats.skipped, expected);
        assert_eq!(view.stats.skipped_count, 7);
        for path in expected {
            assert!(fs::symlink_metadata(scratch.root().join(target).join(path)).is_err(), "{path}");
        }
    }
}

fn make_pipe(path: &std::ffi::CStr) {
    let made = std::process::Command::new("mkfifo").arg(std::ffi::OsStr::from_bytes(path.to_bytes())).status().unwrap();
    assert!(made.success());
}

#[test]
fn what_is_there_is_never_overwritten() {
    let scratch = Scratch::with_template();
    usual(&scratch);
    for strategy in [Strategy::Smart, Strategy::Copy] {
        let target = strategy.as_str();
        let copy = scratch.root().join(target);
        fs::create_dir_all(copy.join("node_modules/p1")).unwrap();
        fs::write(copy.join("package.json"), "mine").unwrap();
        fs::write(copy.join("node_modules/p1/index.js"), "mine").unwrap();
        fs::write(copy.join("packages"), "a file where a directory would be").unwrap();
        symlink("/nowhere", copy.join("relative")).unwrap();
        fs::create_dir(copy.join("empty")).unwrap();
        let view = scratch.copied(target, strategy);
        assert_eq!(view.stats.skipped, ["empty", "node_modules/p1/index.js", "package.json", "packages", "relative"]);
        assert_eq!(fs::read(copy.join("package.json")).unwrap(), b"mine");
        assert_eq!(fs::read(copy.join("node_modules/p1/index.js")).unwrap(), b"mine");
        assert_eq!(fs::read(copy.join("node_modules/p2/index.js")).unwrap(), b"module.exports = 2", "filled up");
        assert_eq!(fs::read_link(copy.join("relative")).unwrap(), Path::new("/nowhere"));
        assert!(copy.join("packages").is_file() && copy.join("empty").is_dir());
        assert_eq!(fs::read(copy.join("src/index.js")).unwrap(), b"console.log(1)");
    }
}

#[test]
fn hard_links_stay_together_and_holes_stay_holes() {
    let scratch = Scratch::with_template();
    let one = scratch.file("a/one", "linked");
    fs::create_dir_all(scratch.template().join("b/c")).unwrap();
    for name in ["a/two", "b/c/three", "four"] {
        fs::hard_link(&one, scratch.template().join(name)).unwrap();
    }
    for number in 0..100 {
        fs::hard_link(&one, scratch.template().join(format!("b/{number}"))).unwrap();
    }
    fs::create_dir(scratch.template().join("node_modules")).unwrap();
    let inner = scratch.file("node_modules/x", "linked too");
    fs::hard_link(inner, scratch.template().join("node_modules/y")).unwrap();
    let sparse = File::create(scratch.template().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 50 << 20).unwrap();
    sparse.set_len(100 << 20).unwrap();
    for strategy in [Strategy::Smart, Strategy::Copy] {
        scratch.copied(strategy.as_str(), strategy);
        let metadata = |path: &str| fs::metadata(scratch.root().join(strategy.as_str()).join(path)).unwrap();
        for name in ["a/two", "b/c/three", "four", "b/7", "b/99"] {
            assert_eq!(metadata(name).ino(), metadata("a/one").ino(), "{name}");
        }
        assert_eq!(metadata("a/one").nlink(), 104);
        assert_eq!(metadata("node_modules/x").ino(), metadata("node_modules/y").ino());
        assert_eq!(metadata("sparse").len(), 100 << 20);
        assert!(metadata("sparse").blocks() < 1000, "{} blocks", metadata("sparse").blocks());
    }
}

#[test]
fn owners_are_kept_where_the_daemon_may_give_them() {
    let scratch = Scratch::with_template();
    let file = scratch.file("d/file", "x");
    symlink("x", scratch.template().join("link")).unwrap();
    // Only root can give a file away, and only then there is something to keep.
    let given = std::os::unix::fs::chown(&file, Some(1234), Some(4321)).is_ok();
    if given {
        std::os::unix::fs::lchown(scratch.template().join("link"), Some(1234), Some(4321)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o4755)).unwrap();
    }
    scratch.copied("app", Strategy::Smart);
    assert_same(&portrait(&scratch.root().join("app")), &portrait(&scratch.template()));
}

#[test]
fn links_into_the_template_lead_into_the_copy() {
    let scratch = Scratch::with_template();
    scratch.file("lib/x", "x");
    fs::create_dir(scratch.template().join("bin")).unwrap();
    symlink(scratch.template().join("lib/x"), scratch.template().join("bin/x")).unwrap();
    symlink("/etc", scratch.template().join("etc")).unwrap();
    scratch.copied("app", Strategy::Smart);
    let app = scratch.root().join("app");
    assert_eq!(fs::canonicalize(app.join("bin/x")).unwrap(), app.join("lib/x"));
    assert_eq!(fs::read_link(app.join("etc")).unwrap(), Path::new("/etc"));
}

#[test]
fn a_wide_and_a_deep_tree_need_few_descriptors() {
    let scratch = Scratch::with_template();
    for number in 0..2000 {
        fs::create_dir(scratch.template().join(number.to_string())).unwrap();
    }
    let mut deep = scratch.template().join("deep");
    for _ in 0..400 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let view = scratch.copied("app", Strategy::Copy);
    assert_eq!(view.stats.copied_dirs, 2402);
}

#[test]
fn a_source_may_be_below_its_target() {
    let scratch = Scratch::with_template();
    let template = scratch.root().join("templates/web");
    fs::create_dir_all(&template).unwrap();
    fs::write(template.join("x"), "x").unwrap();
    let view = over(&scratch.overlays(), OverlaySpec { source: template, ..scratch.spec(".") });
    assert_eq!(view.status, CopyStatus::Complete);
    assert!(scratch.root().join("x").is_file());
}
