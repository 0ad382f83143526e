//! From the `Host` of a request back to a server.
//!
//! Owns: which host names are those of servers, and what they name. Never: whether there is such a server. Pure.

use super::{LOCALHOST, PublicUrl, UrlPart};
use crate::model::spec::Port;

/// The longest host name, in bytes (RFC 1035).
const HOST_MAX: usize = 253;

/// What a `Host` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visited {
    /// Nothing: it is no host name.
    Malformed,
    /// No server: the API.
    Api,
    /// A server, never the API: the first of these that exists; none if it can name no server. `scheme` is that of the
    /// name.
    Server { sought: Vec<Sought>, scheme: Scheme },
}

/// A way to find a server. Slugs are in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// By its slug, at its main port.
    Slug(String),
    /// By a port on which it listens, or that was allocated to it.
    Port(Port),
    /// By its slug, at this port of it.
    SlugAndPort(String, Port),
}

/// How clients speak to the name that they visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl PublicUrl {
    /// What `authority`, the value of `Host`, names behind the proxy: the template first, then `{slug}.localhost`, then
    /// `{port}.localhost` and `ANY-{port}.localhost`.
    pub fn visited(&self, authority: &str) -> Visited {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or(("", ".")),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return Visited::Malformed;
        }
        if authority.starts_with('[') {
            let is_address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            return if host.bytes().all(is_address) { Visited::Api } else { Visited::Malformed };
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        // A second dot at the end would make another name of a server's.
        if host.len() > HOST_MAX || host.ends_with('.') || !host.bytes().all(is_host) {
            return Visited::Malformed;
        }
        let mut sought = Vec::new();
        let by_template = self.read(host);
        sought.extend(by_template);
        if let Some(label) = host.strip_suffix(LOCALHOST).filter(|label| is_label(label)) {
            let by_slug = Sought::Slug(label.to_owned());
            if !sought.contains(&by_slug) {
                sought.push(by_slug);
            }
            let digits = label.rsplit_once('-').map_or(label, |(any, digits)| if any.is_empty() { "" } else { digits });
            let by_port = read_port(digits).map(Sought::Port);
            sought.extend(by_port.filter(|by_port| !sought.contains(by_port)));
        }
        // All names below localhost are for servers, whether there is one or not.
        if sought.is_empty() && !host.ends_with(LOCALHOST) {
            return Visited::Api;
        }
        let is_secure = self.is_https() && !host.ends_with(LOCALHOST);
        Visited::Server { sought, scheme: if is_secure { Scheme::Https } else { Scheme::Http } }
    }

    fn is_https(&self) -> bool {
        matches!(self.parts.first(), Some(UrlPart::Text(text)) if text.starts_with("https:"))
    }

    /// The template's host, without scheme and port.
    pub(super) fn host(&self) -> Vec<UrlPart> {
        let mut pattern = Vec::new();
        let mut bracketed = false;
        for (at, part) in self.parts.iter().enumerate() {
            let UrlPart::Text(text) = part else {
                pattern.push(part.clone());
                continue;
            };
            let text = if at == 0 { text.split_once("://").map_or("", |(_, rest)| rest) } else { text };
            let end = text.find(|character| {
                bracketed = (bracketed || character == '[') && character != ']';
                matches!(character, '/' | '?' | '#') || character == ':' && !bracketed
            });
            pattern.push(UrlPart::Text(text[..end.unwrap_or(text.len())].to_ascii_lowercase()));
            if end.is_some() {
                break;
            }
        }
        pattern
    }

    /// Whether `host`, in small letters and without a port, is one of the template's.
    pub(super) fn is_host(&self, host: &str) -> bool {
        host.len() <= HOST_MAX && Filled::default().fits(&self.host(), host)
    }

    /// What `host`, in small letters and without a port, names by the template.
    fn read(&self, host: &str) -> Option<Sought> {
        let mut filled = Filled::default();
        if host.len() > HOST_MAX || !filled.fits(&self.host(), host) {
            return None;
        }
        match (filled.slug, filled.port.map(read_port)) {
            (Some(slug), None) => Some(Sought::Slug(slug.to_owned())),
            (None, Some(Some(port))) => Some(Sought::Port(port)),
            (Some(slug), Some(Some(port))) => Some(Sought::SlugAndPort(slug.to_owned(), port)),
            (_, Some(None)) | (None, None) => None,
        }
    }
}

/// The placeholders of a template as a host name fills them in.
#[derive(Debug, Clone, Copy, Default)]
struct Filled<'a> {
    slug: Option<&'a str>,
    port: Option<&'a str>,
}

impl<'a> Filled<'a> {
    /// A placeholder stands for one byte or more, and for the same text wherever it occurs.
    fn fits(&mut self, pattern: &[UrlPart], host: &'a str) -> bool {
        let Some((first, rest)) = pattern.split_first() else { return host.is_empty() };
        let is_part: fn(u8) -> bool = match first {
            UrlPart::Text(text) => return host.strip_prefix(text.as_str()).is_some_and(|end| self.fits(rest, end)),
            UrlPart::Port => |byte| byte.is_ascii_digit(),
            UrlPart::Slug => is_of_label,
        };
        let longest = host.bytes().take_while(|byte| is_part(*byte)).count();
        let before = *self;
        (1..=longest).rev().any(|length| {
            let (text, end) = host.split_at(length);
            *self = before;
            let place = if *first == UrlPart::Port { &mut self.port } else { &mut self.slug };
            *place.get_or_insert(text) == text && self.fits(rest, end)
        })
    }
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Whether a slug, in small letters, can be one label of a host name.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_of_label)
}

