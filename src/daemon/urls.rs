//! Where clients find the servers.
//!
//! Owns: what the options and the listening address say of that together. Never: a socket.

use std::net::SocketAddr;

use crate::config::Config;
use crate::model::public_url::PublicUrl;
use crate::supervisor::ProxyDefaults;

/// Where clients find the servers.
#[derive(Debug, Clone)]
pub struct Urls {
    /// The template of the servers' URLs.
    pub template: PublicUrl,
    pub proxy: Option<ProxyDefaults>,
}

impl Urls {
    /// Returns those of a daemon whose API listens at `api`, and that has perhaps a listener for servers only; `None`
    /// is a unix socket.
    pub fn of(config: &Config, api: Option<SocketAddr>, servers: Option<SocketAddr>) -> Urls {
        let own_ports = api.iter().chain(&servers).map(SocketAddr::port).collect();
        let default = || match (&config.proxy, api.or(servers)) {
            (Some(_), Some(api)) => PublicUrl::by_slug(api.port()),
            (None, _) | (_, None) => PublicUrl::default(),
        };
        let proxy = config.proxy.as_ref().map(|proxy| ProxyDefaults { access: proxy.access, own_ports });
        Urls { template: config.public_url.clone().unwrap_or_else(default), proxy }
    }
}
