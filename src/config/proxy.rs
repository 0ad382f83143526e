//! The options of the proxy.
//!
//! Owns: what they mean together with the others. Never: a socket.

use super::options::{Given, Opt};
use super::{ConfigError, Listen, ProxyConfig, error, parse_listen};
use crate::access::AllowedOrigin;
use crate::error::{one_of, quoted};
use crate::model::proxy::ProxyAccess;
use crate::model::public_url::PublicUrl;

/// The proxy that `given` asks for; `public_url` with the name and the value of its option.
///
/// # Errors
/// One line, as those of [`super::parse`].
pub(super) fn proxy(
    given: &Given<'_>,
    public_url: Option<&(String, String, PublicUrl)>,
    api: &Listen,
    origins: &[AllowedOrigin],
    warnings: &mut Vec<String>,
) -> Result<Option<ProxyConfig>, ConfigError> {
    let listen = match given.one(Opt::ProxyListen)? {
        None => None,
        Some((name, text)) => {
            let listen = parse_listen(&text).or_else(|why| error(format!("{name} {} {why}", quoted(&text))))?;
            Some((name, listen))
        }
    };
    let access = match given.one(Opt::ProxyAccess)? {
        None => None,
        Some((name, text)) => {
            let access = one_of(&text, &ProxyAccess::ALL).or_else(|why| error(format!("{name} {why}")))?;
            Some((name, access))
        }
    };
    let Some(proxy) = given.flag(Opt::Proxy)? else {
        let unused = listen.map(|(name, _)| name).into_iter().chain(access.map(|(name, _)| name));
        warnings.extend(unused.map(|name| format!("{name} means nothing without --proxy")));
        return Ok(None);
    };
    if given.flag(Opt::NoAuth)?.is_some() {
        return error(format!(
            "{proxy} and --no-auth contradict each other: the pages of the servers could run commands; give one of them"
        ));
    }
    match public_url {
        Some((name, text, template)) => template.check_for_proxy().or_else(|why| {
            error(format!("{name} {} {why}: with {proxy} the host of a request leads to its server", quoted(text)))
        })?,
        None if matches!(api, Listen::Unix(_)) && !matches!(listen, Some((_, Listen::Tcp(_)))) => {
            return error(format!(
                "{proxy} on a unix socket needs --public-url, as in \"https://{{slug}}-abc.sandbox.example\""
            ));
        }
        None => {}
    }
    if origins.contains(&AllowedOrigin::Any) {
        warnings.push(format!(
            "{proxy} with --allow-origin \"*\": the pages of the servers may read what the API says without a token; name \
             the origins"
        ));
    }
    let access = access.map_or(ProxyAccess::default(), |(_, access)| access);
    Ok(Some(ProxyConfig { listen: listen.map(|(_, listen)| listen), access }))
}
