//! The thread that takes one stream of a server's output.
//!
//! Owns: the read end of the pipe. Never: a look at what is written, a wait for anyone who reads the log.
//!
//! It reads as fast as the server writes, so that a server never waits for its log. A silent server costs no wake-up. A
//! process that has left the tree can keep the pipe open for ever; so there is a second way out, the word to stop.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::log;
use crate::logs::{SharedLog, StreamId};
use crate::os::pipe::{self, Stop, Woken};
use crate::os::thread::{self, Joined, Thread};

/// Enough for what people write; each server that has written has two of these.
const SMALL_BUFFER: usize = 4 * 1024;
/// For a server that writes without pause.
const LARGE_BUFFER: usize = 128 * 1024;
/// After this much silence the large buffer is given back.
const SHRINK_AFTER: Duration = Duration::from_secs(1);
/// After the word to stop, no more than a full pipe is read: whoever still writes does not count.
const LAST_BYTES: usize = 1024 * 1024;

/// The owner's side of the thread.
pub struct Reader {
    thread: Thread,
}

impl Reader {
    /// Starts to take what comes from `pipe` as `stream` into `log`, until its end or the word to stop.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        name: &str,
        stream: StreamId,
        pipe: OwnedFd,
        log: Arc<SharedLog>,
        stop: Arc<Stop>,
    ) -> io::Result<Reader> {
        pipe::set_nonblocking(&pipe)?;
        let file = File::from(pipe);
        let thread_name = name.to_owned();
        let thread = thread::spawn(name, thread::SMALL_STACK, move || {
            if let Err(error) = take(file, stream, &log, &stop) {
                log::error(format_args!("{thread_name}: the server's output can't be read any more: {error}"));
                log.append(stream, format!("servisor: this output can't be read any more: {error}\n").as_bytes());
            }
        })?;
        Ok(Reader { thread })
    }

    /// Waits until everything is taken, but not past `deadline`.
    pub fn join_by(&self, deadline: Instant) -> Joined {
        self.thread.join_by(deadline)
    }
}

fn take(mut pipe: File, stream: StreamId, log: &SharedLog, stop: &Stop) -> io::Result<()> {
    // A server that never writes never needs a buffer.
    pipe::wait(&pipe, stop, None)?;
    let mut buffer = vec![0; SMALL_BUFFER];
    let mut left = LAST_BYTES;
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                log.append(stream, &buffer[..count]);
                if count == SMALL_BUFFER && buffer.len() == SMALL_BUFFER {
                    buffer = vec![0; LARGE_BUFFER];
                    pipe::grow(&pipe);
                }
                if stop.is_raised() {
                    left = left.saturating_sub(count);
                    if left == 0 {
                        return Ok(());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stop.is_raised() {
                    return Ok(());
                }
                let limit = (buffer.len() > SMALL_BUFFER).then_some(SHRINK_AFTER);
                match pipe::wait(&pipe, stop, limit)? {
                    // Stopped: what is there already is still taken.
                    Woken::Readable | Woken::Stopped => {}
                    Woken::Idle => buffer = vec![0; SMALL_BUFFER],
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Selection;
    use std::io::Write;

    const LIMIT: Duration = Duration::from_secs(20);

    struct Piped {
        reader: Reader,
        writer: std::io::PipeWriter,
        log: Arc<SharedLog>,
        stop: Arc<Stop>,
    }

    fn piped(capacity: usize) -> Piped {
        let (read_end, writer) = std::io::pipe().unwrap();
        let (log, stop) = (Arc::new(SharedLog::new(capacity)), Arc::new(Stop::new().unwrap()));
        let reader =
            Reader::start("out:test", StreamId::Stdout, read_end.into(), Arc::clone(&log), Arc::clone(&stop)).unwrap();
        Piped { reader, writer, log, stop }
    }

    fn joined(reader: &Reader) -> Joined {
        reader.join_by(Instant::now() + LIMIT)
    }

    #[test]
    fn everything_is_taken_to_the_end() {
        let Piped { reader, mut writer, log, .. } = piped(1 << 20);
        let lines: String = (0..50_000).map(|number| format!("{number}\n")).collect();
        writer.write_all(lines.as_bytes()).unwrap();
        drop(writer);
        assert_eq!(joined(&reader), Joined::Ended);
        assert_eq!(log.render(Selection::Stdout, None).bytes, lines.as_bytes());
    }

    #[test]
    fn a_pipe_that_someone_holds_open_is_left_at_the_word_to_stop_with_all_that_was_in_it() {
        let Piped { reader, mut writer, log, stop } = piped(1 << 20);
        writer.write_all(b"last words").unwrap();
        stop.raise();
        assert_eq!(joined(&reader), Joined::Ended);
        assert_eq!(log.render(Selection::Stdout, None).bytes, b"last words");
        drop(writer);
    }

    #[test]
    fn a_writer_without_end_is_left_too() {
        let Piped { reader, mut writer, stop, .. } = piped(1 << 16);
        let flood = std::thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
        stop.raise();
        assert_eq!(joined(&reader), Joined::Ended);
        flood.join().unwrap();
    }
}
