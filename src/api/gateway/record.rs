//! The stored sandbox.
//!
//! Owns: the form of its one file. Never: servers and overlays, which have files of their own.

use std::io;
use std::sync::Arc;

use serde::Serialize;

use crate::api::input::SandboxName;
use crate::json::Map;
use crate::store::files::{Files, VERSION};
use crate::store::members::Members;

const FILE: &str = "sandbox";

#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    /// Random; never reused.
    pub id: String,
    pub name: Option<SandboxName>,
    /// Returned to clients as it was given.
    pub metadata: Arc<Map>,
    /// The client's time-out, in milliseconds; only shown.
    pub timeout_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Being created: after a restart the daemon drops it, since its creation was not answered.
    Begun,
    Made,
}

#[derive(Serialize)]
struct SandboxFile<'a> {
    version: u64,
    id: &'a str,
    is_made: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    metadata: &'a Map,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

/// Stores `sandbox`, in place of the previous one.
///
/// # Errors
/// It can't be stored; what was stored before still is.
pub fn write(files: &Files, sandbox: &Sandbox, stage: Stage) -> io::Result<()> {
    let Sandbox { id, name, metadata, timeout_ms } = sandbox;
    let written = SandboxFile {
        version: VERSION,
        id,
        is_made: stage == Stage::Made,
        namespace: name.as_ref().map(|name| name.namespace.as_str()),
        name: name.as_ref().map(|name| name.name.as_str()),
        metadata,
        timeout_ms: *timeout_ms,
    };
    files.put(FILE, &written)
}

/// Removes the file.
///
/// # Errors
/// It can't be removed, and still is stored.
pub fn remove(files: &Files) -> io::Result<()> {
    files.remove(FILE)
}

/// The stored sandbox, if it is complete.
///
/// # Errors
/// The directory can't be read.
pub fn stored(files: &Files) -> io::Result<Option<Sandbox>> {
    let all = files.load(|name, members| if name == FILE { parse(members) } else { Err("it is no sandbox".into()) })?;
    Ok(all.into_iter().flatten().next())
}

fn parse(mut members: Members) -> Result<Option<Sandbox>, String> {
    if !members.flag("is_made")? {
        return Ok(None);
    }
    let metadata = Arc::new(members.take_object("metadata")?.into_map());
    let name = match (members.has("namespace"), members.has("name")) {
        (true, true) => Some(SandboxName {
            namespace: members.text("namespace")?.to_owned(),
            name: members.text("name")?.to_owned(),
        }),
        (_, _) => None,
    };
    Ok(Some(Sandbox {
        id: members.text("id")?.to_owned(),
        name,
        metadata,
        timeout_ms: if members.has("timeout_ms") { Some(members.number("timeout_ms")?) } else { None },
    }))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::json::{Value, json};
    use crate::testing::Scratch;

    #[test]
    fn a_sandbox_is_read_as_it_was_written_and_one_that_was_never_whole_is_none() {
        let scratch = Scratch::absent();
        let path = &scratch.0;
        let files = Files::open(path.clone()).unwrap();
        assert_eq!(stored(&files).unwrap(), None);
        let Value::Object(metadata) = json!({"user": "ü", "deep": {"n": [1, null]}}) else { unreachable!() };
        let name = Some(SandboxName { namespace: "default".into(), name: "web".into() });
        let full = Sandbox { id: "a1".into(), name, metadata: metadata.into(), timeout_ms: Some(7) };
        let bare = Sandbox { name: None, metadata: Arc::default(), timeout_ms: None, ..full.clone() };
        for sandbox in [&full, &bare] {
            write(&files, sandbox, Stage::Made).unwrap();
            assert_eq!(stored(&files).unwrap().as_ref(), Some(sandbox));
        }
        write(&files, &full, Stage::Begun).unwrap();
        assert_eq!(stored(&files).unwrap(), None);
        write(&files, &full, Stage::Made).unwrap();
        remove(&files).unwrap();
        assert_eq!(stored(&files).unwrap(), None);
        // What is spoiled is set aside, and no reason not to start.
        for text in ["{", "{\"version\": 1}", "{\"version\": 1, \"is_made\": true, \"metadata\": {}}"] {
            std::fs::write(path.join("sandbox.json"), text).unwrap();
            assert_eq!(stored(&files).unwrap(), None, "{text}");
            assert!(!path.join("sandbox.json").exists(), "{text}");
        }
    }
}
