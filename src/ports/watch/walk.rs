//! The long way to the owner of a listener: large tables of descriptors, and those of single threads.
//!
//! Owns: what is still to be read, and the table that is being read. Never: when a walk begins, what is made of it.
//!
//! A process with 80,000 descriptors takes 80 ms to read. Meanwhile other servers begin to listen, and clients wait for
//! them. So it is read in pieces, and between two of them the sockets and the small tables are looked at as ever.

use std::io;
use std::time::{Duration, Instant};

use super::Id;
use super::table::{Scope, Searched};
use crate::log;
use crate::os::proc::Process;
use crate::os::sockets::{Descriptors, FdChunk, is_gone, threads_apart};
use crate::os::{Pid, is_shortage};
use crate::sorted::SortedSet;

/// The limit of one part of a walk.
const PIECE: Duration = Duration::from_millis(4);

/// What is read of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The table of its main thread, which most threads share.
    Main,
    /// The tables that single threads have of their own; which ones these are is found out when it is their turn.
    Threads,
    /// That of one thread.
    Thread(i32),
}

/// A process of a server, and what is to be read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkItem {
    pub id: Id,
    pub pid: Pid,
    pub part: Part,
}

/// A walk in progress.
#[derive(Debug)]
pub struct Walk {
    /// Who is looked for.
    pub scope: Scope,
    /// What is there at this moment is found, and what is not found was not there.
    pub begun: Instant,
    /// What has been found so far, also by the search that has led here.
    pub searched: Searched,
    wanted: SortedSet<u64>,
    /// What is still to be read, the next one last.
    items: Vec<WalkItem>,
    reading: Option<(WalkItem, Descriptors)>,
}

impl Walk {
    /// Reads `items`, the last one first, for `wanted`.
    pub fn new(scope: Scope, begun: Instant, searched: Searched, wanted: SortedSet<u64>, items: Vec<WalkItem>) -> Walk {
        Walk { scope, begun, searched, wanted, items, reading: None }
    }

    /// Proceeds for a few milliseconds, or to the end.
    ///
    /// # Errors
    /// The system has nothing left to look with: this walk has no result.
    pub fn proceed(&mut self) -> io::Result<FdChunk> {
        let deadline = Instant::now() + PIECE;
        while !self.wanted.is_empty() {
            let Some((item, mut table)) = self.reading.take().map_or_else(|| self.open_next(), |it| Ok(Some(it)))?
            else {
                return Ok(FdChunk::Last);
            };
            let mut found = Vec::new();
            let piece = table.read(&self.wanted, &mut found, deadline);
            for inode in found {
                self.wanted.remove(&inode);
                self.searched.found.insert(inode, item.id);
            }
            match piece {
                Ok(FdChunk::Last) => {}
                Ok(FdChunk::More) => {
                    self.reading = Some((item, table));
                    return Ok(FdChunk::More);
                }
                Err(error) => self.refused(item, error)?,
            }
        }
        Ok(FdChunk::Last)
    }

    fn open_next(&mut self) -> io::Result<Option<(WalkItem, Descriptors)>> {
        while let Some(item) = self.items.pop() {
            let tid = match item.part {
                Part::Main => None,
                Part::Thread(tid) => Some(tid),
                Part::Threads => {
                    let apart = threads_apart(item.pid).into_iter().rev();
                    self.items.extend(apart.map(|tid| WalkItem { part: Part::Thread(tid), ..item }));
                    continue;
                }
            };
            match Descriptors::open(item.pid, tid) {
                Ok(table) => return Ok(Some((item, table))),
                Err(error) => self.refused(item, error)?,
            }
        }
        Ok(None)
    }

    fn refused(&mut self, item: WalkItem, error: io::Error) -> io::Result<()> {
        if is_shortage(&error) {
            return Err(error);
        }
        // One that is about to end can't be looked into either, and has nothing open.
        if item.part == Part::Main && !is_gone(&error) && Process::read(item.pid).is_some_and(|found| found.is_alive())
        {
            log::debug(format_args!("process {} can't be looked into: {error}", item.pid));
            self.searched.hidden.insert(item.id);
        }
        Ok(())
    }
}
