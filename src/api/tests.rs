//! The document of the API against the code: every path and method, every name in a request or a response.
//!
//! `tests/it/openapi.rs` checks real responses against its schemas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::handlers::OPENAPI;
use super::route::{ApiAction, route};
use super::{input, wire};
use crate::access::Gate;
use crate::model::ending::{AfterEnding, EndingKind, Reason};
use crate::model::health::HealthStatus;
use crate::model::overlay::{CopyStatus, Strategy};
use crate::model::proxy::{ProxyAccess, ProxyHost};
use crate::model::spec::{RestartPolicy, Stdin};
use crate::model::status::Status;
use crate::model::stop::StopMode;
use crate::model::stream::StreamId;

fn document() -> Value {
    serde_json::from_slice(OPENAPI.get()).unwrap()
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap_or_else(|| panic!("{object} is no object")).keys().map(String::as_str).collect()
}

/// The part of the document that `value` stands for.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => document.pointer(&place[1..]).unwrap_or_else(|| panic!("{place} leads nowhere")),
        None => value,
    }
}

fn target(path: &str) -> String {
    path.replace("{slug}", "web").replace("{id}", "a1")
}

/// Each path of the document, its methods, and what stands there for each.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
            found.push((path.clone(), method.to_uppercase(), operation));
        }
    }
    found
}

#[test]
fn it_has_the_methods_of_each_path() {
    let document = document();
    let paths = names(&document["paths"]);
    assert_eq!(paths, super::route::tests::templates());
    for path in paths {
        let ApiAction::Options { allow } = route("OPTIONS", &target(path)).unwrap().action else { panic!("{path}") };
        let documented: BTreeSet<String> = operations(&document)
            .into_iter()
            .filter(|(other, ..)| other == path)
            .flat_map(|(_, method, _)| if method == "GET" { vec![method, "HEAD".into()] } else { vec![method] })
            .chain(["OPTIONS".into()])
            .collect();
        assert_eq!(documented, allow.split(", ").map(str::to_owned).collect(), "{path}");
    }
}

#[test]
fn it_says_what_needs_a_token() {
    assert_eq!(document()["security"], serde_json::json!([{"bearer": []}]));
    for (path, method, operation) in operations(&document()) {
        let gate = route(&method, &target(&path)).unwrap().action.gate();
        assert_eq!(operation["security"].is_array(), gate != Gate::Guarded, "{method} {path}");
    }
}

#[test]
fn it_has_every_parameter_with_its_values() {
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolved(&document, parameter);
            let (name, schema) = (parameter["name"].as_str().unwrap(), resolved(&document, &parameter["schema"]));
            documented.insert(name);
            let words: Vec<String> = match (schema["type"].as_str(), schema["enum"].as_array()) {
                (Some("boolean"), _) => vec!["true".into(), "false".into()],
                // Names of servers: any will do.
                (Some("array"), _) => vec!["web".into()],
                (Some("integer"), _) => vec![schema["minimum"].to_string(), schema["maximum"].to_string()],
                (_, Some(words)) => words.iter().map(|word| word.as_str().unwrap().to_owned()).collect(),
                other => panic!("{name}: {other:?}"),
            };
            for word in &words {
                let taken = route(&method, &format!("{}?{name}={word}", target(&path))).unwrap();
                assert_eq!(taken.warnings, Vec::<String>::new(), "{method} {path} {name}={word}");
            }
            // No slug begins with a dot.
            let mut wrong = vec![if schema["type"] == "array" { ".x".to_owned() } else { "x".to_owned() }];
            let least = schema["minimum"].as_u64().and_then(|least| least.checked_sub(1));
            wrong.extend(least.map(|below| below.to_string()));
            wrong.extend(schema["maximum"].as_u64().map(|most| (most + 1).to_string()));
            for word in wrong {
                let refused = route(&method, &format!("{}?{name}={word}", target(&path))).unwrap_err();
                assert_eq!((refused.code().status(), &*refused.wrong()[0].field), (422, name), "{method} {path}");
            }
            assert!(operation["responses"]["422"].is_object(), "{method} {path}");
        }
    }
    // Every name that is asked of a query, wherever that is written.
    let sources = [include_str!("route.rs"), include_str!("route/query.rs")];
    let asked = ["flag(\"", "word(\"", "number(\""]
        .iter()
        .flat_map(|call| sources.iter().flat_map(move |source| source.split(call).skip(1)))
        .filter_map(|rest| rest.split('"').next());
    assert_eq!(documented, asked.chain(["slug"]).collect());
}

#[test]
fn it_has_every_field_of_a_request() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for (name, known) in input::tests::known().into_iter().chain(input::sandbox::tests::known()) {
        let schema = match name {
            "HealthCheck" => &schemas["ServerConfig"]["properties"]["health_check"],
            "ProxyRules" => &schemas["ServerConfig"]["properties"]["proxy"],
            name => &schemas[name],
        };
        // The client sends its own options along with an overlay.
        let known: BTreeSet<&str> = known.into_iter().filter(|known| *known != "waitForCompletion").collect();
        assert_eq!(names(&schema["properties"]), known, "{name}");
    }
}

