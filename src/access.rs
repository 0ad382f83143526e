//! Access: the token, and the web pages that may read responses.
//!
//! Owns: the access token, the rules for `Host` and `Origin`, and the CORS headers. Never: a request, a socket, the
//! place where the token is kept.
//!
//! With a valid token, `Host` and `Origin` are not checked. Without one, `Host` must be the daemon's for every response
//! with information about servers: a page can point a name of its own at this machine (DNS rebinding) and then read
//! responses.
//!
//! Without authentication (`--no-auth`, on a loopback or unix address) any page in a browser on this machine can send
//! requests, the pages of the managed servers among them: each is an origin of some `localhost` port. `Host` must then
//! be local, `Origin` the API's own or an allowed one. A browser leaves `Origin` out of some requests, but marks those
//! between sites with `Sec-Fetch-Site`: so marked, nothing but a read is admitted.

use std::fmt;

use crate::error::{Code, Error, quoted};
use crate::handoff::Reply;
use crate::model::proxy::is_same_secret;

mod names;
#[cfg(test)]
mod tests;

pub use names::Names;

/// The headers that a page may send. A star does not include `Authorization`.
const CORS_HEADERS: &str = "Authorization, Content-Type, X-ComputeSDK-API-Key, X-Provider, *";
/// More methods than any path has, so that a page can read its 405.
const CORS_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// The time for which a browser may cache both, in seconds. Chromium's limit is two hours.
const CORS_MAX_AGE: &str = "7200";

/// Which clients have access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// All.
    Open,
    /// All, but without the token only by a name of this daemon: the response has information about servers.
    OwnHost,
    /// Clients with the token.
    Guarded,
}

/// The access token. It is shown only at the daemon's terminal.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes `text` as the token.
    ///
    /// # Errors
    /// A phrase that fits after "the access token": why it can't be the value of a header.
    pub fn parse(text: &str) -> Result<Token, String> {
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must only have printable ASCII characters other than space".into());
        }
        Ok(Token(text.to_owned()))
    }

    /// Returns the token as a client sends it, for the link that is shown at the daemon's terminal.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on `presented` alone.
    pub fn is(&self, presented: &str) -> bool {
        // It is never empty.
        is_same_secret(self.0.as_bytes(), presented.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How clients are authenticated.
#[derive(Debug, Clone)]
pub enum Auth {
    /// By this token.
    Token(Token),
    /// Not at all: every client that can connect, except pages of foreign origins.
    Off,
}

/// An origin of `--allow-origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    Any,
    /// One origin, as browsers write it.
    One(String),
}

impl AllowedOrigin {
    /// Takes `text` as an origin: `https://app.example.com`, `http://localhost:3000`, or `*` for all.
    ///
    /// # Errors
    /// A phrase that fits after the text: what is wrong with it.
    pub fn parse(text: &str) -> Result<AllowedOrigin, String> {
        if text == "*" {
            return Ok(AllowedOrigin::Any);
        }
        let lower = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let (scheme, authority) =
            lower.split_once("://").ok_or("must be \"*\" or begin with a scheme, as in \"https://app.example.com\"")?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        if authority.is_empty() || !authority.bytes().all(fits) {
            return Err("must end with its host and port, as in \"https://app.example.com:8443\"".into());
        }
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return Err("must begin with a scheme, as in \"https://app.example.com\"".into());
        }
        // Browsers leave out the default port.
        let authority = match scheme {
            "http" => authority.strip_suffix(":80").unwrap_or(authority),
            "https" => authority.strip_suffix(":443").unwrap_or(authority),
            _ => authority,
        };
        Ok(AllowedOrigin::One(format!("{scheme}://{authority}")))
    }
}

/// The parts of a request's head that decide about access.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    pub method: &'a str,
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub fetch_site: Option<&'a str>,
    /// The value of `X-ComputeSDK-API-Key`: the SDK's name for the token. Given on the gateway's paths alone.
    pub api_key: Option<&'a str>,
}

/// What is known of an admitted client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    HasToken,
    /// Without a valid token, on a path that needs none.
    Anonymous,
    AuthOff,
}

#[derive(Debug, Clone)]
pub struct Access {
    auth: Auth,
    names: Names,
    origins: Vec<AllowedOrigin>,
}

impl Access {
    /// Access by `auth` to a daemon with these `names`; pages from `origins` may read its responses.
    pub fn new(auth: Auth, names: Names, origins: Vec<AllowedOrigin>) -> Access {
        Access { auth, names, origins }
    }

    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Decides whether a request may pass `gate`.
    ///
    /// # Errors
    /// 401 without a valid token; 403 for a foreign host or origin without one.
    pub fn admit(&self, gate: Gate, credentials: &Credentials<'_>) -> Result<Caller, Error> {
        let token = match &self.auth {
            Auth::Off => return self.check_local(credentials).map(|()| Caller::AuthOff),
            Auth::Token(token) => token,
        };
        match (check_token(token, credentials), gate) {
            (Ok(()), Gate::Open | Gate::OwnHost | Gate::Guarded) => Ok(Caller::HasToken),
            (Err(_), Gate::Open) => Ok(Caller::Anonymous),
            (Err(_), Gate::OwnHost) => self.check_host(credentials.host).map(|()| Caller::Anonymous),
            (Err(error), Gate::Guarded) => Err(error),
        }
    }

