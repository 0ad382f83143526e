//! Decides what is done with each entry of a template.
//!
//! Owns: the decisions, and the temporary names. Never: a file system.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::glob::{Ignore, joined};
use crate::model::overlay::{OverlayId, OverlaySpec, Strategy};
use crate::os::fs::{FileKind, Moment, Stat};

/// Directories that package managers fill with thousands of files that are not edited. Build output (`target`, `.next`,
/// `dist`) is not among them: a compiler would write through the placeholder into the template.
const HEAVY: [&str; 8] =
    ["node_modules", ".venv", "venv", "vendor", "bower_components", "jspm_packages", "__pypackages__", ".pnpm-store"];
/// The prefix of temporary names.
const TEMPORARY: &str = ".servisor-overlay-";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryAction {
    Copy,
    /// A placeholder is created first, and replaced by a copy later.
    Defer,
    /// List the entry, without a copy.
    Skip,
}

#[derive(Debug)]
pub struct CopyPlan {
    source: PathBuf,
    canonical: PathBuf,
    /// The path of the copy, as its users name it.
    target: PathBuf,
    ignore: Ignore,
    strategy: Strategy,
}

impl CopyPlan {
    /// Creates the plan of `spec`, with the `canonical` path of its source. A relative target is resolved against
    /// `root`.
    pub fn new(spec: &OverlaySpec, canonical: PathBuf, root: &Path) -> CopyPlan {
        CopyPlan {
            source: spec.source.clone(),
            canonical,
            target: spec.target.resolved(root),
            ignore: Ignore::new(spec.ignore.iter().map(String::as_str)),
            strategy: spec.strategy,
        }
    }

    /// Decides about the entry `name` of `directory`, which is relative to the template.
    pub fn verdict(&self, directory: &Path, name: &OsStr, kind: FileKind) -> EntryAction {
        let is_directory = kind == FileKind::Directory;
        let left_out = name == ".git"
            || name.as_bytes().starts_with(TEMPORARY.as_bytes())
            || kind == FileKind::Special
            || self.ignore.leaves_out(joined(directory, name), is_directory);
        let is_heavy = is_directory && HEAVY.iter().any(|heavy| name == *heavy);
        match (left_out, self.strategy) {
            (true, _) => EntryAction::Skip,
            (false, Strategy::Smart) if is_heavy => EntryAction::Defer,
            (false, Strategy::Smart | Strategy::Copy) => EntryAction::Copy,
        }
    }

    pub fn template(&self) -> &Path {
        &self.canonical
    }

    /// The paths by which files may refer to the template.
    pub fn template_names(&self) -> [&Path; 2] {
        [&self.source, &self.canonical]
    }

    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The target of the placeholder for `path`, relative to the template.
    pub fn placeholder(&self, path: &Path) -> PathBuf {
        self.source.join(path)
    }

    /// The target of the copy of a symlink in `directory`. An absolute target inside the template becomes a relative
    /// one inside the copy, since writes through it would change the template. All others stay the same.
    pub fn link_text<'a>(&self, directory: &Path, text: &'a OsStr) -> Cow<'a, OsStr> {
        let text_path = Path::new(text);
        match text_path.strip_prefix(&self.source).or_else(|_| text_path.strip_prefix(&self.canonical)) {
            Ok(inside) => {
                let mut way: PathBuf = directory.iter().map(|_| "..").collect();
                way.push(inside);
                if way.as_os_str().is_empty() {
                    way.push(".");
                }
                Cow::Owned(way.into_os_string())
            }
            Err(_) => Cow::Borrowed(text),
        }
    }
}

/// The `number`th temporary name of the overlay `id`.
pub fn temporary(id: &OverlayId, number: u64) -> OsString {
    format!("{TEMPORARY}{id}-{number}").into()
}

/// Whether `name` is a temporary name of the overlay `id`.
pub fn is_temporary_of(id: &OverlayId, name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(TEMPORARY.as_bytes());
    rest.and_then(|rest| rest.strip_prefix(id.as_str().as_bytes())).is_some_and(|rest| rest.starts_with(b"-"))
}

