//! Any bytes as a file of the state directory: of a server, or of an overlay.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use servisor::api::input::server_spec;
use servisor::model::time::rfc3339;
use servisor::overlay::glob::Ignore;
use servisor::overlay::record::OverlayRecord;
use servisor::store::server;

fuzz_target!(|text: &[u8]| {
    if let Ok((configuration, kept)) = server::parse(text) {
        assert_eq!(rfc3339(kept.created_at).len(), "2026-11-24T10:09:13.042Z".len());
        let _ = server_spec(&configuration, Path::new("/root"));
    }
    let Ok(record) = serde_json::from_slice::<OverlayRecord>(text) else { return };
    let Ok(kept) = record.parse() else { return };
    assert_eq!(rfc3339(kept.created_at).len(), "2026-11-24T10:09:13.042Z".len());
    let _ = Ignore::new(kept.spec.ignore.iter().map(String::as_str)).leaves_out(kept.spec.source.iter(), true);
    assert_eq!(OverlayRecord::of(&kept).parse(), Ok(kept));
});
