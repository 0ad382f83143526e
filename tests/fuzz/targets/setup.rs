//! Any text as a payload, and any bytes as the JSON in one.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use servisor::setup::{PayloadSource, read};

fuzz_target!(|bytes: &[u8]| {
    let encoded = PayloadSource::Variable(encode(bytes));
    let as_it_is = str::from_utf8(bytes).ok().map(|text| PayloadSource::Variable(text.to_owned()));
    for source in [Some(encoded), as_it_is].into_iter().flatten() {
        match read(&source, Path::new("/root")) {
            Ok(payload) => {
                let mut slugs: Vec<&str> = payload.servers.iter().map(|server| server.slug.as_str()).collect();
                slugs.sort_unstable();
                assert!(slugs.windows(2).all(|two| two[0] != two[1]), "{slugs:?}");
            }
            Err(why) => assert!(!why.contains('\n'), "{why:?}"),
        }
    }
});

fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().enumerate().fold(0_u32, |word, (place, &byte)| word | u32::from(byte) << (16 - 8 * place));
        for digit in 0..=chunk.len() {
            text.push(DIGITS[(word >> (18 - 6 * digit) & 63) as usize] as char);
        }
    }
    text
}
