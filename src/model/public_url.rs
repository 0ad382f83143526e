//! The public URL of a server.
//!
//! Owns: the template of `--public-url` and its placeholders: from a server to its URL, and from a host name back to
//! the server (`visited`). Never: whether the URL is reachable, or whether there is such a server.

use super::spec::{Port, Slug};

mod visited;

pub use visited::{Scheme, Sought, Visited};

use visited::is_label;

/// A template for the URLs of servers: `{port}` stands for the port, `{slug}` for the server's slug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    parts: Vec<UrlPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum UrlPart {
    Text(String),
    Port,
    Slug,
}

/// The names of this machine that need no DNS (RFC 6761).
const LOCALHOST: &str = ".localhost";

impl PublicUrl {
    /// The default template, for clients on the same machine.
    pub const DEFAULT: &str = "http://localhost:{port}";

    /// Parses a template. It must contain `{port}` or `{slug}`, so that servers have different URLs.
    ///
    /// # Errors
    /// The broken rule, as a phrase that follows the option's name and value.
    pub fn parse(text: &str) -> Result<PublicUrl, String> {
        let Some(place) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
            return Err("must begin with \"http://\" or \"https://\"".into());
        };
        if place.is_empty() || place.starts_with('/') {
            return Err(format!("has no host; \"{}\" would be right", PublicUrl::DEFAULT));
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("must not contain spaces".into());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                return Err("has a \"{\" without its \"}\"".into());
            };
            push_text(&mut parts, before)?;
            parts.push(match name {
                "port" => UrlPart::Port,
                "slug" => UrlPart::Slug,
                other => return Err(format!("has {{{other}}} in it; only {{port}} and {{slug}} are filled in")),
            });
            rest = behind;
        }
        push_text(&mut parts, rest)?;
        if !parts.contains(&UrlPart::Port) && !parts.contains(&UrlPart::Slug) {
            return Err(format!("must have {{port}} or {{slug}} in it, as in \"{}\"", PublicUrl::DEFAULT));
        }
        Ok(PublicUrl { parts })
    }

    /// Returns the URL of one server. `named` is its address and port, if it does not listen on `localhost`; it
    /// replaces the host of the default template only.
    pub fn fill(&self, port: Port, slug: &Slug, named: Option<&str>) -> String {
        if let Some(authority) = named
            && *self == PublicUrl::default()
        {
            return format!("http://{authority}");
        }
        self.parts.iter().fold(String::new(), |url, part| match part {
            UrlPart::Text(text) => url + text,
            UrlPart::Port => url + &port.to_string(),
            UrlPart::Slug => url + slug.as_str(),
        })
    }

    /// The template of the proxy's own names, for a daemon that listens on `port`.
    pub fn by_slug(port: u16) -> PublicUrl {
        let after = format!("{LOCALHOST}:{port}");
        PublicUrl { parts: vec![UrlPart::Text("http://".into()), UrlPart::Slug, UrlPart::Text(after)] }
    }

    /// Returns the URL of one server behind the proxy, which finds it by the host alone. `None` as long as it needs the
    /// port and that is not known, and for a slug that no host name can have.
    pub fn behind_proxy(&self, port: Option<Port>, slug: &Slug) -> Option<String> {
        let label = slug.as_str().to_ascii_lowercase();
        let mut url = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            // The proxy knows these by port too.
            let is_local = matches!(self.parts.get(at + 1), Some(UrlPart::Text(next)) if next.starts_with(LOCALHOST));
            match part {
                UrlPart::Text(text) => url += text,
                UrlPart::Slug if is_label(&label) => url += &label,
                UrlPart::Slug if !is_local => return None,
                UrlPart::Port | UrlPart::Slug => url += &port?.to_string(),
            }
        }
        Some(url)
    }

    /// Whether a host name of the proxy can have this slug in it, or needs none.
    pub fn can_name(&self, slug: &Slug) -> bool {
        self.behind_proxy(Some(Port::MIN), slug).is_some()
    }

    /// Returns the URL that a server will have, as far as it is known before it listens. `port` is the allocated one.
    pub fn before_start(&self, port: Option<Port>, slug: &Slug, is_proxied: bool) -> Option<String> {
        if is_proxied {
            return self.behind_proxy(port, slug);
        }
        let any = if self.parts.contains(&UrlPart::Port) { port? } else { Port::MIN };
        Some(self.fill(any, slug, None))
    }

    /// Whether a host name distinguishes servers, as the proxy needs it.
    ///
    /// # Errors
    /// The broken rule, as a phrase that follows the option's name and value.
    pub fn check_for_proxy(&self) -> Result<(), &'static str> {
        if self.host().iter().all(|part| matches!(part, UrlPart::Text(_))) {
            return Err("must have {slug} or {port} in its host, as in \"https://{slug}-abc.sandbox.example\"");
        }
        if self.has_host("localhost") {
            return Err(
                "would take the name localhost from the API; add a domain, as in \"http://{slug}.localhost:18080\"",
            );
        }
        Ok(())
    }

    /// Whether `host` (without a port) matches the template's host for any port and slug.
    pub fn has_host(&self, host: &str) -> bool {
        self.is_host(&host.to_ascii_lowercase())
    }
}

