//! Parsing of request bodies and headers.
//!
//! Owns: the names and defaults of a configuration on the wire, and the rules of its texts. Never: the file system
//! (whether a directory exists is checked where it is used), a response.
//!
//! A body is parsed completely before it is refused, so that the error lists every wrong field.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use crate::json::{Map, Value};

use self::fields::Fields;
use super::follow::Form;
use crate::error::{Code, Error, one_of, quoted};
use crate::model::machine::StatusMark;
use crate::model::overlay::OverlayId;
use crate::model::proxy::{ProxyAccess, ProxyHost, ProxyRules};
use crate::model::shell;
use crate::model::spec::{
    CommandLine, HealthCheck, Port, RestartPolicy, RestartRules, ServerSpec, Slug, Stdin, VARIABLE_MAX, WorkDir,
};
use crate::model::status::Status;
use crate::model::stop::{StopMode, StopRules, StopSignal};
use crate::sorted::Sorted;

mod fields;
mod overlay;
pub mod sandbox;
mod slips;
#[cfg(test)]
pub mod tests;
mod value;

pub use overlay::{overlay, overlay_spec, overlays};
pub use sandbox::{Naming, SandboxName, SandboxSpec, extension, payload, sandbox, sandbox_name};

/// The longest path, in bytes: Linux's `PATH_MAX` without the NUL.
const PATH_MAX: usize = 4095;
/// The longest path of a health check, in bytes.
const URL_PATH_MAX: usize = 2048;

/// The limit of `depends_on`.
const DEPENDENCIES_MAX: usize = 100;
const IGNORED_PORTS_MAX: usize = 1000;

const RESTART_DELAY: Duration = Duration::from_secs(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);

/// Reads the configuration of a server. A relative `path` is taken from `root`, which is absolute. Also returns
/// warnings for the client: unknown fields, and those given twice.
///
/// # Errors
/// 400 when the body is no JSON; 422 when it is no configuration, with every field that is wrong.
pub fn server_spec(body: &[u8], root: &Path) -> Result<(ServerSpec, Vec<String>), Error> {
    whole_server(Fields::read(body)?, root)
}

/// Reads the configuration of a server, as [`server_spec`] does, from the members of an object.
///
/// # Errors
/// 422 when they are no configuration, with every field that is wrong.
pub fn stored_server_spec(members: Map, root: &Path) -> Result<(ServerSpec, Vec<String>), Error> {
    whole_server(Fields::of(members), root)
}

fn whole_server(mut fields: Fields, root: &Path) -> Result<(ServerSpec, Vec<String>), Error> {
    let spec = server(&mut fields, root);
    let warnings = fields.accept()?;
    Ok((spec.ok_or_else(Error::incomplete)?, warnings))
}

/// Takes the configuration of a server from the members of an object. `None` if something was wrong; `fields` has the
/// errors.
fn server(fields: &mut Fields, root: &Path) -> Option<ServerSpec> {
    let slug = fields.required_text("slug", Slug::parse);
    let start = fields.required_text("start", CommandLine::parse);
    let install = fields.text("install", CommandLine::parse);
    let path = work_dir(fields.text("path", path_text), root);
    let port = fields.number::<u16>("port", 1..=u16::MAX.into()).and_then(Port::new);
    let strict_port = fields.flag("strict_port").unwrap_or(false);
    let ignore_ports = fields.ports("ignore_ports", IGNORED_PORTS_MAX).unwrap_or_default();
    let environment = fields.object("environment", |inner| inner.rest(variable)).unwrap_or_default();
    let env_file = fields.text("env_file", path_text);
    let restart = restart_rules(fields);
    let stop_timeout = fields.millis("stop_timeout_ms", 0).unwrap_or(STOP_TIMEOUT);
    let signal = fields.text_or_number("stop_signal", |text| {
        StopSignal::parse(text).map_err(|why| format!("{why}, not {}", quoted(text)))
    });
    let mode = fields.word("stop_mode", &StopMode::ALL);
    let stop = StopRules { signal: signal.unwrap_or(StopSignal::TERM), mode: mode.unwrap_or(StopMode::Tree) };
    let autostart = fields.flag("autostart").unwrap_or(true);
    let health_check = fields.object("health_check", health_check);
    let overlays = overlay::overlays(fields);
    let depends_on = fields.texts("depends_on", DEPENDENCIES_MAX, overlay_id).unwrap_or_default();
    let stdin = fields.word("stdin", &Stdin::ALL);
    let proxy = fields.object("proxy", proxy_rules).unwrap_or_default();
    for (name, command) in [("install", install.as_ref()), ("start", start.as_ref())] {
        if let Some(warning) = command.and_then(|command| dropped_variables(name, command, &environment)) {
            fields.warn(warning);
        }
    }
    Some(ServerSpec {
        slug: slug?,
        start: start?,
        install,
        path,
        port,
        strict_port,
        ignore_ports,
        environment,
        env_file,
        restart,
        stop_timeout,
        stop,
        autostart,
        health_check,
        overlays,
        depends_on,
        stdin: stdin.unwrap_or(Stdin::Null),
        proxy,
    })
}

