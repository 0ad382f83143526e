//! The memory for long heads of strangers, while they come.
//!
//! Owns: which connection is closed when the memory is used up: the one whose head has been longer than the free size
//! for the longest time. Never: a byte of a head.
//!
//! A client that holds it by sending slowly thus loses it to those that send a head at once.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::budget::{Budget, Share};
use crate::sync::lock;

/// The limit of a wait for the memory of a head that was cut, before the next one is.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// The long heads that are not complete.
pub struct Heads {
    budget: Arc<Budget>,
    unfinished: Mutex<Unfinished>,
}

#[derive(Default)]
struct Unfinished {
    next: u64,
    /// In the order in which they became long.
    sockets: Vec<(u64, Arc<UnixStream>)>,
}

/// The memory of one head, until it is dropped.
pub struct HeadRoom<'a> {
    heads: &'a Heads,
    socket: &'a Arc<UnixStream>,
    share: Share,
    /// Known once it is long.
    id: Option<u64>,
}

impl Heads {
    /// Creates an empty set whose heads share `budget`.
    pub fn new(budget: &Arc<Budget>) -> Heads {
        Heads { budget: Arc::clone(budget), unfinished: Mutex::default() }
    }

    /// None yet, for the head that comes from `socket`.
    pub fn room<'a>(&'a self, socket: &'a Arc<UnixStream>) -> HeadRoom<'a> {
        HeadRoom { heads: self, socket, share: self.budget.share(), id: None }
    }

    /// Ends the connection of the oldest head. Returns `false` if there is none, or if it is that of `asker`, or was.
    fn cut_oldest(&self, asker: Option<u64>) -> bool {
        let mut unfinished = lock(&self.unfinished);
        let sockets = &mut unfinished.sockets;
        let is_cut = asker.is_some_and(|asker| sockets.iter().all(|(id, _)| *id != asker));
        let is_next = sockets.first().is_none_or(|(id, _)| Some(*id) == asker);
        if is_cut || is_next {
            return false;
        }
        // Its thread reads an end of file. An error means that it is closed already.
        let _ = sockets.remove(0).1.shutdown(Shutdown::Both);
        true
    }
}

impl HeadRoom<'_> {
    /// Grows it to `bytes`, at the cost of older heads. Returns whether it did.
    pub fn grow_to(&mut self, bytes: usize, deadline: Instant) -> bool {
        let mut has_grown = self.share.try_grow_to(bytes);
        while !has_grown && Instant::now() < deadline && self.heads.cut_oldest(self.id) {
            has_grown = self.share.grow_to(bytes, deadline.min(Instant::now() + CUT_LIMIT));
        }
        if has_grown && self.id.is_none() {
            let mut unfinished = lock(&self.heads.unfinished);
            let id = unfinished.next;
            unfinished.next += 1;
            unfinished.sockets.push((id, Arc::clone(self.socket)));
            self.id = Some(id);
        }
        has_grown
    }
}

impl Drop for HeadRoom<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.heads.unfinished).sockets.retain(|(other, _)| *other != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::peer::{self, Peeked};

    #[test]
    fn the_oldest_is_cut_and_none_after_its_end() {
        let heads = Heads::new(&Budget::new(10));
        let pairs: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
        let sockets: Vec<_> = pairs.iter().map(|(ours, _)| Arc::new(ours.try_clone().unwrap())).collect();
        let is_cut = |at: usize| peer::peek(&pairs[at].1, &mut [0]) == Peeked::End;
        let soon = || Instant::now() + Duration::from_secs(20);
        let mut rooms: Vec<_> = sockets.iter().map(|socket| heads.room(socket)).collect();
        let (mut newest, mut third) = (rooms.remove(3), rooms.remove(2));
        assert!(rooms[0].grow_to(4, soon()) && rooms[1].grow_to(4, soon()));
        // The oldest has none to be cut for it.
        assert!(!rooms[0].grow_to(7, soon()) && !is_cut(0) && !is_cut(1));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| third.grow_to(6, soon()));
            while !is_cut(0) {
                std::thread::yield_now();
            }
            assert!(!heads.cut_oldest(rooms[0].id), "it has had its turn");
            // Its thread sees the end, and gives back what it had.
            drop(rooms.remove(0));
            assert!(waits.join().unwrap());
        });
        // One that is complete is out of danger.
        drop(rooms);
        assert!(newest.grow_to(4, soon()) && !is_cut(2) && !is_cut(3));
        assert!(!newest.grow_to(11, Instant::now()));
    }
}
