//! The specification of an overlay, valid by construction, and its status.
//!
//! Owns: the types of an overlay's specification and the rules of its values. Never: the file system (`overlay` checks
//! whether a source exists and where a target leads).

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The longest path, in bytes: Linux's `PATH_MAX` without the NUL.
const PATH_MAX: usize = 4095;
/// The longest id, in bytes. The daemon's are shorter.
const ID_MAX: usize = 32;

/// The id of an overlay: lower-case letters and digits, random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OverlayId(String);

impl OverlayId {
    pub fn parse(text: &str) -> Option<OverlayId> {
        let fits = (1..=ID_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        fits.then(|| OverlayId(text.to_owned()))
    }

    /// An id that no overlay has: random ones have another form.
    pub fn of_number(number: usize) -> OverlayId {
        OverlayId(format!("unmade{number}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OverlayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The order in which a template is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Light files first, with symlinks as placeholders for heavy directories, which are copied later: usable at once.
    Smart,
    /// Everything, in the background.
    Copy,
}

impl Strategy {
    /// All variants with their API names.
    pub const ALL: [(&'static str, Strategy); 2] = [("smart", Self::Smart), ("copy", Self::Copy)];

    /// The word that the API has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Copy => "copy",
        }
    }
}

/// The progress of an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStatus {
    /// Not begun.
    Pending,
    InProgress,
    /// Everything is copied; no placeholder is left.
    Complete,
    /// Something could not be copied; the files that were copied stay.
    Failed,
}

impl CopyStatus {
    /// All variants with their API names.
    pub const ALL: [(&'static str, CopyStatus); 4] = [
        ("pending", Self::Pending),
        ("in_progress", Self::InProgress),
        ("complete", Self::Complete),
        ("failed", Self::Failed),
    ];

    /// The word that the API has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }

    /// Whether the status is final.
    pub fn is_over(self) -> bool {
        match self {
            Self::Pending | Self::InProgress => false,
            Self::Complete | Self::Failed => true,
        }
    }
}

/// The target directory of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// Parses a target: absolute, or relative to the root and then without `..`.
    ///
    /// # Errors
    /// A phrase that fits after the name of the field.
    pub fn parse(text: &str) -> Result<Target, String> {
        path_rules(text)?;
        let path = Path::new(text);
        if !path.is_absolute() && path.components().any(|component| component == Component::ParentDir) {
            return Err(format!("must lie inside the root when it is relative; {text:?} has \"..\" in it"));
        }
        Ok(Target(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The absolute path; a relative target is resolved against `root`.
    pub fn resolved(&self, root: &Path) -> PathBuf {
        root.join(&self.0).components().collect()
    }
}

/// Parses the path of a source.
///
/// # Errors
/// A phrase that fits after the name of the field.
pub fn source_path(text: &str) -> Result<PathBuf, String> {
    path_rules(text)?;
    if !Path::new(text).is_absolute() {
        return Err(format!("must be an absolute path, as in \"/templates/web\"; it is {text:?}"));
    }
    Ok(Path::new(text).components().collect())
}

fn path_rules(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.len() > PATH_MAX {
        return Err(format!("is {} bytes long; {PATH_MAX} are allowed", text.len()));
    }
    if text.contains('\0') {
        return Err("must not contain a NUL byte".into());
    }
    Ok(())
}

/// The specification of one overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlaySpec {
    /// The template, an absolute path.
    pub source: PathBuf,
    pub target: Target,
    /// Patterns of files that are not copied, as in `.gitignore`.
    pub ignore: Vec<String>,
    pub strategy: Strategy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["a", "0123456789", &"f".repeat(ID_MAX)] {
            assert_eq!(OverlayId::parse(good).map(|id| id.to_string()), Some(good.to_owned()));
        }
        for bad in ["", "A", "a-b", "a/b", "..", "ä", &"f".repeat(ID_MAX + 1)] {
            assert_eq!(OverlayId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn targets() {
        for (text, resolved) in [
            ("/app", "/app"),
            ("app", "/root/app"),
            ("./app/", "/root/app"),
            (".", "/root"),
            ("a//b", "/root/a/b"),
            ("/a/../b", "/a/../b"),
            ("..a/b..", "/root/..a/b.."),
        ] {
            assert_eq!(Target::parse(text).unwrap().resolved(Path::new("/root")), Path::new(resolved), "{text}");
        }
        for bad in ["", "..", "../x", "a/../../b", "a/..", "a\0b", &"a".repeat(PATH_MAX + 1)] {
            assert!(Target::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn sources() {
        assert_eq!(source_path("/a/./b//c/").unwrap(), Path::new("/a/b/c"));
        for bad in ["", "a", "./a", "~/a", "/a\0"] {
            assert!(source_path(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn words() {
        assert!(Strategy::ALL.iter().all(|(word, strategy)| strategy.as_str() == *word));
        assert!(CopyStatus::ALL.iter().all(|(word, status)| status.as_str() == *word));
    }
}
