//! Which hosts and which pages are the daemon's own.

use super::*;

#[test]
fn own_names_are_admitted_with_the_listening_port_only() {
    let ports = [(OWN, ":18080"), ("127.0.0.1:80", ""), ("127.0.0.1:80", ":80"), ("[::1]:18080", ":18080")];
    for (listening, port) in ports {
        let access = without_token(Some(listening), &[]);
        for name in ["localhost", "LocalHost", "127.0.0.1", "[::1]", "[0:0::0:1]"] {
            let host = format!("{name}{port}");
            assert_eq!(neighbour(&access, &host, None), Ok(Caller::AuthOff), "{host} of {listening}");
            for (scheme, expected) in
                [("http", Ok(Caller::AuthOff)), ("HTTP", Ok(Caller::AuthOff)), ("https", Err(Code::ForeignOrigin))]
            {
                let origin = format!("{scheme}://{host}");
                assert_eq!(neighbour(&access, &host, Some(&origin)), expected, "{origin} of {listening}");
            }
            for other in ["", ":80", ":18081", ":1808", ":65535", ":0"].into_iter().filter(|_| port == ":18080") {
                let host = format!("{name}{other}");
                assert_eq!(neighbour(&access, &host, None), Err(Code::ForeignHost), "{host} of {listening}");
                let outcome = neighbour(&access, &format!("{name}{port}"), Some(&format!("http://{host}")));
                assert_eq!(outcome, Err(Code::ForeignOrigin), "{host} of {listening}");
            }
        }
        // Each of these may be a server's page.
        for page in ["http://web.localhost", "http://localhost:3000", "http://localhost:8000", "http://a.b.localhost"] {
            for origin in [page.to_owned(), format!("{page}{port}")] {
                let outcome = neighbour(&access, &format!("localhost{port}"), Some(&origin));
                assert_eq!(outcome, Err(Code::ForeignOrigin), "{origin} of {listening}");
            }
        }
    }
    for (own, host) in [
        ("127.0.0.5:18080", "127.0.0.5:18080"),
        ("[fd00::7]:18080", "[fd00::7]:18080"),
        ("[fd00::7]:18080", "[FD00:0::7]:18080"),
    ] {
        assert_eq!(neighbour(&without_token(Some(own), &[]), host, None), Ok(Caller::AuthOff), "{host}");
        for other in [None, Some("127.0.0.6:18080"), Some("[::1]:18080")] {
            assert_eq!(neighbour(&without_token(other, &[]), host, None), Err(Code::ForeignHost), "{host} {other:?}");
        }
    }
    // A unix socket has no port, and no page of its own.
    for host in ["localhost", "localhost:3000", "127.0.0.1", "[::1]:1"] {
        let access = without_token(None, &[]);
        assert_eq!(neighbour(&access, host, None), Ok(Caller::AuthOff), "{host}");
        let origin = format!("http://{host}");
        assert_eq!(neighbour(&access, host, Some(&origin)), Err(Code::ForeignOrigin), "{host}");
    }
}

#[test]
fn a_browser_marks_what_another_site_sends() {
    let request = |method, origin, fetch_site| {
        let credentials =
            Credentials { method, host: Some("localhost:18080"), origin, fetch_site, ..Credentials::default() };
        without_token(Some(OWN), &[APP]).admit(Gate::Guarded, &credentials).map_err(|error| error.code())
    };
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", ""];
    for method in methods {
        for site in [None, Some("same-origin"), Some("none")] {
            assert_eq!(request(method, None, site), Ok(Caller::AuthOff), "{method} {site:?}");
        }
        for site in ["cross-site", "same-site", "Cross-Site", " same-site "] {
            let expected =
                if ["GET", "HEAD"].contains(&method) { Ok(Caller::AuthOff) } else { Err(Code::ForeignOrigin) };
            assert_eq!(request(method, None, Some(site)), expected, "{method} {site}");
            assert_eq!(request(method, Some("http://127.0.0.1:18080"), Some(site)), expected, "{method} {site}");
            assert_eq!(request(method, Some(APP), Some(site)), Ok(Caller::AuthOff), "{method} {site}: it is allowed");
            assert_eq!(request(method, Some("null"), Some(site)), Err(Code::ForeignOrigin), "{method} {site}");
        }
    }
}

