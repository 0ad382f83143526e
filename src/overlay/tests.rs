//! Copies of real trees, through the table.

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::model::overlay::{Strategy, Target};
use crate::testing::{LIMIT, Scratch, soon};

mod copying;
mod ending;
mod escaping;
mod python;
mod vanishing;

impl Scratch {
    fn with_template() -> Scratch {
        let scratch = Scratch::new();
        fs::create_dir(scratch.root()).unwrap();
        fs::create_dir(scratch.template()).unwrap();
        scratch
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn template(&self) -> PathBuf {
        self.0.join("template")
    }

    /// Puts a file into the template.
    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.template().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn overlays(&self) -> Arc<Overlays> {
        Overlays::new(&self.root(), Arc::new(record::NoRecords), Vec::new())
    }

    fn spec(&self, target: &str) -> OverlaySpec {
        OverlaySpec {
            source: self.template(),
            target: Target::parse(target).unwrap(),
            ignore: Vec::new(),
            strategy: Strategy::Smart,
        }
    }

    /// Copies with `strategy` to `target`, to the end.
    #[track_caller]
    fn copied(&self, target: &str, strategy: Strategy) -> OverlayView {
        let view = over(&self.overlays(), OverlaySpec { strategy, ..self.spec(target) });
        assert_eq!((view.status, view.error.as_deref()), (CopyStatus::Complete, None));
        view
    }
}

#[track_caller]
fn over(overlays: &Overlays, spec: OverlaySpec) -> OverlayView {
    let overlay = overlays.create(spec).unwrap();
    overlay.wait(Until::Over, soon());
    overlay.view()
}

fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = soon();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < limit, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything of a tree that a copy has to keep, one line an entry. Access and change times do not count.
fn portrait(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                directories.push(path.clone());
                String::new()
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else if metadata.is_file() && metadata.len() < 1 << 20 {
                use std::hash::{DefaultHasher, Hash, Hasher};
                let mut hasher = DefaultHasher::new();
                fs::read(&path).unwrap().hash(&mut hasher);
                format!("{} bytes {:x}", metadata.len(), hasher.finish())
            } else {
                metadata.len().to_string()
            };
            lines.push(format!(
                "{} {:o} {}:{} {}.{:09} {content}",
                path.strip_prefix(top).unwrap().display(),
                metadata.mode(),
                metadata.uid(),
                metadata.gid(),
                metadata.mtime(),
                metadata.mtime_nsec(),
            ));
        }
    }
    lines.sort();
    lines
}

#[track_caller]
fn assert_same(left: &[String], right: &[String]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let those: std::collections::HashSet<_> = those.iter().collect();
        these.iter().filter(|line| !those.contains(line)).take(20).cloned().collect()
    };
    let (left, right) = (only(left, right), only(right, left));
    assert!(left.is_empty() && right.is_empty(), "only on the left: {left:#?}; only on the right: {right:#?}");
}

/// Waits until the clock of file systems has advanced, so that what is there now is older than what comes.
fn let_time_pass() {
    let start = Instant::now();
    wait_until("time passes", || (start.elapsed() > Duration::from_millis(25)).then_some(()));
}

/// A template with a bit of everything.
fn usual(scratch: &Scratch) {
    scratch.file("package.json", "{}");
    scratch.file("src/index.js", "console.log(1)");
    scratch.file("src/deep/er/still/x", "x");
    scratch.file("empty", "");
    for package in 0..50 {
        scratch.file(&format!("node_modules/p{package}/index.js"), format!("module.exports = {package}"));
    }
    scratch.file("node_modules/p0/node_modules/inner/x.js", "inner");
    scratch.file("packages/a/node_modules/q/x.js", "q");
    scratch.file("packages/a/a.js", "a");
    scratch.file("bin/run", "#!/bin/sh");
    let mode = |path: &str, mode| {
        fs::set_permissions(scratch.template().join(path), Permissions::from_mode(mode)).unwrap();
    };
    mode("bin/run", 0o755);
    mode("empty", 0o400);
    symlink("package.json", scratch.template().join("relative")).unwrap();
    symlink("../../nowhere", scratch.template().join("src/broken")).unwrap();
    fs::create_dir(scratch.template().join("node_modules/.bin")).unwrap();
    symlink("../p0/index.js", scratch.template().join("node_modules/.bin/p0")).unwrap();
    fs::create_dir(scratch.template().join("bare")).unwrap();
    mode("bare", 0o750);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["src/index.js", "src/deep", "node_modules/p1", "node_modules", "packages/a", "bare"] {
        File::open(scratch.template().join(path)).unwrap().set_modified(long_ago).unwrap();
    }
}
