//! Bodies of any length, in the same memory from the first byte to the last.

use super::bodies::resident;
use super::*;

/// Bytes of a body each way; `make bulk` moves 10 GB.
fn length() -> u64 {
    std::env::var("BULK_BYTES").map_or(96 * 1024 * 1024, |text| text.parse().unwrap())
}

/// The daemon's own memory while a body passes.
struct Memory {
    pid: i32,
    what: &'static str,
    length: u64,
    before: u64,
    moved: u64,
    /// The highest in each half, in KiB.
    highest: [u64; 2],
}

impl Memory {
    /// How often it is looked at.
    const LOOKS: u64 = 128;
    /// In KiB: a thread's stack and a few pieces, which every body has whatever its length.
    const MORE: u64 = 1024;
    /// In KiB: from one half to the other nothing of it grows.
    const DRIFT: u64 = 64;

    fn new(proxied: &Proxied, what: &'static str, length: u64) -> Memory {
        let pid = proxied.daemon.pid();
        Memory { pid, what, length, before: resident(pid), moved: 0, highest: [0; 2] }
    }

    fn moved(&mut self, bytes: usize) {
        let step = |moved: u64| moved / (self.length / Memory::LOOKS);
        let (before, half) = (self.moved, usize::from(self.moved * 2 >= self.length));
        self.moved += bytes as u64;
        if step(before) != step(self.moved) {
            self.highest[half] = self.highest[half].max(resident(self.pid));
        }
    }

    #[track_caller]
    fn assert_flat(self) {
        let Memory { what, length, before, moved, highest: [first, second], .. } = self;
        println!(
            "{what}, {length} bytes: {before} KiB before, at most {first} in the first half, {second} in the other"
        );
        assert_eq!(moved, length, "{what}");
        assert!(first > 0 && second > 0 && first.max(second) <= before + Memory::MORE, "{what}");
        assert!(second <= first + Memory::DRIFT, "{what}: it grows with what has passed");
    }
}

/// `make bulk` runs this with 10 GB each way, on the static binary.
#[test]
fn bodies_both_ways_take_no_memory() {
    let (length, proxied) = (length(), Proxied::start(&[]));
    // What a first visit needs for ever is there.
    assert_eq!(proxied.get("/chunks/1000000").body.len(), 1_000_000);
    let mut buffer = vec![b'x'; 1024 * 1024];
    for (path, what) in [("big", "an answer with a length"), ("chunks", "an answer in chunks")] {
        // Without framing for the client: what comes is the body.
        let mut visitor = proxied.open(&format!("GET /{path}/{length} HTTP/1.0"));
        visitor.read_to("\r\n\r\n");
        let mut memory = Memory::new(&proxied, what, length);
        memory.moved(visitor.read.len());
        while let Ok(count @ 1..) = visitor.stream.read(&mut buffer) {
            memory.moved(count);
        }
        memory.assert_flat();
    }
    for (framing, what) in [
        (format!("Content-Length: {length}"), "a request with a length"),
        ("Transfer-Encoding: chunked".to_owned(), "a request in chunks"),
    ] {
        let in_chunks = framing.starts_with("Transfer");
        let mut visitor = proxied.open(&format!("POST /count HTTP/1.1\n{framing}"));
        let mut memory = Memory::new(&proxied, what, length);
        while memory.moved < length {
            let piece = buffer.len().min((length - memory.moved) as usize);
            if in_chunks {
                visitor.send(format!("{piece:x}\r\n").as_bytes());
            }
            visitor.send(&buffer[..piece]);
            visitor.send(if in_chunks { b"\r\n" } else { b"" });
            memory.moved(piece);
        }
        visitor.send(if in_chunks { b"0\r\n\r\n" } else { b"" });
        assert_eq!(visitor.answer().text(), length.to_string(), "{what}");
        memory.assert_flat();
    }
}
