//! The errors of the API: code, status, sentence.
//!
//! Owns: the error codes, the HTTP status of each, and the sentences that several modules share. Never: a body or a
//! header (see `api::reply`, the only place that turns an error into a response).
//!
//! A sentence says what failed, on what, why, and what to do. Clients show it to their users unchanged.

use std::fmt;
use std::io;

use crate::model::names::{by_name, names};
use crate::model::nearest::nearest;
use crate::model::overlay::OverlayId;
use crate::model::spec::Slug;
use crate::model::status::Status;
use crate::store;

#[cfg(test)]
mod tests;

/// The most wrong fields in the sentence; the list beside it has all.
const FIELDS_IN_SENTENCE: usize = 5;
/// The most wrong fields that are named; the others are counted.
pub const WRONG_MAX: usize = 100;
/// The most warnings, so that a response does not grow with the mistakes in a request.
pub const WARNINGS_MAX: usize = 20;
/// The most of a client's text in a sentence, in characters.
const QUOTE_MAX: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The URL or the JSON can't be read.
    Malformed,
    /// No access token, or a wrong one.
    Unauthorized,
    /// `Host` is not a name of this daemon, and there is no access token.
    ForeignHost,
    /// The web origin is not allowed.
    ForeignOrigin,
    /// No route has this path.
    NotFound,
    /// No server has this slug.
    ServerNotFound,
    /// No overlay has this id.
    OverlayNotFound,
    /// No sandbox has this id or name.
    SandboxNotFound,
    /// The route does not have this method, but these.
    MethodNotAllowed(&'static str),
    /// The server is active, which the request does not allow.
    ServerActive,
    ServerBeingDeleted,
    /// No process of the server's start command runs.
    ServerNotLive,
    /// The status can't be set by a client.
    StatusNotByHand,
    /// A server waits for the overlay.
    OverlayAwaited,
    /// The strict port of the server is not free.
    PortTaken,
    /// `Content-Type` is not JSON.
    UnsupportedMediaType,
    /// Well-formed, with invalid values.
    Invalid,
    /// A part of the SDK that this daemon does not have.
    Unsupported,
    /// A limit is reached; temporary.
    Busy,
    ShuttingDown,
    /// A change can't be stored.
    Storage,
    /// The state directory was removed or replaced while the daemon ran.
    StateLost,
    /// A bug in servisor.
    Internal,
}

impl Code {
    pub fn status(self) -> u16 {
        match self {
            Code::Malformed => 400,
            Code::Unauthorized => 401,
            Code::ForeignHost | Code::ForeignOrigin => 403,
            Code::NotFound | Code::ServerNotFound | Code::OverlayNotFound | Code::SandboxNotFound => 404,
            Code::MethodNotAllowed(_) => 405,
            Code::ServerActive
            | Code::ServerBeingDeleted
            | Code::ServerNotLive
            | Code::StatusNotByHand
            | Code::OverlayAwaited
            | Code::PortTaken => 409,
            Code::UnsupportedMediaType => 415,
            Code::Invalid => 422,
            Code::StateLost | Code::Internal => 500,
            Code::Unsupported => 501,
            Code::Busy | Code::ShuttingDown => 503,
            Code::Storage => 507,
        }
    }

    /// The code in the API, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Malformed => "malformed",
            Code::Unauthorized => "unauthorized",
            Code::ForeignHost => "foreign_host",
            Code::ForeignOrigin => "foreign_origin",
            Code::NotFound => "not_found",
            Code::ServerNotFound => "server_not_found",
            Code::OverlayNotFound => "overlay_not_found",
            Code::SandboxNotFound => "sandbox_not_found",
            Code::OverlayAwaited => "overlay_awaited",
            Code::MethodNotAllowed(_) => "method_not_allowed",
            Code::ServerActive => "server_active",
            Code::ServerBeingDeleted => "server_being_deleted",
            Code::ServerNotLive => "server_not_live",
            Code::StatusNotByHand => "status_not_by_hand",
            Code::PortTaken => "port_taken",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::Invalid => "invalid",
            Code::Unsupported => "unsupported",
            Code::Busy => "busy",
            Code::ShuttingDown => "shutting_down",
            Code::Storage => "storage",
            Code::StateLost => "state_lost",
            Code::Internal => "internal",
        }
    }
}

/// A mistake in one field of a body or one value of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The name of the field; members of objects after a dot.
    pub field: String,
    /// A phrase that follows the name.
    pub why: String,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: Code,
    sentence: String,
    wrong: Vec<Wrong>,
}

impl Error {
    pub fn new(code: Code, sentence: impl Into<String>) -> Error {
        Error { code, sentence: sentence.into(), wrong: Vec::new() }
    }

    /// Creates the error for invalid values; the sentence lists the first ones.
    pub fn invalid(wrong: Vec<Wrong>) -> Error {
        let mut sentence = phrases(wrong.get(..FIELDS_IN_SENTENCE).unwrap_or(&wrong));
        if let Some(more @ 1..) = wrong.len().checked_sub(FIELDS_IN_SENTENCE) {
            // The last entry stands for all that are not named.
            let number = if wrong.len() > WRONG_MAX { String::new() } else { format!("{more} ") };
            sentence.push_str(&format!("; and {number}more, listed in \"fields\""));
        }
        Error { code: Code::Invalid, sentence, wrong }
    }

    /// Something that is required is missing, and no field says so: a fault of ours.
    pub fn incomplete() -> Error {
        Error::internal("reading the request")
    }

    pub fn server_not_found(slug: &str) -> Error {
        Error::new(
            Code::ServerNotFound,
            format!("there is no server {}; GET /servers lists those there are", quoted(slug)),
        )
    }

