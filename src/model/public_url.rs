//! The address under which a server can be reached from outside.
//!
//! Owns: the template of `--public-url` and its placeholders. Never: whether anything answers there.

use super::spec::{Port, Slug};

/// A template for the URLs of servers: `{port}` stands for the port, `{slug}` for the server's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Port,
    Slug,
}

impl PublicUrl {
    /// What is taken when no template is given: right for whoever is on the same machine.
    pub const DEFAULT: &str = "http://localhost:{port}";

    /// Takes `text` as a template. `{port}` or `{slug}` has to be in it: servers with one URL for all could not be told apart.
    ///
    /// # Errors
    /// A phrase that fits after the name of the option and its value.
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
                "port" => Part::Port,
                "slug" => Part::Slug,
                other => return Err(format!("has {{{other}}} in it; only {{port}} and {{slug}} are filled in")),
            });
            rest = behind;
        }
        push_text(&mut parts, rest)?;
        if !parts.contains(&Part::Port) && !parts.contains(&Part::Slug) {
            return Err(format!("must have {{port}} or {{slug}} in it, as in \"{}\"", PublicUrl::DEFAULT));
        }
        Ok(PublicUrl { parts })
    }

    /// The URL of one server.
    pub fn fill(&self, port: Port, slug: &Slug) -> String {
        self.parts.iter().fold(String::new(), |url, part| match part {
            Part::Text(text) => url + text,
            Part::Port => url + &port.to_string(),
            Part::Slug => url + slug.as_str(),
        })
    }
}

impl Default for PublicUrl {
    /// [`PublicUrl::DEFAULT`].
    fn default() -> PublicUrl {
        PublicUrl { parts: vec![Part::Text("http://localhost:".into()), Part::Port] }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err("has a \"}\" without its \"{\"".into());
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str) -> String {
        PublicUrl::parse(template).unwrap().fill(Port::new(3000).unwrap(), &Slug::parse("web").unwrap())
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
