//! One probe on the wire: a new connection, one request, the head of one response.
//!
//! Owns: the connection, and the meaning of each error on it. Never: a wait, a deadline. Every call returns at once.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use super::head::AnswerHead;
use crate::model::health::{CheckFailure, CheckOutcome};
use crate::os::connect;
use crate::os::poll::Interest;

/// The size of one read.
const BUFFER: usize = 4 * 1024;
/// The limit of what is read and discarded of a body before the connection is closed.
const BODY_MAX: usize = 256 * 1024;

/// A probe in progress.
pub struct Probe {
    stream: TcpStream,
    step: ProbeStep,
}

enum ProbeStep {
    /// So much of the request is sent; the connection may not be established yet.
    Asking { sent: usize },
    /// The request is sent.
    Listening { answer: AnswerHead },
}

impl Probe {
    /// Begins to connect to what listens on `address`, which may be a wildcard.
    ///
    /// # Errors
    /// It fails at once.
    pub fn begin(address: SocketAddr) -> Result<Probe, CheckFailure> {
        let (first, second) = reachable(address);
        let stream = connect::begin(first).or_else(|error| second.map_or(Err(error), connect::begin));
        stream.map(|stream| Probe { stream, step: ProbeStep::Asking { sent: 0 } }).map_err(|error| explain(&error))
    }

    pub fn interest(&self) -> Interest {
        match self.step {
            ProbeStep::Asking { .. } => Interest::Write,
            ProbeStep::Listening { .. } => Interest::Read,
        }
    }

    /// Proceeds as far as possible without waiting. `request` is the same each time.
    pub fn advance(&mut self, request: &[u8]) -> Option<CheckOutcome> {
        loop {
            let result = match &mut self.step {
                ProbeStep::Asking { sent } => match self.stream.write(request.get(*sent..).unwrap_or_default()) {
                    Ok(count) => {
                        *sent += count;
                        if *sent >= request.len() {
                            self.step = ProbeStep::Listening { answer: AnswerHead::new() };
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                ProbeStep::Listening { answer } => {
                    let mut buffer = [0; BUFFER];
                    match self.stream.read(&mut buffer) {
                        Ok(0) => return Some(CheckOutcome::Failed(answer.end())),
                        Ok(count) => match answer.take(&buffer[..count]) {
                            Some(outcome) => return Some(outcome),
                            None => Ok(()),
                        },
                        Err(error) => Err(error),
                    }
                }
            };
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => return Some(CheckOutcome::Failed(self.explain(&error))),
            }
        }
    }

    /// The failure for `error`. A reset ends the response.
    fn explain(&self, error: &io::Error) -> CheckFailure {
        match (explain(error), &self.step) {
            (CheckFailure::Closed, ProbeStep::Listening { answer }) => answer.end(),
            (CheckFailure::Closed, ProbeStep::Asking { .. }) => CheckFailure::ClosedAtOnce,
            (other, _) => other,
        }
    }

    /// The rest of a response whose head was read.
    pub fn into_rest(self) -> Rest {
        Rest { stream: self.stream, left: BODY_MAX }
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The body of a response, which is discarded. Some servers log an error if the connection is closed while they write,
/// so a short body is read completely.
pub struct Rest {
    stream: TcpStream,
    left: usize,
}

/// Whether a body continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// More may follow.
    Open,
    /// The body has ended, or is too long to read.
    Over,
}

impl Rest {
    /// Reads and discards what has arrived.
    pub fn drain(&mut self) -> Drained {
        let mut buffer = [0; BUFFER];
        while self.left > 0 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Drained::Over,
                Ok(count) => self.left = self.left.saturating_sub(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Drained::Open,
                Err(_) => return Drained::Over,
            }
        }
        Drained::Over
    }
}

impl AsFd for Rest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The address to connect to, and a second one to try if there is no route to it. A wildcard is reached over loopback;
/// that of IPv6 over IPv4 where IPv6 is off, as in many containers, where programs can still listen on `::`.
fn reachable(address: SocketAddr) -> (SocketAddr, Option<SocketAddr>) {
    let at = |ip: IpAddr| SocketAddr::new(ip, address.port());
    match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => (at(Ipv4Addr::LOCALHOST.into()), None),
        IpAddr::V6(ip) if ip.is_unspecified() => (at(Ipv6Addr::LOCALHOST.into()), Some(at(Ipv4Addr::LOCALHOST.into()))),
        IpAddr::V4(ip) => (at(ip.into()), None),
        // With its scope, which a link-local address needs.
        IpAddr::V6(_) => (address, None),
    }
}

fn explain(error: &io::Error) -> CheckFailure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => CheckFailure::Refused,
        Some(libc::ECONNRESET | libc::EPIPE) => CheckFailure::Closed,
        Some(libc::EMFILE | libc::ENFILE) => CheckFailure::NoDescriptor,
        _ => CheckFailure::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_reached_wherever_it_listens() {
        for (listens, first, second) in [
            ("127.0.0.1:80", "127.0.0.1:80", None),
            ("0.0.0.0:80", "127.0.0.1:80", None),
            ("10.1.2.3:80", "10.1.2.3:80", None),
            ("[::1]:80", "[::1]:80", None),
            ("[::]:80", "[::1]:80", Some("127.0.0.1:80")),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", None),
            ("[::ffff:0.0.0.0]:80", "127.0.0.1:80", None),
            ("[fe80::1%3]:80", "[fe80::1%3]:80", None),
        ] {
            let parsed = |text: &str| text.parse::<SocketAddr>().unwrap();
            assert_eq!(reachable(parsed(listens)), (parsed(first), second.map(parsed)), "{listens}");
        }
    }

    #[test]
    fn the_daemon_s_own_limit_is_not_blamed_on_the_server() {
        for number in [libc::EMFILE, libc::ENFILE] {
            assert_eq!(explain(&io::Error::from_raw_os_error(number)), CheckFailure::NoDescriptor);
        }
    }
}