/// Warns of variables that don't reach `command`: shells export only what could be a variable of theirs. A command that
/// is run without a shell gets all of them.
fn dropped_variables(field: &str, command: &CommandLine, environment: &Sorted<String, String>) -> Option<String> {
    let first = environment.keys().find(|name| !shell::is_name(name))?;
    // Variables from elsewhere (PORT, the env_file) are assumed to be plain.
    let value = |name: &str| environment.get(name).map_or(Some("x"), |value| Some(value.as_str()));
    if shell::words(command.as_str(), value).is_some() {
        return None;
    }
    let more = match environment.keys().filter(|name| !shell::is_name(name)).count() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(format!(
        "environment {}{more} does not reach {field}: /bin/sh drops names that have other characters than letters, \
         digits and \"_\"; make {field} a program and plain arguments (no quotes, operators or redirections), or write \
         env NAME=VALUE before its program",
        quoted(first)
    ))
}

/// Parses the body of `PATCH …/status`; also returns warnings.
///
/// # Errors
/// As [`server_spec`]; 409 for a status that exists but can't be set by a client.
pub fn status_mark(body: &[u8]) -> Result<(StatusMark, Vec<String>), Error> {
    let mut fields = Fields::read(body)?;
    let status = mark(&mut fields);
    let warnings = fields.accept();
    match status {
        Some(Status::Ready) => Ok((StatusMark::Ready, warnings?)),
        Some(Status::Running) => Ok((StatusMark::Running, warnings?)),
        Some(
            status @ (Status::Installing | Status::Starting | Status::Restarting | Status::Stopped | Status::Failed),
        ) => Err(Error::not_by_hand(status)),
        None => Err(warnings.err().unwrap_or_else(Error::incomplete)),
    }
}

fn mark(fields: &mut Fields) -> Option<Status> {
    fields.required_text("status", |text| one_of(text, &Status::ALL))
}

/// Checks that the content type is JSON. Without this any web page could send a body: a form needs no preflight.
///
/// # Errors
/// 415 for anything but `application/json` in UTF-8.
pub fn require_json(content_type: Option<&str>) -> Result<(), Error> {
    let refused = |what: &str| {
        let sentence = format!("{what}; send the header \"Content-Type: application/json\" with a body in UTF-8");
        Err(Error::new(Code::UnsupportedMediaType, sentence))
    };
    let Some(content_type) = content_type else { return refused("the body has no content type") };
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    if is_json && is_utf8 {
        Ok(())
    } else {
        refused(&format!("the content type {} is not taken", quoted(content_type)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    /// JSON in the usual envelope.
    Json,
    /// The bytes as the server wrote them.
    Plain,
}

/// The form that an `Accept` header prefers: JSON, unless plain text is preferred by name.
pub fn log_form(accept: Option<&str>) -> LogForm {
    let (json, plain) = (quality(accept, &["application/json"]), quality(accept, &["text/plain"]));
    let anything = quality(accept, &["*/*", "application/*"]);
    // `text/plain, */*` names one and tolerates the rest; `application/json, text/plain, */*` (axios) names both.
    let preferred = plain > json && plain >= anything;
    if preferred { LogForm::Plain } else { LogForm::Json }
}

/// The form of a followed log by an `Accept` header: plain text, unless events are named.
pub fn stream_form(accept: Option<&str>) -> Form {
    let (events, plain) = (quality(accept, &["text/event-stream"]), quality(accept, &["text/plain"]));
    if events > 0.0 && events >= plain { Form::Events } else { Form::Plain }
}

/// Whether `Accept` names HTML, as browsers do when they open a page.
pub fn wants_page(accept: Option<&str>) -> bool {
    quality(accept, &["text/html"]) > 0.0
}

/// The highest quality in an `Accept` header for one of `kinds`; 0 for those it does not name.
fn quality(accept: Option<&str>, kinds: &[&str]) -> f32 {
    let mut ranges = accept.unwrap_or("").split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("");
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // An invalid quality counts as 0.
        let quality = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
        kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)).then_some(quality)
    });
    ranges.next_back().unwrap_or(0.0)
}