impl Default for PublicUrl {
    fn default() -> PublicUrl {
        PublicUrl { parts: vec![UrlPart::Text("http://localhost:".into()), UrlPart::Port] }
    }
}

fn push_text(parts: &mut Vec<UrlPart>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err("has a \"}\" without its \"{\"".into());
    }
    if !text.is_empty() {
        parts.push(UrlPart::Text(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str) -> String {
        PublicUrl::parse(template).unwrap().fill(Port::new(3000).unwrap(), &Slug::parse("web").unwrap(), None)
    }

    #[test]
    fn placeholders_are_filled_in_wherever_they_stand() {
        for (template, url) in [
            (PublicUrl::DEFAULT, "http://localhost:3000"),
            ("https://{port}-abc.sandbox.example", "https://3000-abc.sandbox.example"),
            ("https://{slug}.example", "https://web.example"),
            ("https://{slug}-{port}.example/{slug}/?p={port}", "https://web-3000.example/web/?p=3000"),
        ] {
            assert_eq!(fill(template), url);
        }
        assert_eq!(PublicUrl::parse(PublicUrl::DEFAULT).unwrap(), PublicUrl::default());
    }

    #[test]
    fn a_host_is_known_by_the_template() {
        let table: [(&str, &[&str], &[&str]); 6] = [
            (PublicUrl::DEFAULT, &["localhost", "LOCALHOST"], &["", "localhos", "localhostx", "a.localhost", "3000"]),
            (
                "https://{port}-abc.sandbox.example/x",
                &["18080-abc.sandbox.example", "1-ABC.sandbox.example"],
                &[
                    "-abc.sandbox.example",
                    "x-abc.sandbox.example",
                    "1-abc.sandbox.example.evil.com",
                    "abc.sandbox.example",
                ],
            ),
            (
                "https://{slug}-{port}.example:8443?p={port}",
                &["web-3000.example", "a-b-3000.example"],
                &["web.example", "web-.example", "-3000.example", "a.b-3000.example", "web-3000.example.com"],
            ),
            ("http://[fd00::7]:{port}", &["[fd00::7]"], &["fd00::7", "[fd00::8]", "[fd00"]),
            ("http://box:{port}/{slug}.evil.com", &["box"], &["box.evil.com", "boxes"]),
            ("http://{slug}:{port}", &["web"], &["web.evil.com", ""]),
        ];
        for (template, known, unknown) in table {
            let url = PublicUrl::parse(template).unwrap();
            for host in known {
                assert!(url.has_host(host), "{template} {host}");
            }
            for host in unknown {
                assert!(!url.has_host(host), "{template} {host}");
            }
        }
        assert!(!PublicUrl::parse("http://{slug}:{port}").unwrap().has_host(&"a".repeat(300)));
    }

    #[test]
    fn an_address_is_named_where_localhost_does_not_lead() {
        let (port, slug) = (Port::new(3000).unwrap(), Slug::parse("web").unwrap());
        assert_eq!(PublicUrl::default().fill(port, &slug, Some("[fd00::1]:3000")), "http://[fd00::1]:3000");
        let proxied = PublicUrl::parse("https://{port}.example").unwrap();
        assert_eq!(proxied.fill(port, &slug, Some("127.0.0.2:3000")), "https://3000.example");
    }

    #[test]
    fn the_url_behind_the_proxy_is_known_as_soon_as_its_host_is() {
        let port = Port::new(3000);
        for (template, slug, before, after) in [
            ("https://{slug}-abc.example", "Web", Some("https://web-abc.example"), Some("https://web-abc.example")),
            ("https://abc-{port}.example/x", "web", None, Some("https://abc-3000.example/x")),
            ("https://{slug}-{port}.example", "web", None, Some("https://web-3000.example")),
            ("https://{slug}.example", "a_b", None, None),
            ("https://{slug}.example", "a.b", None, None),
            ("https://{slug}-{port}.example", "a.b", None, None),
            ("https://{port}.example", "a.b", None, Some("https://3000.example")),
            ("http://{slug}.localhost:80", "a.b", None, Some("http://3000.localhost:80")),
        ] {
            let (url, slug) = (PublicUrl::parse(template).unwrap(), Slug::parse(slug).unwrap());
            assert_eq!(url.behind_proxy(None, &slug).as_deref(), before, "{template}");
            assert_eq!(url.behind_proxy(port, &slug).as_deref(), after, "{template}");
            assert_eq!(url.can_name(&slug), after.is_some(), "{template}");
        }
        let before = |template, port| {
            let url = PublicUrl::parse(template).unwrap();
            url.before_start(port, &Slug::parse("a_b").unwrap(), false)
        };
        assert_eq!(before("http://h:{port}", None), None);
        assert_eq!(before("http://h:{port}", port).as_deref(), Some("http://h:3000"));
        assert_eq!(before("http://{slug}.h", None).as_deref(), Some("http://a_b.h"));
        assert_eq!(PublicUrl::by_slug(18080), PublicUrl::parse("http://{slug}.localhost:18080").unwrap());
    }

    #[test]
    fn the_proxy_needs_a_placeholder_in_the_host() {
        let check = |template| PublicUrl::parse(template).unwrap().check_for_proxy();
        for good in ["https://{slug}.example", "https://abc-{port}.example/", "http://{slug}.localhost:{port}"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["http://localhost:{port}", "https://example/{slug}", "https://example?p={port}"] {
            assert!(check(bad).unwrap_err().contains("in its host"), "{bad}");
        }
        assert!(check("http://{slug}:80").unwrap_err().contains("localhost"));
    }

    #[test]
    fn mistakes_are_named() {
        for (template, words) in [
            ("", "http://"),
            ("localhost:{port}", "http://"),
            ("ftp://localhost:{port}", "http://"),
            ("http://", "no host"),
            ("http:///{port}", "no host"),
            ("http://localhost:3000", "{port} or {slug}"),
            ("http://{slug}.{host}:{port}", "{host}"),
            ("http://{Port}.example", "{Port}"),
            ("http://localhost:{port", "without its \"}\""),
            ("http://localhost:{port}}", "without its \"{\""),
            ("http://localhost:{{port}}", "{{port}"),
            ("http://local host:{port}", "spaces"),
        ] {
            let why = PublicUrl::parse(template).unwrap_err();
            assert!(why.contains(words), "{template:?}: {why:?} does not have {words:?}");
        }
    }
}
