//! Reading a dotenv file exactly as npm's `dotenv` 17 does.
//!
//! Owns: that format. Never: a file, an environment, the expansion of `$NAME` (dotenv does none either).
//!
//! dotenv's grammar is one regular expression, and existing files rely on what it does with odd input. This is that
//! expression by hand: a line is `NAME = value` or `NAME: value`, optionally after `export`; a value is quoted in one
//! of three ways and may then span lines, or ends at a `#` or the end of the line. White space before a value may
//! contain line ends if a quote follows. Where the expression would backtrack, so does this. One difference is known:
//! in an unquoted value that spans lines, dotenv removes quotes line by line.

/// Returns the variables in the order of the file; of duplicate names the last one counts. Bytes that are not UTF-8 are
/// replaced, as Node does.
pub fn parse(file: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(file).replace("\r\n", "\n").replace('\r', "\n");
    let mut variables = Vec::new();
    let mut from = 0;
    while from < text.len() {
        match assignment(&text, from) {
            Some((name, value, end)) => {
                variables.push((name.to_owned(), clean(value)));
                from = next_line(&text, end);
            }
            // Blank lines are part of the match that follows them: skip a run of them at once.
            None => from = next_line(&text, skip_space(&text, from)),
        }
    }
    variables
}

/// Where `^` and `$` of the expression match, and where `.` stops: JavaScript has two more line ends. All of them are
/// white space, and only the first one ends a value.
const LINE_ENDS: [char; 3] = ['\n', '\u{2028}', '\u{2029}'];

/// The start of the next line after `at`.
fn next_line(text: &str, at: usize) -> usize {
    let mut rest = text[at..].char_indices();
    rest.find(|(_, character)| LINE_ENDS.contains(character)).map_or(text.len(), |_| at + rest.offset())
}

/// White space as in JavaScript's `\s` and `trim`: includes the byte order mark.
fn is_space(character: char) -> bool {
    (character.is_whitespace() && character != '\u{85}') || character == '\u{feff}'
}

fn skip_space(text: &str, at: usize) -> usize {
    at + text[at..].find(|character| !is_space(character)).unwrap_or(text.len() - at)
}

fn is_line_end(text: &str, at: usize) -> bool {
    text[at..].is_empty() || text[at..].starts_with(LINE_ENDS)
}

/// Name, raw value and end of an assignment that starts on the line at `at`.
fn assignment(text: &str, at: usize) -> Option<(&str, &str, usize)> {
    let at = skip_space(text, at);
    let exported = text[at..].strip_prefix("export").filter(|rest| rest.starts_with(is_space));
    // A variable may have the name `export`.
    exported
        .and_then(|rest| named_value(text, skip_space(text, text.len() - rest.len())))
        .or_else(|| named_value(text, at))
}

fn named_value(text: &str, at: usize) -> Option<(&str, &str, usize)> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
    let end = at + text[at..].find(|character| !is_name(character)).unwrap_or(text.len() - at);
    let name = &text[at..end];
    if name.is_empty() {
        return None;
    }
    let equals = skip_space(text, end);
    let mut start = match (text[equals..].strip_prefix('='), text[end..].strip_prefix(':')) {
        (Some(_), _) => equals + 1,
        (None, Some(rest)) => end + 1 + rest.chars().next().filter(|&character| is_space(character))?.len_utf8(),
        (None, None) => return None,
    };
    // The earliest start that matches.
    loop {
        if let Some((value, end)) = value(text, start) {
            return Some((name, value, end));
        }
        start += text[start..].chars().next().filter(|&character| is_space(character))?.len_utf8();
    }
}

fn value(text: &str, at: usize) -> Option<(&str, usize)> {
    let quoted = skip_space(text, at);
    let quote = text[quoted..].chars().next().filter(|character| matches!(character, '\'' | '"' | '`'));
    if let Some(quote) = quote {
        for closing in closing_quotes(text, quoted + 1, quote) {
            if let Some(end) = line_rest(text, closing + 1) {
                return Some((&text[at..=closing], end));
            }
        }
    }
    let end = at + text[at..].find(['#', '\n']).unwrap_or(text.len() - at);
    if let Some(rest) = line_rest(text, end) {
        return Some((&text[at..end], rest));
    }
    None
}

