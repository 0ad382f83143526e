//! The thread that reads a server's output.
//!
//! Owns: the read ends of the pipes. Never: interprets the output; waits for a reader of the log.
//!
//! It reads as fast as the server writes, so that a server never waits for its log. A silent server costs no wake-up. A
//! process that has left the tree can keep a pipe open for ever; so a stop request ends the thread too.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::log;
use crate::logs::{SharedLog, StreamId};
use crate::os::pipe::{self, StopRequest, Woken};
use crate::os::thread::{self, Joined, Thread};

/// In bytes. Enough for what people write; each server that has written has one of these, on one page with its header.
const SMALL_BUFFER: usize = 4000;
/// For a server that writes without pause.
const LARGE_BUFFER: usize = 128 * 1024;
/// After this much silence the large buffer is given back.
const SHRINK_AFTER: Duration = Duration::from_secs(1);
/// After a request to stop, at most a full pipe is read, even if a process still writes.
const LAST_BYTES: usize = 1024 * 1024;

/// The handle of the thread.
pub struct Reader {
    thread: Thread,
}

impl Reader {
    /// Reads both pipes into `log` until both ends or a stop request.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        name: &str,
        stdout: OwnedFd,
        stderr: OwnedFd,
        log: Arc<SharedLog>,
        stop: Arc<StopRequest>,
    ) -> io::Result<Reader> {
        let mut sources = [OutputPipe::new(StreamId::Stdout, stdout)?, OutputPipe::new(StreamId::Stderr, stderr)?];
        let thread_name = name.to_owned();
        let thread = thread::spawn(name, thread::SMALL_STACK, move || {
            if let Err(error) = take(&mut sources, &log, &stop) {
                log::error(format_args!("{thread_name}: the server's output can't be read any more: {error}"));
                for source in sources.iter().filter(|source| source.pipe.is_some()) {
                    let text = format!("servisor: this output can't be read any more: {error}\n");
                    log.append(source.stream, text.as_bytes());
                }
            }
        })?;
        Ok(Reader { thread })
    }

    /// Waits until everything is taken, but not past `deadline`.
    pub fn join_by(&self, deadline: Instant) -> Joined {
        self.thread.join_by(deadline)
    }
}

/// One of the two streams.
struct OutputPipe {
    stream: StreamId,
    /// Until its end.
    pipe: Option<File>,
    /// The bytes still read after a stop request.
    left: usize,
}

/// The result of a read from a pipe.
enum Taken {
    Nothing,
    /// Some bytes, or the end.
    Some,
    /// More than a small buffer holds.
    Much,
}

impl OutputPipe {
    fn new(stream: StreamId, pipe: OwnedFd) -> io::Result<OutputPipe> {
        pipe::set_nonblocking(&pipe)?;
        Ok(OutputPipe { stream, pipe: Some(File::from(pipe)), left: LAST_BYTES })
    }

    /// Takes as much as is there and fits into `buffer`, or the end.
    fn take(&mut self, buffer: &mut [u8], log: &SharedLog, stop: &StopRequest) -> io::Result<Taken> {
        let Some(pipe) = &mut self.pipe else { return Ok(Taken::Nothing) };
        match pipe.read(buffer) {
            Ok(0) => {
                self.pipe = None;
                Ok(Taken::Some)
            }
            Ok(count) => {
                log.append(self.stream, &buffer[..count]);
                let is_much = count == SMALL_BUFFER && buffer.len() == SMALL_BUFFER;
                if is_much {
                    pipe::grow(pipe);
                }
                if stop.is_raised() {
                    self.left = self.left.saturating_sub(count);
                    if self.left == 0 {
                        self.pipe = None;
                    }
                }
                Ok(if is_much { Taken::Much } else { Taken::Some })
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(Taken::Some),
                io::ErrorKind::WouldBlock => Ok(Taken::Nothing),
                _ => Err(error),
            },
        }
    }
}

fn take(sources: &mut [OutputPipe; 2], log: &SharedLog, stop: &StopRequest) -> io::Result<()> {
    // A server that never writes never needs a buffer.
    wait(sources, stop, None)?;
    let mut buffer = vec![0; SMALL_BUFFER];
    while sources.iter().any(|source| source.pipe.is_some()) {
        let mut is_silent = true;
        for source in &mut *sources {
            match source.take(&mut buffer, log, stop)? {
                Taken::Nothing => {}
                Taken::Some => is_silent = false,
                Taken::Much => {
                    is_silent = false;
                    buffer = vec![0; LARGE_BUFFER];
                }
            }
        }
        if is_silent {
            if stop.is_raised() {
                return Ok(());
            }
            let limit = (buffer.len() > SMALL_BUFFER).then_some(SHRINK_AFTER);
            match wait(sources, stop, limit)? {
                // Stopped: what is there already is still taken.
                Woken::Readable | Woken::Stopped => {}
                Woken::Idle => buffer = vec![0; SMALL_BUFFER],
            }
        }
    }
    Ok(())
}

fn wait(sources: &[OutputPipe; 2], stop: &StopRequest, limit: Option<Duration>) -> io::Result<Woken> {
    let [stdout, stderr] = sources;
    pipe::wait([stdout.pipe.as_ref(), stderr.pipe.as_ref()], stop, limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Selection;
    use crate::testing::LIMIT;
    use std::io::Write;

    struct Piped {
        reader: Reader,
        writer: std::io::PipeWriter,
        log: Arc<SharedLog>,
        stop: Arc<StopRequest>,
    }

    fn piped(capacity: usize) -> Piped {
        let (read_end, writer) = std::io::pipe().unwrap();
        let (other, _) = std::io::pipe().unwrap();
        let (log, stop) = (Arc::new(SharedLog::new(capacity)), Arc::new(StopRequest::new().unwrap()));
        let (log_copy, stop_copy) = (Arc::clone(&log), Arc::clone(&stop));
        let reader = Reader::start("log:test", read_end.into(), other.into(), log_copy, stop_copy).unwrap();
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
    fn one_stream_continues_after_the_end_of_the_other() {
        let ((out, mut stdout), (err, mut stderr)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let (log, stop) = (Arc::new(SharedLog::new(1 << 20)), Arc::new(StopRequest::new().unwrap()));
        let reader = Reader::start("log:test", out.into(), err.into(), Arc::clone(&log), stop).unwrap();
        stdout.write_all(b"out\n").unwrap();
        drop(stdout);
        let begun = Instant::now();
        while log.render(Selection::Stdout, None).bytes != b"out\n" {
            assert!(begun.elapsed() < LIMIT);
            std::thread::yield_now();
        }
        let large = vec![b'e'; 3 * LARGE_BUFFER];
        stderr.write_all(&large).unwrap();
        drop(stderr);
        assert_eq!(joined(&reader), Joined::Ended);
        assert_eq!(log.render(Selection::Stderr, None).bytes, large);
    }

    #[test]
    fn after_a_request_to_stop_the_content_of_an_open_pipe_is_read() {
        let Piped { reader, mut writer, log, stop } = piped(1 << 20);
        writer.write_all(b"last words").unwrap();
        stop.raise();
        assert_eq!(joined(&reader), Joined::Ended);
        assert_eq!(log.render(Selection::Stdout, None).bytes, b"last words");
        drop(writer);
    }

    #[test]
    fn a_stop_ends_the_reader_of_an_endless_writer() {
        let Piped { reader, mut writer, stop, .. } = piped(1 << 16);
        let flood = std::thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
        stop.raise();
        assert_eq!(joined(&reader), Joined::Ended);
        flood.join().unwrap();
    }
}
