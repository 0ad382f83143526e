//! Why a request is refused, in words for a person and in one for a machine.
//!
//! Owns: the ways to fail, the status code and the machine word of each, and the sentences that several parts share.
//! Never: a body or a header (see `api::reply`, the one place that turns an error into an answer).
//!
//! A sentence says what failed, on what, why, and what to do. The client shows it to its user as it is.

use std::fmt;
use std::io;

use crate::model::nearest::nearest;
use crate::model::overlay::OverlayId;
use crate::model::spec::Slug;
use crate::model::status::Status;
use crate::store;

#[cfg(test)]
mod tests;

/// As many wrong fields are told in the sentence; all are in the list beside it.
const FIELDS_IN_SENTENCE: usize = 5;
/// As many wrong fields are named at most; beyond them their number is.
pub const WRONG_MAX: usize = 100;
/// As many warnings are given, so that an answer does not grow with the nonsense in a request.
pub const WARNINGS_MAX: usize = 20;
/// As much of a client's text is shown in a sentence, in characters.
const QUOTE_MAX: usize = 60;

/// The way in which a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The URL or the JSON can't be read.
    Malformed,
    /// No access token, or a wrong one.
    Unauthorized,
    /// `Host` is no name of this daemon while access is free to all who know its name.
    ForeignHost,
    /// The page that asks is not allowed to.
    ForeignOrigin,
    /// Nothing has this path.
    NotFound,
    /// No server has this slug.
    ServerNotFound,
    /// No overlay has this id.
    OverlayNotFound,
    /// No sandbox has this id or name.
    SandboxNotFound,
    /// The path is known, the method is not; the methods that are.
    MethodNotAllowed(&'static str),
    /// The server runs, and what was asked for needs one that rests.
    ServerActive,
    /// The server is being deleted.
    ServerBeingDeleted,
    /// The server has no living process of its start command.
    ServerNotLive,
    /// The status is one that nobody can give.
    StatusNotByHand,
    /// A server waits for the overlay.
    OverlayAwaited,
    /// The port that the server has to have is not free.
    PortTaken,
    /// The body is no JSON by its own account.
    UnsupportedMediaType,
    /// Well-formed, and yet not possible.
    Invalid,
    /// No part of this daemon, though clients of its kind of API know it.
    Unsupported,
    /// Over a limit for the moment.
    Busy,
    /// The daemon is ending.
    ShuttingDown,
    /// What has to outlive the daemon can't be stored.
    Storage,
    /// The state directory was removed or replaced while the daemon ran.
    StateLost,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// The HTTP status code.
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

    /// The word that programs can match.
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

/// What is wrong with one field of a body or one value of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Its name; a dot leads into an object.
    pub field: String,
    /// A phrase that fits after the name.
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
    /// A failure of the kind `code`, with the sentence that the user will see.
    pub fn new(code: Code, sentence: impl Into<String>) -> Error {
        Error { code, sentence: sentence.into(), wrong: Vec::new() }
    }

    /// Well-formed, but these values can't be; the sentence is made of them.
    pub fn invalid(wrong: Vec<Wrong>) -> Error {
        let mut sentence = phrases(wrong.get(..FIELDS_IN_SENTENCE).unwrap_or(&wrong));
        if let Some(more @ 1..) = wrong.len().checked_sub(FIELDS_IN_SENTENCE) {
            // The last one stands for all that are not named.
            let number = if wrong.len() > WRONG_MAX { String::new() } else { format!("{more} ") };
            sentence.push_str(&format!("; and {number}more, listed in \"fields\""));
        }
        Error { code: Code::Invalid, sentence, wrong }
    }

    /// One value can't be; `why` fits after the name of the field.
    pub fn invalid_field(field: &str, why: impl Into<String>) -> Error {
        Error::invalid(vec![Wrong { field: field.to_owned(), why: why.into() }])
    }

    /// Something that is required is missing, and no field says so: a fault of ours.
    pub fn incomplete() -> Error {
        Error::internal("reading the request")
    }

    /// No server has this slug, or could have it.
    pub fn server_not_found(slug: &str) -> Error {
        Error::new(
            Code::ServerNotFound,
            format!("there is no server {}; GET /servers lists those there are", quoted(slug)),
        )
    }

    /// No overlay has this id, or could have it.
    pub fn overlay_not_found(id: &str) -> Error {
        let sentence = format!("there is no overlay {}; GET /filesystem/overlays lists those there are", quoted(id));
        Error::new(Code::OverlayNotFound, sentence)
    }

    /// No sandbox has this id or name.
    pub fn sandbox_not_found(id: &str) -> Error {
        let sentence = format!("there is no sandbox {}; the last one that was created is the only one", quoted(id));
        Error::new(Code::SandboxNotFound, sentence)
    }

    /// An overlay that a server waits for was to be deleted.
    pub fn overlay_awaited(id: &OverlayId, slug: &Slug) -> Error {
        let sentence = format!("server \"{slug}\" waits for overlay \"{id}\"; stop the server first");
        Error::new(Code::OverlayAwaited, sentence)
    }

    /// A configuration came for a server that is not at rest.
    pub fn slug_in_use(slug: &Slug, status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!(
            "there is a server \"{slug}\" already and it is {word}; stop or delete it first, or choose another slug"
        );
        Error::new(Code::ServerActive, sentence)
    }

    /// A server that is not at rest was to be started.
    pub fn already_active(slug: &Slug, status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!("server \"{slug}\" is {word} already; stop it first, or ask for a restart instead");
        Error::new(Code::ServerActive, sentence)
    }

    /// A server without a living process was to be marked.
    pub fn not_live(slug: &Slug, status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!(
            "server \"{slug}\" is {word}; only one whose start command runs can be marked ready or running, start it first"
        );
        Error::new(Code::ServerNotLive, sentence)
    }

    /// A server was to be given a status that only comes by itself.
    pub fn not_by_hand(status: Status) -> Error {
        let word = status.as_str();
        let sentence = format!(
            "a server can't be made \"{word}\" by a change of its status, only \"ready\" or \"running\"; start, stop and \
             restart have routes of their own"
        );
        Error::new(Code::StatusNotByHand, sentence)
    }

    /// A command came for a server that will be gone in a moment.
    pub fn being_deleted(slug: &Slug) -> Error {
        let sentence = format!("server \"{slug}\" is being deleted; wait until it is gone, then create it again");
        Error::new(Code::ServerBeingDeleted, sentence)
    }

    /// The daemon is no gateway of the SDK.
    pub fn gateway_off() -> Error {
        let sentence = "this servisor is not a ComputeSDK gateway: start it with --gateway (or SERVISOR_GATEWAY=1), \
                        then compute.sandbox.create() works";
        Error::new(Code::Unsupported, sentence)
    }

    /// `parts`, which the SDK has routes for, do not exist here.
    pub fn unsupported(parts: &str) -> Error {
        Error::new(Code::Unsupported, format!("servisor manages servers and overlays; {parts} are not part of it"))
    }

    /// The daemon is ending and takes no more requests.
    pub fn shutting_down() -> Error {
        Error::new(Code::ShuttingDown, "servisor is shutting down and takes no more requests")
    }

    /// `what` can't be stored.
    pub fn storage(what: &str, cause: &io::Error) -> Error {
        if let Some(lost) = store::lost(cause) {
            return Error::new(Code::StateLost, format!("{what} can't be stored: {lost}"));
        }
        let sentence = format!("{what} can't be stored: {cause}; nothing was changed, make room and try again");
        Error::new(Code::Storage, sentence)
    }

    /// A fault of ours while doing `what`.
    pub fn internal(what: &str) -> Error {
        Error::new(Code::Internal, format!("servisor failed while {what}; its log says more"))
    }

    /// In which way it failed.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the user will see.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// Every wrong field, for [`Code::Invalid`].
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

/// What is wrong with each, in one line.
pub fn phrases(wrong: &[Wrong]) -> String {
    let mut all = String::new();
    for Wrong { field, why } in wrong {
        let between = if all.is_empty() { "" } else { "; " };
        [between, field, " ", why].iter().for_each(|part| all.push_str(part));
    }
    all
}

/// A client's text as a sentence can show it: in quotes, without control characters, not too long.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Why `text` is wrong where one of `words` has to stand; fits after the name of the field.
pub fn not_one_of(text: &str, words: &[&str]) -> String {
    let all = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    format!("must be one of {all}, not {}{}", quoted(text), hint(text, words))
}

/// The warning of a `what` named `name` that means nothing here; `known` are the names that do.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("unknown {what} {} was ignored{}", quoted(name), hint(name, known))
}

/// The end of a sentence about `word` that asks whether one of `known` was meant; empty when nothing is near.
pub fn hint(word: &str, known: &[&str]) -> String {
    // Nothing of this length is a slip of the finger, and the search takes its time.
    if word.len() > QUOTE_MAX {
        return String::new();
    }
    match nearest(&snake_case(word), known) {
        // A client's text too, where a name that is missing is looked for among those that were sent.
        Some(near) => format!("; did you mean {}?", quoted(near)),
        None => String::new(),
    }
}

/// `restartPolicy` as `restart_policy`: who writes JavaScript slips like this.
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
