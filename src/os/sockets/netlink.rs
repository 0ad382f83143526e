//! Listening sockets by `NETLINK_SOCK_DIAG` (`sock_diag(7)`).
//!
//! Owns: the descriptor, the requests and the parsing of the answers. Never: a wait: the kernel has an answer ready
//! when the request returns, or there is none.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Family, LISTEN, ListeningSocket};
use crate::model::spec::Port;
use crate::os::{owned, retry};

/// The kernel fills one message of an answer up to what was read before, and to this at most; more than 300 listeners
/// fit into it.
const BUFFER: usize = 32 * 1024;
/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`, a type of message.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `INET_DIAG_SKV6ONLY` of `linux/inet_diag.h`, a type of attribute.
const SKV6ONLY: u16 = 11;
/// The sizes of `struct nlmsghdr`, `inet_diag_req_v2` and `inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const MESSAGE: usize = 72;
/// Where the local port and address stand in a request.
const SOURCE_PORT: usize = HEADER + 8;
const SOURCE: usize = HEADER + 12;
/// Holds the answer about one listener, with its attributes.
const ONE: usize = 1024;

#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// How the dump continues after one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DumpPart {
    More,
    Done,
    /// The system's number of an error.
    Refused(i32),
}

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// The kernel does not support it, or it is not permitted.
    pub fn open() -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: plain numbers; the call returns a new descriptor.
        let socket = unsafe { owned(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG)) }?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Adds the listeners of both families to `found`.
    ///
    /// # Errors
    /// The kernel refuses, or its answer is cut short.
    pub fn read(&mut self, found: &mut Vec<ListeningSocket>) -> io::Result<()> {
        self.read_port(0, found)
    }

    /// Reads the sockets on `port` alone; 0 stands for all.
    ///
    /// # Errors
    /// The kernel refuses, or its answer is cut short.
    pub fn read_port(&mut self, port: u16, found: &mut Vec<ListeningSocket>) -> io::Result<()> {
        // Allocated for each read: else the pages that many listeners once filled would stay resident.
        let mut buffer = vec![0; BUFFER];
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.sequence = self.sequence.wrapping_add(1);
            self.send(family as u8, port)?;
            loop {
                let length = self.receive(&mut buffer)?;
                match parse(&buffer[..length], self.sequence, found) {
                    DumpPart::More => {}
                    DumpPart::Done => break,
                    // A kernel without IPv6.
                    DumpPart::Refused(libc::ENOENT) if family == libc::AF_INET6 => break,
                    DumpPart::Refused(number) => return Err(io::Error::from_raw_os_error(number)),
                }
            }
        }
        Ok(())
    }

    /// The inode of the listener that takes connections to `address` now; `None` if there is none.
    ///
    /// # Errors
    /// The kernel refuses, or its answer is cut short.
    pub fn listener_at(&mut self, address: SocketAddr) -> io::Result<Option<u64>> {
        self.sequence = self.sequence.wrapping_add(1);
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut request = request(family as u8, address.port(), self.sequence);
        // One socket, not a dump: the kernel looks it up as it does for a connection from nowhere.
        request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        match address.ip() {
            IpAddr::V4(ip) => request[SOURCE..SOURCE + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => request[SOURCE..SOURCE + 16].copy_from_slice(&ip.octets()),
        }
        // No cookie.
        request[REQUEST - 8..].fill(0xff);
        self.send_request(&request)?;
        let mut buffer = [0; ONE];
        loop {
            let (length, mut found) = (self.receive(&mut buffer)?, Vec::new());
            match parse(&buffer[..length], self.sequence, &mut found) {
                DumpPart::More if found.is_empty() => {}
                DumpPart::More | DumpPart::Done => return Ok(found.first().map(|listener| listener.inode)),
                DumpPart::Refused(libc::ENOENT) => return Ok(None),
                DumpPart::Refused(number) => return Err(io::Error::from_raw_os_error(number)),
            }
        }
    }

    fn send(&self, family: u8, port: u16) -> io::Result<()> {
        self.send_request(&request(family, port, self.sequence))
    }

    fn send_request(&self, request: &[u8; REQUEST]) -> io::Result<()> {
        // SAFETY: `request` is valid for reads of its length.
        retry(|| checked(unsafe { libc::send(self.socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) }))
            .map(drop)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = self.socket.as_raw_fd();
        // SAFETY: `buffer` is valid for writes of its length.
        retry(|| checked(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) }))
    }
}

