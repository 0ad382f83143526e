//! The daemon's API as calls: what is asked, and which exit code a refusal is.
//!
//! Owns: paths, and the sentence for each way not to get an answer. Never: what an answer is good for.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::find::Daemon;
use super::http::{self, Body, HttpError, Request, Response, Sent};
use super::sse::{Event, Stream};
use super::{Exit, Failure};

/// A daemon that accepts and stays silent this long past the time that it was given has stopped.
const GRACE: Duration = Duration::from_secs(5);
/// With `--timeout 0` a single answer may still take this long.
const ANSWER_MIN: Duration = Duration::from_secs(10);
/// An event stream is never silent for longer than its heartbeat of 15 s.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(60);

/// A daemon, and how long it may take.
pub struct Api {
    daemon: Daemon,
    /// As `--timeout` says.
    pub timeout: Duration,
}

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The machine word, `server_active` for example.
    pub code: String,
    /// The sentence.
    pub sentence: String,
}

impl Refused {
    /// As the end of the command.
    pub fn failure(self) -> Failure {
        let exit = match (self.status, self.code.as_str()) {
            (404, "server_not_found") => Exit::NoServer,
            _ => Exit::Failed,
        };
        Failure::new(exit, self.sentence)
    }
}

/// An answer that says yes.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The HTTP status: 200, or 201 for something new, 202 for work that goes on.
    pub status: u16,
    /// The body; null if there is none.
    pub body: Value,
}

impl Answer {
    /// The server in it.
    pub fn server(&mut self) -> Value {
        self.body.pointer_mut("/data/server").map(Value::take).unwrap_or_default()
    }
}

/// A request that is under way.
pub struct Call(Sent);

impl Api {
    /// For one command.
    pub fn new(daemon: Daemon, timeout: Duration) -> Api {
        Api { daemon, timeout }
    }

    /// A client that is never asked: a place holder while another one is borrowed.
    pub fn unused() -> Api {
        let address = super::http::Address::Unix("".into());
        Api { daemon: Daemon { address, token: None, without_token: "" }, timeout: Duration::ZERO }
    }

    /// Where the daemon is, for a sentence.
    pub fn address(&self) -> String {
        self.daemon.address.to_string()
    }

    /// Until when an answer has to be there.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.max(ANSWER_MIN)
    }

    /// `GET target`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn get(&self, target: &str) -> Result<Answer, Failure> {
        self.ask("GET", target, None)?.map_err(Refused::failure)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// No answer. A refusal is an answer.
    pub fn ask(&self, method: &str, target: &str, body: Option<&[u8]>) -> Result<Result<Answer, Refused>, Failure> {
        let call = self.begin(method, target, body)?;
        self.finish(call)
    }

    /// Sends a request, to be finished later: many can be under way at once.
    ///
    /// # Errors
    /// The daemon does not take it.
    pub fn begin(&self, method: &str, target: &str, body: Option<&[u8]>) -> Result<Call, Failure> {
        self.send(method, target, body, "")
    }

    fn send(&self, method: &str, target: &str, body: Option<&[u8]>, headers: &str) -> Result<Call, Failure> {
        let request = Request { method, target, token: self.daemon.token.as_deref(), body, headers };
        let sent = http::send(&self.daemon.address, &request, self.timeout.max(ANSWER_MIN));
        sent.map(Call).map_err(|error| self.unanswered(&error))
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// None comes. A refusal is an answer.
    pub fn finish(&self, call: Call) -> Result<Result<Answer, Refused>, Failure> {
        let deadline = self.deadline() + GRACE;
        let response = call.0.response(deadline).map_err(|error| self.unanswered(&error))?;
        self.judge(response, deadline)
    }

    fn judge(&self, response: Response, deadline: Instant) -> Result<Result<Answer, Refused>, Failure> {
        let status = response.status;
        let body = response.whole(deadline).map_err(|error| self.unanswered(&error))?;
        let value = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(&body) };
        match (status, value) {
            (200..=299, Ok(body)) => Ok(Ok(Answer { status, body })),
            (401, _) => Err(self.not_let_in("the access token is wrong")),
            (_, Ok(value)) if value.get("error").is_some_and(Value::is_string) => {
                let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let (code, sentence) = (text("code"), text("error"));
                if status == 403 {
                    return Err(self.not_let_in(&sentence));
                }
                Ok(Err(Refused { status, code, sentence }))
            }
            (_, Ok(_) | Err(_)) => Err(Failure::new(
                Exit::NoDaemon,
                format!("what answers at {} is no servisor (HTTP status {status}); check --address", self.address()),
            )),
        }
    }

    fn not_let_in(&self, why: &str) -> Failure {
        let text = match (&self.daemon.token, self.daemon.without_token) {
            (None, without) => format!(
                "the daemon at {} wants an access token, and {without}\nname its file with --token-file, or set \
                 SERVISOR_ACCESS_TOKEN",
                self.address()
            ),
            (Some(_), _) => format!("the daemon at {} does not let you in: {why}", self.address()),
        };
        Failure::new(Exit::NoDaemon, text)
    }

    fn unanswered(&self, error: &HttpError) -> Failure {
        let address = self.address();
        match error {
            HttpError::Connect(error) => Failure::new(
                Exit::NoDaemon,
                format!(
                    "no daemon answers at {address}: {}\nstart one with 'servisor serve', or say where it is with --address \
                     or SERVISOR_ADDRESS",
                    reason(error)
                ),
            ),
            HttpError::Lost => Failure::new(Exit::NoDaemon, format!("the daemon at {address} has gone away")),
            HttpError::Late => Failure::new(Exit::TimeUp, format!("the daemon at {address} does not answer in time")),
            HttpError::NotHttp => {
                Failure::new(Exit::NoDaemon, format!("what answers at {address} does not speak HTTP; check --address"))
            }
        }
    }

    /// Opens a stream of events.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn events(&self, target: &str) -> Result<Events<'_>, Failure> {
        let call = self.send("GET", target, None, "Accept: text/event-stream\r\n")?;
        let deadline = self.deadline() + GRACE;
        let response = call.0.response(deadline).map_err(|error| self.unanswered(&error))?;
        if response.status == 200 {
            return Ok(Events { api: self, response, stream: Stream::default(), ended: false });
        }
        match self.judge(response, deadline)? {
            Err(refused) => Err(refused.failure()),
            Ok(_) => Err(self.unanswered(&HttpError::NotHttp)),
        }
    }
}

