//! Reading a log as it is written.
//!
//! Owns: how far one reader has come, and its waiting. Never: a byte that the ring has dropped (how many those were is
//! told), a wait of the writer's.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::SharedLog;
use super::buffer::{Batch, Cursor, Reading, Selection};

/// About this much is taken at once, in bytes: what is copied while the writers wait for the lock.
const BATCH: usize = 32 * 1024;

/// One reader. It keeps no more than one batch of output.
#[derive(Debug)]
pub struct Follower {
    log: Arc<SharedLog>,
    selection: Selection,
    cursor: Cursor,
    batch: Batch,
}

/// What waiting for output came to.
#[derive(Debug)]
pub enum Next<'a> {
    /// This.
    Output(&'a Batch),
    /// Nothing in time.
    Quiet,
    /// There is nothing more, and nothing will come.
    Ended,
}

impl Follower {
    /// Begins with the last `tail` whole lines that are kept, all of them without it.
    pub fn new(log: Arc<SharedLog>, selection: Selection, tail: Option<usize>) -> Follower {
        let copy = log.state().buffer.copy(selection);
        Follower { log, selection, cursor: copy.start(tail), batch: Batch::default() }
    }

    /// Waits for output, but not past `deadline`.
    pub fn next(&mut self, deadline: Instant) -> Next<'_> {
        let mut state = self.log.state();
        loop {
            if state.buffer.read(&mut self.cursor, self.selection, BATCH, &mut self.batch) == Reading::New {
                return Next::Output(&self.batch);
            }
            if state.ended {
                return Next::Ended;
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Next::Quiet;
            }
            state.waiting += 1;
            state = self.log.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    /// Gives the memory of the last batch back, for a time of silence.
    pub fn shrink(&mut self) {
        self.batch = Batch::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::StreamId;
    use super::*;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(20);

    fn text(follower: &mut Follower, patience: Duration) -> String {
        match follower.next(Instant::now() + patience) {
            Next::Output(batch) => batch.pieces().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect(),
            Next::Quiet => "quiet".into(),
            Next::Ended => "ended".into(),
        }
    }

    #[test]
    fn a_reader_is_woken_by_output_and_by_the_end() {
        let log = Arc::new(SharedLog::new(1000));
        log.append(StreamId::Stdout, b"before\n");
        let mut follower = Follower::new(Arc::clone(&log), Selection::Stdout, None);
        assert_eq!(text(&mut follower, LIMIT), "before\n");
        assert_eq!(text(&mut follower, Duration::ZERO), "quiet");
        let reader = std::thread::spawn(move || {
            let mut seen = String::new();
            while !seen.ends_with("ended") {
                seen.push_str(&text(&mut follower, LIMIT));
            }
            seen
        });
        while log.state().waiting == 0 {
            std::thread::yield_now();
        }
        log.append(StreamId::Stderr, b"not for it\n");
        log.append(StreamId::Stdout, b"after\n");
        log.end();
        assert_eq!(reader.join().unwrap(), "after\nended");
        assert_eq!(log.state().waiting, 0);
    }

    #[test]
    fn what_was_written_before_the_end_comes_before_it() {
        let log = Arc::new(SharedLog::new(1000));
        log.append(StreamId::Stdout, b"last\n");
        log.end();
        let mut follower = Follower::new(log, Selection::Combined, None);
        assert_eq!(text(&mut follower, LIMIT), "last\n");
        assert_eq!(text(&mut follower, LIMIT), "ended");
    }
}
