//! A client for tests: one connection a request, so that nothing of one request is left for the next.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;

use super::LIMIT;

/// Whom to ask, and with which token.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body: bytes[end + 4..].to_vec() })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {} {:?}", self.head, self.text()))
    }

    /// The server in the answer, if the status is `status`.
    #[track_caller]
    pub fn server(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()["data"]["server"].clone()
    }

    /// The sentence of an error, if the status is `status`.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["status"], "error");
        assert_eq!(body["message"], body["error"]);
        assert!(body["code"].is_string());
        body["error"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends bytes, says that these are all, and reads until the other side has nothing more to say.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let stream = send(address, bytes).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    receive(stream)
}

fn send(address: SocketAddr, bytes: &[u8]) -> std::io::Result<TcpStream> {
    send_on(TcpStream::connect(address)?, bytes)
}

fn send_on(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<TcpStream> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    // A refusal may come, and the connection end, before everything is sent.
    let _ = stream.write_all(bytes);
    Ok(stream)
}

fn receive(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

impl Client {
    #[track_caller]
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        self.try_request(method, target, headers, body).unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    /// The answer, if one comes: the daemon may be gone, or go meanwhile.
    pub fn try_request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Option<Answer> {
        let stream = send(self.address, &self.compose(method, target, headers, body)).ok()?;
        Answer::parse(&receive(stream))
    }

    /// Only asks: dropping the connection is leaving.
    #[track_caller]
    pub fn begin(&self, method: &str, target: &str) -> TcpStream {
        send(self.address, &self.compose(method, target, &[], None)).unwrap()
    }

    /// The same on a connection that is there already.
    #[track_caller]
    pub fn begin_on(&self, stream: TcpStream, method: &str, target: &str) -> TcpStream {
        send_on(stream, &self.compose(method, target, &[], None)).unwrap()
    }

    fn compose(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        [request.as_bytes(), body.unwrap_or_default()].concat()
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], None)
    }

    #[track_caller]
    pub fn post(&self, target: &str) -> Answer {
        self.request("POST", target, &[], None)
    }

    #[track_caller]
    pub fn delete(&self, target: &str) -> Answer {
        self.request("DELETE", target, &[], None)
    }

    #[track_caller]
    pub fn create(&self, spec: &Value) -> Answer {
        let body = serde_json::to_vec(spec).unwrap();
        self.request("POST", "/servers", &[("Content-Type", "application/json")], Some(&body))
    }

    /// Marks a server by hand.
    #[track_caller]
    pub fn mark(&self, slug: &str, status: &str) -> Answer {
        let body = format!("{{\"status\": \"{status}\"}}");
        let headers = [("Content-Type", "application/json")];
        self.request("PATCH", &format!("/servers/{slug}/status"), &headers, Some(body.as_bytes()))
    }

    #[track_caller]
    pub fn show(&self, slug: &str) -> Value {
        self.get(&format!("/servers/{slug}")).server(200)
    }

    #[track_caller]
    pub fn logs(&self, slug: &str, query: &str) -> String {
        let answer = self.get(&format!("/servers/{slug}/logs{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"]["logs"].as_str().unwrap().to_owned()
    }

    /// The server when it is ready, or rests, or the tests' limit is up: the daemon does the waiting.
    #[track_caller]
    pub fn when_ready(&self, slug: &str) -> Value {
        let server = self.get(&format!("/servers/{slug}?wait_for=ready&timeout_ms=50000")).server(200);
        assert_eq!(server["status"], "ready", "{server:#}");
        server
    }

    #[track_caller]
    pub fn wait_for_status(&self, slug: &str, status: &str) -> Value {
        super::wait_until(&format!("{slug} is {status}"), || {
            let server = self.show(slug);
            (server["status"] == status).then_some(server)
        })
    }
}
