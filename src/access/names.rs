//! The names of this daemon: which `Host` and which `Origin` are its own.
//!
//! Owns: how an authority is read, and the list of own names. Never: a token, a decision about a request. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::public_url::PublicUrl;

/// Browsers leave this port out of `Host` and `Origin`.
const HTTP_PORT: u16 = 80;

/// The addresses of the daemon, from which its names follow.
#[derive(Debug, Clone)]
pub struct Names {
    /// The listening address; `None` for a unix socket.
    listening: Option<SocketAddr>,
    /// The public URL of servers, and of the daemon.
    public_url: PublicUrl,
}

/// A host as `Host` and `Origin` write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host<'a> {
    Name(&'a str),
    Address(IpAddr),
}

impl Names {
    pub fn new(listening: Option<SocketAddr>, public_url: PublicUrl) -> Names {
        Names { listening, public_url }
    }

    /// Whether `authority` is a loopback name or the listening address, with the listening port. For a unix socket
    /// any port counts.
    pub fn is_local(&self, authority: &str) -> bool {
        read(authority).is_some_and(|(host, port)| {
            let is_port = self.listening.is_none_or(|own| port.unwrap_or(HTTP_PORT) == own.port());
            is_port && (is_loopback_name(host) || self.is_listening_address(host))
        })
    }

    /// Whether `origin` is that of the API itself: `http`, a local host and the listening port. A unix socket has none.
    pub fn is_own_origin(&self, origin: &str) -> bool {
        let authority = strip_prefix_ignoring_case(origin, "http://");
        self.listening.is_some() && authority.is_some_and(|authority| self.is_local(authority))
    }

    /// Whether `authority` names this daemon under any port, since a port may be forwarded: a loopback name, the
    /// listening address, or the host of `--public-url`. With a wildcard every address counts: unlike a
    /// name, an address can't be pointed at another machine.
    pub fn is_known(&self, authority: &str) -> bool {
        read(authority).is_some_and(|(host, _)| {
            is_loopback_name(host)
                || self.is_listening_address(host)
                || match host {
                    Host::Name(_) => false,
                    Host::Address(_) => self.listening.is_some_and(|own| own.ip().is_unspecified()),
                }
                || self.public_url.has_host(host_text(authority))
        })
    }

    /// A host that [`Names::is_local`] accepts, to be shown in an error.
    pub fn example(&self) -> String {
        self.listening.map_or_else(|| "localhost".into(), |own| format!("localhost:{}", own.port()))
    }

    fn is_listening_address(&self, host: Host<'_>) -> bool {
        match host {
            Host::Name(_) => false,
            Host::Address(address) => self.listening.is_some_and(|own| own.ip() == address),
        }
    }
}

fn is_loopback_name(host: Host<'_>) -> bool {
    match host {
        Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Address(address) => {
            address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
        }
    }
}

/// The host of `authority` and its port, if it has one; `None` if it is no authority or has user information.
fn read(authority: &str) -> Option<(Host<'_>, Option<u16>)> {
    let host = host_text(authority);
    let port = match &authority[host.len()..] {
        "" => None,
        rest => {
            let digits = rest.strip_prefix(':').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            Some(digits.parse().ok()?)
        }
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => Host::Address(IpAddr::V6(rest.strip_suffix(']')?.parse().ok()?)),
        None => match host.parse() {
            Ok(address) => Host::Address(IpAddr::V4(address)),
            Err(_) if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) => {
                Host::Name(host)
            }
            Err(_) => return None,
        },
    };
    Some((host, port))
}

/// `authority` up to its port; an IPv6 address with its brackets.
fn host_text(authority: &str) -> &str {
    let from = if authority.starts_with('[') { authority.find(']').unwrap_or(0) } else { 0 };
    authority[from..].find(':').map_or(authority, |at| &authority[..from + at])
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