    pub fn overlay_not_found(id: &str) -> Error {
        let sentence = format!("there is no overlay {}; GET /filesystem/overlays lists those there are", quoted(id));
        Error::new(Code::OverlayNotFound, sentence)
    }

    /// No sandbox has this id or name.
    pub fn sandbox_not_found(id: &str) -> Error {
        let sentence = format!("there is no sandbox {}; the last one that was created is the only one", quoted(id));
        Error::new(Code::SandboxNotFound, sentence)
    }

    /// Refuses to delete an overlay that a server waits for.
    pub fn overlay_awaited(id: &OverlayId, slug: &Slug) -> Error {
        let sentence = format!("server \"{slug}\" waits for overlay \"{id}\"; stop the server first");
        Error::new(Code::OverlayAwaited, sentence)
    }

    /// Refuses a configuration for an active server.
    pub fn slug_in_use(slug: &Slug, status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!(
            "there is a server \"{slug}\" already and it is {word}; stop or delete it first, or choose another slug"
        );
        Error::new(Code::ServerActive, sentence)
    }

    /// Refuses to start an active server.
    pub fn already_active(slug: &Slug, status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!("server \"{slug}\" is {word} already; stop it first, or ask for a restart instead");
        Error::new(Code::ServerActive, sentence)
    }

    /// Refuses to mark a server whose start command does not run.
    pub fn not_live(slug: &Slug, status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!(
            "server \"{slug}\" is {word}; only one whose start command runs can be marked ready or running, start it first"
        );
        Error::new(Code::ServerNotLive, sentence)
    }

    /// Refuses a status that a client can't set.
    pub fn not_by_hand(status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!(
            "a server can't be made \"{word}\" by a change of its status, only \"ready\" or \"running\"; start, stop and \
             restart have routes of their own"
        );
        Error::new(Code::StatusNotByHand, sentence)
    }

    /// Refuses a command for a server that is being deleted.
    pub fn being_deleted(slug: &Slug) -> Error {
        let sentence = format!("server \"{slug}\" is being deleted; wait until it is gone, then create it again");
        Error::new(Code::ServerBeingDeleted, sentence)
    }

    /// Refuses a gateway route without `--gateway`.
    pub fn gateway_off() -> Error {
        let sentence = "this servisor is not a ComputeSDK gateway: start it with --gateway (or SERVISOR_GATEWAY=1), \
                        then compute.sandbox.create() works";
        Error::new(Code::Unsupported, sentence)
    }

    /// Refuses a route of the SDK whose `parts` do not exist here.
    pub fn unsupported(parts: &str) -> Error {
        Error::new(Code::Unsupported, format!("servisor manages servers and overlays; {parts} are not part of it"))
    }

    pub fn shutting_down() -> Error {
        Error::new(Code::ShuttingDown, "servisor is shutting down and takes no more requests")
    }

    pub fn storage(what: &str, cause: &io::Error) -> Error {
        if let Some(lost) = store::lost(cause) {
            return Error::new(Code::StateLost, format!("{what} can't be stored: {lost}"));
        }
        let sentence = format!("{what} can't be stored: {cause}; nothing was changed, make room and try again");
        Error::new(Code::Storage, sentence)
    }

    /// Creates the error for a bug in servisor while it did `what`.
    pub fn internal(what: &str) -> Error {
        Error::new(Code::Internal, format!("servisor failed while {what}; its log says more"))
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// All wrong fields, for [`Code::Invalid`].
    pub fn wrong(&self) -> &[Wrong] {
        &self.wrong
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Error {}

pub fn phrases(wrong: &[Wrong]) -> String {
    let mut all = String::new();
    for Wrong { field, why } in wrong {
        let between = if all.is_empty() { "" } else { "; " };
        [between, field, " ", why].iter().for_each(|part| all.push_str(part));
    }
    all
}

/// Quotes a client's text for a sentence: escaped, and cut to `QUOTE_MAX` characters.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A phrase that says that `text` is none of `words`; follows the name of the field.
fn not_one_of(text: &str, words: &[&str]) -> String {
    let all = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    format!("must be one of {all}, not {}{}", quoted(text), hint(text, words))
}

/// The value in `all` that is called `text`.
///
/// # Errors
/// None is; a phrase that follows the name of the field.
pub fn one_of<T: Copy>(text: &str, all: &[(&'static str, T)]) -> Result<T, String> {
    by_name(all, text).ok_or_else(|| not_one_of(text, &names(all)))
}

/// The warning that a `what` called `name` is unknown; `known` are the known names.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("unknown {what} {} was ignored{}", quoted(name), hint(name, known))
}

/// The end of a sentence that suggests the name in `known` nearest to `word`; empty if none is near.
pub fn hint(word: &str, known: &[&str]) -> String {
    // No typing mistake is that long, and the search takes time.
    if word.len() > QUOTE_MAX {
        return String::new();
    }
    match nearest(&snake_case(word), known) {
        // The known names can be a client's text too, so quote them.
        Some(near) => format!("; did you mean {}?", quoted(near)),
        None => String::new(),
    }
}

/// Converts `restartPolicy` to `restart_policy`, a common mistake in JavaScript.
fn snake_case(word: &str) -> String {
    let mut snake = String::with_capacity(word.len() + 4);
    let mut after_small = false;
    for character in word.chars() {
        if after_small && character.is_ascii_uppercase() {
            snake.push('_');
        }
        after_small = character.is_ascii_lowercase();
        snake.push(character.to_ascii_lowercase());
    }
    snake
}
