//! Sandboxes on the wire of the SDK's gateway.
//!
//! Owns: the names and limits of a sandbox's specification. Never: its creation; the fields of a server or an overlay,
//! which are those of their own requests.
//!
//! Relative paths of a request are relative to its `directory`, stored ones to the root. So the paths of a server are
//! joined here, as texts, which stay relative to the root of the next start.

use std::path::Path;

use super::fields::Fields;
use super::overlay::{OVERLAYS_MAX, overlay};
use super::{path_text, server, variable, work_dir};
use crate::error::{Error, phrases, quoted};
use crate::json::Map;
use crate::model::overlay::{OverlaySpec, Target};
use crate::model::spec::ServerSpec;
use crate::sorted::SortedSet;
use crate::store::fields::millis;

#[cfg(test)]
pub mod tests;

/// The longest name of a sandbox or namespace, in bytes.
const NAME_MAX: usize = 253;
const SERVERS_MAX: usize = 1000;
/// The default namespace, as in the SDK.
const NAMESPACE: &str = "default";

#[derive(Debug, Default, PartialEq)]
pub struct SandboxSpec {
    pub name: Option<SandboxName>,
    /// Returned as it was given.
    pub metadata: Map,
    /// The client's time-out, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Its overlays, for which all of its servers wait.
    pub overlays: Vec<OverlaySpec>,
    /// Its servers; no two have the same slug.
    pub servers: Vec<ServerSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxName {
    /// The part that names are unique in.
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Optional,
    Required,
}

/// Parses the specification of a sandbox. Relative paths are relative to `root`. Also returns warnings for the client.
///
/// # Errors
/// 400 when the body is no JSON; 422 with every field that is wrong, and its place.
pub fn sandbox(body: &[u8], root: &Path, naming: Naming) -> Result<(SandboxSpec, Vec<String>), Error> {
    let mut fields = Fields::read(body)?;
    let spec = sandbox_fields(&mut fields, root, naming);
    finish(fields, spec)
}

/// Reads the name of a sandbox.
///
/// # Errors
/// As [`sandbox`].
pub fn sandbox_name(body: &[u8]) -> Result<(Option<SandboxName>, Vec<String>), Error> {
    let mut fields = Fields::read(body)?;
    let name = name(&mut fields, Naming::Required);
    finish(fields, name)
}

/// Parses the milliseconds by which a time-out is extended.
///
/// # Errors
/// As [`sandbox`].
pub fn extension(body: &[u8]) -> Result<(u64, Vec<String>), Error> {
    let mut fields = Fields::read(body)?;
    let duration = extension_fields(&mut fields);
    finish(fields, duration)
}

fn finish<T>(fields: Fields, read: T) -> Result<(T, Vec<String>), Error> {
    Ok((read, fields.accept()?))
}

pub(super) fn extension_fields(fields: &mut Fields) -> u64 {
    fields.require("duration");
    fields.millis("duration", 0).map(millis).unwrap_or_default()
}

pub(super) fn name(fields: &mut Fields, naming: Naming) -> Option<SandboxName> {
    let namespace = fields.text("namespace", name_text).unwrap_or_else(|| NAMESPACE.to_owned());
    let name = match naming {
        Naming::Optional => fields.text("name", name_text),
        Naming::Required => fields.required_text("name", name_text),
    };
    name.map(|name| SandboxName { namespace, name })
}

pub(super) fn sandbox_fields(fields: &mut Fields, root: &Path, naming: Naming) -> SandboxSpec {
    let name = name(fields, naming);
    let metadata = fields.members("metadata").unwrap_or_default();
    let timeout_ms = fields.millis("timeout", 0).map(millis);
    let directory = fields.text("directory", path_text);
    let variables = fields.object("envs", |inner| inner.rest(variable)).unwrap_or_default();
    let (mut overlays, mut servers) = lists(fields, root, OVERLAYS_MAX, SERVERS_MAX);
    let base = directory.as_deref().unwrap_or_default();
    if !base.is_empty() {
        overlays.iter_mut().for_each(|spec| spec.target = placed(base, &spec.target));
    }
    for spec in &mut servers {
        for (name, value) in &variables {
            if !spec.environment.contains_key(name) {
                spec.environment.insert(name.clone(), value.clone());
            }
        }
        if !base.is_empty() {
            let path = spec.path.original.as_deref().map_or_else(|| base.to_owned(), |path| joined(base, path));
            spec.path = work_dir(Some(path), root);
            spec.overlays.iter_mut().for_each(|spec| spec.target = placed(base, &spec.target));
        }
    }
    SandboxSpec { name, metadata, timeout_ms, servers, overlays }
}

/// Parses the members of a setup payload. Also returns warnings.
///
/// # Errors
/// One sentence with everything that is wrong, and its place.
pub fn payload(members: Map, root: &Path) -> Result<(Lists, Vec<String>), String> {
    let mut fields = Fields::of(members);
    let lists = lists(&mut fields, root, usize::MAX, usize::MAX);
    let (wrong, more, warnings) = fields.close("field");
    if wrong.is_empty() {
        return Ok((lists, warnings));
    }
    let mut sentence = phrases(&wrong);
    if more > 0 {
        sentence.push_str(&format!("; and {more} more are wrong"));
    }
    Err(sentence)
}

/// Overlays, and the servers that wait for all of them. No two servers have the same slug.
pub type Lists = (Vec<OverlaySpec>, Vec<ServerSpec>);

fn lists(fields: &mut Fields, root: &Path, overlays_max: usize, servers_max: usize) -> Lists {
    let overlays = fields.objects("overlays", overlays_max, &mut overlay);
    let mut slugs = SortedSet::default();
    let servers = fields.objects("servers", servers_max, &mut |inner| {
        let spec = server(inner, root)?;
        if !slugs.insert(spec.slug.clone()) {
            inner.blame("slug", format!("{} is given twice", quoted(spec.slug.as_str())));
        }
        Some(spec)
    });
    (overlays, servers)
}

/// A target relative to `directory`. It stays valid.
fn placed(directory: &str, target: &Target) -> Target {
    let joined = joined(directory, target.as_str());
    Target::parse(&joined).unwrap_or_else(|_| target.clone())
}

fn joined(directory: &str, path: &str) -> String {
    match directory.trim_end_matches('/') {
        _ if directory.is_empty() || path.starts_with('/') => path.to_owned(),
        trimmed => format!("{trimmed}/{path}"),
    }
}

fn name_text(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("must not be empty".into()),
        length if length > NAME_MAX => Err(format!("is {length} bytes long; {NAME_MAX} are allowed")),
        _ if text.contains('\0') => Err("must not contain a NUL byte".into()),
        _ => Ok(text.to_owned()),
    }
}
