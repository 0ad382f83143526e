//! The paths of the API.
//!
//! Owns: the resource of each path, and its methods. Never: a query, whether a server exists.

use super::sdk;
use crate::error::Error;
use crate::model::overlay::OverlayId;
use crate::model::spec::Slug;

pub(super) enum Resource {
    Health,
    OpenApi,
    Page,
    Ready,
    Info,
    AuthStatus,
    Events,
    AllLogs,
    Metrics,
    Runs(Slug),
    Servers,
    Server(Slug),
    Status(Slug),
    Start(Slug),
    Stop(Slug),
    Restart(Slug),
    Logs(Slug),
    Overlays,
    Overlay(OverlayId),
    Sandboxes,
    SandboxFind,
    SandboxFindOrCreate,
    Sandbox(String),
    SandboxExtend(String),
    Snapshots,
    GatewayElsewhere,
    Unsupported(&'static str),
}

impl Resource {
    /// The paths without a slug, for hints.
    pub(super) const PLAIN: [&str; 11] = [
        "/health",
        "/ready",
        "/info",
        "/auth/status",
        "/servers",
        "/events",
        "/logs",
        "/metrics",
        "/filesystem/overlays",
        "/openapi.json",
        "/ui",
    ];

    pub(super) fn find(segments: &[String]) -> Result<Option<Resource>, Error> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        // An invalid slug is that of no server.
        let slug = |text: &str| Slug::parse(text).map_err(|_| Error::server_not_found(text));
        Ok(Some(match segments.as_slice() {
            ["health"] => Resource::Health,
            ["openapi.json"] => Resource::OpenApi,
            ["ui"] => Resource::Page,
            ["ready"] => Resource::Ready,
            ["info"] => Resource::Info,
            ["auth", "status"] => Resource::AuthStatus,
            ["events"] => Resource::Events,
            ["logs"] => Resource::AllLogs,
            ["metrics"] => Resource::Metrics,
            ["servers", text, "runs"] => Resource::Runs(slug(text)?),
            ["servers"] => Resource::Servers,
            ["servers", ""] => return Ok(None),
            ["servers", text] => Resource::Server(slug(text)?),
            ["servers", text, "status"] => Resource::Status(slug(text)?),
            ["servers", text, "start"] => Resource::Start(slug(text)?),
            ["servers", text, "stop"] => Resource::Stop(slug(text)?),
            ["servers", text, "restart"] => Resource::Restart(slug(text)?),
            ["servers", text, "logs"] => Resource::Logs(slug(text)?),
            ["filesystem", "overlays"] => Resource::Overlays,
            ["filesystem", "overlays", ""] => return Ok(None),
            ["filesystem", "overlays", text] => {
                Resource::Overlay(OverlayId::parse(text).ok_or_else(|| Error::overlay_not_found(text))?)
            }
            ["v1", "sandboxes"] => Resource::Sandboxes,
            ["v1", "sandboxes", "find"] => Resource::SandboxFind,
            ["v1", "sandboxes", "find-or-create"] => Resource::SandboxFindOrCreate,
            ["v1", "sandboxes", id] => Resource::Sandbox((*id).to_owned()),
            ["v1", "sandboxes", id, "extend"] => Resource::SandboxExtend((*id).to_owned()),
            ["v1", "snapshots", ..] => Resource::Snapshots,
            ["v1", ..] => Resource::GatewayElsewhere,
            segments => return Ok(sdk::unsupported(segments).map(Resource::Unsupported)),
        }))
    }

    pub(super) fn allow(&self) -> &'static str {
        match self {
            Resource::Health
            | Resource::OpenApi
            | Resource::Page
            | Resource::Ready
            | Resource::Info
            | Resource::AuthStatus
            | Resource::Events
            | Resource::AllLogs
            | Resource::Metrics
            | Resource::Runs(_)
            | Resource::Logs(_) => "GET, HEAD, OPTIONS",
            Resource::Status(_) => "PATCH, OPTIONS",
            Resource::Servers | Resource::Overlays => "GET, HEAD, POST, OPTIONS",
            Resource::Server(_) | Resource::Overlay(_) => "GET, HEAD, DELETE, OPTIONS",
            Resource::Sandbox(_) => "GET, HEAD, DELETE, OPTIONS",
            Resource::Snapshots | Resource::GatewayElsewhere | Resource::Unsupported(_) => {
                "GET, HEAD, POST, DELETE, OPTIONS"
            }
            Resource::Start(_)
            | Resource::Stop(_)
            | Resource::Restart(_)
            | Resource::Sandboxes
            | Resource::SandboxFind
            | Resource::SandboxFindOrCreate
            | Resource::SandboxExtend(_) => "POST, OPTIONS",
        }
    }
}
