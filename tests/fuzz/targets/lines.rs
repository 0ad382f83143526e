//! The output of a server, read in any pieces: no line is torn, none comes twice, and what is missing is counted.
#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use servisor::fuzzing::{Batch, Cursor, Lines, LogBuffer, Reading, Selection, Shown, StreamId};

#[derive(Default)]
struct Reader {
    cursor: Cursor,
    lines: Lines,
    /// Of each stream: lines that are whole, and what is open.
    whole: [Vec<Vec<u8>>; 2],
    open: [Vec<u8>; 2],
    accounted: u64,
}

impl Reader {
    fn read(&mut self, buffer: &LogBuffer, limit: usize) {
        let mut batch = Batch::default();
        let Reader { cursor, lines, whole, open, accounted } = self;
        while buffer.read(cursor, Selection::Combined, limit, &mut batch) == Reading::New {
            let Ok(()) = lines.take::<Infallible>(&batch, |shown| {
                note(shown, whole, open, accounted);
                Ok(())
            });
        }
    }

    fn flush(&mut self) {
        let Reader { lines, whole, open, accounted, .. } = self;
        let Ok(()) = lines.flush::<Infallible>(|shown| {
            note(shown, whole, open, accounted);
            Ok(())
        });
        assert!(!lines.has_unfinished());
    }
}

fn note(shown: Shown<'_>, whole: &mut [Vec<Vec<u8>>; 2], open: &mut [Vec<u8>; 2], accounted: &mut u64) {
    match shown {
        Shown::Line(stream, bytes) => {
            assert!(!bytes.contains(&b'\n'));
            *accounted += bytes.len() as u64 + 1;
            open[stream as usize].extend_from_slice(bytes);
            whole[stream as usize].push(std::mem::take(&mut open[stream as usize]));
        }
        Shown::Part(stream, bytes) => {
            *accounted += bytes.len() as u64;
            open[stream as usize].extend_from_slice(bytes);
        }
        Shown::Missed(bytes) => *accounted += bytes,
    }
}

fuzz_target!(|input: (u16, u8, Vec<(bool, u8, &[u8])>)| {
    let (capacity, limit, pushes) = input;
    let (mut large, mut small) = (LogBuffer::new(1 << 24), LogBuffer::new(usize::from(capacity) + 256));
    let (mut often, mut late, mut pressed) = (Reader::default(), Reader::default(), Reader::default());
    let (mut written, mut expected) = (0, [Vec::new(), Vec::new()]);
    for (is_error, times, bytes) in &pushes {
        let stream = StreamId::BOTH[usize::from(*is_error)];
        for _ in 0..=times % 8 {
            large.push(stream, bytes);
            small.push(stream, bytes);
            expected[stream as usize].extend_from_slice(bytes);
            written += bytes.len() as u64;
        }
        often.read(&large, usize::from(limit) + 64);
        if times % 3 == 0 {
            pressed.read(&small, 1000);
        }
    }
    late.read(&large, 100_000);
    pressed.read(&small, 77);
    for reader in [&mut often, &mut late, &mut pressed] {
        reader.flush();
        assert_eq!(reader.accounted, written);
    }
    for stream in 0..2 {
        let mut lines: Vec<&[u8]> = expected[stream].split(|&byte| byte == b'\n').collect();
        let open = lines.pop().unwrap_or_default();
        for reader in [&often, &late] {
            assert!(reader.whole[stream].iter().eq(lines.iter()));
            assert_eq!(reader.open[stream], open);
        }
    }
});
