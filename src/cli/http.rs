//! A small blocking HTTP/1.1 client over TCP and unix sockets.
//!
//! Owns: one connection for one request, its deadline, and the framing of the answer. Never: a name server, TLS, a
//! redirect, a retry.
//!
//! Both kinds of socket are held as a `UnixStream`: to the kernel a socket is a socket, and the standard library's
//! timeouts work for each.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{concat, joined, keep};

/// A daemon on this machine accepts within microseconds; one behind a network within a round trip.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const HEAD_MAX: usize = 32 * 1024;
const READ_BUFFER: usize = 16 * 1024;
/// As much is reserved for a body that says how long it is.
const RESERVE_MAX: usize = 16 * 1024 * 1024;
/// A line with a chunk's size, with room for an extension.
const SIZE_LINE_MAX: usize = 256;

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can be behind it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// As it is written, for a sentence or a `Host`.
    pub fn shown(&self) -> &'static str {
        match self {
            Address::Tcp(address) => keep(address.to_string()),
            Address::Unix(path) => joined(&["unix:", &path.to_string_lossy()]),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum HttpError {
    /// No connection was made.
    Connect(io::Error),
    /// The connection ended before the answer did.
    Lost,
    /// The time was up.
    Late,
    /// What came is no HTTP answer.
    NotHttp,
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> HttpError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HttpError::Late,
            _ => HttpError::Lost,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct ClientRequest<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    pub token: Option<&'a str>,
    /// JSON.
    pub body: Option<&'a str>,
    /// Further header lines, each with its CRLF.
    pub headers: &'a str,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// The number of bytes that are missing.
    Length(u64),
    /// A line with the size of a chunk is next.
    Size,
    /// The number of bytes of a chunk that are missing.
    Chunk(u64),
    /// The line end after a chunk is next.
    ChunkEnd,
    /// Lines up to an empty one are next.
    Trailers,
    /// The body lasts as long as the connection.
    ToEnd,
    Ended,
}

/// Whether more of a body can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseBody {
    /// More can come.
    Goes,
    Ended,
}

/// An answer whose head has come.
pub struct Response {
    pub status: u16,
    socket: UnixStream,
    input: Vec<u8>,
    framing: Framing,
}

pub struct Sent {
    socket: UnixStream,
}

/// Connects and sends `request`. The answer is not waited for, so that many can be under way at once.
///
/// # Errors
/// There is no connection, or it does not take the request within `limit`.
pub fn send(address: &Address, request: &ClientRequest<'_>, limit: Duration) -> Result<Sent, HttpError> {
    let mut socket = connect(address, limit.min(CONNECT_LIMIT)).map_err(|error| match error.kind() {
        // A backlog that is full: the daemon lives and does not accept.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => HttpError::Late,
        _ => HttpError::Connect(error),
    })?;
    socket.set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
    let host = match address {
        Address::Tcp(_) => address.shown(),
        Address::Unix(_) => "localhost",
    };
    let body = request.body.unwrap_or_default();
    let length = body.len().to_string();
    let (token_name, token, token_end) = match request.token {
        Some(token) => ("Authorization: Bearer ", token, "\r\n"),
        None => ("", "", ""),
    };
    let (length_name, length, length_end) = match request.body {
        Some(_) => ("Content-Type: application/json\r\nContent-Length: ", length.as_str(), "\r\n"),
        None => ("", "", ""),
    };
    #[rustfmt::skip]
    let bytes = concat(&[
        request.method, " ", request.target, " HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n",
        token_name, token, token_end, request.headers, length_name, length, length_end, "\r\n", body,
    ]);
    // A daemon that refuses may close before it has read everything; its answer says why.
    let _ = socket.write_all(bytes.as_bytes());
    Ok(Sent { socket })
}

fn connect(address: &Address, limit: Duration) -> io::Result<UnixStream> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, limit)?;
            stream.set_nodelay(true)?;
            Ok(UnixStream::from(OwnedFd::from(stream)))
        }
        Address::Unix(path) => UnixStream::connect(path),
    }
}

impl Sent {
    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// None comes until `deadline`, or what comes is no answer.
    pub fn response(self, deadline: Instant) -> Result<Response, HttpError> {
        let mut response = Response { status: 0, socket: self.socket, input: Vec::new(), framing: Framing::ToEnd };
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            match head.parse(&response.input) {
                Ok(httparse::Status::Complete(length)) => {
                    let status = head.code.unwrap_or(0);
                    let framing = match status {
                        204 | 304 => Framing::Ended,
                        _ => framing(head.headers)?,
                    };
                    response.input.drain(..length);
                    // An interim answer comes before the one that counts.
                    if status >= 200 {
                        return Ok(Response { status, framing, ..response });
                    }
                }
                Ok(httparse::Status::Partial) if response.input.len() <= HEAD_MAX => response.read(deadline)?,
                Ok(httparse::Status::Partial) | Err(_) => return Err(HttpError::NotHttp),
            }
        }
    }
}

fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, HttpError> {
    let value =
        |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value);
    if value("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        return Ok(Framing::Size);
    }
    match value("Content-Length") {
        None => Ok(Framing::ToEnd),
        Some(digits) => {
            let length = str::from_utf8(digits).ok().and_then(|digits| digits.trim().parse().ok());
            length.map(Framing::Length).ok_or(HttpError::NotHttp)
        }
    }
}

