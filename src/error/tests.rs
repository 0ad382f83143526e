//! Each way to fail, and what its sentences may look like.

use super::*;

const ALL: [Code; 23] = [
    Code::SandboxNotFound,
    Code::ServerNotLive,
    Code::StatusNotByHand,
    Code::Malformed,
    Code::Unauthorized,
    Code::ForeignHost,
    Code::ForeignOrigin,
    Code::NotFound,
    Code::ServerNotFound,
    Code::OverlayNotFound,
    Code::OverlayAwaited,
    Code::MethodNotAllowed("GET"),
    Code::ServerActive,
    Code::ServerBeingDeleted,
    Code::PortTaken,
    Code::UnsupportedMediaType,
    Code::Invalid,
    Code::Unsupported,
    Code::Busy,
    Code::ShuttingDown,
    Code::Storage,
    Code::StateLost,
    Code::Internal,
];

#[test]
fn each_error_has_its_own_code_and_a_status() {
    for (place, code) in ALL.iter().enumerate() {
        assert!((400..600).contains(&code.status()), "{code:?}");
        assert!(ALL[..place].iter().all(|other| other.as_str() != code.as_str()), "{code:?} shares its word");
    }
}

#[test]
fn the_sentence_names_a_few_fields_and_the_list_names_all() {
    let wrong: Vec<_> = (0..7).map(|n| Wrong { field: format!("f{n}"), why: "must be a number".to_owned() }).collect();
    let one = Error::invalid(wrong[..1].to_vec());
    assert_eq!(one.sentence(), "f0 must be a number");
    let five = Error::invalid(wrong[..5].to_vec());
    assert!(five.sentence().ends_with("; f4 must be a number"), "{five}");
    let seven = Error::invalid(wrong);
    assert!(seven.sentence().ends_with("; f4 must be a number; and 2 more, listed in \"fields\""), "{seven}");
    assert_eq!(seven.wrong().len(), 7);
}

#[test]
fn a_quote_is_short_and_plain() {
    assert_eq!(quoted("a\"b\n\u{1b}"), r#""a\"b\n\u{1b}""#);
    assert_eq!(quoted(&"ä".repeat(60)), format!("\"{}\"", "ä".repeat(60)));
    assert_eq!(quoted(&"ä".repeat(61)), format!("\"{}\"…", "ä".repeat(60)));
}

#[test]
fn a_slip_is_answered_with_the_word_that_was_meant() {
    let known = ["restart_policy", "stop_timeout_ms", "port"];
    for (slip, meant) in
        [("restartPolicy", "restart_policy"), ("stopTimeoutMs", "stop_timeout_ms"), ("PORT", "port"), ("prot", "port")]
    {
        assert_eq!(hint(slip, &known), format!("; did you mean \"{meant}\"?"), "{slip}");
    }
    assert_eq!(hint("colour", &known), "");
    assert_eq!(hint(&"port".repeat(1000), &known), "");
    assert_eq!(not_one_of("x", &["a", "b"]), "must be one of \"a\", \"b\", not \"x\"");
    assert_eq!(unknown("field", "colour", &known), "unknown field \"colour\" was ignored");
}

#[test]
fn sentences_are_lower_case_without_a_full_stop() {
    let web = Slug::parse("web").unwrap();
    for error in [
        Error::server_not_found("web"),
        Error::overlay_not_found("a1"),
        Error::slug_in_use(&web, Status::Running),
        Error::already_active(&web, Status::Restarting),
        Error::being_deleted(&web),
        Error::gateway_off(),
        Error::sandbox_not_found("a1"),
        Error::unsupported("files"),
        Error::shutting_down(),
        Error::storage("server web", &io::Error::from_raw_os_error(28)),
        Error::internal("listing the servers"),
    ] {
        let text = error.to_string();
        assert!(text.starts_with(|first: char| first.is_lowercase()) && !text.ends_with('.'), "{text}");
    }
}
