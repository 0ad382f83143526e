//! What becomes of each entry of a template.
//!
//! Owns: the decisions, and the names that only the copy uses. Never: a file system.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::glob::{Ignore, joined};
use crate::model::overlay::{OverlayId, OverlaySpec, Strategy};
use crate::os::fs::{Kind, Moment, Stat};

/// Directories that package managers fill with thousands of files which nobody edits. Build output (`target`, `.next`,
/// `dist`) is not among them: a compiler that meets a placeholder would write through it into the template.
const HEAVY: [&str; 8] =
    ["node_modules", ".venv", "venv", "vendor", "bower_components", "jspm_packages", "__pypackages__", ".pnpm-store"];
/// What a name that is ours alone begins with.
const TEMPORARY: &str = ".servisor-overlay-";

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is copied.
    Copy,
    /// A placeholder comes first, the copy later.
    Defer,
    /// It is left out, and listed.
    Skip,
}

/// How one template is copied.
#[derive(Debug)]
pub struct Plan {
    source: PathBuf,
    /// The same without a symlink in it.
    canonical: PathBuf,
    /// Where the copy is, as its users name it.
    target: PathBuf,
    ignore: Ignore,
    strategy: Strategy,
}

impl Plan {
    /// The plan of `spec`, whose source is `canonical` without a symlink in it. A relative target is taken from `root`.
    pub fn new(spec: &OverlaySpec, canonical: PathBuf, root: &Path) -> Plan {
        Plan {
            source: spec.source.clone(),
            canonical,
            target: spec.target.resolved(root),
            ignore: Ignore::new(spec.ignore.iter().map(String::as_str)),
            strategy: spec.strategy,
        }
    }

    /// What becomes of the entry `name` of `directory`, which is relative to the template.
    pub fn verdict(&self, directory: &Path, name: &OsStr, kind: Kind) -> Verdict {
        let is_directory = kind == Kind::Directory;
        let left_out = name == ".git"
            || name.as_bytes().starts_with(TEMPORARY.as_bytes())
            || kind == Kind::Special
            || self.ignore.leaves_out(joined(directory, name), is_directory);
        let is_heavy = is_directory && HEAVY.iter().any(|heavy| name == *heavy);
        match (left_out, self.strategy) {
            (true, _) => Verdict::Skip,
            (false, Strategy::Smart) if is_heavy => Verdict::Defer,
            (false, Strategy::Smart | Strategy::Copy) => Verdict::Copy,
        }
    }

    /// The template, without a symlink in its path.
    pub fn template(&self) -> &Path {
        &self.canonical
    }

    /// The paths by which something may name the template.
    pub fn template_names(&self) -> [&Path; 2] {
        [&self.source, &self.canonical]
    }

    /// The path by which the copy is named.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The text of a placeholder for the template's `path`.
    pub fn placeholder(&self, path: &Path) -> PathBuf {
        self.source.join(path)
    }

    /// The text that the copy of a symlink in `directory` gets. One that names a place in the template by its absolute
    /// path would lead writers there; it gets the way to the same place in the copy. All others stay as they are.
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

/// The name under which `id` builds its `number`th thing before it goes to its place.
pub fn temporary(id: &OverlayId, number: u64) -> OsString {
    format!("{TEMPORARY}{id}-{number}").into()
}

/// Whether `name` is one that `id` has left behind.
pub fn is_temporary_of(id: &OverlayId, name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(TEMPORARY.as_bytes());
    rest.and_then(|rest| rest.strip_prefix(id.as_str().as_bytes())).is_some_and(|rest| rest.starts_with(b"-"))
}

/// Whether what is `there` was made as a copy of `source` at or after `since`, and is unchanged. Where the file system
/// keeps no time of birth, that it looks the same has to do.
pub fn is_copy(source: &Stat, there: &Stat, since: Moment) -> bool {
    let looks_the_same = match source.kind {
        Kind::File => source.size == there.size && source.modified == there.modified,
        // Its text is compared by who can read it.
        Kind::Symlink => source.modified == there.modified,
        // Its time changes with everything that is put into it.
        Kind::Directory => true,
        Kind::Special => false,
    };
    source.kind == there.kind && looks_the_same && there.born.is_none_or(|born| born >= since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::overlay::Target;

    fn plan(ignore: &[&str], strategy: Strategy) -> Plan {
        let spec = OverlaySpec {
            source: "/templates/web".into(),
            target: Target::parse("app").unwrap(),
            ignore: ignore.iter().map(|pattern| (*pattern).to_owned()).collect(),
            strategy,
        };
        Plan::new(&spec, "/disk/web".into(), Path::new("/root"))
    }

    #[test]
    fn what_becomes_of_an_entry() {
        let smart = plan(&["*.log", "/vendor"], Strategy::Smart);
        for (directory, name, kind, expected) in [
            ("", "package.json", Kind::File, Verdict::Copy),
            ("", "src", Kind::Directory, Verdict::Copy),
            ("", "node_modules", Kind::Directory, Verdict::Defer),
            ("packages/a", "node_modules", Kind::Directory, Verdict::Defer),
            ("packages/a", "vendor", Kind::Directory, Verdict::Defer),
            ("", "vendor", Kind::Directory, Verdict::Skip),
            ("", "node_modules", Kind::Symlink, Verdict::Copy),
            ("", "node_modules", Kind::File, Verdict::Copy),
            ("", ".git", Kind::Directory, Verdict::Skip),
            ("a/b", ".git", Kind::File, Verdict::Skip),
            ("", ".gitignore", Kind::File, Verdict::Copy),
            ("a", "x.log", Kind::File, Verdict::Skip),
            ("a", "pipe", Kind::Special, Verdict::Skip),
            ("", ".servisor-overlay-ab-1", Kind::File, Verdict::Skip),
            ("", "target", Kind::Directory, Verdict::Copy),
        ] {
            assert_eq!(smart.verdict(Path::new(directory), OsStr::new(name), kind), expected, "{directory} {name}");
        }
        let copy = plan(&[], Strategy::Copy);
        assert_eq!(copy.verdict(Path::new(""), OsStr::new("node_modules"), Kind::Directory), Verdict::Copy);
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
    fn temporary_names_tell_whose_they_are() {
        let (id, longer) = (OverlayId::parse("ab").unwrap(), OverlayId::parse("abc").unwrap());
        let name = temporary(&id, 7);
        assert!(is_temporary_of(&id, &name));
        assert!(!is_temporary_of(&longer, &name) && !is_temporary_of(&id, &temporary(&longer, 7)));
        assert!(!is_temporary_of(&id, OsStr::new("ab-1")));
    }

    #[test]
    fn a_copy_is_told_from_what_was_there_or_was_changed() {
        let source = Stat {
            kind: Kind::File,
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
        assert!(!is_copy(&source, &Stat { kind: Kind::Symlink, ..copy }, since));
    }
}
