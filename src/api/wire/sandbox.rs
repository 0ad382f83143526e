//! Sandboxes in responses of the gateway.
//!
//! Owns: their names on the wire. Never: a decision; an empty body, at which the SDK throws.

use std::sync::Arc;

use serde::Serialize;

use super::overlay::OverlayBrief;
use super::server::ServerBrief;
use crate::api::gateway::record::Sandbox;
use crate::json::Map;
use crate::model::view::ServerView;
use crate::overlay::OverlayView;

/// The provider in responses, whatever the client has named.
const PROVIDER: &str = "servisor";

pub const SUCCESS: &[u8] = br#"{"success":true}"#;

/// The sandbox with its content; `url` is its URL.
pub fn sandbox<'a>(
    sandbox: &'a Sandbox,
    url: &'a str,
    servers: &'a [Arc<ServerView>],
    overlays: &'a [OverlayView],
    warnings: &'a [String],
) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct SandboxAnswer<'a> {
        success: bool,
        data: Data<'a>,
    }
    #[derive(Serialize)]
    struct Data<'a> {
        #[serde(rename = "sandboxId")]
        id: &'a str,
        url: &'a str,
        provider: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        metadata: &'a Map,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<u64>,
        overlays: Vec<OverlayBrief<'a>>,
        servers: Vec<ServerBrief<'a>>,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
    }
    let data = Data {
        id: &sandbox.id,
        url,
        provider: PROVIDER,
        name: sandbox.name.as_ref().map(|name| name.name.as_str()),
        namespace: sandbox.name.as_ref().map(|name| name.namespace.as_str()),
        metadata: &sandbox.metadata,
        timeout: sandbox.timeout_ms,
        overlays: overlays.iter().map(OverlayBrief::of).collect(),
        servers: servers.iter().map(|view| ServerBrief::of(view)).collect(),
        warnings,
    };
    SandboxAnswer { success: true, data }
}
