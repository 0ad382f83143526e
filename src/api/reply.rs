//! From values and errors to responses.
//!
//! Owns: the form of a response, and of an error. Never: what the values mean, a connection, a client's text in a
//! header.

use serde::Serialize;

use crate::error::{Code, Error};
use crate::handoff::Reply;
use crate::json::ToJson;
use crate::sorted::Sorted;

pub const JSON: &str = "application/json";
/// The content type of raw logs, valid UTF-8 or not.
pub const PLAIN: &str = "text/plain; charset=utf-8";

/// `body` as JSON.
pub fn json(status: u16, body: &dyn ToJson) -> Reply {
    written(status, body.to_json())
}

/// `body`, if it could be serialized.
pub fn written(status: u16, body: serde_json::Result<Vec<u8>>) -> Reply {
    match body {
        Ok(body) => Reply { status, headers: Vec::new(), content_type: Some(JSON), body: body.into() },
        Err(cause) => {
            crate::log::error(format_args!("an answer can't be written as JSON: {cause}"));
            error(&Error::internal("writing the answer"))
        }
    }
}

/// Static JSON.
pub fn document(text: &'static [u8]) -> Reply {
    Reply { status: 200, headers: Vec::new(), content_type: Some(JSON), body: text.into() }
}

/// Raw bytes.
pub fn plain(body: Vec<u8>) -> Reply {
    Reply { status: 200, headers: Vec::new(), content_type: Some(PLAIN), body: body.into() }
}

pub fn no_content() -> Reply {
    Reply { status: 204, headers: Vec::new(), content_type: None, body: Vec::new().into() }
}

pub fn options(allow: &'static str) -> Reply {
    Reply { headers: vec![("Allow", allow.into())], ..no_content() }
}

pub fn error(error: &Error) -> Reply {
    /// The SDK shows `error` to its user; `message` as in responses without an error.
    #[derive(Serialize)]
    struct ErrorBody<'a> {
        status: &'static str,
        error: &'a str,
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Sorted::is_empty")]
        fields: Sorted<&'a str, String>,
    }
    let mut fields: Sorted<&str, String> = Sorted::default();
    for wrong in error.wrong() {
        let whys = fields.entry(&wrong.field);
        if !whys.is_empty() {
            whys.push_str("; ");
        }
        whys.push_str(&wrong.why);
    }
    let sentence = error.sentence();
    let body = ErrorBody { status: "error", error: sentence, code: error.code().as_str(), message: sentence, fields };
    let headers = match error.code() {
        Code::MethodNotAllowed(allow) => vec![("Allow", allow.into())],
        Code::Unauthorized => vec![("WWW-Authenticate", "Bearer realm=\"servisor\"".into())],
        Code::Busy => vec![("Retry-After", "1".into())],
        Code::Malformed
        | Code::ForeignHost
        | Code::ForeignOrigin
        | Code::NotFound
        | Code::ServerNotFound
        | Code::OverlayNotFound
        | Code::SandboxNotFound
        | Code::ServerActive
        | Code::ServerBeingDeleted
        | Code::ServerNotLive
        | Code::StatusNotByHand
        | Code::OverlayAwaited
        | Code::PortTaken
        | Code::UnsupportedMediaType
        | Code::Invalid
        | Code::Unsupported
        | Code::ShuttingDown
        | Code::Storage
        | Code::StateLost
        | Code::Internal => Vec::new(),
    };
    // Serialization of these fields does not fail; the fallback keeps the status.
    let body = serde_json::to_vec(&body).unwrap_or_else(|_| br#"{"status":"error","error":"internal error"}"#.to_vec());
    Reply { status: error.code().status(), headers, content_type: Some(JSON), body: body.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_slice, json as value};

    use super::*;
    use crate::error::Wrong;

    #[test]
    fn an_error_has_the_shape_that_clients_read() {
        let reply = error(&Error::server_not_found("web"));
        assert_eq!((reply.status, reply.content_type), (404, Some("application/json")));
        let body: Value = from_slice(&reply.body).unwrap();
        assert_eq!(body["status"], "error");
        assert_eq!(body["code"], "server_not_found");
        assert!(body["error"].as_str().unwrap().contains("\"web\""));
        assert_eq!(body["message"], body["error"]);
        assert_eq!(body.get("fields"), None);
    }

    #[test]
    fn every_wrong_field_is_listed_and_one_that_is_wrong_twice_says_both() {
        let wrong = |field: &str, why: &str| Wrong { field: field.to_owned(), why: why.to_owned() };
        let reply =
            error(&Error::invalid(vec![wrong("port", "is bad"), wrong("slug", "is long"), wrong("port", "is odd")]));
        assert_eq!(reply.status, 422);
        let body: Value = from_slice(&reply.body).unwrap();
        assert_eq!(body["fields"], value!({"port": "is bad; is odd", "slug": "is long"}));
        assert_eq!(body["error"], "port is bad; slug is long; port is odd");
    }

    #[test]
    fn some_errors_have_a_header() {
        let headers = |code| error(&Error::new(code, "x")).headers;
        assert_eq!(headers(Code::MethodNotAllowed("GET, HEAD")), [("Allow", "GET, HEAD".to_owned())]);
        assert_eq!(headers(Code::Unauthorized), [("WWW-Authenticate", "Bearer realm=\"servisor\"".to_owned())]);
        assert_eq!(headers(Code::Busy), [("Retry-After", "1".to_owned())]);
        assert_eq!(headers(Code::Internal), []);
    }

    #[test]
    fn answers_without_a_body_have_no_type() {
        assert_eq!((no_content().status, no_content().content_type), (204, None));
        assert_eq!(options("GET").headers, [("Allow", "GET".to_owned())]);
        assert_eq!(options("GET").status, 204);
    }

    #[test]
    fn what_can_not_be_written_is_a_fault_of_ours() {
        assert_eq!(json(200, &Unwritable).status, 500);
        assert_eq!(*json(201, &value!({"a": 1})).body, *br#"{"a":1}"#);
    }

    struct Unwritable;

    impl Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
}