#[test]
fn without_the_token_what_describes_servers_is_answered_under_own_names_only() {
    let outcome = |listening: Option<&str>, public_url: &str, host: &str| {
        let names = Names::new(listening.map(|own| own.parse().unwrap()), PublicUrl::parse(public_url).unwrap());
        let access = Access::new(Auth::Token(Token::parse(SECRET).unwrap()), names, Vec::new());
        let credentials = Credentials { host: Some(host), ..Credentials::default() };
        access.admit(Gate::OwnHost, &credentials).map_err(|error| error.code())
    };
    const PUBLIC: &str = "https://{port}-abc.sandbox.example";
    let (any, any6, own) = (Some("0.0.0.0:18080"), Some("[::]:18080"), Some("10.1.2.3:18080"));
    // Under any port: it may be forwarded.
    for host in ["localhost", "localhost:18080", "LOCALHOST:1", "127.0.0.1:8080", "[::1]", "[::1]:65535"] {
        for listening in [None, any, any6, own] {
            assert_eq!(outcome(listening, PUBLIC, host), Ok(Caller::Anonymous), "{host} of {listening:?}");
        }
    }
    for (listening, host) in [
        (own, "10.1.2.3"),
        (own, "10.1.2.3:18080"),
        (any, "10.1.2.4:18080"),
        (any6, "[fd00::1]"),
        (any, "0.0.0.0:18080"),
        (own, "18080-abc.sandbox.example"),
        (None, "18080-ABC.sandbox.example:443"),
    ] {
        assert_eq!(outcome(listening, PUBLIC, host), Ok(Caller::Anonymous), "{host} of {listening:?}");
    }
    for (listening, host) in [
        (own, "10.1.2.4"),
        (None, "10.1.2.3"),
        (any, "evil.com"),
        (any, "10.1.2.3.evil.com"),
        (any, "web.localhost"),
        (any, "18080-abc.sandbox.example.evil.com"),
        (any, "x-abc.sandbox.example"),
        (any, "evil@localhost"),
        (any, ""),
    ] {
        assert_eq!(outcome(listening, PUBLIC, host), Err(Code::ForeignHost), "{host:?} of {listening:?}");
    }
}

#[test]
fn foreign_names_are_refused_as_host_and_as_page() {
    #[rustfmt::skip]
    let foreign = [
        // Names that any domain's owner can point at this machine.
        "", ".", "evil.com", "evil.com:18080", "127.0.0.1.nip.io", "localtest.me", "localhost.localdomain",
        // A name of ours at the wrong end, or in a longer word.
        "web.localhost", "a.b.LOCALHOST:18080", "localhost.evil.com", "localhost.evil.com:80", "127.0.0.1.evil.com", "evil-localhost", "evillocalhost",
        "localhostx", "localhost-", ".localhost", "localhost.", "xlocalhost:80", "web.localhost.evil.com",
        // Ports that are no ports.
        "localhost:x", "localhost:-1", "localhost:+80", "localhost: 80", "localhost:80a", "localhost:123456",
        "localhost:80:80", "localhost:80.evil.com", "127.0.0.1:x", "[::1]:x", "[::1]:-1", "[::1]80", "[::1]:80:80",
        // User information before the @ is not part of a host.
        "localhost@evil.com", "localhost:80@evil.com", "evil.com@localhost", "user:pass@localhost:80", "x@127.0.0.1",
        "x@[::1]", "[::1]@evil.com",
        // Other addresses, and other spellings than browsers have.
        "0.0.0.0", "10.0.0.1", "127.0.0.2", "128.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1",
        "127.0.0.01", "127.0.0.1.", "::1", "::1:80", "[::]", "[::2]", "[::1", "::1]", "[]", "[", "]", "[[::1]]",
        "[::1]]", "[::1%lo]", "[127.0.0.1]", "[localhost]", "[::ffff:127.0.0.1]",
        // Text around a name.
        " localhost", "localhost ", "localhost/", "localhost?", "localhost#", "localhost\\", "localhost,evil.com",
        "localhost\0", "http://localhost", "//localhost", "loc\u{e4}lhost", "localhos\u{442}", "ⓛocalhost",
    ];
    // On port 80, so that none is refused for its port; and where there is no port at all.
    for access in [without_token(Some("127.0.0.1:80"), &[]), without_token(None, &[])] {
        for host in foreign {
            assert_eq!(neighbour(&access, host, None), Err(Code::ForeignHost), "{host:?}");
            for scheme in ["http", "https"] {
                let origin = format!("{scheme}://{host}");
                assert_eq!(neighbour(&access, "localhost", Some(&origin)), Err(Code::ForeignOrigin), "{origin:?}");
            }
        }
    }
    let access = without_token(Some("127.0.0.1:80"), &[]);
    for origin in ["", "null", "localhost", "//localhost", "file://", "ftp://localhost", "x-http://localhost", "*"] {
        assert_eq!(neighbour(&access, "localhost", Some(origin)), Err(Code::ForeignOrigin), "{origin:?}");
    }
    assert_eq!(access.admit(Gate::Open, &Credentials::default()).unwrap_err().code(), Code::ForeignHost);
}