#[test]
fn a_record_has_every_field_of_a_request() {
    let record = wire::tests::full_answers().record;
    let [(_, server), (_, check), (_, proxy), (_, overlay), _] = input::tests::known();
    let set = |names: Vec<&'static str>| names.into_iter().collect::<BTreeSet<&str>>();
    // One of these is an overlay by itself, and the other is the client's own.
    let (mut server, mut overlay) = (set(server), set(overlay));
    assert!(server.remove("overlay") && overlay.remove("waitForCompletion"));
    assert_eq!(names(&record), server);
    assert_eq!(names(&record["health_check"]), set(check));
    assert_eq!(names(&record["proxy"]), set(proxy));
    assert_eq!(names(&record["overlays"][0]), overlay);
}

#[test]
fn it_has_every_field_of_an_answer() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let answer = wire::tests::full_answers();
    let with_config = |own: &str, config: &str| {
        let mut all = names(&schemas[own]["properties"]);
        all.extend(names(&schemas[config]["properties"]));
        all
    };
    let mut server = with_config("Server", "ServerConfig");
    // It is among the `overlays` of an answer.
    server.remove("overlay");
    assert_eq!(names(&answer.server), server);
    let mut overlay = with_config("Overlay", "OverlayConfig");
    overlay.remove("warnings");
    assert_eq!(names(&answer.overlay), overlay);
    let brief = |part: &str| names(&resolved(&document, &schemas["Ready"]["properties"][part]["items"])["properties"]);
    assert_eq!(names(&answer.ready["servers"][0]), brief("servers"));
    assert_eq!(names(&answer.ready["overlays"][0]), brief("overlays"));
    let mut run = names(&schemas["Run"]["properties"]);
    assert_eq!(names(&answer.run), run);
    run.retain(|name| !name.starts_with("tail"));
    assert_eq!(names(&answer.server["last_exit"]), run);
    assert_eq!(names(&answer.server["stats"]), names(&schemas["Server"]["properties"]["stats"]["properties"]));
    assert_eq!(names(&answer.server["health"]), names(&schemas["Health"]["properties"]));
    assert_eq!(
        names(&answer.server["health_check"]),
        names(&schemas["ServerConfig"]["properties"]["health_check"]["properties"])
    );
}

/// Every `enum` of the document below `value`, by its place, without `null`.
fn enums<'a>(value: &'a Value, place: &str, found: &mut BTreeMap<String, Vec<&'a str>>) {
    if let Some(values) = value["enum"].as_array() {
        found.insert(place.to_owned(), values.iter().filter_map(Value::as_str).collect());
    }
    let members = value.as_object().into_iter().flatten().filter(|(name, _)| *name != "enum");
    members.for_each(|(name, member)| enums(member, &format!("{place}/{name}"), found));
}

#[test]
fn its_enums_are_those_of_the_code() {
    let document = document();
    let mut documented = BTreeMap::new();
    enums(&document["components"]["schemas"], "", &mut documented);
    let mut is =
        |place: &str, known: &[&str]| assert_eq!(documented.remove(place).unwrap_or_default(), known, "{place}");
    is("/Status", &Status::ALL.map(|(name, _)| name));
    is("/Stream", &crate::logs::Selection::ALL.map(|(name, _)| name));
    is("/CopyStatus", &CopyStatus::ALL.map(|(name, _)| name));
    is("/ServerConfig/properties/restart_policy", &RestartPolicy::ALL.map(|(name, _)| name));
    is("/ServerConfig/properties/stdin", &Stdin::ALL.map(|(name, _)| name));
    is("/ServerConfig/properties/stop_mode", &StopMode::ALL.map(|(name, _)| name));
    let proxy = "/ServerConfig/properties/proxy/properties";
    is(&format!("{proxy}/host"), &ProxyHost::ALL.map(|(name, _)| name));
    is(&format!("{proxy}/access"), &ProxyAccess::ALL.map(|(name, _)| name));
    is("/OverlayConfig/properties/strategy", &Strategy::ALL.map(|(name, _)| name));
    is("/Server/properties/health_status", &HealthStatus::ALL.map(|(name, _)| name));
    is("/Run/properties/kind", &EndingKind::ALL.map(|(name, _)| name));
    is("/Run/properties/reason", &Reason::ALL.map(|(name, _)| name));
    is("/Run/properties/next", &AfterEnding::ALL.map(|(name, _)| name));
    is("/Line/properties/stream", &StreamId::BOTH.map(StreamId::as_str));
    assert_eq!(documented, BTreeMap::new(), "an enum without a type in the code");
}

#[test]
fn each_reference_leads_somewhere() {
    fn visit(document: &Value, value: &Value) {
        resolved(document, value);
        match value {
            Value::Object(members) => members.values().for_each(|member| visit(document, member)),
            Value::Array(members) => members.iter().for_each(|member| visit(document, member)),
            _ => {}
        }
    }
    visit(&document(), &document());
}
