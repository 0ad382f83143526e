//! The routes of the SDK's gateway.
//!
//! Owns: the checks before a sandbox is accepted, and the responses. Never: the steps that replace a sandbox (see
//! `gateway`).

use super::super::gateway::record::Sandbox;
use super::super::gateway::{CreateOutcome, Gateway};
use super::super::input::{self, Naming, SandboxSpec};
use super::super::route::GatewayAction;
use super::super::{Api, reply, wire};
use super::{Body, create, joined, read};
use crate::error::{Code, Error, Wrong};
use crate::handoff::Reply;
use crate::log;

/// Answers a request to the gateway.
pub fn answer(
    api: &Api,
    host: Option<&str>,
    asked: GatewayAction,
    body: Body,
    warnings: Vec<String>,
) -> Result<Reply, Error> {
    let gateway = api.gateway.as_ref().ok_or_else(Error::gateway_off)?;
    match asked {
        GatewayAction::Create => {
            let (spec, warnings) = wanted(api, body, Naming::Optional, warnings)?;
            let sandbox = gateway.create(api, spec)?;
            Ok(show(api, gateway, host, &sandbox, 201, &warnings))
        }
        GatewayAction::FindOrCreate => {
            let (spec, warnings) = wanted(api, body, Naming::Required, warnings)?;
            let (found, sandbox) = gateway.find_or_create(api, spec)?;
            let status = match found {
                CreateOutcome::Present => 200,
                CreateOutcome::Made => 201,
            };
            Ok(show(api, gateway, host, &sandbox, status, &warnings))
        }
        GatewayAction::Find => {
            let (name, more) = read(api, body, input::sandbox_name)?;
            let sandbox = name.as_ref().and_then(|name| gateway.find_name(name));
            let asked_for = name.map(|name| name.name).unwrap_or_default();
            let sandbox = sandbox.ok_or_else(|| Error::sandbox_not_found(&asked_for))?;
            Ok(show(api, gateway, host, &sandbox, 200, &joined(warnings, more)))
        }
        GatewayAction::Show(id) => Ok(show(api, gateway, host, &*gateway.find(&id)?, 200, &warnings)),
        GatewayAction::Delete(id) => gateway.delete(api, &id).map(|()| reply::document(wire::SUCCESS)),
        GatewayAction::Extend(id) => {
            let (more_ms, _) = read(api, body, input::extension)?;
            gateway.extend(&id, more_ms).map(|()| reply::document(wire::SUCCESS))
        }
        GatewayAction::Snapshots => Err(Error::unsupported("snapshots")),
        GatewayAction::Elsewhere => {
            Err(Error::new(Code::NotFound, "the gateway has nothing at this path, only /v1/sandboxes"))
        }
    }
}

/// Parses and checks the specification of a sandbox; also returns all warnings.
fn wanted(api: &Api, body: Body, naming: Naming, warnings: Vec<String>) -> Result<(SandboxSpec, Vec<String>), Error> {
    let (spec, more) = read(api, body, |body| input::sandbox(body, &api.root, naming))?;
    check(api, &spec)?;
    // The SDK drops unknown fields, so log the warnings too.
    more.iter().for_each(|warning| log::warn(format_args!("in a request for a sandbox: {warning}")));
    // These are logged where the servers begin.
    let of_names: Vec<_> = spec.servers.iter().filter_map(|server| api.registry.warning_about(&server.slug)).collect();
    Ok((spec, joined(joined(warnings, more), of_names)))
}

fn show(
    api: &Api,
    gateway: &Gateway,
    host: Option<&str>,
    sandbox: &Sandbox,
    status: u16,
    warnings: &[String],
) -> Reply {
    let url = match (gateway.url(), host) {
        (Some(url), _) => url.to_owned(),
        (None, Some(host)) if is_plain(host) => format!("http://{host}"),
        (None, _) => api.address.clone(),
    };
    let (servers, overlays) = (api.registry.views(), api.overlays.views());
    reply::json(status, &wire::sandbox(sandbox, &url, &servers, &overlays, warnings))
}

/// Whether `host` is only a name or address, with or without a port.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

fn check(api: &Api, spec: &SandboxSpec) -> Result<(), Error> {
    let mut wrong = Vec::new();
    for (number, overlay) in spec.overlays.iter().enumerate() {
        for (field, why) in api.overlays.check(overlay).err().unwrap_or_default() {
            wrong.push(Wrong { field: format!("overlays[{number}].{field}"), why });
        }
    }
    for (number, server) in spec.servers.iter().enumerate() {
        for Wrong { field, why } in create::faults(server, &api.overlays, !spec.overlays.is_empty()) {
            // Reported below for all of them.
            if field != "depends_on" {
                wrong.push(Wrong { field: format!("servers[{number}].{field}"), why });
            }
        }
        if !server.depends_on.is_empty() {
            let why = "must be left out: the overlays that there are now end with their sandbox, and those of the new \
                       one are waited for anyway";
            wrong.push(Wrong { field: format!("servers[{number}].depends_on"), why: why.into() });
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::invalid(wrong)) }
}