/// The system's words without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// A stream of events that goes on.
pub struct Events<'a> {
    api: &'a Api,
    response: Response,
    stream: Stream,
    ended: bool,
}

/// What a stream has next.
#[derive(Debug)]
pub enum Next {
    /// An event.
    Event(Event),
    /// Nothing until the deadline.
    Quiet,
    /// The daemon has ended the stream.
    Ended,
}

impl Events<'_> {
    /// An event that has come already.
    pub fn at_hand(&mut self) -> Option<Event> {
        self.stream.take()
    }

    /// Waits for the next event, until `deadline` if there is one.
    ///
    /// # Errors
    /// The daemon was lost, or shows no sign of life.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Next, Failure> {
        loop {
            if let Some(event) = self.stream.take() {
                return Ok(Next::Event(event));
            }
            if self.ended {
                return Ok(Next::Ended);
            }
            let heartbeat = Instant::now() + HEARTBEAT_LIMIT;
            let until = deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat));
            match self.response.more(&mut self.stream.input, until) {
                Ok(Body::Goes) => {}
                Ok(Body::Ended) => self.ended = true,
                Err(HttpError::Late) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Ok(Next::Quiet);
                }
                Err(error) => return Err(self.api.unanswered(&error)),
            }
        }
    }
}

/// A slug as a part of a path or a query.
pub fn encoded(slug: &str) -> String {
    let mut text = String::with_capacity(slug.len());
    for byte in slug.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    // A path of dots would mean another one.
    if text.bytes().all(|byte| byte == b'.') { text.replace('.', "%2E") } else { text }
}

/// `/servers/SLUG`, and what follows.
pub fn path(slug: &str, rest: &str) -> String {
    let mut path = "/servers/".to_owned();
    path.push_str(&encoded(slug));
    path.push_str(rest);
    path
}

/// A target with `slug=` for each of `slugs`.
pub fn with_slugs(target: &str, slugs: &[String]) -> String {
    let mut text = target.to_owned();
    for slug in slugs {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str("slug=");
        text.push_str(&encoded(slug));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_in_targets() {
        assert_eq!(path("web", "/stop"), "/servers/web/stop");
        assert_eq!(path("a/b?", ""), "/servers/a%2Fb%3F");
        assert_eq!(path("..", ""), "/servers/%2E%2E");
        assert_eq!(with_slugs("/events", &["a".into(), "b c".into()]), "/events?slug=a&slug=b%20c");
        assert_eq!(with_slugs("/logs?tail=5", &["a".into()]), "/logs?tail=5&slug=a");
    }
}
