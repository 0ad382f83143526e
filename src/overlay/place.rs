//! Resolves and opens targets, inside the root if they are relative.
//!
//! Owns: the path from a target's text to an open directory. Never: its content.
//!
//! The existing part of the path is resolved once, with symlinks, and checked. It is then opened from the root down,
//! component by component, without following symlinks: one that was swapped in makes this fail.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::overlay::{OverlaySpec, Target};
use crate::os::fs::{Dir, Last, Made, Name};

/// The mode of created parent directories.
const PARENT_MODE: u32 = 0o755;

struct Resolved {
    /// The canonical path of its existing part.
    exists: PathBuf,
    /// The directories to create in it.
    missing: Vec<Name>,
    /// The canonical path of the root that it must be inside.
    inside: Option<PathBuf>,
}

/// Checks that the source is a directory, and the target is not inside the source, and inside `root` if it is relative.
///
/// # Errors
/// The name of each invalid field, with a phrase that follows it.
pub fn check(root: &Path, spec: &OverlaySpec) -> Result<(), Vec<(&'static str, String)>> {
    let (source, target) = match (source(&spec.source), resolve(root, &spec.target)) {
        (Ok(source), Ok(target)) => (source, target),
        (source, target) => {
            let wrong = [("source", source.err()), ("target", target.err())];
            return Err(wrong.into_iter().filter_map(|(field, why)| Some((field, why?))).collect());
        }
    };
    let full: PathBuf = target.missing.iter().fold(target.exists, |path, name| path.join(name.as_os_str()));
    if full.starts_with(&source) {
        return Err(vec![("target", format!("must not be in the source; {} is", full.display()))]);
    }
    Ok(())
}

/// Returns the canonical path of the source.
///
/// # Errors
/// A phrase that fits after the name of the field.
pub fn source(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    let canonical = fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("must exist; there is no {shown}"),
        _ => format!("can't be used: {shown}: {error}"),
    })?;
    if fs::metadata(&canonical).is_ok_and(|metadata| !metadata.is_dir()) {
        return Err(format!("must be a directory; {shown} is none"));
    }
    Ok(canonical)
}

/// Opens a target; creates it and its parents if they are missing.
///
/// # Errors
/// A phrase that fits after the name of the field.
pub fn open(root: &Path, target: &Target) -> Result<(Dir, Made), String> {
    let resolved = resolve(root, target)?;
    let refused = |path: &Path, error: &io::Error| format!("can't be opened: {}: {error}", path.display());
    let mut path = resolved.inside.clone().unwrap_or_else(|| resolved.exists.clone());
    let mut directory = Dir::open(&path, Last::Refuse).map_err(|error| refused(&path, &error))?;
    let inner = resolved.exists.strip_prefix(&path).unwrap_or(Path::new("")).to_owned();
    for component in &inner {
        path.push(component);
        let name = Name::new(component).ok_or_else(|| refused(&path, &io::ErrorKind::InvalidFilename.into()))?;
        directory = directory.open_dir(&name).map_err(|error| refused(&path, &error))?;
    }
    let mut made = Made::Present;
    for name in &resolved.missing {
        path.push(name.as_os_str());
        let next = directory.make_dir(name, PARENT_MODE).and_then(|now| Ok((now, directory.open_dir(name)?)));
        (made, directory) = next.map_err(|error| format!("can't be made: {}: {error}", path.display()))?;
    }
    Ok((directory, made))
}

fn resolve(root: &Path, target: &Target) -> Result<Resolved, String> {
    let full = target.resolved(root);
    let mut missing: Vec<OsString> = Vec::new();
    let mut exists = full.as_path();
    let canonical = loop {
        match fs::canonicalize(exists) {
            Ok(canonical) => break canonical,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(exists).is_ok() {
                    return Err(format!("leads over the symlink {}, which leads to nothing", exists.display()));
                }
                let (Some(parent), Some(name)) = (exists.parent(), exists.file_name()) else {
                    return Err(format!("has \"..\" behind what does not exist: {}", full.display()));
                };
                missing.push(name.to_owned());
                exists = parent;
            }
            Err(error) => return Err(format!("can't be used: {}: {error}", exists.display())),
        }
    };
    if fs::metadata(&canonical).is_ok_and(|metadata| !metadata.is_dir()) {
        return Err(format!("must be a directory; {} is none", exists.display()));
    }
    let missing = missing.iter().rev().map(|name| Name::new(name)).collect::<Option<Vec<Name>>>();
    let missing = missing.ok_or_else(|| format!("has a component that can't be made: {}", full.display()))?;
    let inside = if Path::new(target.as_str()).is_absolute() {
        None
    } else {
        let root = fs::canonicalize(root).map_err(|error| format!("has no root: {}: {error}", root.display()))?;
        if !canonical.starts_with(&root) {
            let (from, to) = (exists.display(), canonical.display());
            return Err(format!("must lie inside the root when it is relative; {from} leads to {to}"));
        }
        Some(root)
    };
    Ok(Resolved { exists: canonical, missing, inside })
}

/// Opens a target if it exists and is allowed.
pub fn existing(root: &Path, target: &Target) -> Option<Dir> {
    let resolved = resolve(root, target).ok()?;
    resolved.missing.is_empty().then(|| open(root, target).ok()).flatten().map(|(directory, _)| directory)
}

/// Removes the target `directory` if it is empty and still at its path: anything that has replaced it or a parent
/// stays. A target that is a symlink stays too.
///
/// # Errors
/// The system's.
pub fn remove_empty(root: &Path, target: &Target, directory: &Dir) -> io::Result<()> {
    let full = target.resolved(root);
    if fs::symlink_metadata(&full)?.is_symlink() {
        return Ok(());
    }
    let canonical = fs::canonicalize(&full)?;
    let (Some(above), Some(name)) = (canonical.parent(), canonical.file_name().and_then(Name::new)) else {
        return Ok(());
    };
    let above = Dir::open(above, Last::Refuse)?;
    if above.stat(&name)?.identity != directory.own_stat()?.identity {
        return Ok(());
    }
    above.remove_dir(&name)
}
