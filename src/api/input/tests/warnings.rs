//! What is possible and probably not what was meant.

use super::*;

#[test]
fn strange_fields_are_warned_of() {
    let warnings = |body: &str| read(body.as_bytes()).unwrap().1;
    let base = r#""slug": "a", "start": "b""#;
    assert_eq!(
        warnings(&format!(
            r#"{{{base}, "restartPolicy": "always", "health_check": {{"intervall_ms": 5}}, "colour": 1}}"#
        )),
        [
            "unknown field of health_check \"intervall_ms\" was ignored; did you mean \"interval_ms\"?",
            "unknown field \"colour\" was ignored",
            "unknown field \"restartPolicy\" was ignored; did you mean \"restart_policy\"?",
        ]
    );
    assert_eq!(
        warnings(&format!(r#"{{{base}, "port": 1, "port": 2}}"#)),
        ["field \"port\" is given twice; the last one counts"]
    );
    let many: String = (0..1000).map(|n| format!(r#","x{n}":1,"x{n}":2"#)).collect();
    assert_eq!(warnings(&format!("{{{base}{many}}}")).len(), 20);
}

#[test]
fn variables_that_a_shell_drops_are_named_when_a_command_needs_one() {
    let warnings = |more: Value| read(&with(more)).unwrap().1;
    let dotted = json!({"discovery.type": "single-node", "PORT_2": "x"});
    for (start, reaches) in [
        ("elasticsearch", true),
        ("./bin/elasticsearch -E http.port=$PORT --a=b,c", true),
        ("serve $DIR", true),
        ("exec elasticsearch", true),
        ("exec -a es elasticsearch", false),
        ("cd es && elasticsearch", false),
        ("elasticsearch | tee log", false),
        ("elasticsearch 2>&1", false),
        ("A=1 elasticsearch", false),
        ("elasticsearch 'a b'", false),
        ("elasticsearch $PORT_2*", false),
    ] {
        let given = warnings(json!({"start": start, "environment": dotted}));
        assert_eq!(given.is_empty(), reaches, "{start}: {given:?}");
        for text in given {
            assert!(text.starts_with("environment \"discovery.type\" does not reach start: /bin/sh drops"), "{text}");
        }
    }
    // A value that a shell would split makes it need one.
    let spaced = json!({"start": "serve $DIR", "environment": {"a-b": "1", "DIR": "my files"}});
    assert_eq!(warnings(spaced).len(), 1);
    for name in ["a-b", "a.b", "1A", "a b", "é", "npm_config_//registry/:_authToken"] {
        let given = warnings(json!({"start": "a; b", "environment": {name: "424242"}}));
        assert!(given.len() == 1 && given[0].contains(name) && !given[0].contains("4242"), "{given:?}");
    }
    for name in ["A", "_", "a1", "__A_1"] {
        assert_eq!(warnings(json!({"start": "a; b", "environment": {name: "x"}})), Vec::<String>::new(), "{name}");
    }
    let both = json!({"install": "npm ci && true", "start": "a; b", "environment": {"a-b": "", "a.b": "", "c.d": ""}});
    let given = warnings(both);
    assert_eq!(given.len(), 2);
    assert!(given[0].starts_with("environment \"a-b\" and 2 more does not reach install"), "{given:?}");
}
