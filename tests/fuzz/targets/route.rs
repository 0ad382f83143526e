//! `METHOD TARGET` of any kind: an action or one of four refusals, the same for an escaped path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use servisor::api::route::route;

fuzz_target!(|line: &str| {
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let routed = route(method, target);
    if let Err(error) = &routed {
        assert!([400, 404, 405, 422].contains(&error.code().status()), "{error:?}");
        assert!(!error.sentence().is_empty() && error.sentence().len() < 8192, "{}", error.sentence().len());
        assert!(!error.sentence().contains(|letter: char| letter.is_control()), "{:?}", error.sentence());
    }
    if method == "GET" {
        assert_eq!(route("HEAD", target).ok(), routed.as_ref().ok().cloned());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if routed.is_ok() && !path.contains('%') {
        let escape = |byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") };
        let escaped: String = path.bytes().map(escape).collect();
        assert_eq!(route(method, &format!("{escaped}?{query}")), routed, "{escaped}");
    }
});