fn work_dir(original: Option<String>, root: &Path) -> WorkDir {
    let joined = original.as_ref().map_or_else(|| root.to_owned(), |path| root.join(path));
    // Drops `.` and doubled slashes. `..` stays: only the file system knows what it means behind a symlink.
    WorkDir { original, resolved: joined.components().collect() }
}

fn overlay_id(text: &str) -> Result<OverlayId, String> {
    OverlayId::parse(text).ok_or_else(|| format!("must be the id of an overlay, not {}", quoted(text)))
}

fn path_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.len() > PATH_MAX {
        return Err(format!("is {} bytes long; {PATH_MAX} are allowed", text.len()));
    }
    if text.contains('\0') {
        return Err("must not contain a NUL byte".into());
    }
    Ok(text.to_owned())
}

/// Parses a variable. Its value may be a secret: no error shows it.
fn variable(name: &str, value: &Value) -> Result<String, String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("can't be the name of a variable: it must not be empty or have \"=\" or a NUL byte in it".into());
    }
    let Value::String(value) = value else {
        return Err("must be a text in quotes; numbers and true or false need quotes too".into());
    };
    if value.contains('\0') {
        return Err("must not contain a NUL byte".into());
    }
    let length = name.len() + 1 + value.len();
    if length > VARIABLE_MAX {
        return Err(format!("is {length} bytes long with its name; {VARIABLE_MAX} are allowed"));
    }
    Ok(value.clone())
}

fn restart_rules(fields: &mut Fields) -> RestartRules {
    let policy = fields.word("restart_policy", &RestartPolicy::ALL);
    let max = fields.number::<u32>("max_restarts", 0..=u32::MAX.into()).and_then(NonZeroU32::new);
    let delay = fields.millis("restart_delay_ms", 0).unwrap_or(RESTART_DELAY);
    let delay_max = fields.millis("restart_delay_max_ms", 0);
    if delay_max.is_some_and(|most| most < delay) {
        let why = format!("must not be less than restart_delay_ms, which is {}", delay.as_millis());
        fields.blame("restart_delay_max_ms", why);
    }
    RestartRules { policy: policy.unwrap_or(RestartPolicy::Never), max, delay, delay_max }
}

fn health_check(fields: &mut Fields) -> HealthCheck {
    HealthCheck {
        path: fields.text("path", url_path).unwrap_or_else(|| "/".into()),
        interval: fields.millis("interval_ms", 1).unwrap_or(CHECK_INTERVAL),
        timeout: fields.millis("timeout_ms", 1).unwrap_or(CHECK_TIMEOUT),
        delay: fields.millis("delay_ms", 0).unwrap_or(Duration::ZERO),
        restart_after_failures: fields
            .number::<u32>("restart_after_failures", 0..=u32::MAX.into())
            .and_then(NonZeroU32::new),
    }
}

fn proxy_rules(fields: &mut Fields) -> ProxyRules {
    let host = fields.word("host", &ProxyHost::ALL);
    let access = fields.word("access", &ProxyAccess::ALL);
    ProxyRules {
        host: host.unwrap_or_default(),
        access,
        start_on_visit: fields.flag("start_on_visit").unwrap_or(false),
        idle_stop: fields.millis("idle_stop_ms", 1),
    }
}

/// Parses a path for a request line: nothing in it may end the line or the field.
fn url_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("must begin with a slash, as in \"/health\"; it is {}", quoted(text)));
    }
    if text.len() > URL_PATH_MAX {
        return Err(format!("is {} bytes long; {URL_PATH_MAX} are allowed", text.len()));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        let why = "must only have printable ASCII characters other than space and \"#\"; percent-encode the others";
        return Err(format!("{why} in {}", quoted(text)));
    }
    Ok(text.to_owned())
}
