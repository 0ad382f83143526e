//! Reading a log as it is written.
//!
//! Owns: how far one reader has come, and that its waker is signalled when there is more. Never: a wait; a byte that
//! the ring has dropped (their number is known).

use std::sync::Arc;

use super::SharedLog;
use super::buffer::{Batch, Cursor, Reading, Selection};
use crate::os::waker::Waker;

/// About this much is taken at once, in bytes: what is copied while the writer waits for the lock.
const BATCH: usize = 32 * 1024;

/// One reader. It keeps no more than one batch of output.
#[derive(Debug)]
pub struct Follower {
    log: Arc<SharedLog>,
    selection: Selection,
    cursor: Cursor,
    batch: Batch,
    waker: Arc<Waker>,
}

/// The next output of a log.
#[derive(Debug)]
pub enum NextOutput<'a> {
    Output(&'a Batch),
    /// Nothing yet. The waker is signalled when there is more.
    Quiet,
    /// Nothing more, and nothing will come.
    Ended,
}

impl Follower {
    /// Begins with the last `tail` lines that are kept, all of them without it. `waker` is signalled whenever there may
    /// be more.
    pub fn new(log: Arc<SharedLog>, selection: Selection, tail: Option<usize>, waker: &Arc<Waker>) -> Follower {
        let copy = {
            let mut state = log.state();
            state.wakers.push(Arc::clone(waker));
            state.buffer.copy(selection)
        };
        Follower { log, selection, cursor: copy.start(tail), batch: Batch::default(), waker: Arc::clone(waker) }
    }

    /// How many bytes are ahead of it now, those included that are dropped meanwhile.
    pub fn unread(&self) -> u64 {
        self.log.state().buffer.unread(&self.cursor, self.selection)
    }

    /// Takes the next output, `most` bytes of it at most. The waker has to be drained before this, not after.
    pub fn take(&mut self, most: usize) -> NextOutput<'_> {
        let state = self.log.state();
        if state.buffer.read(&mut self.cursor, self.selection, BATCH.min(most), &mut self.batch) == Reading::New {
            return NextOutput::Output(&self.batch);
        }
        if state.ended { NextOutput::Ended } else { NextOutput::Quiet }
    }

    /// Gives the memory of the last batch back, for a time of silence.
    pub fn shrink(&mut self) {
        self.batch = Batch::default();
    }

    /// Whether this reads `log`.
    pub fn reads(&self, log: &Arc<SharedLog>) -> bool {
        Arc::ptr_eq(&self.log, log)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.log.state();
        // One follower, one entry: a waker may be there for several of one client.
        if let Some(place) = state.wakers.iter().position(|waker| Arc::ptr_eq(waker, &self.waker)) {
            state.wakers.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::StreamId;
    use super::*;
    use crate::os::poll::{Interest, Poll};
    use crate::testing::LIMIT;
    use std::time::Duration;

    fn text(follower: &mut Follower) -> String {
        match follower.take(usize::MAX) {
            NextOutput::Output(batch) => batch.pieces().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect(),
            NextOutput::Quiet => "quiet".into(),
            NextOutput::Ended => "ended".into(),
        }
    }

    fn is_woken(waker: &Waker, limit: Duration) -> bool {
        let mut poll = Poll::default();
        let place = poll.add(waker, Interest::Read);
        poll.wait(Some(limit)).unwrap();
        waker.drain();
        poll.is_ready(place)
    }

    #[test]
    fn the_waker_is_signalled_for_output_and_for_the_end() {
        let (log, waker) = (Arc::new(SharedLog::new(1000)), Arc::new(Waker::new().unwrap()));
        log.append(StreamId::Stdout, b"before\n");
        let mut follower = Follower::new(Arc::clone(&log), Selection::Stdout, None, &waker);
        assert_eq!(text(&mut follower), "before\n");
        assert_eq!(text(&mut follower), "quiet");
        assert!(!is_woken(&waker, Duration::ZERO));
        let writer = std::thread::spawn({
            let log = Arc::clone(&log);
            move || log.append(StreamId::Stdout, b"after\n")
        });
        assert!(is_woken(&waker, LIMIT));
        writer.join().unwrap();
        assert_eq!(text(&mut follower), "after\n");
        log.append(StreamId::Stderr, b"not for it\n");
        log.end();
        assert!(is_woken(&waker, Duration::ZERO));
        assert_eq!(text(&mut follower), "ended");
        drop(follower);
        assert!(log.state().wakers.is_empty());
    }

    #[test]
    fn what_was_written_before_the_end_comes_before_it() {
        let (log, waker) = (Arc::new(SharedLog::new(1000)), Arc::new(Waker::new().unwrap()));
        log.append(StreamId::Stdout, b"last\n");
        log.end();
        let mut follower = Follower::new(log, Selection::Combined, None, &waker);
        assert_eq!(text(&mut follower), "last\n");
        assert_eq!(text(&mut follower), "ended");
    }
}
