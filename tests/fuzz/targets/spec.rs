//! A body as the configuration of a server. One that is taken is stored and comes back the same.
#![no_main]

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use servisor::api::input::{log_form, require_json, server_spec, status_mark, stored_server_spec, stream_form};
use servisor::model::proxy::AccessKey;
use servisor::store::server::{self, Install, Kept, Preparation};

#[path = "../files.rs"]
mod files;

use files::files;

fuzz_target!(|body: &[u8]| {
    let root = Path::new("/root");
    if let Ok(text) = str::from_utf8(body) {
        let _ = (require_json(Some(text)), log_form(Some(text)), stream_form(Some(text)));
    }
    if let Err(error) = status_mark(body) {
        assert!([400, 409, 422].contains(&error.code().status()), "{error:?}");
    }
    let (spec, warnings) = match server_spec(body, root) {
        Ok(read) => read,
        Err(error) => {
            assert!([400, 422].contains(&error.code().status()), "{error:?}");
            assert!(!error.sentence().is_empty());
            return;
        }
    };
    assert!(warnings.len() <= 20, "{}", warnings.len());
    assert!(spec.path.resolved.is_absolute());
    let kept = Kept {
        created_at: UNIX_EPOCH + Duration::from_millis(1_764_000_000_123),
        overlays: spec.depends_on.clone(),
        preparation: Preparation::Due,
        install: Install::Succeeded,
        key: AccessKey::parse("0123456789abcdef0123456789abcdef"),
        is_stopped_by_hand: spec.autostart,
    };
    server::write(files(), &spec, &kept).expect("it can't be stored");
    let mut stored = files().load(|_, members| server::parse(members)).expect("the directory can't be read");
    files().remove(spec.slug.as_str()).expect("it can't be removed");
    let (configuration, found) = stored.pop().expect("it was set aside");
    assert_eq!(found, kept);
    let (again, odd) = stored_server_spec(configuration, root).expect("what was stored is refused");
    assert_eq!((again, odd), (spec, Vec::new()));
});
