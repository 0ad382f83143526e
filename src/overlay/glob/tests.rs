//! What patterns match and what they don't.

use std::path::Path;

use super::*;

fn left_out(patterns: &[&str], path: &str) -> bool {
    let (path, is_directory) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, false),
    };
    // As a walk does: what is in a directory that is left out is not looked at.
    let ignore = Ignore::new(patterns.iter().copied());
    let components: Vec<&OsStr> = Path::new(path).iter().collect();
    (1..=components.len()).any(|end| {
        let directory = is_directory || end < components.len();
        ignore.leaves_out(components[..end].iter().copied(), directory)
    })
}

#[test]
fn single_patterns() {
    // Pattern, what it leaves out, what it does not. A slash at the end of a path makes it a directory.
    let table: &[(&str, &[&str], &[&str])] = &[
        (
            "node_modules",
            &["node_modules", "node_modules/", "a/node_modules/x", "a/b/node_modules"],
            &["node_module", "xnode_modules"],
        ),
        ("*.log", &["x.log", "a/x.log", ".log", "a.log/"], &["x.logs", "log", "x.log.txt"]),
        ("**/*.test.js", &["x.test.js", "a/x.test.js", "a/b/c.test.js"], &["x.test.jsx", "test.js"]),
        ("/build", &["build", "build/x", "build/"], &["a/build"]),
        ("build/", &["build/", "a/build/", "build/x"], &["build", "a/build"]),
        ("/build/", &["build/", "build/x"], &["build", "a/build/"]),
        ("a/b", &["a/b", "a/b/c"], &["x/a/b", "b", "a"]),
        ("a/*", &["a/b", "a/c/"], &["a", "a/", "x/a/b"]),
        ("a/*/c", &["a/b/c"], &["a/c", "a/b/b/c"]),
        ("a/**", &["a/b", "a/b/c"], &["a", "a/", "x/a/b"]),
        ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a", "b", "a/xb", "x/a/b"]),
        ("**/b", &["b", "a/b", "a/x/b"], &["bb"]),
        ("**/a/b", &["a/b", "x/a/b"], &["a/x/b"]),
        ("**", &["a", "a/b"], &[]),
        ("*", &["a", "a/b", ".x"], &[]),
        ("/*", &["a", "a/b"], &[]),
        ("/**/x/**", &["x/a", "b/x/a"], &["x", "b/x"]),
        ("?.js", &["a.js", "ä.js", "x/b.js"], &["ab.js", ".js"]),
        ("[ab].js", &["a.js", "b.js"], &["c.js", "ab.js"]),
        ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
        ("[!a-c]x", &["dx"], &["ax", "x"]),
        ("[^a]", &["b"], &["a"]),
        ("[]]", &["]"], &["["]),
        ("[]-]", &["]", "-"], &["a"]),
        ("[a-]", &["a", "-"], &["b"]),
        ("[\\]]", &["]"], &["\\"]),
        ("[[:digit:]_]x", &["1x", "_x"], &["ax"]),
        ("[a", &["[a"], &["a"]),
        ("a[", &["a["], &["a"]),
        ("\\*", &["*"], &["a"]),
        ("\\#a", &["#a"], &["a"]),
        ("\\!a", &["!a"], &["a"]),
        ("\\a", &["a"], &["\\a"]),
        ("#a", &[], &["#a", "a"]),
        ("a ", &["a"], &["a "]),
        ("a\\ ", &["a "], &["a"]),
        ("a b", &["a b"], &["a", "b"]),
        ("./a", &["a"], &["b/a"]),
        ("", &[], &["a"]),
        ("/", &[], &["a"]),
        ("!", &[], &["a"]),
        ("a**b", &["ab", "axxb"], &["a/b"]),
        ("*a*b*c*", &["abc", "xaxbxc"], &["acb"]),
        (".env*", &[".env", ".env.local", "a/.env"], &["env"]),
    ];
    for (pattern, yes, no) in table {
        for path in *yes {
            assert!(left_out(&[pattern], path), "{pattern:?} does not match {path:?}");
        }
        for path in *no {
            assert!(!left_out(&[pattern], path), "{pattern:?} matches {path:?}");
        }
    }
}

#[test]
fn the_last_match_decides_and_nothing_comes_back_from_inside() {
    for (patterns, path, expected) in [
        (&["*.log", "!keep.log"][..], "keep.log", false),
        (&["*.log", "!keep.log"], "a/keep.log", false),
        (&["*.log", "!keep.log"], "other.log", true),
        (&["!keep.log", "*.log"], "keep.log", true),
        (&["build", "!build/keep"], "build/keep", true),
        (&["build/*", "!build/keep"], "build/keep", false),
        (&["/*", "!/src"], "src/x", false),
        (&["/*", "!/src"], "lib/x", true),
        (&["a", "!a/"], "a/", false),
        (&["a", "!a/"], "a", true),
        (&[], "a", false),
    ] {
        assert_eq!(left_out(patterns, path), expected, "{patterns:?} {path:?}");
    }
}

#[test]
fn no_pattern_takes_long() {
    let pattern = "*a".repeat(200);
    let started = std::time::Instant::now();
    assert!(!left_out(&[&pattern], &"a".repeat(199)));
    let deep = vec!["**/a"; 100].join("/");
    assert!(!left_out(&[&deep], &vec!["a"; 99].join("/")));
    // Classes without an end, each of which looks like another one's beginning.
    for begun in ["[", "[\\]", "[[:x"] {
        assert!(!left_out(&[&begun.repeat(10_000)], "a"));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_class_has_its_limit() {
    let class = |length: usize| format!("[{}]", "a".repeat(length));
    assert!(left_out(&[&class(CLASS_MAX - 1)], "a"));
    assert!(!left_out(&[&class(CLASS_MAX)], "a"), "a bracket like any other");
}

#[test]
fn names_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let odd = OsStr::from_bytes(b"a\xff.log");
    assert!(Ignore::new(["*.log"]).leaves_out([odd], false));
    assert!(Ignore::new(["a?.log"]).leaves_out([odd], false));
}
