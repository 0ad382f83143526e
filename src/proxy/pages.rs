//! Errors in place of a server's answer: as a page or as JSON.
//!
//! Owns: who is shown a page, and the form of both. Never: a decision about a server. Pure.

use super::request::VisitHead;
use crate::handoff::Reply;

/// The kind of a visitor, as far as its headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitorKind {
    /// A navigation of a browser: it gets a page.
    pub is_navigation: bool,
    /// A navigation without a user's action: our waiting page loads itself again.
    pub is_refresh: bool,
    /// A request of a loaded page, or one with `Origin` or `Referer`.
    pub is_background: bool,
    /// A request for a WebSocket.
    pub is_upgrade: bool,
}

impl VisitorKind {
    /// A client without any such headers.
    pub const PROGRAM: VisitorKind =
        VisitorKind { is_navigation: false, is_refresh: false, is_background: false, is_upgrade: false };

    pub fn of(head: &VisitHead<'_>) -> VisitorKind {
        let first = |name| head.fields.first(name);
        let mode = first("Sec-Fetch-Mode");
        let has_metadata = head
            .fields
            .0
            .iter()
            .any(|field| field.name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("Sec-Fetch-")));
        let takes_pages = || {
            let mut accepted = head.fields.all("Accept");
            accepted.any(|value| value.windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html")))
        };
        let is_navigation = head.method == "GET"
            && !head.is_upgrade
            && match mode {
                Some(mode) => mode == b"navigate",
                None => !has_metadata && takes_pages(),
            };
        let has_source = first("Origin").is_some() || first("Referer").is_some();
        VisitorKind {
            is_navigation,
            is_refresh: is_navigation && mode.is_some() && first("Sec-Fetch-User").is_none(),
            is_background: !is_navigation && (has_metadata || has_source),
            is_upgrade: head.is_upgrade,
        }
    }

    /// Whether a visit of this kind may start a server: a tab that was left open must not.
    pub fn may_start(self) -> bool {
        !self.is_background && !self.is_upgrade
    }
}

/// An error that a client gets in place of the server's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyError {
    pub status: u16,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub sentence: String,
    /// Whether a retry may soon succeed: the page loads itself again.
    pub is_temporary: bool,
    /// The last lines of the server's output, for those who may see them.
    pub tail: String,
}

impl ProxyError {
    pub fn new(status: u16, code: &'static str, sentence: impl Into<String>) -> ProxyError {
        ProxyError { status, code, sentence: sentence.into(), ..ProxyError::default() }
    }

    /// Returns the reply in the form for `visitor`.
    pub fn reply(&self, visitor: VisitorKind) -> Reply {
        let mut headers = vec![("Cache-Control", "no-store".to_owned())];
        if self.status == 503 {
            headers.push(("Retry-After", "1".to_owned()));
        }
        let (content_type, body) = match visitor {
            VisitorKind { is_upgrade: true, .. } => (None, String::new()),
            VisitorKind { is_navigation: true, .. } => {
                headers.push(("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'".to_owned()));
                (Some("text/html; charset=utf-8"), self.page())
            }
            VisitorKind { .. } => (Some("application/json"), self.json()),
        };
        Reply { status: self.status, headers, content_type, body: body.into_bytes().into() }
    }

    fn json(&self) -> String {
        // A text has no keys that could fail.
        let sentence = serde_json::to_string(&self.sentence).unwrap_or_default();
        ["{\"error\":", &sentence, ",\"code\":\"", self.code, "\"}"].concat()
    }

    fn page(&self) -> String {
        let refresh = if self.is_temporary { "<meta http-equiv=refresh content=0>" } else { "" };
        let tail =
            if self.tail.is_empty() { String::new() } else { ["<pre>", &escaped(&self.tail), "</pre>"].concat() };
        [HEAD, refresh, TITLE, &escaped(&self.sentence), "</p>", &tail].concat()
    }
}

const HEAD: &str =
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">";
const TITLE: &str = "<title>servisor</title><style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;\
                     margin:15vh auto;max-width:44rem;padding:0 1rem}pre{overflow:auto;font-size:13px}</style><p>";

/// Returns `text` with its markup escaped.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::request::vet;
    use super::*;

    fn visitor(lines: &str) -> VisitorKind {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", lines.replace('\n', "\r\n"));
        let mut headers = [httparse::EMPTY_HEADER; 100];
        VisitorKind::of(&vet(head.as_bytes(), &mut headers).unwrap())
    }

    #[test]
    fn a_page_is_for_people_who_go_there() {
        for (lines, is_navigation, is_refresh, may_start) in [
            ("Sec-Fetch-Mode: navigate\nSec-Fetch-User: ?1\nAccept: text/html", true, false, true),
            ("Sec-Fetch-Mode: navigate\nAccept: text/html", true, true, true),
            ("Sec-Fetch-Mode: navigate\nReferer: http://a/", true, true, true),
            ("Accept: text/html,*/*;q=0.8", true, false, true),
            ("Accept: text/html\nReferer: http://b/", true, false, true),
            ("Accept: */*", false, false, true),
            ("Accept: */*\nOrigin: http://a", false, false, false),
            ("Accept: */*\nReferer: http://a/", false, false, false),
            ("Sec-Fetch-Mode: cors\nAccept: text/html", false, false, false),
            ("Sec-Fetch-Dest: script\nAccept: text/html", false, false, false),
            ("Sec-Fetch-Mode: navigate\nUpgrade: websocket\nConnection: upgrade", false, false, false),
        ] {
            let visitor = visitor(lines);
            let seen = (visitor.is_navigation, visitor.is_refresh, visitor.may_start());
            assert_eq!(seen, (is_navigation, is_refresh, may_start), "{lines}");
        }
    }

    #[test]
    fn the_same_is_said_in_each_form() {
        let error =
            ProxyError { is_temporary: true, ..ProxyError::new(503, "not_ready", "web is \"<starting>\" & waits") };
        let json = error.reply(visitor("Accept: */*"));
        assert_eq!(json.body, &br#"{"error":"web is \"<starting>\" & waits","code":"not_ready"}"#[..]);
        assert_eq!(json.content_type, Some("application/json"));
        assert!(json.headers.contains(&("Retry-After", "1".into())));
        let page = error.reply(visitor("Accept: text/html"));
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(
            text.contains("web is &quot;&lt;starting&gt;&quot; &amp; waits") && !text.contains("<starting"),
            "{text}"
        );
        assert!(text.contains("<meta http-equiv=refresh content=0>") && !text.contains("<pre>"), "{text}");
        let upgrade = error.reply(visitor("Upgrade: websocket\nConnection: upgrade"));
        assert_eq!((upgrade.status, upgrade.content_type, upgrade.body.len()), (503, None, 0));
        let lasting = ProxyError { tail: "<b>".into(), ..ProxyError::new(502, "server_failed", "x") }
            .reply(visitor("Accept: text/html"));
        let text = String::from_utf8(lasting.body.to_vec()).unwrap();
        assert!(text.contains("<pre>&lt;b&gt;</pre>") && !text.contains("refresh"), "{text}");
        assert!(lasting.headers.iter().all(|(name, _)| *name != "Retry-After"));
    }
}
