//! Where warnings stand in an answer.

use super::*;

#[test]
fn warnings_are_there_when_there_are_some() {
    let (view, slug) = (minimal(), Slug::parse("web").unwrap());
    let views = [Arc::new(view.clone())];
    let log = || LogText { text: "x", dropped_bytes: 0 };
    let answers = |warnings: &[String]| {
        [
            body(server("m", &view, warnings)),
            body(stopped("m", &view, warnings)),
            body(server_list(&views, &Sorted::default(), warnings)),
            body(logs(&slug, Selection::Combined, log(), warnings)),
        ]
    };
    let warnings = ["unknown field \"a\" was ignored".to_owned(), "b".to_owned()];
    for (without, mut with) in answers(&[]).into_iter().zip(answers(&warnings)) {
        assert_eq!(without.get("warnings"), None);
        assert_eq!(with.as_object_mut().unwrap().remove("warnings"), Some(json!(warnings)));
        if let Some(server) = with.pointer_mut("/data/server") {
            assert_eq!(server.as_object_mut().unwrap().remove("warnings"), Some(json!(warnings)));
        }
        assert_eq!(with, without);
    }
}
