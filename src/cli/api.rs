//! The daemon's API as calls: what is asked, and which exit code a refusal is.
//!
//! Owns: paths, and the sentence for each way not to get an answer. Never: what an answer is good for.

use std::time::{Duration, Instant};

use super::find::Daemon;
use super::http::{self, ClientRequest, HttpError, Response, ResponseBody, Sent};
use super::server::{Server, list};
use super::sse::{SseEvent, Stream};
use super::{CliExit, Failure, joined, keep};
use crate::json::Value;

/// A daemon that accepts and stays silent this long past the time that it was given has stopped.
const GRACE: Duration = Duration::from_secs(5);
/// With `--timeout 0` a single answer may still take this long.
const ANSWER_MIN: Duration = Duration::from_secs(10);
/// An event stream is never silent for longer than its heartbeat of 15 s.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(60);

/// Behind the sentence that there is no such server.
pub const LISTED: &str = "; 'servisor ps' lists those there are";

/// A daemon, and how long it may take.
pub struct ApiClient {
    daemon: Daemon,
    /// As `--timeout` says.
    pub timeout: Duration,
    /// For one answer.
    limit: Duration,
}

/// An answer that says yes. It is leaked: few are asked for in this form, and nothing has to drop them.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The HTTP status: 200, or 201 for something new, 202 for work that continues.
    pub status: u16,
    /// The `data` in the body, or else all of the body; null if there is none.
    pub body: Server<'static>,
    /// What is odd about the request.
    pub warnings: &'static [Value],
}

impl Answer {
    /// The server in it.
    pub fn server(self) -> Server<'static> {
        Server(self.body.field("server"))
    }
}

/// A request that is under way.
pub struct Call(Sent);

impl ApiClient {
    /// For one command.
    pub fn new(daemon: Daemon, timeout: Duration) -> ApiClient {
        ApiClient { daemon, timeout, limit: timeout.max(ANSWER_MIN) + GRACE }
    }

    /// For a question that is not worth a longer wait than `limit`.
    pub fn with_limit(daemon: Daemon, limit: Duration) -> ApiClient {
        ApiClient { daemon, timeout: limit, limit }
    }

    /// `GET target`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn get(&self, target: &str) -> Result<Answer, Failure> {
        self.ask("GET", target, None)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// No answer, or a refusal.
    #[inline(never)]
    pub fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Result<Answer, Failure> {
        self.finish(self.begin(method, target, body)?)
    }

    /// Sends a request, to be finished later: many can be under way at once.
    ///
    /// # Errors
    /// The daemon does not take it.
    pub fn begin(&self, method: &str, target: &str, body: Option<&str>) -> Result<Call, Failure> {
        self.send(method, target, body, "")
    }

    #[inline(never)]
    fn send(&self, method: &str, target: &str, body: Option<&str>, headers: &str) -> Result<Call, Failure> {
        let request = ClientRequest { method, target, token: self.daemon.token, body, headers };
        match http::send(&self.daemon.address, &request, self.limit) {
            Ok(sent) => Ok(Call(sent)),
            Err(error) => Err(self.unanswered(&error)),
        }
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// None comes, or a refusal.
    pub fn finish(&self, call: Call) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.limit;
        match call.0.response(deadline) {
            Ok(response) => self.judge(response.status, &self.whole(response, deadline)?),
            Err(error) => Err(self.unanswered(&error)),
        }
    }

