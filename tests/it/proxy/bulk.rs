//! Bodies of any length, in the same memory from the first byte to the last.

use super::bodies::resident;
use super::*;
use crate::support::wait_until;

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

/// An attack: large pieces were kept as long as the answer lasted, and were missing elsewhere.
#[test]
fn large_pieces_are_given_back_while_the_answer_lasts() {
    const READERS: usize = 16;
    /// In KiB, of each: a thread's stack and two small pieces, which is half of a large one.
    const MORE: u64 = 60;
    let (proxied, body) = (Proxied::start(&[]), vec![b'x'; 4 * 1024 * 1024]);
    assert_eq!(proxied.get("/chunks/1000000").body.len(), 1_000_000);
    let before = resident(proxied.daemon.pid());
    // Event after event to each reader, as long as the daemon lives: none of them is quiet.
    let address = proxied.address();
    std::thread::spawn(move || -> std::io::Result<()> {
        let mut answer = b"sent".to_vec();
        while answer.ends_with(b"sent") {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"POST /event/tick HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n")?;
            answer.clear();
            stream.read_to_end(&mut answer)?;
        }
        Ok(())
    });
    let mut readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut reader = proxied.open(&format!("POST /events HTTP/1.1\nContent-Length: {}", body.len()));
            reader.send(&body);
            reader.read_to("data: tick\n\n");
            reader
        })
        .collect();
    wait_until("the memory is given back between two events", || {
        readers.iter_mut().for_each(|reader| drop(reader.read_to("data: tick\n\n")));
        let more = resident(proxied.daemon.pid()).saturating_sub(before);
        (more < MORE * READERS as u64).then_some(())
    });
}

/// An attack: an idle connection kept the buffers of the body that it had sent in chunks.
#[test]
fn an_idle_connection_keeps_nothing_of_its_last_body() {
    const CLIENTS: usize = 64;
    /// In KiB, of each: less than a small piece.
    const MORE: u64 = 12;
    let (proxied, piece) = (Proxied::start(&[]), vec![b'x'; 1024 * 1024]);
    let upload = |pieces: usize| -> u64 {
        let before = resident(proxied.daemon.pid());
        let idle: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = proxied.open("POST /count HTTP/1.1\nTransfer-Encoding: chunked");
                for _ in 0..pieces {
                    client.send(&[b"100000\r\n", &piece[..], b"\r\n"].concat());
                }
                client.send(b"0\r\n\r\n");
                assert_eq!(client.answer().text(), (pieces * piece.len()).to_string());
                client
            })
            .collect();
        let each = resident(proxied.daemon.pid()).saturating_sub(before) / CLIENTS as u64;
        drop(idle);
        wait_until("they have ended", || (proxied.daemon.threads("conn-") < CLIENTS / 2).then_some(()));
        each
    };
    // The threads of the first round may leave something behind.
    upload(0);
    let (none, large) = (upload(0), upload(2));
    assert!(large <= none + MORE, "{none} KiB without a body, {large} KiB after a large one");
}
