//! Followers: readers of a log that wait for new output.
//!
//! Owns: the position of one reader, and its waiting. Never: a byte that the ring has dropped (their number is
//! reported), a wait of the writer.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::SharedLog;
use super::buffer::{Batch, Cursor, Reading, Selection};

/// The size of a batch, in bytes: what is copied under the lock.
const BATCH: usize = 32 * 1024;

/// One reader. It holds at most one batch of output.
#[derive(Debug)]
pub struct Follower {
    log: Arc<SharedLog>,
    selection: Selection,
    cursor: Cursor,
    batch: Batch,
}

/// The result of waiting for output.
#[derive(Debug)]
pub enum Next<'a> {
    Output(&'a Batch),
    /// No output before the deadline.
    Quiet,
    /// Everything was read, and the log has ended.
    Ended,
}

impl Follower {
    /// Creates a follower that starts at the last `tail` complete lines in the buffer, or at the first.
    pub fn new(log: Arc<SharedLog>, selection: Selection, tail: Option<usize>) -> Follower {
        let copy = log.state().buffer.copy(selection);
        Follower { log, selection, cursor: copy.start(tail), batch: Batch::default() }
    }

    /// Waits for output until `deadline`.
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

    /// Frees the memory of the last batch, before a longer wait.
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
