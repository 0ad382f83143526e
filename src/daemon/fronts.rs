//! The fronts: one for the API and, with a proxy, the servers; perhaps a second one for servers only.
//!
//! Owns: what is served behind which listener. Never: a connection.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::listen::{self, OpenedListener};
use crate::config::{AuthSource, Config};
use crate::http::service::Service;
use crate::http::visit::VisitService;
use crate::http::{Front, FrontLimits, Listener};
use crate::proxy::{NoApi, Proxy, ProxyListener};

pub struct Fronts {
    api: Front,
    servers: Option<Front>,
}

impl Fronts {
    /// Starts to accept clients.
    ///
    /// # Errors
    /// No thread can be started, or no descriptor is left.
    pub fn open(
        api: Listener,
        servers: Option<Listener>,
        service: Arc<dyn Service>,
        proxy: Option<&Arc<Proxy>>,
    ) -> io::Result<Fronts> {
        let behind = |has_api| {
            proxy.map(|proxy| Arc::new(ProxyListener { proxy: Arc::clone(proxy), has_api }) as Arc<dyn VisitService>)
        };
        let limits = FrontLimits::default();
        let api = Front::open(api, service, behind(true), limits)?;
        let open = |listener| Front::open(listener, Arc::new(NoApi), behind(false), limits);
        Ok(Fronts { api, servers: servers.map(open).transpose()? })
    }

    /// Accepts no more clients. Requests in progress have until `deadline`.
    pub fn close(self, deadline: Instant) {
        self.api.close(deadline);
        if let Some(servers) = self.servers {
            servers.close(deadline);
        }
    }
}

/// Binds the address for servers only, if there is one.
///
/// # Errors
/// A sentence: which address, why, and what to do.
pub fn listen_for_servers(config: &Config) -> Result<Option<OpenedListener>, String> {
    let wanted = config.proxy.as_ref().and_then(|proxy| proxy.listen.as_ref());
    // Its clients need no token, and any user may be one.
    let opened = wanted.map(|wanted| listen::listen(wanted, &AuthSource::Kept)).transpose();
    opened.map_err(|why| why.replace("--listen", "--proxy-listen"))
}