/// A port as a URL has it: without leading zeros.
fn read_port(digits: &str) -> Option<Port> {
    digits.parse().ok().filter(|port: &Port| port.to_string() == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(text: &str) -> Sought {
        Sought::Slug(text.to_owned())
    }

    fn port(number: u16) -> Sought {
        Sought::Port(Port::new(number).unwrap())
    }

    fn both(text: &str, number: u16) -> Sought {
        Sought::SlugAndPort(text.to_owned(), Port::new(number).unwrap())
    }

    /// What the host names, in the order in which it is looked for; nothing for the API.
    fn sought(template: &str, host: &str) -> Vec<Sought> {
        match PublicUrl::parse(template).unwrap().visited(host) {
            Visited::Malformed => panic!("{host}"),
            Visited::Api => Vec::new(),
            Visited::Server { sought, .. } => sought,
        }
    }

    #[test]
    fn the_template_comes_first_then_the_names_of_localhost() {
        let by_port = "https://abc-{port}.sandbox.example";
        let by_slug = "https://{slug}-abc.sandbox.example:8443/x";
        let local = "http://{slug}.localhost:18080";
        for (template, host, expected) in [
            (by_port, "abc-3000.sandbox.example", vec![port(3000)]),
            (by_port, "ABC-3000.Sandbox.Example.:443", vec![port(3000)]),
            (by_port, "abc-03000.sandbox.example", vec![]),
            (by_port, "abc-0.sandbox.example", vec![]),
            (by_port, "abc-65536.sandbox.example", vec![]),
            (by_port, "abc-3000.sandbox.example.evil.com", vec![]),
            (by_port, "xabc-3000.sandbox.example", vec![]),
            (by_port, "sandbox.example", vec![]),
            (by_port, "web.localhost:18080", vec![slug("web")]),
            (by_slug, "Web-abc.sandbox.example:8443", vec![slug("web")]),
            (by_slug, "my-web-abc.sandbox.example", vec![slug("my-web")]),
            (by_slug, "a.b-abc.sandbox.example", vec![]),
            (by_slug, "a_b-abc.sandbox.example", vec![]),
            (by_slug, "-abc.sandbox.example", vec![]),
            (local, "web.localhost:18080", vec![slug("web")]),
            (local, "3000.localhost", vec![slug("3000"), port(3000)]),
            (local, "web-3000.localhost.", vec![slug("web-3000"), port(3000)]),
            (local, "-3000.localhost", vec![slug("-3000")]),
            (local, "a.b-3000.localhost", vec![]),
            (local, "localhost:18080", vec![]),
            (local, ".localhost", vec![]),
            ("https://{slug}-{port}.example", "a-b-3000.example", vec![both("a-b", 3000)]),
            ("https://{slug}-{port}.example", "a-b.example", vec![]),
            ("https://{slug}.{slug}.example", "a.a.example", vec![slug("a")]),
            ("https://{slug}.{slug}.example", "a.b.example", vec![]),
            ("https://{port}.localhost", "3000.localhost", vec![port(3000), slug("3000")]),
            (local, "127.0.0.1:18080", vec![]),
            (local, "[::1]:18080", vec![]),
            (local, "[fd00::1]", vec![]),
            (local, "", vec![]),
        ] {
            assert_eq!(sought(template, host), expected, "{template} {host}");
        }
    }

    #[test]
    fn what_is_no_host_name_names_nothing() {
        let url = PublicUrl::by_slug(18080);
        let long = format!("{}.localhost", "a".repeat(250));
        for host in ["a b", "a/b", "user@web.localhost", "wéb.localhost", "web.localhost:x", "[::1", "[::1]x", "[x]"] {
            assert_eq!(url.visited(host), Visited::Malformed, "{host}");
        }
        for host in [&*long, "a,b", "a%2e", "a:1:2", "[::1]:1:2", "web\t", "*", "\"web\"", "web.localhost.."] {
            assert_eq!(url.visited(host), Visited::Malformed, "{host}");
        }
    }

    #[test]
    fn the_scheme_is_that_of_the_name_that_was_visited() {
        let url = PublicUrl::parse("https://{slug}.example").unwrap();
        let scheme = |host: &str| match url.visited(host) {
            Visited::Server { scheme, .. } => Some(scheme.as_str()),
            Visited::Malformed | Visited::Api => None,
        };
        assert_eq!(["web.example", "web.localhost", "x.y"].map(scheme), [Some("https"), Some("http"), None]);
    }

    #[test]
    fn a_url_leads_back_to_its_server() {
        let port = Port::new(3000);
        for template in ["https://{slug}.example", "https://x-{port}.example", "http://{slug}-{port}.localhost:1"] {
            let url = PublicUrl::parse(template).unwrap();
            let rendered = url.behind_proxy(port, &super::super::Slug::parse("My-web").unwrap()).unwrap();
            let host = rendered.split_once("://").unwrap().1;
            let first = sought(template, host).remove(0);
            assert!([slug("my-web"), Sought::Port(port.unwrap()), both("my-web", 3000)].contains(&first), "{host}");
        }
    }
}
