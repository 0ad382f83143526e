//! What a sandbox is asked to be, and every way in which that can be wrong.

use super::*;
use crate::json::{Value, json};

fn read(value: &Value) -> Result<(SandboxSpec, Vec<String>), Error> {
    sandbox(value.to_string().as_bytes(), Path::new("/srv"), Naming::Optional)
}

#[track_caller]
fn wrong(value: &Value) -> Vec<String> {
    read(value).unwrap_err().wrong().iter().map(|wrong| wrong.field.clone()).collect()
}

/// The fields of each request, as the document of the API has them.
pub(crate) fn known() -> [(&'static str, Vec<&'static str>); 3] {
    let names = |read: &dyn Fn(&mut Fields)| {
        let mut fields = Fields::read(b"{}").unwrap();
        read(&mut fields);
        fields.known().to_vec()
    };
    [
        ("SandboxConfig", names(&|fields| drop(sandbox_fields(fields, Path::new("/"), Naming::Optional)))),
        ("SandboxName", names(&|fields| drop(name(fields, Naming::Required)))),
        ("Extension", names(&|fields| assert_eq!(extension_fields(fields), 0))),
    ]
}

#[test]
fn nothing_has_to_be_asked_for() {
    assert_eq!(read(&json!({})).unwrap(), (SandboxSpec::default(), Vec::new()));
    let nulls =
        json!({"name": null, "metadata": null, "overlays": null, "servers": null, "envs": null, "timeout": null});
    assert_eq!(read(&nulls).unwrap().0, SandboxSpec::default());
}

#[test]
fn paths_are_taken_from_the_directory_and_stay_so_when_they_are_stored() {
    let body = |directory: Option<&str>| {
        let server = |slug: &str, path: Option<&str>| json!({"slug": slug, "start": "x", "path": path, "overlay": {"source": "/t", "target": "o"}});
        json!({
            "directory": directory,
            "overlays": [{"source": "/t", "target": "app"}, {"source": "/t", "target": "/abs"}],
            "servers": [server("a", None), server("b", Some("web")), server("c", Some("/opt/c"))],
        })
    };
    for (directory, targets, paths) in [
        (None, ["app", "o"], [None, Some("web"), Some("/opt/c")]),
        (Some("/app/"), ["/app/app", "/app/o"], [Some("/app/"), Some("/app/web"), Some("/opt/c")]),
        (Some("sub"), ["sub/app", "sub/o"], [Some("sub"), Some("sub/web"), Some("/opt/c")]),
    ] {
        let (spec, warnings) = read(&body(directory)).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            spec.overlays.iter().map(|overlay| overlay.target.as_str()).collect::<Vec<_>>(),
            [targets[0], "/abs"]
        );
        for (server, path) in spec.servers.iter().zip(paths) {
            assert_eq!(server.path.original.as_deref(), path, "{directory:?}");
            let resolved: std::path::PathBuf = Path::new("/srv").join(path.unwrap_or("")).components().collect();
            assert_eq!(server.path.resolved, resolved);
            assert_eq!(server.overlays[0].target.as_str(), targets[1]);
        }
    }
}

#[test]
fn variables_stand_under_those_of_a_server() {
    let body = json!({"envs": {"A": "all", "B": "all"}, "servers": [
        {"slug": "a", "start": "x", "environment": {"B": "own"}}, {"slug": "b", "start": "x"}]});
    let (spec, _) = read(&body).unwrap();
    let of = |number: usize, name: &str| spec.servers[number].environment.get(name).map(String::as_str);
    assert_eq!([of(0, "A"), of(0, "B"), of(1, "A"), of(1, "B")], [Some("all"), Some("own"), Some("all"), Some("all")]);
}

#[test]
fn a_name_has_a_namespace() {
    let name = |value: Value| read(&value).unwrap().0.name;
    let named = |namespace: &str| Some(SandboxName { namespace: namespace.into(), name: "n".into() });
    assert_eq!(name(json!({"name": "n"})), named("default"));
    assert_eq!(name(json!({"name": "n", "namespace": "s"})), named("s"));
    assert_eq!(name(json!({"namespace": "s"})), None);
    let required = sandbox(b"{}", Path::new("/"), Naming::Required).unwrap_err();
    assert_eq!(required.wrong()[0].field, "name");
    assert_eq!(sandbox_name(br#"{"nam": "x"}"#).unwrap_err().wrong()[0].field, "name");
    assert_eq!(sandbox_name(br#"{"name": "n"}"#).unwrap().0, named("default"));
}

#[test]
fn every_wrong_place_is_named() {
    let good = json!({"slug": "a", "start": "x"});
    for (value, places) in [
        (json!({"name": "", "namespace": 1}), &["namespace", "name"][..]),
        (json!({"name": "x".repeat(254)}), &["name"]),
        (json!({"metadata": [], "timeout": -1, "directory": ""}), &["metadata", "timeout", "directory"]),
        (json!({"envs": {"A": 1, "B=": "x", "C": "x"}}), &["envs.A", "envs.B="]),
        (json!({"envs": "A=b"}), &["envs"]),
        (json!({"servers": {}, "overlays": 1}), &["overlays", "servers"]),
        (json!({"overlays": [{"source": "t", "target": "a"}, 1]}), &["overlays[0].source", "overlays[1]"]),
        (json!({"servers": [good, {"slug": "b"}, 7]}), &["servers[1].start", "servers[2]"]),
        (json!({"servers": [good, {"slug": "b", "start": "x"}, good]}), &["servers[2].slug"]),
        (
            json!({"servers": [{"slug": "a", "start": "x", "overlays": [{"source": "/t"}]}]}),
            &["servers[0].overlays[0].target"],
        ),
        (json!({"servers": vec![good.clone(); 1001]}), &["servers"]),
    ] {
        assert_eq!(wrong(&value), places, "{value}");
    }
    for (body, is_right) in [("{}", false), (r#"{"duration": -1}"#, false), (r#"{"duration": 900000}"#, true)] {
        assert_eq!(extension(body.as_bytes()).is_ok(), is_right, "{body}");
    }
}

#[test]
fn unknown_members_give_warnings() {
    let body =
        json!({"snapshotId": "s", "image": "i", "nmae": "x", "servers": [{"slug": "a", "start": "x", "prot": 1}]});
    let (spec, warnings) = read(&body).unwrap();
    assert_eq!(spec.servers.len(), 1);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(
        warnings.iter().any(|warning| warning.contains("\"nmae\"") && warning.contains("\"name\"")),
        "{warnings:?}"
    );
}
