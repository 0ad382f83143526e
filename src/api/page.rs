//! The status page, `GET /ui`.
//!
//! Owns: the served form of `page/index.html`, made at compile time, and the headers that go with it. Never: data
//! of a request, a server or the token: the page is the same for all clients and uses the API itself.
//!
//! No gzip form: its Huffman codes would cost the binary more than they save over a loopback.

use crate::handoff::Reply;
use crate::packed::{Document, Packed};

mod compact;
mod sha256;
#[cfg(test)]
mod tests;

use compact::{between, compact};
use sha256::{BASE64_LENGTH, base64, sha256};

const SOURCE: &str = include_str!("page/index.html");
const LENGTH: usize = compact(SOURCE.as_bytes(), &mut []);
static SERVED: [u8; LENGTH] = {
    let mut bytes = [0; LENGTH];
    compact(SOURCE.as_bytes(), &mut bytes);
    bytes
};
const PACKED: Packed = Packed::new(&SERVED);
static PAGE: Document<{ PACKED.length }> = Document::new(&PACKED);
/// The hashes in the policy: the browser applies and runs only the text between these tags.
const STYLE: [u8; BASE64_LENGTH] = base64(&sha256(between(&SERVED, b"<style>", b"</style>")));
const SCRIPT: [u8; BASE64_LENGTH] = base64(&sha256(between(&SERVED, b"<script>", b"</script>")));

pub fn page() -> Reply {
    let hash = |text: &'static [u8]| str::from_utf8(text).unwrap_or_default();
    let policy = [
        "default-src 'none'; style-src 'sha256-",
        hash(&STYLE),
        "'; script-src 'sha256-",
        hash(&SCRIPT),
        "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ];
    let headers = vec![
        ("Content-Security-Policy", policy.concat()),
        ("X-Content-Type-Options", "nosniff".into()),
        ("Referrer-Policy", "no-referrer".into()),
        ("Cross-Origin-Opener-Policy", "same-origin".into()),
        ("Cache-Control", "no-cache".into()),
    ];
    Reply { status: 200, headers, content_type: Some("text/html; charset=utf-8"), body: PAGE.get().into() }
}

/// Redirects a browser from `/` to the page.
pub fn redirect() -> Reply {
    let headers = vec![("Location", "/ui".into()), ("Vary", "Accept".into())];
    Reply { status: 302, headers, content_type: None, body: Vec::new().into() }
}
