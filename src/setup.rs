//! The setup payload: overlays and servers to create at the start.
//!
//! Owns: its sources and its outer shape, `{"overlays": […], "servers": […]}`. Never: the fields of a server (see
//! `api::input`), the use of the payload (see `boot`).
//!
//! The payload may contain secrets in environments of servers: errors show the position of a mistake, not the text.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::api::input;
use crate::json::{self, Value};
use crate::model::overlay::OverlaySpec;
use crate::model::spec::ServerSpec;
use crate::os::fs::plain::read_named;

mod base64;
#[cfg(test)]
mod tests;

/// The environment variable with a payload in base64.
pub const VARIABLE: &str = "COMPUTESDK_SETUP_B64";
/// The largest file, in bytes: 16 bodies of `POST /servers`. (Linux limits a variable to 128 KiB.)
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// The source of a payload.
#[derive(Clone, PartialEq, Eq)]
pub enum PayloadSource {
    /// A JSON file.
    File(PathBuf),
    /// The value of [`VARIABLE`].
    Variable(String),
}

impl fmt::Debug for PayloadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_name(f)
    }
}

impl PayloadSource {
    fn fmt_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PayloadSource::File(path) => write!(f, "setup file {}", path.display()),
            PayloadSource::Variable(_) => write!(f, "setup payload in {VARIABLE}"),
        }
    }
}

impl fmt::Display for PayloadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_name(f)
    }
}

/// A valid payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Overlays, for which all its servers wait.
    pub overlays: Vec<OverlaySpec>,
    /// Servers with distinct slugs.
    pub servers: Vec<ServerSpec>,
    /// Mistakes that do not prevent the start.
    pub warnings: Vec<String>,
}

/// Reads the payload. A relative `path` of a server is resolved against `root`.
///
/// # Errors
/// One line: the source, the position of the mistake, and the reason.
pub fn read(source: &PayloadSource, root: &Path) -> Result<Payload, String> {
    let text = match source {
        PayloadSource::File(path) => {
            read_named(path, FILE_MAX).map_err(|error| format!("{source} can't be read: {error}"))?
        }
        PayloadSource::Variable(value) => {
            base64::decode(value).map_err(|fault| format!("{source} is not base64: {fault}"))?
        }
    };
    parse(&text, root).map_err(|why| format!("{source}: {why}"))
}

fn parse(text: &[u8], root: &Path) -> Result<Payload, String> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let payload = json::parse(text).map_err(|error| format!("it is not valid JSON: {error}"))?;
    let Value::Object(payload) = payload else {
        return Err("it must be an object with \"overlays\" and \"servers\"".into());
    };
    let ((overlays, servers), warnings) = input::payload(payload, root)?;
    Ok(Payload { overlays, servers, warnings })
}
