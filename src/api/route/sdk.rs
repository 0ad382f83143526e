//! Further paths of the SDK.
//!
//! Owns: the gateway's paths, and the list of the SDK's routes that servisor does not have. Never: whether the daemon
//! is a gateway, which the handler checks.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayAction {
    /// Replace the sandbox.
    Create,
    /// By name.
    Find,
    /// By name, or else a new one.
    FindOrCreate,
    /// By id.
    Show(String),
    Delete(String),
    /// Extend its time-out.
    Extend(String),
    /// Snapshots, any path and method.
    Snapshots,
    /// An unknown path below `/v1`.
    Elsewhere,
}

/// Whether `target` is a path of the gateway, as it was sent.
pub fn is_gateway(target: &str) -> bool {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    path.strip_prefix("/v1").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name of a part of the SDK that servisor does not have, as a plural for a sentence.
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
