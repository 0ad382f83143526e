//! The first bytes of a server's answer, which may be anything: never a panic, and always a verdict in the end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use servisor::fuzzing::ProbeHead;

fuzz_target!(|bytes: &[u8]| {
    let whole = ProbeHead::new().take(bytes);
    // The same in pieces, as far as it is known.
    let mut head = ProbeHead::new();
    let split = bytes.chunks(7).find_map(|piece| head.take(piece));
    assert_eq!(whole.is_some(), split.is_some());
    if whole.is_none() {
        assert!(!head.end().to_string().is_empty());
        assert!((0..100).any(|_| head.take(&[b'y'; 4096]).is_some()), "more bytes end it at last");
    }
});
