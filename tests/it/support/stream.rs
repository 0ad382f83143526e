//! A client that reads an answer without a known end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Client, LIMIT};

/// An answer in chunks, as far as it was read.
pub struct Stream {
    socket: TcpStream,
    pub status: u16,
    pub head: String,
    raw: Vec<u8>,
    body: Vec<u8>,
    /// The last chunk has come.
    pub is_whole: bool,
}

impl Stream {
    /// Asks, and waits for the head of the answer.
    #[track_caller]
    pub fn open(client: &Client, target: &str, headers: &[(&str, &str)]) -> Stream {
        let mut socket = TcpStream::connect(client.address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n", client.address);
        if let Some(token) = &client.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        socket.write_all((request + "\r\n").as_bytes()).unwrap();
        let mut stream = Stream { socket, status: 0, head: String::new(), raw: vec![], body: vec![], is_whole: false };
        loop {
            if let Some(end) = stream.raw.windows(4).position(|window| window == b"\r\n\r\n") {
                stream.head = String::from_utf8(stream.raw.drain(..end + 4).collect()).unwrap();
                stream.status = stream.head.split(' ').nth(1).unwrap().parse().unwrap();
                stream.take_chunks();
                return stream;
            }
            assert!(stream.fill(), "the answer has no head: {:?}", String::from_utf8_lossy(&stream.raw));
        }
    }

    /// What has come until `is_enough` says so or nothing more comes; the next call begins behind it.
    #[track_caller]
    pub fn read_until(&mut self, is_enough: impl Fn(&str) -> bool) -> String {
        let limit = Instant::now() + LIMIT;
        loop {
            let text = String::from_utf8_lossy(&self.body).into_owned();
            if is_enough(&text) || self.is_whole {
                self.body.clear();
                return text;
            }
            assert!(Instant::now() < limit, "not within {LIMIT:?}: {text:?}");
            if !self.fill() {
                self.body.clear();
                return text;
            }
            self.take_chunks();
        }
    }

    /// Everything up to the end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while !self.is_whole && self.fill() {
            self.take_chunks();
        }
        std::mem::take(&mut self.body)
    }

    /// Whether nothing comes within `time`.
    pub fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut byte = [0; 1];
        let read = self.socket.peek(&mut byte);
        self.socket.set_read_timeout(Some(LIMIT)).unwrap();
        self.body.is_empty()
            && read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// False at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.raw.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} after {:?}", self.head),
        }
    }

    fn take_chunks(&mut self) {
        let mut at = 0;
        while let Some(line) = self.raw[at..].windows(2).position(|window| window == b"\r\n") {
            let length = std::str::from_utf8(&self.raw[at..at + line]).unwrap();
            let length = usize::from_str_radix(length, 16).unwrap();
            let begin = at + line + 2;
            if self.raw.len() < begin + length + 2 {
                break;
            }
            self.body.extend_from_slice(&self.raw[begin..begin + length]);
            assert_eq!(&self.raw[begin + length..begin + length + 2], b"\r\n");
            at = begin + length + 2;
            self.is_whole |= length == 0;
        }
        self.raw.drain(..at);
    }
}
