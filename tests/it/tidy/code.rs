//! Rust source without comments, strings and characters.

/// The code of `text`, with the same lines; what is left out becomes spaces.
pub(super) fn of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_in_name = code.ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let length = if is_in_name && first != '"' { 0 } else { left_out(rest) };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// The bytes of the comment, string or character that `text` begins with, or 0.
fn left_out(text: &str) -> usize {
    let to = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return to("*/", 2);
    }
    // `b`, `c`, `r`, `br`, `cr`, and the marks of a raw string.
    let prefix = text.len() - text.trim_start_matches(['b', 'c']).len();
    let body = &text[prefix..];
    if let Some(raw) = body.strip_prefix('r').filter(|_| prefix < 2) {
        let marks = raw.len() - raw.trim_start_matches('#').len();
        if raw[marks..].starts_with('"') {
            return to(&format!("\"{}", "#".repeat(marks)), prefix + 1 + marks + 1);
        }
        return 0;
    }
    let quote = match body.chars().next() {
        Some(quote @ ('"' | '\'')) if prefix < 2 => quote,
        _ => return 0,
    };
    let mut letters = body.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            letter if letter == quote => return prefix + at + 1,
            // A lifetime has no second quote.
            _ if quote == '\'' && at > 1 && !body[1..].starts_with('\\') => return 0,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn comments_strings_and_characters_are_left_out() {
    for (text, code) in [
        ("a // b\nc /* d\ne */ f", "a     \nc     \n     f"),
        (r#"x("a\"b", 'c', '"', b'\'', d)"#, "x(      ,    ,    ,      , d)"),
        ("r#\"a\"b\"# c br\"\\\" d cr#e", "         c       d cr#e"),
        ("fn f<'a>(x: &'a str) -> &'static str { \"ü\" }", "fn f<'a>(x: &'a str) -> &'static str {     }"),
        ("unsafe fn f() { var\"x\" }", "unsafe fn f() { var    }"),
    ] {
        assert_eq!(of(text), code, "{text}");
    }
}
