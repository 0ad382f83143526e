//! Any bytes as a file of the state directory: of a server, or of an overlay.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use servisor::api::input::stored_server_spec;
use servisor::model::time::rfc3339;
use servisor::overlay::glob::Ignore;
use servisor::overlay::record;
use servisor::store::members::Members;
use servisor::store::server;

const TIME: usize = "2026-11-24T10:09:13.042Z".len();

fuzz_target!(|text: &[u8]| {
    let members = || Members::read(text);
    let Ok(as_server) = members() else { return };
    if let Ok((configuration, kept)) = server::parse(as_server) {
        assert_eq!(rfc3339(kept.created_at).len(), TIME);
        let _ = stored_server_spec(configuration, Path::new("/root"));
    }
    let Ok(kept) = record::parse(members().unwrap()) else { return };
    assert_eq!(rfc3339(kept.created_at).len(), TIME);
    let _ = Ignore::new(kept.spec.ignore.iter().map(String::as_str)).leaves_out(kept.spec.source.iter(), true);
});
