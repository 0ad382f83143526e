use super::*;
use crate::os::{Pid, check};
use std::net::{TcpListener, TcpStream};
use std::os::fd::FromRawFd;

fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A listener on the IPv6 wildcard that takes no IPv4 clients.
pub fn listen_for_ipv6_only() -> TcpListener {
    let on: libc::c_int = 1;
    let length = std::mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: an all-zero address is valid: any port, any address.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    let address_length = std::mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: plain numbers, and pointers to values that live through their calls, with their sizes.
    unsafe {
        let fd = check(libc::socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)).unwrap();
        let listener = TcpListener::from_raw_fd(fd);
        check(libc::setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, (&raw const on).cast(), length)).unwrap();
        check(libc::bind(fd, (&raw const address).cast(), address_length)).unwrap();
        check(libc::listen(fd, 1)).unwrap();
        listener
    }
}

/// The port of a listener that only one thread has open; it lives as long as the process.
pub fn listen_in_a_thread_with_its_own_table() -> u16 {
    let (sender, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // SAFETY: plain numbers; from here on the descriptors of this thread are its own.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
        let (_listener, address) = listen("127.0.0.1:0");
        sender.send(address.port()).unwrap();
        loop {
            std::thread::park();
        }
    });
    port.recv().unwrap()
}

fn find(all: &[ListeningSocket], address: SocketAddr) -> Option<ListeningSocket> {
    all.iter().copied().find(|listener| SocketAddr::new(listener.ip, listener.port.get()) == address)
}

fn sources() -> [ListeningSockets; 2] {
    [ListenerSource::Netlink(Netlink::open().unwrap()), ListenerSource::Proc].map(|source| ListeningSockets { source })
}

#[test]
fn both_ways_show_each_listener_and_nothing_else() {
    for mut listeners in sources() {
        for (spelled, family) in [
            ("127.0.0.1:0", Family::Own),
            ("0.0.0.0:0", Family::Own),
            ("[::1]:0", Family::Own),
            ("[::]:0", Family::Both),
            ("[::ffff:127.0.0.1]:0", Family::Own),
        ] {
            let (listener, address) = listen(spelled);
            let client = TcpStream::connect(address).unwrap();
            let shown = SocketAddr::new(address.ip().to_canonical(), address.port());
            let mut all = Vec::new();
            listeners.read(&mut all).unwrap();
            let found = find(&all, shown).unwrap_or_else(|| panic!("{spelled} is not in {all:?}"));
            assert_eq!(found.family, family, "{spelled}");
            assert_eq!(open_sockets(Pid::own(), &SortedSet::from([found.inode])).unwrap(), [found.inode]);
            assert!(find(&all, client.local_addr().unwrap()).is_none());
            drop(listener);
            listeners.read(&mut all).unwrap();
            assert!(all.iter().all(|other| other.inode != found.inode), "{spelled} is closed");
        }
        assert!(inodes_match(&mut listeners).unwrap());
    }
}

#[test]
fn netlink_reports_a_wildcard_for_ipv6_only() {
    let ours = listen_for_ipv6_only();
    let mut all = Vec::new();
    ListeningSockets::open().unwrap().read(&mut all).unwrap();
    assert_eq!(find(&all, ours.local_addr().unwrap()).unwrap().family, Family::Own);
}

#[test]
fn more_listeners_than_fit_in_one_message() {
    let ours: Vec<_> = (0..400).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    for mut listeners in sources() {
        let mut all = Vec::new();
        listeners.read(&mut all).unwrap();
        for listener in &ours {
            assert!(find(&all, listener.local_addr().unwrap()).is_some());
        }
    }
}

#[test]
fn lines_of_proc() {
    let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                0: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100\n   \
                1: 0100007F:0BB9 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0 100\n   \
                2: 0100007F:0BBA 00000000:0000 0A 00000000\n";
    let mut found = Vec::new();
    parse_proc(text, &mut found);
    let port = Port::new(3000).unwrap();
    let ip = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    assert_eq!(found, [ListeningSocket { inode: 77, ip, port, family: Family::Own }]);
}

#[test]
fn a_wildcard_beside_a_listener_for_ipv4_is_taken_for_one_family() {
    let listener =
        |ip: IpAddr, port| ListeningSocket { inode: 1, ip, port: Port::new(port).unwrap(), family: Family::Own };
    let wildcard = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let mut found = [
        listener(wildcard, 1),
        listener(wildcard, 2),
        listener(Ipv4Addr::LOCALHOST.into(), 1),
        listener(Ipv6Addr::LOCALHOST.into(), 3),
    ];
    assume_families(&mut found);
    assert_eq!(found.map(|listener| listener.family), [Family::Own, Family::Both, Family::Own, Family::Own]);
}

#[test]
fn a_process_that_is_gone_has_nothing_open() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = Pid::new(child.id().cast_signed()).unwrap();
    child.wait().unwrap();
    assert!(open_sockets(pid, &SortedSet::from([1])).unwrap().is_empty());
}

#[test]
fn the_listener_behind_an_address_is_found_by_it() {
    use super::{ListenerLookup, inode_of};
    let lookup = ListenerLookup::open();
    assert!(lookup.is_usable());
    let inode = |listener: &TcpListener| {
        inode_of(&std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap()).unwrap()
    };
    for (bound, reached) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.2"),
        ("[::]:0", "127.0.0.1"),
        ("[::]:0", "::1"),
        ("[::1]:0", "::1"),
    ] {
        let listener = TcpListener::bind(bound).unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = SocketAddr::new(reached.parse().unwrap(), port);
        assert_eq!(lookup.inode_at(address), Some(inode(&listener)), "{bound} {reached}");
        assert_eq!(lookup.inodes_at(address), [inode(&listener)], "{bound} {reached}");
        let other = SocketAddr::new("127.0.0.3".parse().unwrap(), port);
        assert_eq!(lookup.inode_at(other).is_some(), bound.starts_with(['0', '[']) && bound != "[::1]:0", "{bound}");
        assert_eq!(lookup.inodes_at(other).is_empty(), lookup.inode_at(other).is_none(), "{bound}");
        // A connection does not stand before its listener.
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(lookup.inodes_at(address), [inode(&listener)], "{bound} {reached}");
        drop((listener, client));
        assert!(lookup.inode_at(address).is_none() && lookup.inodes_at(address).is_empty(), "{bound} {reached}");
    }
}
