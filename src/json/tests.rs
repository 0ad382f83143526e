use super::*;

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Value {
        parse(value.to_string().as_bytes()).unwrap()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap())
    }
}

/// What has to be as `serde_json` has it.
const DOCUMENTS: [&str; 6] = [
    r#"{"b":[1,-2,0.5,1e300,null,true,false],"a":{"z":"\u00e9\n\"","y":{}},"":[[],[{}]]}"#,
    "18446744073709551615",
    "-9223372036854775808",
    "\"x\"",
    r#"{"a":1,"b":2,"a":3,"c":{"d":1,"d":2}}"#,
    " [ 1 , 2 ] ",
];

#[test]
fn values_are_as_serde_json_has_them() {
    for text in DOCUMENTS {
        let model: serde_json::Value = serde_json::from_str(text).unwrap();
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(value.to_string(), model.to_string());
        assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
    }
    for text in ["", "{", "{\"a\":1,}", "[1 2]", "1 x", "nul", "1e999", "{\"a\" 1}", "{1:2}", "\"\\ud800\""] {
        let model = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), model.to_string(), "{text}");
    }
    assert!(parse("[".repeat(1000).as_bytes()).is_err());
}

#[test]
fn of_members_with_one_name_the_last_one_counts_and_the_name_is_noted() {
    let (value, twice) = parse_noting(br#"{"c":1,"a":2,"b":{"x":1,"x":2},"a":3,"c":4,"a":5}"#).unwrap();
    assert_eq!(value, json!({"a": 5, "b": {"x": 2}, "c": 4}));
    assert_eq!(twice, ["a", "a", "c"]);
    assert_eq!(parse_noting(b"[]").unwrap(), (json!([]), Vec::new()));
}

#[test]
fn members_are_set_found_and_removed() {
    let Value::Object(mut map) = json!({"b": 1, "a": "x", "n": null}) else { unreachable!() };
    map.insert("c".into(), Value::from(7));
    map.insert("b".into(), Value::Bool(true));
    assert_eq!(map.get("c").and_then(Value::as_u64), Some(7));
    assert_eq!(map.get("b").and_then(Value::as_bool), Some(true));
    assert!(map.get("n").is_some_and(Value::is_null) && map.contains_key("n") && !map.contains_key("m"));
    *map.get_mut("a").unwrap() = Value::Null;
    assert_eq!(map.remove("a"), Some(Value::Null));
    assert_eq!(map.remove("a"), None);
    assert_eq!(map.keys().collect::<Vec<_>>(), ["b", "c", "n"]);
    assert_eq!(Value::Object(map), json!({"b": true, "c": 7, "n": null}));
}

#[test]
fn very_many_members_take_no_long_time() {
    // In an order that a sorted list would take a square of steps for.
    let members: Vec<String> = (0..100_000).rev().map(|number| format!("\"{number:06}\":0")).collect();
    let Value::Object(map) = parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap() else { unreachable!() };
    assert_eq!((map.iter().count(), map.keys().next()), (100_000, Some("000000")));
}
