use super::*;

#[test]
fn simple_commands_become_the_process() {
    for (command, form) in [
        ("node server.js", "exec node server.js"),
        ("  ./run --port $PORT\n", "  exec ./run --port $PORT\n"),
        ("python3 -m http.server \"$PORT\" 2>&1", "exec python3 -m http.server \"$PORT\" 2>&1"),
        ("NODE_ENV=production A='b c' node x", "NODE_ENV=production A='b c' exec node x"),
        ("npm run dev -- --host=${HOST:-0.0.0.0} >> log", "exec npm run dev -- --host=${HOST:-0.0.0.0} >> log"),
        ("a 'it''s' \\; \"x;y|z\" http://h/#a?b=c*", "exec a 'it''s' \\; \"x;y|z\" http://h/#a?b=c*"),
    ] {
        assert_eq!(exec_form(command), form);
    }
}

fn value(name: &str) -> Option<&'static str> {
    match name {
        "PORT" => Some("8000"),
        "HOST" => Some("0.0.0.0"),
        "EMPTY" => Some(""),
        "TWO" => Some("a b"),
        "STAR" => Some("*"),
        _ => None,
    }
}

#[test]
fn the_simplest_commands_are_their_words() {
    for (command, wanted) in [
        ("node server.js", "node|server.js"),
        ("  ./run\t--port=$PORT \n", "./run|--port=8000"),
        ("python3 -m http.server $PORT --bind ${HOST}", "python3|-m|http.server|8000|--bind|0.0.0.0"),
        ("a $HOST:${PORT}/x,y%20=1 A=1", "a|0.0.0.0:8000/x,y%20=1|A=1"),
        (" exec\t./a  b\n", "./a|b"),
    ] {
        assert_eq!(words(command, value).map(|words| words.join("|")).as_deref(), Some(wanted), "{command}");
    }
    for command in [
        "",
        " ",
        "A=1 a",
        "echo a",
        "exec",
        "exec ",
        "exec -a b c",
        "exec A=1 a",
        "exec exec a",
        "exec echo a",
        "exec > a",
        "exec a > b",
        "exec\na",
        "-a",
        "$PORT",
        "a $EMPTY",
        "a $TWO",
        "a $STAR",
        "a $NONE",
        "a ${PORT",
        "a ${}",
        "a $",
        "a $$",
        "a $1",
        "a ${PORT:-1}",
        "a $PORT*",
        "a 'b'",
        "a \"b\"",
        "a b\\",
        "a *",
        "a ?",
        "a [b]",
        "a ~",
        "a {b,c}",
        "a b;",
        "a & b",
        "a | b",
        "a > b",
        "a 2>&1",
        "a # b",
        "a\nb",
        "a (b)",
        "a `b`",
        "a $(b)",
        "a !b",
        "a ^b",
        "a é",
        "a\rb",
    ] {
        assert_eq!(words(command, value), None, "{command}");
    }
}

#[test]
fn everything_else_is_left_alone() {
    for command in [
        "",
        " ",
        "cd app && node x",
        "node x; true",
        "node x &",
        "a | b",
        "a || b",
        "(a)",
        "{ a; }",
        "! a",
        "if a; then b; fi",
        "exec node x",
        "echo hi",
        "test -f x",
        "[ -f x ]",
        "cd app",
        ". ./env",
        "A=1",
        "A=1 B=2",
        "$CMD x",
        "\"a b\" c",
        "'a'",
        "a $(b)",
        "a `b`",
        "a $((1+2))",
        "a \"$(b)\"",
        "a \"`b`\"",
        "a <<EOF\nx\nEOF",
        "a\nb",
        "a # comment",
        "# a",
        "a 'open",
        "a \"open",
        "a \\",
        "a \\\nb",
        "a ${b",
        "a ${b:-\"c\"}",
        "a ${}",
        "a $",
        "a $'x'",
        "a >",
        "a > ",
        "a 2>&",
        "a >&x",
        "a &> x",
        "> x a",
        "f() { a; }",
        "while a; do b; done",
        "time a",
        "-a b",
        "a\0b",
        "a $!",
    ] {
        assert_eq!(exec_form(command), command);
    }
}
