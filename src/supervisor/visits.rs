//! Who may visit a server through the proxy.
//!
//! Owns: whether a key is needed, and the making of one. Never: a request.

use super::ProxyDefaults;
use crate::log;
use crate::model::proxy::{AccessKey, ProxyAccess};
use crate::model::spec::ServerSpec;
use crate::os::random;

/// Whether a client needs a key to visit the server.
pub fn needs_key(proxy: Option<&ProxyDefaults>, spec: &ServerSpec) -> bool {
    proxy.is_some_and(|proxy| spec.proxy.access.unwrap_or(proxy.access) == ProxyAccess::Key)
}

/// The stored key, or a new one.
pub fn key(stored: Option<&AccessKey>) -> AccessKey {
    let made = || {
        let digits = random::hex(AccessKey::BYTES).inspect_err(|error| {
            log::error(format_args!("a server can't be visited, the system gives no random numbers: {error}"));
        });
        digits.ok().and_then(|digits| AccessKey::parse(&digits)).unwrap_or(AccessKey::UNUSABLE)
    };
    stored.cloned().unwrap_or_else(made)
}
