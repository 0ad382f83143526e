//! The setup payload: what the daemon is told to have when it begins.
//!
//! Owns: where the payload comes from and its outer shape, `{"overlays": […], "servers": […]}`. Never: the fields of a
//! server (see `api::input`), what becomes of it (see `boot`).
//!
//! The text may hold secrets in the environments of servers: it is never shown, only the places that are wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::api::input;
use crate::error::{Error, WARNINGS_MAX, WRONG_MAX, Wrong, quoted, unknown};
use crate::model::overlay::OverlaySpec;
use crate::model::spec::ServerSpec;
use crate::os::fs::plain::read_named;
use crate::sorted::SortedSet;

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
    let Value::Object(mut payload) = payload else {
        return Err("it must be an object with \"overlays\" and \"servers\"".into());
    };
    let (overlays, mut warnings) = overlays(&list(&mut payload, "overlays")?)?;
    let (servers, more) = servers(&list(&mut payload, "servers")?, root)?;
    warnings.extend(more);
    warnings.extend(payload.keys().take(WARNINGS_MAX).map(|name| unknown("field", name, &["overlays", "servers"])));
    Ok(Payload { overlays, servers, warnings })
}

/// What is left out or `null` is empty.
fn list(payload: &mut Map<String, Value>, name: &str) -> Result<Vec<Value>, String> {
    match payload.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(format!("{name} must be a list")),
    }
}

fn overlays(list: &[Value]) -> Result<(Vec<OverlaySpec>, Vec<String>), String> {
    read_all("overlays", list, input::overlay_spec)
}

fn servers(list: &[Value], root: &Path) -> Result<(Vec<ServerSpec>, Vec<String>), String> {
    let (servers, warnings) = read_all("servers", list, |body| input::server_spec(body, root))?;
    let mut slugs = SortedSet::default();
    for (number, spec) in servers.iter().enumerate() {
        if !slugs.insert(&spec.slug) {
            return Err(format!("servers[{number}].slug {} is given twice", quoted(spec.slug.as_str())));
        }
    }
    Ok((servers, warnings))
}

/// Reads each member of a list as the body of a request of its own, and tells of everything that is wrong at once.
fn read_all<T>(
    name: &str,
    list: &[Value],
    read: impl Fn(&[u8]) -> Result<(T, Vec<String>), Error>,
) -> Result<(Vec<T>, Vec<String>), String> {
    let (mut all, mut warnings, mut wrong) = (Vec::new(), Vec::new(), Wrongs::default());
    for (number, value) in list.iter().enumerate() {
        let place = format!("{name}[{number}]");
        if !value.is_object() {
            wrong.push(format!("{place} must be an object"));
            continue;
        }
        match read(value.to_string().as_bytes()) {
            Ok((one, odd)) => {
                all.push(one);
                warnings.extend(odd.into_iter().map(|warning| format!("{place}: {warning}")));
            }
            Err(error) if error.wrong().is_empty() => wrong.push(format!("{place}: {error}")),
            Err(error) => {
                error.wrong().iter().for_each(|Wrong { field, why }| wrong.push(format!("{place}.{field} {why}")));
            }
        }
    }
    match wrong.into_sentence() {
        None => Ok((all, warnings)),
        Some(sentence) => Err(sentence),
    }
}

/// What is wrong with a list: the first that are, and how many more.
#[derive(Default)]
struct Wrongs {
    named: Vec<String>,
    more: usize,
}

impl Wrongs {
    fn push(&mut self, what: String) {
        if self.named.len() < WRONG_MAX {
            self.named.push(what);
        } else {
            self.more += 1;
        }
    }

    fn into_sentence(mut self) -> Option<String> {
        if self.more > 0 {
            self.named.push(format!("and {} more are wrong", self.more));
        }
        (!self.named.is_empty()).then(|| self.named.join("; "))
    }
}
