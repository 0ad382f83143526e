//! Access with and without a token, and the CORS headers for pages in browsers.

use super::*;
use crate::model::public_url::PublicUrl;
use crate::testing::Random;

mod hosts;

const SECRET: &str = "s3cret-Token~42";
const APP: &str = "https://app.example.com";

/// Where the daemon listens unless a test says otherwise.
const OWN: &str = "127.0.0.1:18080";

fn names(listening: Option<&str>) -> Names {
    Names::new(listening.map(|address| address.parse().unwrap()), PublicUrl::default())
}

fn with_token(origins: &[&str]) -> Access {
    Access::new(Auth::Token(Token::parse(SECRET).unwrap()), names(Some(OWN)), allowed(origins))
}

fn without_token(listening: Option<&str>, origins: &[&str]) -> Access {
    Access::new(Auth::Off, names(listening), allowed(origins))
}

fn allowed(origins: &[&str]) -> Vec<AllowedOrigin> {
    origins.iter().map(|origin| AllowedOrigin::parse(origin).unwrap()).collect()
}

/// The result of a guarded request with this header, when a token is required.
fn guarded(authorization: Option<&str>) -> Result<Caller, Error> {
    with_token(&[]).admit(Gate::Guarded, &Credentials { authorization, ..Credentials::default() })
}

/// The result of a request by `host` and `origin` when no token is required.
fn neighbour(access: &Access, host: &str, origin: Option<&str>) -> Result<Caller, Code> {
    let credentials = Credentials { method: "POST", host: Some(host), origin, ..Credentials::default() };
    let [open, own, guarded] = [Gate::Open, Gate::OwnHost, Gate::Guarded].map(|gate| access.admit(gate, &credentials));
    assert_eq!(open, guarded, "{host} {origin:?}: without a token all gates are one");
    assert_eq!(open, own, "{host} {origin:?}: without a token all gates are one");
    open.map_err(|error| error.code())
}

#[test]
fn the_right_token_opens() {
    for (before, after) in [("Bearer ", ""), ("bearer ", ""), ("BEARER ", ""), ("  Bearer   ", "  ")] {
        assert_eq!(guarded(Some(&format!("{before}{SECRET}{after}"))), Ok(Caller::HasToken), "{before:?}");
    }
}

#[test]
fn every_other_request_is_refused_with_advice() {
    let (upper, (start, end)) = (SECRET.to_ascii_uppercase(), SECRET.split_at(1));
    let shorter = &SECRET[..SECRET.len() - 1];
    #[rustfmt::skip]
    let wrong = [
        shorter, end, &upper, &format!("{SECRET}x"), &format!("{SECRET}{SECRET}"), &format!("{SECRET}\0"), "x", "ä",
        &format!("{SECRET} {SECRET}"), &format!("{start} {end}"), &format!("\"{SECRET}\""), &format!("Bearer {SECRET}"),
    ];
    let mut table = vec![(None, "an access token is needed")];
    table.extend(wrong.iter().map(|token| (Some(format!("Bearer {token}")), "the access token is wrong")));
    let forms = ["", " ", "Bearer", "Bearer ", SECRET, &format!("Bearer{SECRET}"), &format!("Bearer:{SECRET}")];
    let schemes = ["Basic", "Token", "Digest", "Bearers", "Beare", "B"].map(|scheme| format!("{scheme} {SECRET}"));
    let forms = forms.map(str::to_owned).into_iter().chain(schemes);
    table.extend(forms.map(|value| (Some(value), "the Authorization header has another form than is needed")));
    for (value, why) in table {
        let error = guarded(value.as_deref()).unwrap_err();
        let sentence = format!("{why}; send the header \"Authorization: Bearer TOKEN\"");
        assert_eq!((error.code(), error.sentence()), (Code::Unauthorized, sentence.as_str()), "{value:?}");
    }
}

#[test]
fn each_byte_and_the_length_of_a_token_count() {
    let token = Token::parse("abab").unwrap();
    assert!(token.is("abab"));
    // The comparison goes round the kept token: a repetition differs in nothing but its length.
    for other in ["", "a", "ab", "aba", "ababa", "ababab", "abababab", &"ab".repeat(130)] {
        assert!(!token.is(other), "{other}");
    }
    for (place, bit) in (0..4).flat_map(|place| (0..7).map(move |bit| (place, bit))) {
        let mut bytes = *b"abab";
        bytes[place] ^= 1 << bit;
        assert!(!token.is(std::str::from_utf8(&bytes).unwrap()), "{bytes:?}");
    }
}

