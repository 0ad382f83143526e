//! The setup payload: what the daemon is told to have when it begins.
//!
//! Owns: where the payload comes from and its outer shape, `{"overlays": […], "servers": […]}`. Never: the fields of a
//! server (see `api::input`), what becomes of it (see `boot`).
//!
//! The text may hold secrets in the environments of servers: it is never shown, only the places that are wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::input;
use crate::model::overlay::OverlaySpec;
use crate::model::spec::ServerSpec;
use crate::os::fs::plain::read_named;

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
    /// Its overlays, for which all of its servers wait.
    pub overlays: Vec<OverlaySpec>,
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
        Source::File(path) => read_named(path, FILE_MAX).map_err(|error| format!("{source} can't be read: {error}"))?,
        Source::Variable(value) => base64::decode(value).map_err(|fault| format!("{source} is not base64: {fault}"))?,
    };
    parse(&text, root).map_err(|why| format!("{source}: {why}"))
}

fn parse(text: &[u8], root: &Path) -> Result<Payload, String> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let payload: Value = serde_json::from_slice(text).map_err(|error| format!("it is not valid JSON: {error}"))?;
    let Value::Object(payload) = payload else {
        return Err("it must be an object with \"overlays\" and \"servers\"".into());
    };
    let ((overlays, servers), warnings) = input::payload(payload, root)?;
    Ok(Payload { overlays, servers, warnings })
}
