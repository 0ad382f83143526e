//! Overlays on the wire.
//!
//! Owns: the names, defaults and limits of an overlay's specification. Never: the file system.

use super::fields::Fields;
use crate::error::Error;
use crate::model::overlay::{OverlaySpec, Strategy, Target, source_path};

/// The limits of the number of patterns and of their length in bytes.
const PATTERNS_MAX: usize = 1000;
const PATTERN_MAX: usize = 4096;
/// The limit of overlays for one server or setup.
pub(super) const OVERLAYS_MAX: usize = 100;

/// Reads the specification of an overlay that is all of `body`. Also returns warnings for the client.
///
/// # Errors
/// 400 when the body is no JSON; 422 when it is no specification, with every field that is wrong.
pub fn overlay_spec(body: &[u8]) -> Result<(OverlaySpec, Vec<String>), Error> {
    let mut fields = Fields::read(body)?;
    let spec = overlay(&mut fields);
    let warnings = fields.accept()?;
    Ok((spec.ok_or_else(Error::incomplete)?, warnings))
}

/// Takes the specification of an overlay from the members of an object, at any level. `None` if
/// something was wrong; `fields` has the errors.
pub fn overlay(fields: &mut Fields) -> Option<OverlaySpec> {
    let source = fields.required_text("source", source_path);
    let target = fields.required_text("target", Target::parse);
    let ignore = fields.texts("ignore", PATTERNS_MAX, pattern).unwrap_or_default();
    let strategy = fields.word("strategy", &Strategy::ALL);
    // An option of the SDK's own: it does the waiting.
    fields.ignore("waitForCompletion");
    Some(OverlaySpec { source: source?, target: target?, ignore, strategy: strategy.unwrap_or(Strategy::Smart) })
}

/// Takes `overlay` and `overlays`, in this order: those of a server or a setup.
pub fn overlays(fields: &mut Fields) -> Vec<OverlaySpec> {
    let one = fields.object("overlay", overlay).flatten();
    let mut all = fields.objects("overlays", OVERLAYS_MAX, &mut overlay);
    if let Some(one) = one {
        all.insert(0, one);
    }
    all
}

fn pattern(text: &str) -> Result<String, String> {
    if text.len() > PATTERN_MAX {
        return Err(format!("is {} bytes long; {PATTERN_MAX} are allowed", text.len()));
    }
    if text.contains('\0') {
        return Err("must not contain a NUL byte".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<(OverlaySpec, Vec<String>), Error> {
        overlay_spec(value.to_string().as_bytes())
    }

    #[test]
    fn a_small_one_has_defaults() {
        let (spec, warnings) = read(&json!({"source": "/templates/web/", "target": "app"})).unwrap();
        assert_eq!(spec.source, std::path::Path::new("/templates/web"));
        assert_eq!((spec.target.as_str(), spec.strategy), ("app", Strategy::Smart));
        assert!(spec.ignore.is_empty() && warnings.is_empty());
    }

    #[test]
    fn a_whole_one_is_taken_with_what_the_client_adds() {
        let value = json!({"source": "/t", "target": "/app", "ignore": ["*.log", "a"], "strategy": "copy",
            "waitForCompletion": {"maxRetries": 3}, "stratgy": 1});
        let (spec, warnings) = read(&value).unwrap();
        assert_eq!((spec.ignore, spec.strategy), (vec!["*.log".to_owned(), "a".to_owned()], Strategy::Copy));
        assert_eq!(warnings, ["unknown field \"stratgy\" was ignored; did you mean \"strategy\"?"]);
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (value, expected) in [
            (json!({}), &["source", "target"][..]),
            (json!({"source": "t", "target": "../x"}), &["source", "target"]),
            (
                json!({"source": 1, "target": [], "ignore": {}, "strategy": "fast"}),
                &["source", "target", "ignore", "strategy"],
            ),
            (json!({"source": "/t", "target": "a", "ignore": ["a", 1, "b\0"]}), &["ignore[1]", "ignore[2]"]),
            (json!({"source": "/t", "target": "a", "ignore": vec!["a"; 1001]}), &["ignore"]),
            (json!({"source": "", "target": "", "strategy": true}), &["source", "target", "strategy"]),
        ] {
            let error = read(&value).unwrap_err();
            let fields: Vec<&str> = error.wrong().iter().map(|wrong| wrong.field.as_str()).collect();
            assert_eq!(fields, expected, "{value}");
        }
    }

    #[test]
    fn they_are_read_from_inside_of_other_objects() {
        let body =
            br#"{"overlays": [{"source": "/t", "target": "a"}, {"source": "t"}, 3], "overlay": {"target": "b"}}"#;
        let mut fields = Fields::read(body).unwrap();
        assert_eq!(overlays(&mut fields).len(), 1);
        let (wrong, _) = fields.finish("field");
        let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field.as_str()).collect();
        assert_eq!(fields, ["overlay.source", "overlays[1].source", "overlays[1].target", "overlays[2]"]);
    }
}
