//! Socket addresses in the kernel's form.
//!
//! Owns: `sockaddr_in` and `sockaddr_in6`. Never: a socket.

use std::mem;
use std::net::SocketAddr;

/// The address family, for `socket(2)`.
pub(super) fn family(address: &SocketAddr) -> libc::c_int {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// Calls `call` with a pointer to `address` in the kernel's form, valid for the call, and the length of that form.
pub(super) fn with_raw<T>(address: &SocketAddr, call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> T) -> T {
    match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            call((&raw const raw).cast(), mem::size_of_val(&raw) as libc::socklen_t)
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            call((&raw const raw).cast(), mem::size_of_val(&raw) as libc::socklen_t)
        }
    }
}
