//! A hot path alone, so that its instructions can be counted: `append LINES` takes so many lines of 100 bytes into a log.

#![allow(clippy::unwrap_used)]

use servisor::logs::{Selection, SharedLog, StreamId};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [order, lines] = &words[..] else { panic!("append LINES") };
    assert_eq!(order, "append");
    let log = SharedLog::new(1 << 20);
    let line = [&[b'.'; 99][..], b"\n"].concat();
    for _ in 0..lines.parse::<u64>().unwrap() {
        log.append(StreamId::Stdout, &line);
    }
    assert!(log.render(Selection::Stdout, Some(1)).bytes == line);
}
