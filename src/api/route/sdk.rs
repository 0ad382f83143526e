//! The paths that the SDK knows beside those of servers and overlays.
//!
//! Owns: the gateway's paths, and the list of what the SDK has routes for and servisor has not. Never: whether the daemon
//! is a gateway; that is known to the handler.

/// What is asked of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gateway {
    /// A new sandbox in the place of the present one.
    Create,
    /// The sandbox of a name.
    Find,
    /// The sandbox of a name, or else a new one.
    FindOrCreate,
    /// The sandbox of an id.
    Show(String),
    /// Its end.
    Delete(String),
    /// More time for it.
    Extend(String),
    /// Snapshots, by whatever path and method.
    Snapshots,
    /// A path below `/v1` that means nothing.
    Elsewhere,
}

/// Whether `target` is a path of the gateway, as it was sent.
pub fn is_gateway(target: &str) -> bool {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    path.strip_prefix("/v1").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the SDK means by a path, if that is nothing that servisor has: a plural that fits into a sentence.
pub(super) fn unsupported(segments: &[&str]) -> Option<&'static str> {
    Some(match segments {
        ["execute"] | ["run", ..] => "commands",
        ["files", ..] => "files",
        ["terminals", ..] => "terminals",
        ["watchers", ..] => "file watchers",
        ["signals", ..] => "signals",
        ["env"] => "environment files",
        ["sandboxes", ..] => "child sandboxes",
        ["auth", "session_tokens", ..] => "session tokens",
        ["auth", "magic-links"] => "magic links",
        ["auth", "info"] => "details of tokens",
        _ => return None,
    })
}
