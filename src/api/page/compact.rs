//! Minification of the page at compile time.
//!
//! Owns: which bytes of the source are served. Never: a parser of HTML, CSS or JavaScript: the rules look at one line,
//! and the page is written so that they hold.
//!
//! Not served: indentation, empty lines, comments that have lines of their own (`<!-- … -->`, `/* … */`, `//`), and the
//! spaces beside some signs of CSS and JavaScript. Text in quotes is kept, and so is what follows a backquote, a slash
//! or a backslash in its line: a template, a pattern, a comment.

/// Writes the served form of `source` to `target`, as far as there is room. Returns its length.
pub const fn compact(source: &[u8], target: &mut [u8]) -> usize {
    let (mut length, mut from) = (0, 0);
    let (mut is_code, mut comment): (bool, &[u8]) = (false, b"");
    while from < source.len() {
        let mut end = from;
        while source[end] != b'\n' {
            end += 1;
        }
        let mut at = from;
        while source[at] == b' ' {
            at += 1;
        }
        from = end + 1;
        if comment.is_empty() {
            comment = opened(source, at);
        }
        if !comment.is_empty() {
            if ends_with(source, at, end, comment) {
                comment = b"";
            }
            continue;
        }
        if at == end {
            continue;
        }
        is_code = (is_code || starts_with(source, at, b"<style>") || starts_with(source, at, b"<script>"))
            && !starts_with(source, at, b"</");
        let (mut is_dense, mut quote) = (is_code, None);
        while at <= end {
            let byte = source[at];
            let is_idle =
                is_dense && quote.is_none() && byte == b' ' && (after(source[at - 1]) || before(source[at + 1]));
            is_dense = is_dense && !matches!(byte, b'`' | b'/' | b'\\');
            quote = match (byte, quote) {
                (b'\'' | b'"', None) => Some(byte),
                (b'\'', Some(b'\'')) | (b'"', Some(b'"')) => None,
                (_, quote) => quote,
            };
            if !is_idle {
                if length < target.len() {
                    target[length] = byte;
                }
                length += 1;
            }
            at += 1;
        }
    }
    length
}

/// The part of `text` between the first `open` and the first `close`.
pub const fn between<'a>(text: &'a [u8], open: &[u8], close: &[u8]) -> &'a [u8] {
    let mut from = 0;
    while !starts_with(text, from, open) {
        from += 1;
    }
    from += open.len();
    let mut end = from;
    while !starts_with(text, end, close) {
        end += 1;
    }
    text.split_at(end).0.split_at(from).1
}

/// What ends the comment that begins at `at`; empty if none does.
const fn opened(text: &[u8], at: usize) -> &'static [u8] {
    if starts_with(text, at, b"<!--") {
        b"-->"
    } else if starts_with(text, at, b"/*") {
        b"*/"
    } else if starts_with(text, at, b"//") {
        // Each line ends with nothing.
        b"\n"
    } else {
        b""
    }
}

const fn starts_with(text: &[u8], at: usize, wanted: &[u8]) -> bool {
    let mut place = 0;
    while place < wanted.len() && at + place < text.len() && text[at + place] == wanted[place] {
        place += 1;
    }
    place == wanted.len()
}

/// Whether the line from `at` to its newline at `end` ends with `wanted`, or `wanted` is the newline.
const fn ends_with(text: &[u8], at: usize, end: usize, wanted: &[u8]) -> bool {
    wanted[0] == b'\n' || (end - at >= wanted.len() && starts_with(text, end - wanted.len(), wanted))
}

/// Whether a space after this can be removed, in CSS and in JavaScript.
const fn after(byte: u8) -> bool {
    before(byte) || matches!(byte, b':' | b'(')
}

/// Whether a space before this can be removed. Before a colon or a parenthesis it matters in CSS: `td :is(a)`, `and
/// (…)`.
const fn before(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b';' | b',' | b'=' | b'?' | b'&' | b'|' | b'<' | b'>')
}