    /// Whether authentication is off, or `credentials` has the token.
    pub fn is_proven(&self, credentials: &Credentials<'_>) -> bool {
        match &self.auth {
            Auth::Off => true,
            Auth::Token(token) => check_token(token, credentials).is_ok(),
        }
    }

    /// The response to a CORS preflight; `None` if this is none, or the origin is not allowed. It is the same for all
    /// paths, so that a page can read a 404.
    pub fn preflight(&self, method: &str, origin: Option<&str>) -> Option<Reply> {
        if method != "OPTIONS" {
            return None;
        }
        self.allowed(origin?)?;
        let mut headers = self.cors(origin);
        headers.push(("Access-Control-Allow-Methods", CORS_METHODS.into()));
        headers.push(("Access-Control-Allow-Headers", CORS_HEADERS.into()));
        headers.push(("Access-Control-Max-Age", CORS_MAX_AGE.into()));
        Some(Reply { status: 204, headers, content_type: None, body: Vec::new().into() })
    }

    /// The headers of every response to `origin`, refusals included: without them a page can't read the reason.
    pub fn cors(&self, origin: Option<&str>) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        match origin.and_then(|origin| self.allowed(origin)) {
            Some(AllowedOrigin::Any) => headers.push(("Access-Control-Allow-Origin", "*".into())),
            // The option's text, never the client's.
            Some(AllowedOrigin::One(known)) => headers.push(("Access-Control-Allow-Origin", known.clone())),
            None => {}
        }
        if !self.origins.is_empty() {
            headers.push(("Vary", "Origin".into()));
        }
        headers
    }

    fn allowed(&self, origin: &str) -> Option<&AllowedOrigin> {
        self.origins.iter().find(|allowed| match allowed {
            AllowedOrigin::Any => true,
            AllowedOrigin::One(known) => known.eq_ignore_ascii_case(origin),
        })
    }

    /// The rules without authentication.
    fn check_local(&self, credentials: &Credentials<'_>) -> Result<(), Error> {
        let Some(host) = credentials.host else {
            return Err(foreign_host("the request has no Host header; without a token one is needed"));
        };
        if !self.names.is_local(host) {
            let example = self.names.example();
            return Err(foreign_host(&format!(
                "the host {} is no name of this daemon; without a token use {example}",
                quoted(host)
            )));
        }
        if let Some(origin) = credentials.origin {
            if self.allowed(origin).is_some() {
                return Ok(());
            }
            if !self.names.is_own_origin(origin) {
                let sentence =
                    format!("pages from {} may not use this daemon; --allow-origin allows them", quoted(origin));
                return Err(Error::new(Code::ForeignOrigin, sentence));
            }
        }
        let is_read = matches!(credentials.method, "GET" | "HEAD");
        let is_foreign =
            |site: &str| ["cross-site", "same-site"].iter().any(|word| site.trim().eq_ignore_ascii_case(word));
        if !is_read && credentials.fetch_site.is_some_and(is_foreign) {
            let sentence =
                "a page of another origin sent this request (Sec-Fetch-Site); --allow-origin allows its origin";
            return Err(Error::new(Code::ForeignOrigin, sentence));
        }
        Ok(())
    }

    /// The rule for a request without a valid token whose response has information about servers.
    fn check_host(&self, host: Option<&str>) -> Result<(), Error> {
        match host {
            Some(host) if self.names.is_known(host) => Ok(()),
            Some(host) => Err(foreign_host(&format!(
                "the host {} is no name of this daemon; send the token, use {}, or give the host in --public-url",
                quoted(host),
                self.names.example()
            ))),
            None => Err(foreign_host("the request has no Host header; send one, or the token")),
        }
    }
}

fn foreign_host(sentence: &str) -> Error {
    Error::new(Code::ForeignHost, sentence)
}

fn check_token(token: &Token, credentials: &Credentials<'_>) -> Result<(), Error> {
    const HOW: &str = "send the header \"Authorization: Bearer TOKEN\"";
    let refused = |what: &str| Err(Error::new(Code::Unauthorized, format!("{what}; {HOW}")));
    let value = match (credentials.authorization, credentials.api_key) {
        (_, Some(key)) if token.is(key.trim()) => return Ok(()),
        (Some(value), _) => value,
        (None, Some(_)) => return refused("the API key is not the access token"),
        (None, None) => return refused("an access token is needed"),
    };
    match value.trim().split_once(' ') {
        Some((scheme, presented)) if scheme.eq_ignore_ascii_case("bearer") => {
            if token.is(presented.trim_start()) {
                Ok(())
            } else {
                refused("the access token is wrong")
            }
        }
        Some(_) | None => refused("the Authorization header has another form than is needed"),
    }
}
