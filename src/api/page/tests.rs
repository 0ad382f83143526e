//! The page as it is served.

use super::compact::{between, compact};
use super::sha256::{base64, sha256};
use super::*;

/// As large as the page may be.
const MOST: usize = 24 * 1024;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compacted(source: &str) -> String {
    let mut bytes = vec![0; compact(source.as_bytes(), &mut [])];
    compact(source.as_bytes(), &mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn it_is_small_and_has_no_markup_of_its_own_making() {
    let text = String::from_utf8(page().body.into_owned()).unwrap();
    assert!(text.len() <= MOST, "{} bytes of {MOST}", text.len());
    for word in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "localStorage",
        "cookie",
        "http:",
        "https:",
    ] {
        let known = match word {
            // The name space of SVG.
            "http:" => 1,
            _ => 0,
        };
        assert_eq!(text.matches(word).count(), known, "{word}");
    }
    let markup = text.split("<script>").next().unwrap();
    let is_refused = |word: &str| word.starts_with("style=") || (word.starts_with("on") && word.contains('='));
    assert!(!markup.split_whitespace().any(is_refused), "the policy refuses attributes with CSS or JavaScript");
}

#[test]
fn the_policy_names_what_is_served() {
    let reply = page();
    let policy = &reply.headers.iter().find(|(name, _)| *name == "Content-Security-Policy").unwrap().1;
    for (directive, open, close) in [("style-src", "<style>", "</style>"), ("script-src", "<script>", "</script>")] {
        let text = between(&reply.body, open.as_bytes(), close.as_bytes());
        let hash = String::from_utf8(base64(&sha256(text)).to_vec()).unwrap();
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}';")), "{policy}");
    }
}

#[test]
fn the_hash_is_the_standards() {
    for (message, digest) in [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (&"a".repeat(1000), "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"),
    ] {
        assert_eq!(hex(&sha256(message.as_bytes())), digest);
    }
    assert_eq!(&base64(&sha256(b"")), b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

#[test]
fn comments_and_indentation_are_not_served() {
    let pairs = [
        ("<p>", "<p>\n"),
        ("<!--\n  a\n-->", ""),
        ("  <b> x = y </b>", "<b> x = y </b>\n"),
        ("", ""),
        ("<style>", "<style>\n"),
        ("/* a\n  b */", ""),
        ("  td :is(a, b) { color: red; }", "td :is(a,b){color:red;}\n"),
        ("@media (a: b) { c > d { e: \"; f\"; } }", "@media (a:b){c>d{e:\"; f\";}}\n"),
        ("</style>", "</style>\n"),
        ("{ }", "{ }\n"),
        ("<script>", "<script>\n"),
        ("  // a", ""),
        ("const { a } = b ? c : d;", "const{a}=b?c :d;\n"),
        ("say('a = \"b', c, \" = ' = \");", "say('a = \"b',c,\" = ' = \");\n"),
        ("a = b, `c = ${d = e}`, f = g;", "a=b,`c = ${d = e}`, f = g;\n"),
        ("a = /b = c/, d;", "a=/b = c/, d;\n"),
        ("a = 'b\\' = c';", "a='b\\' = c';\n"),
        ("</script>", "</script>\n"),
    ];
    let source: String = pairs.iter().map(|(source, _)| format!("{source}\n")).collect();
    let served: String = pairs.iter().map(|(_, served)| *served).collect();
    assert_eq!(compacted(&source), served);
}
