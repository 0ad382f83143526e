//! Any bytes as a dotenv file: every name is one that dotenv knows, and line ends of all kinds mean the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use servisor::model::dotenv::parse;

fuzz_target!(|file: &[u8]| {
    let variables = parse(file);
    for (name, value) in &variables {
        let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        assert!(fits && !name.is_empty(), "{name:?}");
        assert!(value.len() <= 3 * file.len());
    }
    assert!(variables.len() <= file.len() / 2);
    let text = String::from_utf8_lossy(file);
    if !text.contains('\r') {
        assert_eq!(parse(text.replace('\n', "\r\n").as_bytes()), variables);
    }
    // A comment before it and white space after it change nothing.
    assert_eq!(parse(format!("# A=1\n{text}").as_bytes()), variables);
});
