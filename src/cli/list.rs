//! The servers in the answer to `GET /servers`, one after the other.
//!
//! Owns: where one ends. Never: what it means. Pure.
//!
//! A hundred servers as values take four times the memory of their text, so only one is a value at a time.

use super::Failure;
use super::sse::not_understood;
use crate::json::{self, Value};

#[derive(Debug, PartialEq, Eq)]
pub struct Objects<'a>(&'a [u8]);

impl<'a> Objects<'a> {
    /// The first list that `body` has under `name`, which is given with its quotes: within a text these are escaped.
    #[inline(never)]
    pub fn under(name: &str, body: &'a [u8]) -> Option<Objects<'a>> {
        let mut rest = body;
        loop {
            let at = rest.windows(name.len()).position(|window| window == name.as_bytes())?;
            rest = rest[at + name.len()..].trim_ascii_start();
            if let Some(list) = rest.strip_prefix(b":").and_then(|value| value.trim_ascii_start().strip_prefix(b"[")) {
                return Some(Objects(list));
            }
        }
    }

    /// The next object; `None` at the end of the list.
    ///
    /// # Errors
    /// It is no JSON.
    #[inline(never)]
    pub fn take(&mut self) -> Result<Option<Value>, Failure> {
        let rest = self.0.trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        if rest.first() == Some(&b']') {
            return Ok(None);
        }
        let (object, rest) = rest.split_at(end(rest));
        self.0 = rest;
        json::parse(object).map(Some).map_err(|_| not_understood())
    }
}

/// Where the object ends that `text` begins with.
fn end(text: &[u8]) -> usize {
    let (mut depth, mut in_text, mut is_escaped) = (0, false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::json::json;

    fn all(body: &str) -> Option<Result<Vec<Value>, Failure>> {
        let mut objects = Objects::under("\"servers\"", body.as_bytes())?;
        let next = || objects.take().transpose();
        Some(std::iter::from_fn(next).collect())
    }

    #[test]
    fn each_object_in_any_form() {
        let servers = json!([{"slug": "a", "deep": {"x": [{}, "}", "\\\"{"]}}, {"slug": "]"}, {}]);
        let body = json!({"message": "\"servers\":[{", "data": {"servers": servers}, "status": "success"});
        for text in [body.to_string(), serde_json::to_string_pretty(&body).unwrap()] {
            assert_eq!(all(&text).unwrap().unwrap(), *servers.as_array().unwrap(), "{text}");
        }
        assert_eq!(all("{\"a\":\"servers\",\"servers\": [ ]}"), Some(Ok(Vec::new())));
    }

    #[test]
    fn what_is_no_list_of_objects_is_known() {
        assert_eq!(all("{\"server\":[]}"), None);
        assert_eq!(all("{\"servers\":{}}"), None);
        for text in ["{\"servers\":[", "{\"servers\":[{\"a\":1", "{\"servers\":[{\"a\":}]}", "{\"servers\":[{},"] {
            assert!(all(text).unwrap().is_err(), "{text}");
        }
    }
}
