//! Reads stored JSON objects.
//!
//! Owns: typed access to members, and the sentence about a wrong one. Never: the list of required members.

use crate::json::{self, Map, Value};

/// The members of a stored object.
#[derive(Debug, Default)]
pub struct Members(Map);

impl Members {
    /// Parses `text`.
    ///
    /// # Errors
    /// It is not a JSON object; a phrase for the user.
    pub fn read(text: &[u8]) -> Result<Members, String> {
        match json::parse(text) {
            Ok(Value::Object(members)) => Ok(Members(members)),
            Ok(_) => Err("it is no JSON object".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn number(&self, name: &str) -> Result<u64, String> {
        self.member(name, "whole number", Value::as_u64)
    }

    /// A text.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn text(&self, name: &str) -> Result<&str, String> {
        self.member(name, "text", Value::as_str)
    }

    /// Yes or no.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn flag(&self, name: &str) -> Result<bool, String> {
        self.member(name, "true or false", Value::as_bool)
    }

    /// A list of texts.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, String> {
        self.member(name, "list of texts", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// Removes and returns an object.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn take_object(&mut self, name: &str) -> Result<Members, String> {
        match self.0.remove(name) {
            Some(Value::Object(members)) => Ok(Members(members)),
            None | Some(_) => Err(missing(name, "object")),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// All of them, for a reader of its own.
    pub fn into_map(self) -> Map {
        self.0
    }

    fn member<'a, T>(&'a self, name: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T, String> {
        self.0.get(name).and_then(read).ok_or_else(|| missing(name, kind))
    }
}

fn missing(name: &str, kind: &str) -> String {
    format!("it has no {name} that is a {kind}")
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::json::json;

    #[test]
    fn members_are_valid_or_reported() {
        let text = br#"{"n": 7, "t": "x", "f": true, "l": ["a", "b"], "o": {"n": 8}, "mixed": ["a", 1], "minus": -1}"#;
        let mut members = Members::read(text).unwrap();
        assert_eq!(members.number("n"), Ok(7));
        assert_eq!(members.text("t"), Ok("x"));
        assert_eq!(members.flag("f"), Ok(true));
        assert_eq!(members.texts("l"), Ok(vec!["a", "b"]));
        assert!(members.has("minus") && !members.has("absent"));
        assert!(members.number("minus").is_err() && members.number("absent").is_err() && members.number("t").is_err());
        assert!(members.texts("mixed").is_err() && members.flag("n").is_err());
        assert_eq!(members.text("n"), Err("it has no n that is a text".into()));
        let inner = members.take_object("o").unwrap();
        assert_eq!(inner.number("n"), Ok(8));
        assert_eq!(Value::Object(inner.into_map()), json!({"n": 8}));
        assert!(members.take_object("o").is_err());
    }

    #[test]
    fn nothing_but_a_whole_object_is_read() {
        for bad in ["", "{", "[]", "7", "{\"a\": 1} x"] {
            assert!(Members::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