/// Whether `there` was created as a copy of `source` at or after `since`, and is unchanged. On file systems without
/// birth times, equal metadata is enough.
pub fn is_copy(source: &Stat, there: &Stat, since: Moment) -> bool {
    let looks_the_same = match source.kind {
        FileKind::File => source.size == there.size && source.modified == there.modified,
        // Its text is compared by who can read it.
        FileKind::Symlink => source.modified == there.modified,
        // Its time changes with everything that is put into it.
        FileKind::Directory => true,
        FileKind::Special => false,
    };
    source.kind == there.kind && looks_the_same && there.born.is_none_or(|born| born >= since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::overlay::Target;

    fn plan(ignore: &[&str], strategy: Strategy) -> CopyPlan {
        let spec = OverlaySpec {
            source: "/templates/web".into(),
            target: Target::parse("app").unwrap(),
            ignore: ignore.iter().map(|pattern| (*pattern).to_owned()).collect(),
            strategy,
        };
        CopyPlan::new(&spec, "/disk/web".into(), Path::new("/root"))
    }

    #[test]
    fn what_becomes_of_an_entry() {
        let smart = plan(&["*.log", "/vendor"], Strategy::Smart);
        for (directory, name, kind, expected) in [
            ("", "package.json", FileKind::File, EntryAction::Copy),
            ("", "src", FileKind::Directory, EntryAction::Copy),
            ("", "node_modules", FileKind::Directory, EntryAction::Defer),
            ("packages/a", "node_modules", FileKind::Directory, EntryAction::Defer),
            ("packages/a", "vendor", FileKind::Directory, EntryAction::Defer),
            ("", "vendor", FileKind::Directory, EntryAction::Skip),
            ("", "node_modules", FileKind::Symlink, EntryAction::Copy),
            ("", "node_modules", FileKind::File, EntryAction::Copy),
            ("", ".git", FileKind::Directory, EntryAction::Skip),
            ("a/b", ".git", FileKind::File, EntryAction::Skip),
            ("", ".gitignore", FileKind::File, EntryAction::Copy),
            ("a", "x.log", FileKind::File, EntryAction::Skip),
            ("a", "pipe", FileKind::Special, EntryAction::Skip),
            ("", ".servisor-overlay-ab-1", FileKind::File, EntryAction::Skip),
            ("", "target", FileKind::Directory, EntryAction::Copy),
        ] {
            assert_eq!(smart.verdict(Path::new(directory), OsStr::new(name), kind), expected, "{directory} {name}");
        }
        let copy = plan(&[], Strategy::Copy);
        assert_eq!(copy.verdict(Path::new(""), OsStr::new("node_modules"), FileKind::Directory), EntryAction::Copy);
    }

    #[test]
    fn links_into_the_template_lead_into_the_copy() {
        let plan = plan(&[], Strategy::Smart);
        for (directory, text, expected) in [
            ("", "../x", "../x"),
            ("", "a/b", "a/b"),
            ("", "/etc/passwd", "/etc/passwd"),
            ("", "/templates/web2/x", "/templates/web2/x"),
            ("", "/templates/web/x", "x"),
            ("a", "/disk/web/x", "../x"),
            ("a/b", "/templates/web/x/y", "../../x/y"),
            ("a", "/templates/web", "../"),
            ("", "/templates/web", "."),
        ] {
            let text = plan.link_text(Path::new(directory), OsStr::new(text)).into_owned();
            assert_eq!(text, OsStr::new(expected), "{directory}");
        }
    }

    #[test]
    fn temporary_names_show_whose_they_are() {
        let (id, longer) = (OverlayId::parse("ab").unwrap(), OverlayId::parse("abc").unwrap());
        let name = temporary(&id, 7);
        assert!(is_temporary_of(&id, &name));
        assert!(!is_temporary_of(&longer, &name) && !is_temporary_of(&id, &temporary(&longer, 7)));
        assert!(!is_temporary_of(&id, OsStr::new("ab-1")));
    }

    #[test]
    fn a_copy_differs_from_what_was_there_or_was_changed() {
        let source = Stat {
            kind: FileKind::File,
            mode: 0o644,
            owner: (0, 0),
            identity: (1, 1),
            links: 1,
            size: 5,
            allocated: 5,
            modified: Moment(100, 5),
            born: Some(Moment(100, 0)),
        };
        let since = Moment(200, 0);
        let copy = Stat { identity: (1, 2), born: Some(Moment(200, 0)), ..source };
        assert!(is_copy(&source, &copy, since));
        assert!(is_copy(&source, &Stat { born: None, ..copy }, since));
        assert!(!is_copy(&source, &Stat { born: Some(Moment(199, 9)), ..copy }, since));
        assert!(!is_copy(&source, &Stat { size: 6, ..copy }, since));
        assert!(!is_copy(&source, &Stat { modified: Moment(100, 6), ..copy }, since));
        assert!(!is_copy(&source, &Stat { kind: FileKind::Symlink, ..copy }, since));
    }
}