impl Response {
    /// Waits for more of the body and appends it to `body`.
    ///
    /// # Errors
    /// Nothing comes until `deadline`, or the connection ends before the body.
    pub fn more(&mut self, body: &mut Vec<u8>, deadline: Instant) -> Result<ResponseBody, HttpError> {
        let before = body.len();
        loop {
            self.take(body)?;
            if self.framing == Framing::Ended {
                return Ok(ResponseBody::Ended);
            }
            if body.len() > before {
                return Ok(ResponseBody::Goes);
            }
            match self.read(deadline) {
                Ok(()) => {}
                Err(HttpError::Lost) if self.framing == Framing::ToEnd => self.framing = Framing::Ended,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the whole body.
    ///
    /// # Errors
    /// It is not complete at `deadline`, or the connection ends before.
    pub fn whole(mut self, deadline: Instant) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        if let Framing::Length(length) = self.framing {
            // A vector that grows by itself takes three times as much for a moment.
            body.reserve_exact(usize::try_from(length).unwrap_or(usize::MAX).min(RESERVE_MAX));
        }
        while self.more(&mut body, deadline)? == ResponseBody::Goes {}
        Ok(body)
    }

    /// Moves what was read to `body`, as far as it belongs there.
    fn take(&mut self, body: &mut Vec<u8>) -> Result<(), HttpError> {
        loop {
            match self.framing {
                Framing::Ended => return Ok(()),
                Framing::Length(0) => self.framing = Framing::Ended,
                Framing::Chunk(0) => self.framing = Framing::ChunkEnd,
                _ if self.input.is_empty() => return Ok(()),
                Framing::ToEnd => body.append(&mut self.input),
                Framing::Length(missing) => self.framing = Framing::Length(missing - self.part(missing, body)),
                Framing::Chunk(missing) => self.framing = Framing::Chunk(missing - self.part(missing, body)),
                Framing::Size | Framing::ChunkEnd | Framing::Trailers => {
                    let Some(line) = self.line()? else { return Ok(()) };
                    self.framing = match (self.framing, line.as_slice()) {
                        (Framing::Size, line) => {
                            let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
                            match hex(digits).ok_or(HttpError::NotHttp)? {
                                0 => Framing::Trailers,
                                size => Framing::Chunk(size),
                            }
                        }
                        (Framing::Trailers, []) => Framing::Ended,
                        (Framing::Trailers, _) => Framing::Trailers,
                        (_, []) => Framing::Size,
                        (_, _) => return Err(HttpError::NotHttp),
                    };
                }
            }
        }
    }

    /// Moves at most `missing` bytes and returns how many.
    fn part(&mut self, missing: u64, body: &mut Vec<u8>) -> u64 {
        let count = usize::try_from(missing).unwrap_or(usize::MAX).min(self.input.len());
        body.extend(self.input.drain(..count));
        count as u64
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        match self.input.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.truncate(line.trim_ascii_end().len());
                Ok(Some(line))
            }
            None if self.input.len() > SIZE_LINE_MAX => Err(HttpError::NotHttp),
            None => Ok(None),
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<(), HttpError> {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(HttpError::Late);
        }
        self.socket.set_read_timeout(Some(patience))?;
        let mut buffer = [0; READ_BUFFER];
        match crate::os::retry(|| self.socket.read(&mut buffer))? {
            0 => Err(HttpError::Lost),
            count => {
                self.input.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + u64::from(char::from(*digit).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer that `parts` make, each one sent by itself.
    fn answer(parts: &[&[u8]]) -> Result<(u16, Vec<u8>), HttpError> {
        let (socket, mut far) = UnixStream::pair().unwrap();
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let writer = std::thread::spawn(move || {
            for part in parts {
                far.write_all(&part).unwrap();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        let response = Sent { socket }.response(deadline);
        let result = response.and_then(|response| Ok((response.status, response.whole(deadline)?)));
        writer.join().unwrap();
        result
    }

    #[test]
    fn bodies_of_each_framing() {
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\nT: v\r\n\r\n";
        let to_end = b"HTTP/1.0 200 OK\r\n\r\nhello";
        for wire in [&length[..], chunks, to_end] {
            assert_eq!(answer(&[wire]).unwrap(), (200, b"hello".to_vec()));
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(answer(&bytes).unwrap(), (200, b"hello".to_vec()));
        }
        assert_eq!(answer(&[b"HTTP/1.1 204 No Content\r\n\r\n"]).unwrap(), (204, Vec::new()));
        assert_eq!(answer(&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"]).unwrap().0, 204);
    }

    #[test]
    fn an_answer_that_breaks_off_is_lost_and_another_protocol_is_no_answer() {
        let lost = |wire: &[u8]| matches!(answer(&[wire]), Err(HttpError::Lost));
        assert!(lost(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"));
        assert!(lost(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"));
        assert!(lost(b"HTTP/1.1 200"));
        assert!(lost(b""));
        assert!(matches!(answer(&[b"SSH-2.0-OpenSSH_9.2\r\n"]), Err(HttpError::NotHttp)));
    }

    #[test]
    fn silence_has_an_end() {
        let (socket, _far) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let result = Sent { socket }.response(deadline);
        assert!(matches!(result, Err(HttpError::Late)));
    }
}