/// The possible ends of a quoted value, in the order of the expression: the first quote without a backslash before it,
/// then those with one, the last first.
fn closing_quotes(text: &str, from: usize, quote: char) -> Vec<usize> {
    let mut escaped = Vec::new();
    let mut at = from;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        if bytes[at] == b'\\' && bytes.get(at + 1) == Some(&(quote as u8)) {
            escaped.push(at + 1);
            at += 2;
        } else if bytes[at] == quote as u8 {
            escaped.push(at);
            break;
        } else {
            at += 1;
        }
    }
    escaped.reverse();
    escaped
}

/// The end of an assignment whose value ends at `at`: only white space and a comment may follow on the line. White
/// space may span lines if a comment or the end of the file follows.
fn line_rest(text: &str, at: usize) -> Option<usize> {
    let after = skip_space(text, at);
    if text[after..].starts_with('#') {
        return Some(after + text[after..].find(LINE_ENDS).unwrap_or(text.len() - after));
    }
    if is_line_end(text, after) {
        return Some(after);
    }
    text[at..after].rfind(LINE_ENDS).map(|length| at + length)
}

/// Removes white space and quotes. In double quotes, `\n` and `\r` become line ends.
fn clean(value: &str) -> String {
    let value = value.trim_matches(is_space);
    let bare =
        ['\'', '"', '`'].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value);
    if value.starts_with('"') { bare.replace("\\n", "\n").replace("\\r", "\r") } else { bare.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with npm's dotenv 17.
    const TABLE: [(&str, &[(&str, &str)]); 29] = [
        ("A=1", &[("A", "1")]),
        ("A = 1 ", &[("A", "1")]),
        ("A: 1", &[("A", "1")]),
        ("A:1", &[]),
        ("export A=1", &[("A", "1")]),
        ("export=1", &[("export", "1")]),
        ("export = 1", &[("export", "1")]),
        ("A=", &[("A", "")]),
        ("A=\nB=2", &[("A", ""), ("B", "2")]),
        ("A=\n'x'\nB=2", &[("A", "x"), ("B", "2")]),
        ("A=1 # c", &[("A", "1")]),
        ("A=1#c", &[("A", "1")]),
        ("A='1 # c'", &[("A", "1 # c")]),
        ("A=\"1\\n2\"", &[("A", "1\n2")]),
        ("A='1\\n2'", &[("A", "1\\n2")]),
        ("A=1\\n2", &[("A", "1\\n2")]),
        ("A=\"x\ny\"\nB=2", &[("A", "x\ny"), ("B", "2")]),
        ("A=`x'\"y`", &[("A", "x'\"y")]),
        ("A='it\\'s'", &[("A", "it\\'s")]),
        ("A='a'b'", &[("A", "a'b")]),
        ("A=\"a\" b", &[("A", "\"a\" b")]),
        ("A='a # b", &[("A", "'a")]),
        ("# A=1\n\n  B=2", &[("B", "2")]),
        ("\u{feff}A=1\r\nB=2\rC=3", &[("A", "1"), ("B", "2"), ("C", "3")]),
        ("A.b-c=1\nä=2\n=3\nD", &[("A.b-c", "1")]),
        ("A=$B\nA=${C}", &[("A", "$B"), ("A", "${C}")]),
        // Found by a comparison of random files.
        ("x y\u{2028}A=1", &[("A", "1")]),
        ("A=1\u{2028}B=2", &[("A", "1\u{2028}B=2")]),
        ("A='x'\u{2029}B=2 # c\u{2028}C=3", &[("A", "x"), ("B", "2"), ("C", "3")]),
    ];

    #[test]
    fn as_dotenv_reads_it() {
        for (text, expected) in TABLE {
            let found = parse(text.as_bytes());
            let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn no_file_takes_long() {
        let started = std::time::Instant::now();
        for line in ["\n", " \n", "A\n", "A\n\n", "A='\n", "A=\"\\\"\n", "export \n", "A=\n\n", "A=`\\``x\n"] {
            parse(line.repeat(100_000 / line.len()).as_bytes());
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn no_bytes_are_too_odd() {
        for bytes in [&b"A=\xff"[..], b"\xef\xbb\xbfA=1", b"A='", b"A=\"\\", b"\0", b"A=\0", b"export", b"export "] {
            parse(bytes);
        }
        assert_eq!(parse(b"A=\xff"), [("A".to_owned(), "\u{fffd}".to_owned())]);
    }
}
