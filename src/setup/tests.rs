use super::*;

fn parsed(text: &str) -> Result<Payload, String> {
    parse(text.as_bytes(), Path::new("/srv"))
}

#[track_caller]
fn refused(text: &str, words: &str) {
    let why = parsed(text).unwrap_err();
    assert!(why.contains(words) && !why.contains('\n'), "{why:?} does not have {words:?}");
}

#[test]
fn the_shape_that_the_sdk_makes() {
    // `encodeSetupPayload({servers: [...]})` leaves out what is empty.
    let payload =
        parsed(r#"{"servers":[{"slug":"web","start":"npm run dev","port":3000},{"slug":"api","start":"x"}]}"#);
    let payload = payload.unwrap();
    assert_eq!(payload.servers.iter().map(|spec| spec.slug.as_str()).collect::<Vec<_>>(), ["web", "api"]);
    assert!(payload.warnings.is_empty());
    for nothing in ["{}", r#"{"servers":null,"overlays":null}"#, r#"{"overlays":[],"servers":[]}"#, "\u{feff}{}"] {
        assert_eq!(parsed(nothing).unwrap(), Payload::default(), "{nothing}");
    }
}

#[test]
fn the_wrong_place_is_named() {
    let good = r#"{"slug": "a", "start": "true"}"#;
    refused("", "not valid JSON");
    refused("[]", "must be an object");
    refused(r#"{"servers": {}}"#, "servers must be a list");
    refused(r#"{"overlays": 1}"#, "overlays must be a list");
    refused(
        r#"{"overlays": [{"source": "/a", "target": "b"}, {"source": "a", "target": ""}]}"#,
        "overlays[1].source must",
    );
    refused(r#"{"servers": [1]}"#, "servers[0] must be an object");
    refused(
        &format!(r#"{{"servers": [{good}, {{"slug": "b", "start": "true", "port": 0}}]}}"#),
        "servers[1].port must be",
    );
    refused(
        &format!(r#"{{"servers": [{good}, {{"slug": "b"}}, 7]}}"#),
        "servers[1].start is required; servers[2] must",
    );
    refused(&format!(r#"{{"servers": [{good}, {good}]}}"#), "servers[1].slug \"a\" is given twice");
}

#[test]
fn warnings_are_shown_and_secrets_are_not() {
    let odd = parsed(r#"{"server": [], "servers": [{"slug": "a", "start": "true", "prot": 1}]}"#).unwrap();
    assert_eq!(odd.warnings.len(), 2, "{:?}", odd.warnings);
    assert!(odd.warnings[0].starts_with("unknown field of servers[0] \"prot\" was ignored"), "{:?}", odd.warnings);
    let secret = r#"{"servers": [{"slug": "a", "start": "true", "port": 0, "environment": {"KEY": "hush", "N": 1}}]}"#;
    assert!(!parsed(secret).unwrap_err().contains("hush"));
    assert!(!format!("{:?}", PayloadSource::Variable("hush".into())).contains("hush"));
}

#[test]
fn base64_and_files() {
    let of = |source: PayloadSource| read(&source, Path::new("/srv"));
    assert_eq!(of(PayloadSource::Variable("e30=".into())).unwrap(), Payload::default());
    let why = of(PayloadSource::Variable("{}".into())).unwrap_err();
    assert!(why.starts_with("setup payload in COMPUTESDK_SETUP_B64 is not base64"), "{why}");
    let why = of(PayloadSource::Variable("W10".into())).unwrap_err();
    assert!(why.contains(VARIABLE) && why.contains("must be an object"), "{why}");
    for path in ["/nowhere/setup.json", "/dev/zero", "/"] {
        let why = of(PayloadSource::File(path.into())).unwrap_err();
        assert!(why.starts_with(&format!("setup file {path} can't be read")), "{why}");
    }
}

#[test]
fn of_a_hundred_thousand_wrong_servers_the_first_are_named_and_the_others_counted() {
    let begun = std::time::Instant::now();
    let why = parsed(&format!(r#"{{"servers": [{}]}}"#, vec!["{}"; 100_000].join(","))).unwrap_err();
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(why.starts_with("servers[0].slug is required; servers[0].start is required; "), "{why}");
    assert!(why.ends_with("; and 199900 more are wrong") && why.len() < 10_000, "{why}");
    let same: Vec<String> = (0..20_000).map(|n| format!(r#"{{"slug":"s{n}","start":"true"}}"#)).collect();
    assert_eq!(parsed(&format!(r#"{{"servers": [{}]}}"#, same.join(","))).unwrap().servers.len(), 20_000);
}