    /// `GET target`, and the text of its answer.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn text(&self, target: &str) -> Result<Vec<u8>, Failure> {
        let deadline = Instant::now() + self.limit;
        let response = match self.send("GET", target, None, "")?.0.response(deadline) {
            Ok(response) => response,
            Err(error) => return Err(self.unanswered(&error)),
        };
        let status = response.status;
        let body = self.whole(response, deadline)?;
        match status {
            200 if body.starts_with(b"{") => Ok(body),
            _ => self.judge(status, &body).map(|_| body),
        }
    }

    fn whole(&self, response: Response, deadline: Instant) -> Result<Vec<u8>, Failure> {
        response.whole(deadline).map_err(|error| self.unanswered(&error))
    }

    fn judge(&self, status: u16, body: &[u8]) -> Result<Answer, Failure> {
        let parsed = crate::json::parse(body);
        let is_json = parsed.is_ok() || body.is_empty();
        let answer = Server(Box::leak(Box::new(parsed.unwrap_or_default())));
        if is_json && matches!(status, 200..=299) {
            let warnings = list(answer.0, "warnings");
            let body = match answer.field("data") {
                Value::Null => answer,
                data => Server(data),
            };
            return Ok(Answer { status, body, warnings });
        }
        let refusal = answer;
        let sentence = refusal.text("error");
        match status {
            401 => Err(self.access_denied("the access token is wrong")),
            _ if sentence.is_empty() => Err(Failure::new(
                CliExit::NoDaemon,
                &[
                    "what answers at ",
                    self.daemon.address.shown(),
                    " is no servisor (HTTP status ",
                    &status.to_string(),
                    "); check --address",
                ],
            )),
            403 => Err(self.access_denied(sentence)),
            _ => {
                let code = refusal.text("code");
                if code != "server_not_found" {
                    return Err(Failure::refusal(CliExit::Failed, sentence, code));
                }
                // The advice behind the semicolon is for clients of the API.
                let what = sentence.split(';').next().unwrap_or_default();
                Err(Failure::new(CliExit::NoServer, &[what, LISTED]))
            }
        }
    }

    fn access_denied(&self, why: &str) -> Failure {
        let address = self.daemon.address.shown();
        let text = match self.daemon.token {
            None => joined(&[
                " wants an access token, and ",
                self.daemon.without_token,
                "\nname its file with --token-file, or set SERVISOR_ACCESS_TOKEN",
            ]),
            Some(_) => joined(&[" does not let you in: ", why]),
        };
        Failure::new(CliExit::NoDaemon, &["the daemon at ", address, text])
    }

    #[inline(never)]
    fn unanswered(&self, error: &HttpError) -> Failure {
        let (exit, before, after) = match error {
            HttpError::Connect(error) => {
                let text = keep(error.to_string());
                // The system's words without its number.
                let reason = text.split('(').next().unwrap_or_default().trim_ascii_end();
                let advice = "\nstart one with 'servisor serve', or say where it is with --address or SERVISOR_ADDRESS";
                (CliExit::NoDaemon, "no daemon answers at ", joined(&[": ", reason, advice]))
            }
            HttpError::Lost => (CliExit::NoDaemon, "the daemon at ", " has gone away"),
            HttpError::Late => (CliExit::TimeUp, "the daemon at ", " does not answer in time"),
            HttpError::NotHttp => (CliExit::NoDaemon, "what answers at ", " does not speak HTTP; check --address"),
        };
        Failure::new(exit, &[before, self.daemon.address.shown(), after])
    }

    /// Opens a stream of events.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn events(&self, target: &str) -> Result<Events<'_>, Failure> {
        let call = self.send("GET", target, None, "Accept: text/event-stream\r\n")?;
        let deadline = Instant::now() + self.limit;
        match call.0.response(deadline) {
            Ok(response) if response.status == 200 => {
                Ok(Events { api: self, response, stream: Stream::default(), ended: false })
            }
            Ok(response) => match self.judge(response.status, &self.whole(response, deadline)?) {
                Ok(_) => Err(self.unanswered(&HttpError::NotHttp)),
                Err(failure) => Err(failure),
            },
            Err(error) => Err(self.unanswered(&error)),
        }
    }
}

/// A followed stream of events.
pub struct Events<'a> {
    api: &'a ApiClient,
    response: Response,
    stream: Stream,
    ended: bool,
}

#[derive(Debug)]
pub enum NextEvent {
    SseEvent(SseEvent),
    /// Nothing until the deadline.
    Quiet,
    /// The daemon has ended the stream.
    Ended,
}

impl Events<'_> {
    /// An event that has come already.
    pub fn at_hand(&mut self) -> Option<SseEvent> {
        self.stream.take()
    }

    /// Waits for the next event, until `deadline` if there is one.
    ///
    /// # Errors
    /// The daemon was lost, or shows no sign of life.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<NextEvent, Failure> {
        loop {
            if let Some(event) = self.stream.take() {
                return Ok(NextEvent::SseEvent(event));
            }
            if self.ended {
                return Ok(NextEvent::Ended);
            }
            let heartbeat = Instant::now() + HEARTBEAT_LIMIT;
            let until = deadline.map_or(heartbeat, |deadline| deadline.min(heartbeat));
            match self.response.more(&mut self.stream.input, until) {
                Ok(ResponseBody::Goes) => {}
                Ok(ResponseBody::Ended) => self.ended = true,
                Err(HttpError::Late) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Ok(NextEvent::Quiet);
                }
                Err(error) => return Err(self.api.unanswered(&error)),
            }
        }
    }
}

/// A slug as a part of a path or a query.
fn push_encoded(text: &mut String, slug: &str) {
    // A path of dots would mean another one.
    let is_dots = slug.bytes().all(|byte| byte == b'.');
    for byte in slug.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || byte == b'.' && !is_dots {
            text.push(char::from(byte));
        } else {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
}

/// `/servers/SLUG`, and what follows.
pub fn path(slug: &str, rest: &str) -> &'static str {
    let mut path = "/servers/".to_owned();
    push_encoded(&mut path, slug);
    path.push_str(rest);
    keep(path)
}

/// A target with `slug=` for each of `slugs`.
pub fn with_slugs(target: &str, slugs: &[&str]) -> &'static str {
    let mut text = target.to_owned();
    let mut separator = if target.bytes().any(|byte| byte == b'?') { "&slug=" } else { "?slug=" };
    for slug in slugs {
        text.push_str(separator);
        separator = "&slug=";
        push_encoded(&mut text, slug);
    }
    keep(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_in_targets() {
        assert_eq!(path("web", "/stop"), "/servers/web/stop");
        assert_eq!(path("a/b?", ""), "/servers/a%2Fb%3F");
        assert_eq!(path("..", ""), "/servers/%2E%2E");
        assert_eq!(with_slugs("/events", &["a", "b c"]), "/events?slug=a&slug=b%20c");
        assert_eq!(with_slugs("/logs?tail=5", &["a"]), "/logs?tail=5&slug=a");
    }
}
