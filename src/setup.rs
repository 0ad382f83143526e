//! The setup payload: what the daemon is told to have when it begins.
//!
//! Owns: where the payload comes from and its outer shape, `{"overlays": […], "servers": […]}`. Never: the fields of a
//! server (see `api::input`), what becomes of it (see `boot`).
//!
//! The text may hold secrets in the environments of servers: it is never shown, only the places that are wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::api::input;
use crate::error::{Wrong, quoted, unknown};
use crate::model::spec::ServerSpec;

mod base64;
#[cfg(test)]
mod tests;

/// The variable that carries a payload in base64.
pub const VARIABLE: &str = "COMPUTESDK_SETUP_B64";
/// Linux takes 128 KiB for one variable; a file may be as large as 16 bodies of `POST /servers`.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Where a payload comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A file with the plain JSON.
    File(PathBuf),
    /// The value of [`VARIABLE`].
    Variable(String),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_name(f)
    }
}

impl Source {
    fn fmt_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "setup file {}", path.display()),
            Source::Variable(_) => write!(f, "setup payload in {VARIABLE}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_name(f)
    }
}

/// What the payload asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Its servers; no two have the same slug.
    pub servers: Vec<ServerSpec>,
    /// What is odd about it, and no reason not to begin.
    pub warnings: Vec<String>,
}

/// Reads the payload. A relative `path` of a server is taken from `root`.
///
/// # Errors
/// One line: where it comes from, which place in it is wrong, and why.
pub fn read(source: &Source, root: &Path) -> Result<Payload, String> {
    let text = match source {
        Source::File(path) => read_bounded(path).map_err(|error| format!("{source} can't be read: {error}"))?,
        Source::Variable(value) => base64::decode(value).map_err(|fault| format!("{source} is not base64: {fault}"))?,
    };
    parse(&text, root).map_err(|why| format!("{source}: {why}"))
}

/// A named pipe in the place of the file would hold the start for ever.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_MAX} bytes")));
    }
    Ok(text)
}

fn parse(text: &[u8], root: &Path) -> Result<Payload, String> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let payload: Value = serde_json::from_slice(text).map_err(|error| format!("it is not valid JSON: {error}"))?;
    let Value::Object(mut payload) = payload else {
        return Err("it must be an object with \"overlays\" and \"servers\"".into());
    };
    overlays(&list(&mut payload, "overlays")?)?;
    let (servers, mut warnings) = servers(&list(&mut payload, "servers")?, root)?;
    warnings.extend(payload.keys().map(|name| unknown("field", name, &["overlays", "servers"])));
    Ok(Payload { servers, warnings })
}

/// What is left out or `null` is empty.
fn list(payload: &mut Map<String, Value>, name: &str) -> Result<Vec<Value>, String> {
    match payload.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(format!("{name} must be a list")),
    }
}

/// The one place where a payload's overlays are read.
fn overlays(list: &[Value]) -> Result<(), String> {
    match list {
        [] => Ok(()),
        [..] => Err("overlays are not supported yet by this version; leave them out".into()),
    }
}

fn servers(list: &[Value], root: &Path) -> Result<(Vec<ServerSpec>, Vec<String>), String> {
    let (mut servers, mut warnings, mut wrong) = (Vec::<ServerSpec>::new(), Vec::new(), Vec::new());
    for (number, value) in list.iter().enumerate() {
        let place = format!("servers[{number}]");
        if !value.is_object() {
            wrong.push(format!("{place} must be an object"));
            continue;
        }
        match input::server_spec(value.to_string().as_bytes(), root) {
            Ok((spec, _)) if servers.iter().any(|other| other.slug == spec.slug) => {
                wrong.push(format!("{place}.slug {} is given twice", quoted(spec.slug.as_str())));
            }
            Ok((spec, odd)) => {
                servers.push(spec);
                warnings.extend(odd.into_iter().map(|warning| format!("{place}: {warning}")));
            }
            Err(error) if error.wrong().is_empty() => wrong.push(format!("{place}: {error}")),
            Err(error) => {
                wrong.extend(error.wrong().iter().map(|Wrong { field, why }| format!("{place}.{field} {why}")));
            }
        }
    }
    if wrong.is_empty() { Ok((servers, warnings)) } else { Err(wrong.join("; ")) }
}
