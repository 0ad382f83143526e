//! Which port a server gets.
//!
//! Owns: the table of ports that servers hold. Never: a look at what a server really listens on (see `watch`).
//!
//! A port is free when nothing listens on it and no other server holds it. A server holds its port from its start
//! until it is idle: the port of a stopped server can be given to another one.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::spec::{Port, Slug};
use crate::os::port::{Availability, availability};

use super::Holder;
use crate::sorted::Sorted;
use crate::sync::lock;

#[derive(Debug)]
pub struct Ports {
    held: Mutex<Sorted<Port, Hold>>,
    daemon: String,
}

#[derive(Debug)]
struct Hold {
    slug: Slug,
    /// A restart looks whether the port is free while the last run still holds it.
    times: u32,
}

/// A held port, released on drop.
#[derive(Debug)]
pub struct Reservation {
    port: Port,
    ports: Arc<Ports>,
}

impl Reservation {
    pub fn port(&self) -> Port {
        self.port
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = self.ports.held();
        if let Some(holder) = held.get_mut(&self.port) {
            holder.times -= 1;
            if holder.times == 0 {
                held.remove(&self.port);
            }
        }
    }
}

/// What to do when the asked port is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Give up.
    Strict,
    /// Take the next free one.
    NextFree,
}

/// Why there is no port.
#[derive(Debug)]
pub enum Unavailable {
    /// Something listens on it; who that is, if it can be seen and was looked for.
    Taken(Port, Option<Holder>),
    /// Another server holds it.
    Held(Port, Slug),
    /// The daemon has not the right to it.
    Denied(Port),
    /// The asked one is not free, nor is any above.
    NoneLeft(Port),
    /// An error prevented the answer.
    Unknown(Port, io::Error),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::Taken(port, Some(holder)) => write!(f, "port {port} is held by {holder}"),
            Unavailable::Taken(port, None) => write!(f, "port {port} is taken: another process listens on it"),
            Unavailable::Held(port, slug) => write!(f, "port {port} is held by server {slug}"),
            Unavailable::Denied(port) => {
                write!(f, "port {port} can't be used: ports below 1024 need a right that servisor does not have")
            }
            Unavailable::NoneLeft(port) => write!(f, "no port from {port} up is free"),
            Unavailable::Unknown(port, error) => {
                write!(f, "whether port {port} is free could not be found out: {error}")
            }
        }
    }
}

impl Ports {
    /// Creates an empty table. `daemon` is the beginning of the markers of the daemon's runs, which distinguish
    /// its servers from other processes.
    pub fn new(daemon: String) -> Ports {
        Ports { held: Mutex::default(), daemon }
    }

    /// Finds a port for `slug`, `wanted` if that is free, and holds it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn reserve(
        self: &Arc<Self>,
        slug: &Slug,
        wanted: Port,
        strict: Strictness,
    ) -> Result<Reservation, Unavailable> {
        let mut port = wanted;
        loop {
            match (self.try_one(slug, port), strict) {
                (Ok(reservation), _) => return Ok(reservation),
                (Err(refusal @ Unavailable::Denied(_)), _) if port == wanted => return Err(refusal),
                // Only now, since the search takes its time.
                (Err(Unavailable::Taken(port, None)), Strictness::Strict) => {
                    return Err(Unavailable::Taken(port, self.holder(port)));
                }
                (Err(refusal @ Unavailable::Unknown(..)), _) | (Err(refusal), Strictness::Strict) => {
                    return Err(refusal);
                }
                (Err(_), Strictness::NextFree) => {}
            }
            port = port.checked_add(1).ok_or(Unavailable::NoneLeft(wanted))?;
        }
    }

    /// Looks for the process that listens on `port` (see [`Holder::find`]).
    pub fn holder(&self, port: Port) -> Option<Holder> {
        Holder::find(port, &self.daemon)
    }

    fn try_one(self: &Arc<Self>, slug: &Slug, port: Port) -> Result<Reservation, Unavailable> {
        // Held first and tried after: two servers can't both find it free.
        {
            let mut held = self.held();
            match held.get_mut(&port) {
                Some(holder) if holder.slug != *slug => return Err(Unavailable::Held(port, holder.slug.clone())),
                Some(holder) => holder.times += 1,
                None => drop(held.insert(port, Hold { slug: slug.clone(), times: 1 })),
            }
        }
        let reservation = Reservation { port, ports: Arc::clone(self) };
        match availability(port.get()) {
            Ok(Availability::Free) => Ok(reservation),
            Ok(Availability::Taken) => Err(Unavailable::Taken(port, None)),
            Ok(Availability::Denied) => Err(Unavailable::Denied(port)),
            Err(error) => Err(Unavailable::Unknown(port, error)),
        }
    }

    fn held(&self) -> MutexGuard<'_, Sorted<Port, Hold>> {
        lock(&self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn slug(text: &str) -> Slug {
        Slug::parse(text).unwrap()
    }

    /// A port that was free a moment ago, with some room above.
    fn free_port() -> Port {
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if port < 60_000 {
                return Port::new(port).unwrap();
            }
        }
    }

    #[test]
    fn a_held_port_is_not_given_twice_until_it_is_released() {
        let ports = Arc::new(Ports::new("x".into()));
        let port = free_port();
        let first = ports.reserve(&slug("a"), port, Strictness::Strict).unwrap();
        assert_eq!(first.port(), port);
        let refusal = ports.reserve(&slug("b"), port, Strictness::Strict).unwrap_err();
        assert!(matches!(&refusal, Unavailable::Held(held, by) if *held == port && by.as_str() == "a"), "{refusal}");
        let next = ports.reserve(&slug("b"), port, Strictness::NextFree).unwrap();
        assert!(next.port() > port);
        drop(first);
        assert_eq!(ports.reserve(&slug("c"), port, Strictness::Strict).unwrap().port(), port);
    }

    #[test]
    fn a_server_may_hold_its_port_twice() {
        let ports = Arc::new(Ports::new("x".into()));
        let port = free_port();
        let old = ports.reserve(&slug("a"), port, Strictness::Strict).unwrap();
        let new = ports.reserve(&slug("a"), port, Strictness::Strict).unwrap();
        drop(old);
        assert!(ports.reserve(&slug("b"), port, Strictness::Strict).is_err());
        drop(new);
        assert!(ports.reserve(&slug("b"), port, Strictness::Strict).is_ok());
    }

    #[test]
    fn a_port_that_something_listens_on_is_taken() {
        let ports = Arc::new(Ports::new("x".into()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port::new(listener.local_addr().unwrap().port()).unwrap();
        let refusal = ports.reserve(&slug("a"), port, Strictness::Strict).unwrap_err();
        assert!(
            matches!(&refusal, Unavailable::Taken(taken, Some(holder)) if *taken == port && holder.pid == std::process::id()),
            "{refusal}"
        );
        assert!(ports.held().is_empty(), "a refusal must hold nothing");
    }
}
