//! Clients that are gone without a packet that says so: their places are given back.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use serde_json::json;

use super::strangers::set_option;
use crate::support::limits::{is_root, open_descriptors};
use crate::support::{Client, Daemon, LIMIT, Stream, wait_until};

/// Streams that a daemon has at the same time.
const STREAMS_MAX: usize = 32;
const TARGET: &str = "/servers/app/logs?follow=true";

/// Followers of the log of `app` that have had the head of the answer, one for each stream that there may be.
fn all_followers(daemon: &Daemon) -> Vec<TcpStream> {
    let begun = (0..STREAMS_MAX).map(|_| {
        let mut stream = daemon.client.begin_on(connect_from_elsewhere(daemon.client.address), "GET", TARGET);
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        wait_until("the head is acknowledged", || (!is_owed(&stream)).then_some(()));
        stream
    });
    let all = begun.collect();
    assert_eq!(daemon.client.get(TARGET).status, 503, "all places are taken");
    all
}

/// Connects from another address than all other clients have: one that got the port of a client that has vanished would
/// have its socket reset at the daemon's end.
fn connect_from_elsewhere(to: SocketAddr) -> TcpStream {
    // SAFETY: plain numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it was opened just now and belongs to nothing else.
    let stream = unsafe { TcpStream::from_raw_fd(socket) };
    let name = |ip: [u8; 4], port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip) },
        sin_zero: [0; 8],
    };
    let (from, to) = (name([127, 0, 0, 2], 0), name([127, 0, 0, 1], to.port()));
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: both names live through the calls, which read as much of them as `length` says.
    let (bound, connected) = unsafe {
        (libc::bind(socket, (&raw const from).cast(), length), libc::connect(socket, (&raw const to).cast(), length))
    };
    assert_eq!((bound, connected), (0, 0), "{}", std::io::Error::last_os_error());
    stream
}

/// Whether the daemon's kernel has sent the client something that was not acknowledged: it would be sent again, and the
/// answer would say that the client is gone.
fn is_owed(stream: &TcpStream) -> bool {
    let [ours, theirs] = [stream.local_addr(), stream.peer_addr()].map(|address| address.unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // `sl local_address rem_address st tx_queue:rx_queue …`, in hexadecimal.
    let is_the_daemons = |words: &[&str]| {
        words.len() > 4 && words[1].ends_with(&format!(":{theirs:04X}")) && words[2].ends_with(&format!(":{ours:04X}"))
    };
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| is_the_daemons(words)).any(|words| !words[4].starts_with("00000000:"))
}

/// How long it takes until another follower has a place.
fn until_free(client: &Client) -> Duration {
    let begun = Instant::now();
    wait_until("a place is free", || (Stream::open(client, TARGET, &[]).status == 200).then_some(()));
    begun.elapsed()
}

/// The client's end is gone without a packet that says so, as after a crash of its machine, which is up again.
fn vanish(stream: TcpStream) {
    assert!(set_option(&stream, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1), "TCP_REPAIR is refused");
    drop(stream);
}

/// From now on no packet gets through to the client, and so none comes from it: a line that is cut.
fn cut(stream: &TcpStream) {
    // A filter that keeps nothing of any packet.
    let mut keep_nothing = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: &mut keep_nothing };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: `filter` names one instruction; both live through the call, which copies them.
    let set = unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const filter).cast(), length) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn option(socket: &OwnedFd, level: i32, option: i32) -> i32 {
    let (mut value, mut length) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: `value` has room for an int, and `length` says so; both live through the call.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length) };
    if got == 0 { value } else { 0 }
}

/// The socket on which the daemon listens, once more: its options are the daemon's.
fn listener_of(daemon: &Daemon) -> OwnedFd {
    // SAFETY: plain numbers; the process is ours.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, daemon.pid(), 0) };
    assert!(process >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it was opened just now and has no other owner.
    let process = unsafe { OwnedFd::from_raw_fd(process as i32) };
    let copies = open_descriptors(daemon.pid()).into_iter().filter_map(|number| {
        // SAFETY: plain numbers.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number as i32, 0) };
        // SAFETY: it was opened just now and has no other owner.
        (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy as i32) })
    });
    let listens = |socket: &OwnedFd| {
        option(socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) == 1
            && option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN) == libc::AF_INET
    };
    copies.into_iter().find(listens).expect("the daemon lets its listening socket be copied")
}

#[test]
fn followers_that_vanish_without_a_packet_give_their_places_back() {
    if !is_root() {
        println!("to vanish without a packet takes CAP_NET_ADMIN, which this user does not have");
        return;
    }
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "sleep 600"})).server(201);
    all_followers(&daemon).into_iter().for_each(vanish);
    let took = until_free(&daemon.client);
    println!("{STREAMS_MAX} followers that vanished gave their places back after {took:?}");
    assert!(took < LIMIT);
}

#[test]
fn followers_behind_a_cut_line_give_their_places_back() {
    if !is_root() {
        println!("to shorten the daemon's limits from outside takes CAP_SYS_PTRACE, which this user may not have");
        return;
    }
    let daemon = Daemon::start();
    let listener = listener_of(&daemon);
    let tcp = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_USER_TIMEOUT];
    let [idle, interval, limit] = tcp.map(|name| option(&listener, libc::IPPROTO_TCP, name));
    assert_eq!(option(&listener, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    // Two probes in vain within the limit, which is 120 s.
    assert!(
        idle > 0 && interval > 0 && idle + interval <= 60 && limit == 120_000,
        "{idle} s, {interval} s, {limit} ms"
    );
    // The same in a sixtieth of the time: connections inherit it.
    for (name, value) in tcp.into_iter().zip([1, 1, limit / 60]) {
        // SAFETY: `value` is an int that lives through the call.
        let set =
            unsafe { libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, name, (&raw const value).cast(), 4) };
        assert_eq!(set, 0);
    }
    // Nothing is sent to the one, and the other one has what it is sent unacknowledged.
    for start in ["exec sleep 600", "while :; do echo line; sleep 0.05; done"] {
        daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
        let followers = all_followers(&daemon);
        followers.iter().for_each(cut);
        let took = until_free(&daemon.client);
        println!("{STREAMS_MAX} followers of {start:?} behind a cut line gave their places back after {took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        drop(followers);
        assert_eq!(daemon.client.delete("/servers/app").status, 204);
    }
}

mod timed {
    use super::*;

    #[test]
    fn a_follower_that_leaves_a_quiet_stream_gives_its_place_back_within_two_seconds() {
        let daemon = Daemon::start();
        daemon.client.create(&json!({"slug": "app", "start": "sleep 600"})).server(201);
        for headers in [&[][..], &[("Accept", "text/event-stream")]] {
            wait_until("no connection is left", || (daemon.threads("conn-") == 0).then_some(()));
            let stream = Stream::open(&daemon.client, "/servers/app/logs?follow=true", headers);
            assert_eq!(stream.status, 200);
            let begun = Instant::now();
            drop(stream);
            wait_until("its thread ends", || (daemon.threads("conn-") == 0).then_some(()));
            assert!(begun.elapsed() < Duration::from_secs(2), "{headers:?}: {:?}", begun.elapsed());
        }
    }
}
