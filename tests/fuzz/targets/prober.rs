//! The first bytes of a server's answer: whatever is known of them early stays true.
#![no_main]

use libfuzzer_sys::fuzz_target;
use servisor::fuzzing::{ANSWER_MAX, read_probe};

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(ANSWER_MAX)];
    let whole = read_probe(bytes);
    let first = (0..=bytes.len()).find_map(|end| read_probe(&bytes[..end]));
    assert_eq!(first, whole);
});