#[test]
fn each_gate_with_each_way_of_access() {
    let right = format!("Bearer {SECRET}");
    let table = [
        (None, Ok(Caller::Anonymous), Err(Code::Unauthorized)),
        (Some("Bearer wrong"), Ok(Caller::Anonymous), Err(Code::Unauthorized)),
        (Some("Basic eDp5"), Ok(Caller::Anonymous), Err(Code::Unauthorized)),
        (Some(right.as_str()), Ok(Caller::HasToken), Ok(Caller::HasToken)),
    ];
    for (authorization, open, guarded) in table {
        // With a token, host and page prove nothing more.
        for (host, origin) in [(None, None), (Some("localhost"), None), (Some("evil.com"), Some("https://evil.com"))] {
            let fetch_site = origin.map(|_| "cross-site");
            let credentials = Credentials { method: "POST", host, origin, authorization, fetch_site, api_key: None };
            let own =
                if host == Some("localhost") || open == Ok(Caller::HasToken) { open } else { Err(Code::ForeignHost) };
            for (gate, expected) in [(Gate::Open, &open), (Gate::OwnHost, &own), (Gate::Guarded, &guarded)] {
                let outcome = with_token(&[]).admit(gate, &credentials).map_err(|error| error.code());
                assert_eq!(outcome, *expected, "{gate:?} {credentials:?}");
            }
        }
        for (host, expected) in [("localhost", Ok(Caller::AuthOff)), ("evil.com", Err(Code::ForeignHost))] {
            for gate in [Gate::Open, Gate::OwnHost, Gate::Guarded] {
                let credentials = Credentials { host: Some(host), authorization, ..Credentials::default() };
                let outcome = without_token(None, &[]).admit(gate, &credentials).map_err(|error| error.code());
                assert_eq!(outcome, expected, "{gate:?} {credentials:?}");
            }
        }
    }
}

#[test]
fn an_allowed_page_is_admitted_but_not_under_a_foreign_host() {
    let near = ["http://app.example.com", "https://app.example.com:444", "https://app.example.com.evil.com", "null"];
    let table = [("*", APP, true), ("*", "null", true), ("*", "https://evil.com", true), (APP, APP, true)];
    for (option, origin, may) in table.into_iter().chain(near.map(|origin| (APP, origin, false))) {
        let access = without_token(None, &[option]);
        let expected = if may { Ok(Caller::AuthOff) } else { Err(Code::ForeignOrigin) };
        assert_eq!(neighbour(&access, "localhost", Some(origin)), expected, "{option} {origin}");
        assert_eq!(neighbour(&access, "evil.com", Some(origin)), Err(Code::ForeignHost), "{option} {origin}");
    }
}

#[test]
fn each_page_gets_the_headers_it_may_have() {
    const DEV: &str = "http://localhost:3000";
    #[rustfmt::skip]
    let table: [(&[&str], Option<&str>, Option<&str>); 12] = [
        (&[], None, None), (&[], Some(APP), None), (&[], Some(DEV), None),
        (&["*"], None, None), (&["*"], Some(APP), Some("*")), (&["*"], Some("null"), Some("*")),
        (&[APP], None, None), (&[APP], Some(DEV), None), (&[APP], Some(APP), Some(APP)),
        (&[APP], Some("https://app.example.com.evil.com"), None), (&[APP, DEV], Some(DEV), Some(DEV)),
        // The option's spelling is sent, never the client's.
        (&[DEV, APP], Some("HTTPS://App.Example.com"), Some(APP)),
    ];
    for (origins, origin, sent) in table {
        let sent = sent.map(|sent| ("Access-Control-Allow-Origin", sent.to_owned()));
        // Caches must know that responses differ by origin, also from one without an origin.
        let vary = (!origins.is_empty()).then(|| ("Vary", "Origin".to_owned()));
        let headers: Vec<_> = sent.into_iter().chain(vary).collect();
        assert_eq!(with_token(origins).cors(origin), headers, "{origins:?} {origin:?}");
        assert_eq!(without_token(None, origins).cors(origin), headers, "{origins:?} {origin:?}");
    }
}

#[test]
fn a_preflight_is_answered_to_pages_that_may_ask() {
    for (origins, sent) in [(["*"], "*"), ([APP], APP)] {
        let access = with_token(&origins);
        let headers = [
            ("Access-Control-Allow-Origin", sent),
            ("Vary", "Origin"),
            ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-ComputeSDK-API-Key, X-Provider, *"),
            ("Access-Control-Max-Age", "7200"),
        ];
        let headers = headers.map(|(name, value)| (name, value.to_owned())).into();
        let reply = Reply { status: 204, headers, content_type: None, body: Vec::new().into() };
        assert_eq!(access.preflight("OPTIONS", Some(APP)), Some(reply));
        for method in ["GET", "HEAD", "POST", "DELETE", "options", "OPTION", ""] {
            assert_eq!(access.preflight(method, Some(APP)), None, "{method}");
        }
        assert_eq!(access.preflight("OPTIONS", None), None);
    }
    assert_eq!(with_token(&[APP]).preflight("OPTIONS", Some("https://evil.com")), None);
    assert_eq!(with_token(&[]).preflight("OPTIONS", Some(APP)), None);
}

