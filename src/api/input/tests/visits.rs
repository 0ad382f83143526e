//! The part `proxy`.

use super::*;

#[test]
fn each_member_is_optional_and_has_its_range() {
    let proxy = |value: Value| good(json!({"proxy": value})).proxy;
    let nothing = json!({"host": null, "access": null, "start_on_visit": null, "idle_stop_ms": null});
    for same in [json!(null), json!({}), nothing, json!({"host": "local", "start_on_visit": false})] {
        assert_eq!(proxy(same), ProxyRules::default());
    }
    for (word, host) in ProxyHost::ALL {
        assert_eq!(proxy(json!({"host": word})).host, host);
    }
    for (word, access) in ProxyAccess::ALL {
        assert_eq!(proxy(json!({"access": word})).access, Some(access));
    }
    let rules = proxy(json!({"start_on_visit": true, "idle_stop_ms": 1}));
    assert_eq!((rules.start_on_visit, rules.idle_stop), (true, Some(Duration::from_millis(1))));
    assert_eq!(fields(&bad(json!({"proxy": true}))), ["proxy"]);
    for (field, values) in [
        ("host", vec![json!("Public"), json!(""), json!(1)]),
        ("access", vec![json!("secret"), json!(true)]),
        ("start_on_visit", vec![json!("yes"), json!(1)]),
        ("idle_stop_ms", vec![json!(0), json!(-1), json!("1s"), json!(31_536_000_001_u64)]),
    ] {
        for value in values {
            assert_eq!(fields(&bad(json!({"proxy": {field: value}}))), [format!("proxy.{field}")], "{value}");
        }
    }
    let (_, warnings) = read(&with(json!({"proxy": {"idle_timeout": 1}}))).unwrap();
    assert_eq!(warnings, [r#"unknown field of proxy "idle_timeout" was ignored; did you mean "idle_stop_ms"?"#]);
}
