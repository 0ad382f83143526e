//! How a server is reached through the proxy.
//!
//! Owns: the part `proxy` of a spec, who may visit, and the access key. Never: a request, a random number, JSON.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

/// What a server sees in `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyHost {
    /// `localhost` and its own port, in `Origin` and `Referer` too: no server refuses that.
    #[default]
    Local,
    /// What the client has sent, with `X-Forwarded-Host` and `X-Forwarded-Proto`.
    Public,
}

impl ProxyHost {
    /// All variants with their API names.
    pub const ALL: [(&'static str, ProxyHost); 2] = [("local", Self::Local), ("public", Self::Public)];

    /// The API name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Public => "public",
        }
    }
}

/// Who may visit a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyAccess {
    /// All clients.
    #[default]
    Public,
    /// Clients that send the server's [`AccessKey`].
    Key,
}

impl ProxyAccess {
    /// All variants with their names in the API and as options.
    pub const ALL: [(&'static str, ProxyAccess); 2] = [("public", Self::Public), ("key", Self::Key)];

    /// The name in the API and as an option.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Key => "key",
        }
    }
}

/// The part `proxy` of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxyRules {
    pub host: ProxyHost,
    /// Who may visit; `None` for the daemon's default.
    pub access: Option<ProxyAccess>,
    /// Whether a visit starts it, unless a command stopped it.
    pub start_on_visit: bool,
    /// The time without a visitor after which the server is stopped.
    pub idle_stop: Option<Duration>,
}

/// The key that lets a client visit a server: 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey(String);

impl AccessKey {
    /// The number of random bytes in one.
    pub const BYTES: usize = 16;

    /// A key that no client can show.
    pub const UNUSABLE: AccessKey = AccessKey(String::new());

    /// Takes 32 hexadecimal digits in small letters.
    pub fn parse(text: &str) -> Option<AccessKey> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        (text.len() == 2 * AccessKey::BYTES && text.bytes().all(is_digit)).then(|| AccessKey(text.to_owned()))
    }

    /// The key as a client sends it.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on `presented` alone.
    pub fn is(&self, presented: &str) -> bool {
        !self.0.is_empty() && is_same_secret(self.0.as_bytes(), presented.as_bytes())
    }

    /// Returns `url` with the key in its query: the link that opens the server in a browser.
    pub fn link(&self, url: &str) -> String {
        let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']));
        let between = match (url.contains('?'), has_path) {
            (true, _) => "&",
            (false, true) => "?",
            (false, false) => "/?",
        };
        format!("{url}{between}servisor_key={}", self.0)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}

/// Compares a secret, which is not empty, in a time that depends on `presented` alone.
pub fn is_same_secret(kept: &[u8], presented: &[u8]) -> bool {
    let mut difference = kept.len() ^ presented.len();
    for (place, byte) in presented.iter().enumerate() {
        // `black_box` keeps the compiler from leaving the loop early.
        difference |= usize::from(black_box(byte ^ kept[place % kept.len()]));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn each_word_is_its_own() {
        assert!(ProxyHost::ALL.into_iter().all(|(word, host)| host.as_str() == word));
        assert!(ProxyAccess::ALL.into_iter().all(|(word, access)| access.as_str() == word));
    }

    #[test]
    fn a_key_is_known_by_all_of_it_and_never_shown() {
        let key = AccessKey::parse(DIGITS).unwrap();
        assert!(key.is(DIGITS));
        for other in ["", "0", &DIGITS[1..], &DIGITS.to_ascii_uppercase(), &DIGITS.repeat(2), &DIGITS.replace('f', "e")]
        {
            assert!(!key.is(other), "{other}");
        }
        assert_eq!(format!("{key:?}"), "AccessKey(…)");
        assert!(!AccessKey::UNUSABLE.is(""));
        for bad in ["", "0123", &DIGITS.to_ascii_uppercase(), &DIGITS.replace('f', "g"), &DIGITS.repeat(2)] {
            assert_eq!(AccessKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_link_is_the_url_with_the_key() {
        let key = AccessKey::parse(DIGITS).unwrap();
        for (url, link) in [
            ("https://web.example", "https://web.example/?servisor_key="),
            ("https://web.example/", "https://web.example/?servisor_key="),
            ("https://web.example/app", "https://web.example/app?servisor_key="),
            ("https://web.example?a=b", "https://web.example?a=b&servisor_key="),
        ] {
            assert_eq!(key.link(url), format!("{link}{DIGITS}"));
        }
    }
}
