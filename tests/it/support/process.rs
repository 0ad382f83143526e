//! Programs beside the daemon, and daemons that should refuse to start: none outlives its test or hangs it.

use std::io::{BufRead, BufReader, Read};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::wait_until;

/// A child that is killed with the test.
pub struct Guarded(pub Child);

impl Deref for Guarded {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a child writes to its stderr, which is a pipe, up to a line with `text` and, later, all that follows. One that
/// does not write that is killed, and fails the test.
#[track_caller]
pub fn log_with(child: &mut Guarded, text: &str) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let (mut lines, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
    let reader = thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            kept.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    wait_until(&format!("{text:?} is in the log"), || {
        // In this order: what was read last is there when the reader has ended.
        let (is_over, has_it) = (reader.is_finished(), log.lock().unwrap().contains(text));
        assert!(has_it || !is_over, "it did not start: {}", log.lock().unwrap());
        has_it.then_some(())
    });
    log
}

/// [`Command::output`] with a limit.
pub trait Finish {
    /// Runs the command without input and waits until it exits. One that does not exit is killed, and fails the test.
    fn finish(&mut self) -> Output;
}

impl Finish for Command {
    #[track_caller]
    fn finish(&mut self) -> Output {
        let command = self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Guarded(command.spawn().unwrap());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let all = |mut from: Box<dyn Read + Send>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = from.read_to_end(&mut bytes);
                bytes
            })
        };
        let (out, err) = (all(Box::new(stdout)), all(Box::new(stderr)));
        let status = wait_until(&format!("{:?} ends", self.get_program()), || child.try_wait().unwrap());
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    }
}