fn checked(returned: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

fn request(family: u8, port: u16, sequence: u32) -> [u8; REQUEST] {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = [0; REQUEST];
    request[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request[HEADER] = family;
    request[HEADER + 1] = libc::IPPROTO_TCP as u8;
    request[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&port.to_be_bytes());
    request[HEADER + 4..HEADER + 8].copy_from_slice(&(1_u32 << LISTEN).to_ne_bytes());
    request
}

/// Parses the messages of one datagram. Those of another sequence belong to an abandoned dump.
fn parse(mut datagram: &[u8], sequence: u32, found: &mut Vec<ListeningSocket>) -> DumpPart {
    while let Some(header) = datagram.get(..HEADER) {
        let length = u32_at(header, 0) as usize;
        let Some(message) = datagram.get(HEADER..length) else { break };
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
        if u32_at(header, 8) != sequence {
            continue;
        }
        match i32::from(u16_at(header, 4)) {
            libc::NLMSG_DONE => return DumpPart::Done,
            libc::NLMSG_ERROR => return DumpPart::Refused(u32_at(message, 0).cast_signed().wrapping_neg()),
            _ => found.extend(parse_message(message)),
        }
    }
    DumpPart::More
}

/// `inet_diag_msg`: family, state, two bytes; ports and addresses in the order of the network from 4 on; the inode
/// last. Attributes follow.
fn parse_message(message: &[u8]) -> Option<ListeningSocket> {
    let fixed = message.get(..MESSAGE)?;
    let port = Port::new(u16::from_be_bytes([fixed[4], fixed[5]]))?;
    let ip = match libc::c_int::from(fixed[0]) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&fixed[8..12]).ok()?)),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(&fixed[8..24]).ok()?).to_canonical(),
        _ => return None,
    };
    let family = match attribute(&message[MESSAGE..], SKV6ONLY) {
        // Kernels before 4.5 don't say; programs that care for it are few.
        None | Some([0, ..]) if ip == Ipv6Addr::UNSPECIFIED => Family::Both,
        _ => Family::Own,
    };
    let inode = u64::from(u32_at(fixed, MESSAGE - mem::size_of::<u32>()));
    Some(ListeningSocket { inode, ip, port, family })
}

fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(header) = attributes.get(..4) {
        let length = usize::from(u16_at(header, 0));
        let value = attributes.get(4..length)?;
        if u16_at(header, 2) == wanted {
            return Some(value);
        }
        attributes = attributes.get(aligned(length)..)?;
    }
    None
}

/// Messages and attributes begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_and_foreign_answers_are_no_panic() {
        let mut netlink = Netlink::open().unwrap();
        let _ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        netlink.sequence = 5;
        netlink.send(libc::AF_INET as u8, 0).unwrap();
        let mut answer = vec![0; BUFFER];
        let length = netlink.receive(&mut answer).unwrap();
        answer.truncate(length);
        let mut found = Vec::new();
        parse(&answer, 5, &mut found);
        assert!(!found.is_empty());
        assert_eq!(parse(&answer, 6, &mut Vec::new()), DumpPart::More, "an answer to another request");
        for end in 0..answer.len() {
            let mut some = Vec::new();
            parse(&answer[..end], 5, &mut some);
            assert!(some.len() <= found.len());
        }
        for length in 0..=u8::MAX {
            let mut odd = answer.clone();
            odd[0] = length;
            odd[HEADER + MESSAGE..].iter_mut().take(1).for_each(|byte| *byte = length);
            parse(&odd, 5, &mut Vec::new());
        }
    }

    #[test]
    fn a_refusal_is_an_error_with_the_systems_number() {
        let mut refusal = [0; HEADER + 4];
        refusal[0] = refusal.len() as u8;
        refusal[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        refusal[8..12].copy_from_slice(&9_u32.to_ne_bytes());
        refusal[HEADER..].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(parse(&refusal, 9, &mut Vec::new()), DumpPart::Refused(libc::EPERM));
    }
}
