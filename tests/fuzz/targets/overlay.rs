//! A body as the specification of an overlay. One that is taken is recorded and comes back the same.
#![no_main]

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use servisor::api::input::overlay_spec;
use servisor::model::overlay::{CopyStatus, OverlayId};
use servisor::overlay::progress::Stats;
use servisor::overlay::record::{self, Records, StoredOverlay};

#[path = "../files.rs"]
mod files;

use files::files;

fuzz_target!(|body: &[u8]| {
    let spec = match overlay_spec(body) {
        Ok((spec, _)) => spec,
        Err(error) => {
            assert!([400, 422].contains(&error.code().status()), "{error:?}");
            return;
        }
    };
    let resolved = spec.target.resolved(Path::new("/root"));
    let is_inside = resolved.starts_with("/root") && !resolved.components().any(|part| part.as_os_str() == "..");
    assert!(Path::new(spec.target.as_str()).is_absolute() || is_inside, "{resolved:?}");
    let kept = StoredOverlay {
        id: OverlayId::of_number(1),
        spec,
        created_at: UNIX_EPOCH + Duration::from_millis(1_764_000_000_123),
        status: CopyStatus::Pending,
        error: None,
        stats: Stats::default(),
    };
    files().save(&kept).expect("it can't be stored");
    let stored = record::stored(files());
    Records::remove(files(), &kept.id).expect("it can't be removed");
    assert_eq!(stored.expect("the directory can't be read"), [kept]);
});
