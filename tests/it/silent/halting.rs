//! A file system that answers until the first write, and never again: FUSE, served by a thread of the test.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use super::Mounted;
use crate::support::LIMIT;

/// The name of its only file, of one page.
pub const FILE: &str = "data";
const PAGE: usize = 4096;

// Operations, from the kernel's `fuse.h`.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const INIT: u32 = 26;

/// The numbers of the root and of the file.
const ROOT_NODE: u64 = 1;
const FILE_NODE: u64 = 2;
/// How long the kernel may believe an answer, in seconds.
const VALID: u64 = 1000;

/// The mount, and the thread that serves it.
pub struct Halting {
    mounted: Option<Mounted>,
    opened_by: Receiver<u32>,
    server: Option<JoinHandle<()>>,
}

impl Halting {
    /// `None` where that is not allowed.
    pub fn mount(at: &Path) -> Option<Halting> {
        let mounted = Mounted::at(at)?;
        let device = Arc::clone(&mounted.device);
        let (sender, opened_by) = channel();
        let server = std::thread::spawn(move || {
            let mut opened_by = 0;
            while let Some(request) = Request::read(&device) {
                match request.operation {
                    OPEN => opened_by = request.pid,
                    WRITE => return sender.send(opened_by).unwrap(),
                    _ => {}
                }
                request.answer(&device);
            }
        });
        Some(Halting { mounted: Some(mounted), opened_by, server: Some(server) })
    }

    /// Waits for the first write; returns the process that has opened the file.
    pub fn halted(&self) -> u32 {
        self.opened_by.recv_timeout(LIMIT).expect("the file was never written")
    }
}

impl Drop for Halting {
    fn drop(&mut self) {
        // The thread's read fails then.
        drop(self.mounted.take());
        let _ = self.server.take().map(JoinHandle::join);
    }
}

struct Request {
    operation: u32,
    unique: u64,
    node: u64,
    pid: u32,
}

impl Request {
    /// `None` when the file system is unmounted.
    fn read(mut device: &File) -> Option<Request> {
        let mut bytes = vec![0; 256 * 1024];
        // One request for each read.
        let length = device.read(&mut bytes).ok()?;
        bytes.truncate(length);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        Some(Request { operation: word(4), unique: long(8), node: long(16), pid: word(32) })
    }

    fn answer(&self, mut device: &File) {
        let (error, body) = match self.operation {
            // Without an answer.
            FORGET => return,
            INIT => (0, init()),
            LOOKUP => {
                (0, [long(FILE_NODE), long(0), long(VALID), long(VALID), long(0), attributes(FILE_NODE)].concat())
            }
            GETATTR => (0, [long(VALID), long(0), attributes(self.node)].concat()),
            OPEN => (0, [long(1), long(0)].concat()),
            READ => (0, vec![0; PAGE]),
            _ => (-libc::ENOSYS, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap();
        let head = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &self.unique.to_ne_bytes()].concat();
        // It fails when the one who has asked is gone.
        drop(device.write(&[head, body].concat()));
    }
}

fn long(number: u64) -> Vec<u8> {
    number.to_ne_bytes().to_vec()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// `fuse_init_out`: version 7.31, no flags, 16 requests in the background, writes of a page.
fn init() -> Vec<u8> {
    [words(&[7, 31, 0, 0, 12 << 16 | 16, PAGE as u32, 1, 1]), vec![0; 32]].concat()
}

/// `fuse_attr`.
fn attributes(node: u64) -> Vec<u8> {
    let mode = if node == ROOT_NODE { libc::S_IFDIR | 0o755 } else { libc::S_IFREG | 0o644 };
    let numbers = [node, PAGE as u64, 8, 0, 0, 0].map(u64::to_ne_bytes).concat();
    [numbers, words(&[0, 0, 0, mode, 1, 0, 0, 0, PAGE as u32, 0])].concat()
}