#[test]
fn origins_become_what_browsers_send() {
    assert_eq!(AllowedOrigin::parse("*"), Ok(AllowedOrigin::Any));
    #[rustfmt::skip]
    let right = [
        (APP, APP), ("https://app.example.com/", APP), ("HTTPS://App.Example.COM", APP),
        ("https://app.example.com:443", APP), ("https://app.example.com:80", "https://app.example.com:80"),
        ("http://localhost:80/", "http://localhost"), ("http://localhost:443", "http://localhost:443"),
        ("http://[::1]:3000", "http://[::1]:3000"), ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ];
    for (text, origin) in right {
        assert_eq!(AllowedOrigin::parse(text), Ok(AllowedOrigin::One(origin.to_owned())), "{text}");
    }
    #[rustfmt::skip]
    let wrong = [
        "", " ", "null", "/", "app.example.com", "localhost:3000", "//app.example.com", "://app.example.com", "https:",
        "https://", "https:///", "https://a/b", "https://a//", "https://user@a", "https://a?b", "https://a#b", "**",
        "https://*.example.com", " https://a", "https://a ", "ht tp://a", "https://a b", "https://ä.example", "*/",
        "https://a,https://b", "*, https://a", "https://a\r\nX: y", "https://a\0", "hä://a", "https://https://a",
    ];
    for text in wrong {
        let why = AllowedOrigin::parse(text).expect_err(text);
        assert!(why.starts_with("must ") && why.contains("\"https://app.example.com"), "{text:?}: {why}");
    }
}

#[test]
fn a_token_is_what_a_header_can_hold_and_is_never_shown() {
    for good in ["!", "~", "a:b/c+d==", SECRET, &"x".repeat(4096)] {
        assert!(Token::parse(good).unwrap().is(good), "{good}");
    }
    for bad in ["", " ", "s3cret x", " s3cret", "s3cret ", "s3cret\n", "s3cret\t", "s3cret\0", "s3cret\x7f", "ä"] {
        let why = Token::parse(bad).unwrap_err();
        assert!(why.starts_with("must ") && !why.contains("s3cret"), "{bad:?}: {why}");
    }
    let access = with_token(&[APP]);
    for shown in [format!("{access:?}"), format!("{access:#?}"), format!("{:?}", access.auth())] {
        assert!(shown.contains("Token") && !shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn the_key_of_the_sdk_is_the_token_by_another_name() {
    let wrong = format!("{SECRET}x");
    let bearer = format!("Bearer {SECRET}");
    let table = [
        (None, Some(SECRET), true),
        (None, Some(&*wrong), false),
        (None, Some(""), false),
        (None, Some(&*bearer), false),
        // One of the two is enough, whatever the other one is.
        (Some(&*bearer), Some(&*wrong), true),
        (Some("Bearer x"), Some(SECRET), true),
        (Some("Bearer x"), Some(&*wrong), false),
        // The header of the token takes no other form because of it.
        (Some(SECRET), None, false),
    ];
    for (authorization, api_key, is_right) in table {
        let credentials = Credentials { authorization, api_key, ..Credentials::default() };
        let outcome = with_token(&[]).admit(Gate::Guarded, &credentials).map_err(|error| error.code());
        let expected = if is_right { Ok(Caller::HasToken) } else { Err(Code::Unauthorized) };
        assert_eq!(outcome, expected, "{credentials:?}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut next = |below: usize| random.below(below);
    let seeds = ["localhost:80", "web.localhost", "127.0.0.1:1", "[::1]:80", "http://localhost", APP, "Bearer s3cret"];
    let (locked, free) = (with_token(&["*"]), without_token(Some(OWN), &[APP]));
    for _ in 0..50_000 {
        let mut text = || {
            let mut bytes = seeds[next(seeds.len())].as_bytes().to_vec();
            for _ in 0..next(5) {
                let place = next(bytes.len() + 1);
                match next(3) {
                    0 => bytes.insert(place, next(256) as u8),
                    1 => bytes.insert(place, b"[]:.@/ *%\0"[next(10)]),
                    _ => bytes.truncate(place),
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (host, origin, authorization) = (text(), text(), text());
        let credentials = Credentials {
            method: "POST",
            host: Some(&host),
            origin: Some(&origin),
            authorization: Some(&authorization),
            fetch_site: Some(&origin),
            api_key: Some(&authorization),
        };
        // More is missing from each seed than four changes can add.
        assert_eq!(locked.admit(Gate::Open, &credentials), Ok(Caller::Anonymous));
        for (access, gate) in [(&locked, Gate::Guarded), (&locked, Gate::OwnHost), (&free, Gate::Open)] {
            if let Err(error) = access.admit(gate, &credentials) {
                assert!(matches!(error.code().status(), 401 | 403), "{error}");
                assert!(error.sentence().len() < 1000 && !error.sentence().contains(char::is_control), "{error}");
            }
        }
        assert!(free.cors(Some(&origin)).iter().all(|(_, value)| value == APP || value == "Origin"), "{origin:?}");
        if let Ok(AllowedOrigin::One(taken)) = AllowedOrigin::parse(&host) {
            assert!(taken.bytes().all(|byte| byte.is_ascii_graphic()), "{taken:?} could not stand in a header");
        }
    }
}
