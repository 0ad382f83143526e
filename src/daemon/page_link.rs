//! The link that opens the status page, for a person at a terminal.
//!
//! Owns: its text. Never: whether it may be shown: it holds the access token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::access::Auth;

/// Returns the link to the page of a daemon that listens on `address`. A wildcard address stands for its loopback. The
/// token is in the fragment, which a browser does not send.
pub fn page_link(mut address: SocketAddr, auth: &Auth) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut link = format!("http://{address}/ui");
    if let Auth::Token(token) = auth {
        link.push_str("#token=");
        for byte in token.secret().bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                link.push(char::from(byte));
            } else {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                link.extend(['%', DIGITS[usize::from(byte >> 4)].into(), DIGITS[usize::from(byte & 15)].into()]);
            }
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Token;

    #[test]
    fn a_link_leads_to_the_page_and_carries_the_token() {
        let link = |address: &str, auth: Auth| page_link(address.parse().unwrap(), &auth);
        let token = |text: &str| Auth::Token(Token::parse(text).unwrap());
        assert_eq!(link("127.0.0.1:18080", token("aB3-._~")), "http://127.0.0.1:18080/ui#token=aB3-._~");
        assert_eq!(link("127.0.0.1:18080", token("a%b#&+/=")), "http://127.0.0.1:18080/ui#token=a%25b%23%26%2B%2F%3D");
        assert_eq!(link("0.0.0.0:80", Auth::Off), "http://127.0.0.1:80/ui");
        assert_eq!(link("[::]:81", Auth::Off), "http://[::1]:81/ui");
        assert_eq!(link("192.0.2.7:82", Auth::Off), "http://192.0.2.7:82/ui");
    }
}
